"""The folder in which GDAL finds a user's file and the files that belong to it, and nothing else.

GDAL reads more than the file that it opens: what lies beside it, and what its path may also mean (``a;b``, ``a!b``,
``GPKG:a``). In a folder of its own, a file has a plain path and no other neighbours. A zip is unpacked, so that its
limits are ours.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tasks.errors.input import refused
from tasks.raster.geojson import JSON
from tasks.raster.user_file import ENTRIES, LIMIT, existing, parts_of, size_of, too_large

FILES = (".shp", ".gpkg", *JSON, ".kml", ".kmz", ".fgb", ".gml", ".gpx", ".tab", ".mif", ".sqlite")
"""Suffixes of files that are looked for in a zip."""
BESIDE = {
    ".shp": (".shx", ".dbf", ".prj", ".cpg", ".sbn", ".sbx", ".qix"),
    ".tab": (".dat", ".map", ".id", ".ind", ".dbf"),
    ".mif": (".mid",),
    ".gml": (".gfs", ".xsd"),
}
"""Suffixes of the files that belong to one of a format."""
GEODATABASE = ".gdb"
_CHUNK = 1 << 20


def staged(file: Path, folder: Path, *, what: str) -> list[Path]:
    """Prepare a file for GDAL, and return the paths in an empty folder to open: several only for a zip.

    Args:
        file: A file, a folder (a geodatabase, or one of Shapefiles), or a zip of these.
        folder: An empty folder.
        what: Name of the field in error messages.

    Raises:
        InputError: The file, or one that belongs to it, is no regular file or too large; or nothing in the zip can be
            read.
        OSError: The folder is full.
    """
    if file.suffix.lower() == ".zip":
        return _unpacked(file, folder, what=what)
    target = folder / file.name.translate(str.maketrans(";!", "__"))
    if file.is_dir():
        size_of(file, what=what)
        target.mkdir()
        for part in parts_of(file, what=what):
            (target / part.name).symlink_to(part.absolute())
        return [target]
    for suffix in BESIDE.get(file.suffix.lower(), ()):
        for written in (suffix, suffix.upper()):
            part = file.with_suffix(written)
            if part.exists():
                size_of(existing(part, what=what), what=what)
                target.with_suffix(written).symlink_to(part.absolute())
    unpacked_size(file, what=what)
    target.symlink_to(file.absolute())
    return [target]


def unpacked_size(file: Path, *, what: str) -> int:
    """Return the number of bytes of a file, or of what it declares to unpack to, if that is more.

    Raises:
        InputError: It is too large.
    """
    size = size_of(file, what=what)
    if file.is_file() and zipfile.is_zipfile(file):
        # A broken archive is refused when it is read.
        broken = contextlib.suppress(zipfile.BadZipFile, NotImplementedError, ValueError, OSError)
        with broken, zipfile.ZipFile(file) as archive:
            size = max(size, _declared(archive.infolist()))
    if size > LIMIT:
        raise too_large(file, what=what, size=size, limit=LIMIT)
    return size


def _unpacked(file: Path, folder: Path, *, what: str) -> list[Path]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > ENTRIES:
            raise refused(what, file, f"it holds more than {ENTRIES:,} files", "Unpack it, and give one of the files")
        left = LIMIT
        for member in members:
            target = _target(member.filename, folder)
            if target is None or member.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, target.open("wb") as unpacked:
                while chunk := packed.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:  # whatever the zip declares
                        raise too_large(file, what=what, size=max(_declared(members), LIMIT + 1), limit=LIMIT)
                    unpacked.write(chunk)
    found = sorted(_found(folder))
    if not found:
        reason = f"it holds no file of a known format ({', '.join(FILES)}, {GEODATABASE})"
        raise refused(what, file, f"it cannot be read as a vector file: {reason}", "Give a zip of such files")
    for path in found:
        unpacked_size(path, what=what)
    return found


def _declared(members: list[zipfile.ZipInfo]) -> int:
    return sum(member.file_size for member in members if _target(member.filename, Path()) is not None)


def _target(name: str, folder: Path) -> Path | None:
    """Return where a member of a zip is unpacked, which is always in the folder. None = no format needs it."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in {"/", ".", ".."}]
    known = {*FILES, *(suffix for suffixes in BESIDE.values() for suffix in suffixes)}
    in_database = any(part.lower().endswith(GEODATABASE) for part in parts[:-1])
    if not parts or "__MACOSX" in parts or not (in_database or Path(parts[-1]).suffix.lower() in known):
        return None
    return folder.joinpath(*(part.translate(str.maketrans(";!", "__")) for part in parts))


def _found(folder: Path) -> Iterator[Path]:
    """Yield what GDAL opens of what was unpacked."""
    for path in folder.rglob("*"):
        in_database = any(up.suffix.lower() == GEODATABASE for up in path.parents)
        if path.suffix.lower() == GEODATABASE or (path.suffix.lower() in FILES and not in_database):
            yield path

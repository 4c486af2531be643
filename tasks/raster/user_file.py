"""Files that a user names: a regular file of a limited size is read, anything else is refused.

All readers of regions and points look their file up here. A symbolic link is followed, because who runs the flow may
have made it. What it leads to is checked.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from tasks.errors.input import InputError, refused

LIMIT = 512 << 20
"""Largest size of a file in bytes, and of all that is unpacked of a zip. Reading takes a few times as much memory."""
TEXT_LIMIT = 256 << 20
"""Largest size of GeoJSON and of tables in bytes. As Python objects they need about ten times as much memory."""
ENTRIES = 10_000
"""Largest number of files in a folder or a zip. A geodatabase has about ten for each of its tables."""
_WKT = re.compile(
    r"\s*(SRID=\d+;\s*)?(MULTI)?(POINT|LINESTRING|LINEARRING|POLYGON|CURVE|SURFACE|GEOMETRYCOLLECTION)"
    r"\s*(ZM|Z|M)?\s*(\(|EMPTY)",
    re.IGNORECASE,
)


def existing(path: str | Path, *, what: str) -> Path:
    """Return the path of an existing file or folder.

    Raises:
        InputError: There is no such file, the text is not a path, or it is a device, a pipe or a socket.
    """
    text = str(path)
    if _WKT.match(text):
        raise refused(what, text, "WKT is not accepted", "Give GeoJSON, or the path of a vector file")
    if text.lstrip().startswith(("{", "[")):
        raise refused(what, text, "it is the text of JSON, not a path", "Give the JSON itself, as an object")
    if text.lstrip().startswith("<"):
        raise refused(what, text, "it is the text of XML, not a path", "Save it as a file, and give its path")
    if "://" in text or text.startswith("/vsi"):
        raise refused(what, text, "it is an address, not a file", "Download the file, and give its path")
    try:
        file = Path(path).expanduser()
        mode = file.stat().st_mode if text else 0
    except RuntimeError as error:
        raise refused(
            what, text, "there is no such user, or the user has no home folder", "Give the whole path, without ~"
        ) from error
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        mode = 0
    except OSError as error:  # too long for a path, or in a folder without permission
        raise refused(
            what,
            text,
            f"it cannot be looked up as a file ({error.strerror}; {len(text)} characters)",
            "Give GeoJSON as an object, or the path of a file that you may read",
        ) from error
    if not mode:
        raise refused(what, text, "there is no such file", "Give the path of an existing file")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise refused(what, text, "it is not a regular file, but a device, a pipe or a socket", "Give a regular file")
    return file


def size_of(file: Path, *, what: str, limit: int = LIMIT) -> int:
    """Return the number of bytes of a file, or of the files in a folder.

    Raises:
        InputError: It is too large, or something in the folder is not a regular file.
    """
    size = sum(part.stat().st_size for part in parts_of(file, what=what)) if file.is_dir() else file.stat().st_size
    if size > limit:
        raise too_large(file, what=what, size=size, limit=limit)
    return size


def parts_of(folder: Path, *, what: str) -> list[Path]:
    """Return the files in a folder. Folders in it are left out, since no format reads them.

    Raises:
        InputError: There are too many, or one is a device, a pipe or a socket.
    """
    files = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                continue
            if not entry.is_file():
                reason = f"{entry.name!r} in it is missing, or is a device, a pipe or a socket"
                raise refused(what, folder, reason, "Give a folder of regular files")
            files.append(Path(entry.path))
            if len(files) > ENTRIES:
                raise refused(what, folder, f"it holds more than {ENTRIES:,} files", "Give one of the files in it")
    return files


def too_large(file: Path, *, what: str, size: int, limit: int) -> InputError:
    """Return the error for a file beyond its size limit."""
    reason = f"it has {size / 2**20:,.0f} MB, and at most {limit / 2**20:,.0f} MB are read, because of memory"
    return refused(what, file, reason, "Give fewer or simpler features, or split the file and make several runs")


def begins_like_json(file: Path, *, what: str) -> bool:
    """Return whether the first character of a file begins an object of JSON."""
    return read_bytes(file, what=what, head=64).lstrip(b"\xef\xbb\xbf\x1e \t\r\n").startswith(b"{")


def read_bytes(file: Path, *, what: str, head: int | None = None) -> bytes:
    """Return the content of a text file, or only the first bytes of any file.

    Raises:
        InputError: It is no regular file, is larger than `TEXT_LIMIT`, or cannot be read.
    """
    try:
        # Without waiting: the file may have been replaced by a pipe since it was looked up.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise refused(what, file, "it is not a regular file", "Give a regular file")
            if head is None and found.st_size > TEXT_LIMIT:
                raise too_large(file, what=what, size=found.st_size, limit=TEXT_LIMIT)
            # No more than its size: files of the kernel, such as those in /proc, have none.
            return stream.read(found.st_size if head is None else head)
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
        raise refused(what, file, reason, "Give a file that you may read") from error

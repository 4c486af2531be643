"""The catalogue: raster files of a folder as assets of ``projects/sandbox``, and what is derived of the samples."""

from __future__ import annotations

import logging
import math
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rasterio

from deployments.sandbox import derived
from deployments.sandbox.asset import footprint, with_image
from deployments.sandbox.catalogue import Catalogue, missing
from deployments.sandbox.derived.public import PUBLIC, UPDATED
from deployments.sandbox.raster import Asset
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.stored import file_bands

SAMPLES = Path(__file__).parent / "samples"
ROOT = "projects/sandbox/assets"
SUFFIXES = (".tif", ".tiff", ".TIF", ".TIFF")

_NAME = re.compile(r"projects/[^/]+/assets(/.*)?")
_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")

logger = logging.getLogger(__name__)


def open_catalogue(scenes: Path | None = None) -> Catalogue:
    """Return the catalogue of a folder of GeoTIFFs, beside the collections that are derived of the samples.

    The file ``DIR/a.tif`` is the image ``projects/sandbox/assets/a``; the folder ``DIR/b`` is an image collection
    and ``DIR/b/c.tif`` its image ``projects/sandbox/assets/b/c``. Files are looked up anew at every call, so that
    new and changed ones are seen.

    Args:
        scenes: The folder; None for the real Landsat samples that ship with the sandbox.

    Raises:
        NotADirectoryError: the folder is none.
    """
    folder = SAMPLES if scenes is None else Path(scenes)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: --scenes takes a folder of GeoTIFF files")
    return _Scenes(folder)


def asset_name(text: str) -> str:
    """Return the full resource name of an asset id, as the official client does.

    Args:
        text: An id such as ``USGS/SRTMGL1_003`` or a name such as ``projects/sandbox/assets/a``.
    """
    text = text.strip("/")
    if _NAME.fullmatch(text):
        return text
    legacy = text.split("/")[0] in {"users", "projects"}
    return f"projects/earthengine-legacy/assets/{text}" if legacy else f"{PUBLIC}/{text}"


@dataclass(frozen=True)
class _Seen:
    """An asset as a file was at its modification time."""

    stamp: int
    asset: Asset | None
    """None where the file is not one that can be served."""


class _Scenes:
    """A folder and the derived collections; see `open_catalogue`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[Path, _Seen] = {}

    def get(self, name: str) -> Asset:
        """Return an asset by full resource name or by id."""
        full = asset_name(name)
        public = f"{full}/".startswith(f"{PUBLIC}/")
        found = derived.get(full) if public else self._own(full)
        if found is None:
            raise missing(full, derived.HINT if public else "")
        return found

    def children(self, name: str) -> tuple[Asset, ...]:
        """Return the direct children of a collection or folder, in order of their index."""
        parent = self.get(name)
        if parent.type == "IMAGE":
            raise Refusal(f'Asset "{parent.name}" is not a folder or an image collection.', 400)
        if parent.name.startswith(PUBLIC):
            return derived.children(parent.name)
        if not parent.name.startswith(ROOT):
            return ()
        folder = self._folder / parent.name.removeprefix(ROOT).strip("/")
        top = parent.name == ROOT
        found: dict[str, Asset] = {}
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = Path(entry.path)
                asset = None
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    asset = self._collection(path, f"{ROOT}/{entry.name}") if top else None
                elif path.suffix in SUFFIXES:
                    asset = self._image(path, f"{parent.name}/{path.stem}")
                if asset is not None:
                    found.setdefault(asset.name, asset)
        return tuple(found[name] for name in sorted(found))

    def _own(self, name: str) -> Asset | None:
        """Return the asset of a file or folder, None if there is none."""
        if name == ROOT:
            return _container(self._folder, name, "FOLDER")
        if re.fullmatch(r"projects/[^/]+/assets", name):  # every project has a root; it is empty but for the sandbox's
            return Asset(name=name, id=name, type="FOLDER", update_time=UPDATED)
        if not name.startswith(ROOT + "/"):
            return None
        parts = name.removeprefix(ROOT + "/").split("/")
        if len(parts) > 2 or not all(re.fullmatch(r"[^./\\\0][^/\\\0]*", part) for part in parts):
            return None
        path = self._folder.joinpath(*parts)
        for suffix in SUFFIXES:
            asset = self._image(path.with_name(path.name + suffix), name)
            if asset is not None:
                return asset
        return self._collection(path, name) if len(parts) == 1 else None

    def _collection(self, path: Path, name: str) -> Asset | None:
        return _container(path, name, "IMAGE_COLLECTION") if path.is_dir() else None

    def _image(self, path: Path, name: str) -> Asset | None:
        """Return the image of a file, read again only if the file has changed."""
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            self._seen.pop(path, None)
            return None
        seen = self._seen.get(path)
        if seen is None or seen.stamp != stamp:
            try:
                seen = _Seen(stamp, _file_asset(path, stamp, name))
            except (ValueError, rasterio.errors.RasterioError) as error:
                logger.warning("%s is not served: %s", path.name, error)
                seen = _Seen(stamp, None)
            self._seen[path] = seen
        return seen.asset


def _container(path: Path, name: str, kind: Any) -> Asset:
    when = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return Asset(name=name, id=name, type=kind, update_time=when)


def _file_asset(path: Path, stamp: int, name: str) -> Asset:
    """Return the image asset of a raster file."""
    bands = file_bands(path, stamp)
    with rasterio.open(path) as dataset:
        tags: dict[str, str] = dataset.tags()
    start = acquired(tags, path.stem)
    properties = {k: _value(k, v) for k, v in tags.items() if k != "AREA_OR_POINT"}
    asset = Asset(
        name=name,
        id=name,
        type="IMAGE",
        update_time=datetime.fromtimestamp(stamp / 1e9, UTC),
        start_time=start,
        end_time=start,
        properties=properties | {"system:index": path.stem},
        geometry=footprint(bands[0]),
        size_bytes=path.stat().st_size,
    )
    return with_image(asset, bands)


def acquired(tags: dict[str, str], stem: str) -> datetime | None:
    """Return when an image was taken, by its file: it is in UTC, and a year alone is its first of January.

    The tag ``DATE_ACQUIRED`` (ISO 8601) is read first, then ``TIFFTAG_DATETIME``, then a date in its name. If there is
    none, the image has no date: the file's own would be a guess that looks like a fact.

    Args:
        tags: Of the file.
        stem: Its name without the suffix: ``S2_2020-05-18`` or ``L8_20200518``, for example.
    """
    for key, form in (("DATE_ACQUIRED", ""), ("DATE_ACQUIRED", "%Y"), ("TIFFTAG_DATETIME", "%Y:%m:%d %H:%M:%S")):
        text = tags.get(key, "")
        try:
            when = datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007 - then UTC
        except ValueError:
            continue
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    for year, _, month, day in _DAY.findall(stem):
        try:
            return datetime(int(year), int(month), int(day), tzinfo=UTC)
        except ValueError:  # the 31st of a shorter month
            continue
    return None


def _value(key: str, text: str) -> str | float:
    """Return a tag as a number if it is written like one, since filters compare numbers; dates stay text."""
    if not key.startswith("DATE") and re.fullmatch(r"-?(0|[1-9]\d{0,14})(\.\d+)?", text):
        number = float(text)
        return int(number) if math.isfinite(number) and "." not in text else number
    return text

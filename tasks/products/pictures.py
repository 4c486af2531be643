"""Pictures of stored tiles and mosaics: quicklooks and contact sheets."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import IO, NamedTuple, TypeVar

import numpy as np
import rasterio
from PIL import Image

from tasks.plan.plan import Plan
from tasks.products.stored_tiles import missing_named, read_bytes
from tasks.raster.contact_sheet import contact_sheet, shown_bands
from tasks.raster.quicklook import Thumbnail, draw_thumbnails, quicklook, thumbnail
from tasks.storage.checksum import crc32c
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import StorageError, Store

T = TypeVar("T")

# Longest side of a quicklook, in pixels.
PICTURE_SIZE = 800
# Largest number of pictures on a contact sheet.
SHEET = 36
# Width and height of each of them, in pixels.
CELL = 160


def evenly_spaced(items: Sequence[T]) -> list[T]:
    """Return at most 36 items for a contact sheet, evenly spaced from the first to the last.

    >>> len(evenly_spaced(range(1_000))), evenly_spaced(range(1_000))[:3], evenly_spaced("ab")
    (36, [0, 29, 57], ['a', 'b'])
    """
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, SHEET).round().astype(int))] if items else []


class Picture(NamedTuple):
    """A file on a contact sheet."""

    label: str
    """Text beside the picture."""
    key: str
    """Key of the file in the output."""
    crc32c: str | None = None
    """Checksum of its bytes; None = not known."""

    def opened(self, store: Store) -> IO[bytes]:
        """Open the file: a tile, whose checksum is known, or a mosaic, which may be large.

        Raises:
            TileLost: The file was deleted or changed after it was stored.
        """
        if self.crc32c is not None:
            return io.BytesIO(read_bytes(store, self.key, self.crc32c, name=f"tile {self.label}".rstrip()))
        with missing_named(store, {self.key: "a mosaic"}):
            return store.open(self.key)


class Thumbnails:
    """Thumbnails of GeoTIFF files for contact sheets, made while other tiles of the plan are still being fetched."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], Thumbnail] = {}
        """The thumbnails by key and checksum: a file may be replaced before the contact sheet is drawn."""

    def take(self, store: Store, plan: Plan, keys: Sequence[str]) -> None:
        """Make thumbnails of the GeoTIFF files with these keys. Files that are missing or unreadable are skipped."""
        if plan.tile_format.file_format != "GEO_TIFF":
            return
        for key in keys:
            with contextlib.suppress(KeyError, StorageError, rasterio.errors.RasterioError):
                data = store.get(key)
                self._taken[key, crc32c(data)] = _thumbnail(plan, io.BytesIO(data))

    def of(self, store: Store, plan: Plan, pictures: Sequence[Picture]) -> list[Image.Image]:
        """Return images of GeoTIFF files, all with the same contrast stretch, so that they can be compared."""
        looks = []
        for picture in pictures:
            taken = self._taken.get((picture.key, picture.crc32c)) if picture.crc32c else None
            if taken is None:
                with picture.opened(store) as file:
                    taken = _thumbnail(plan, file)
            looks.append(taken)
        return draw_thumbnails(looks)


def _thumbnail(plan: Plan, file: IO[bytes]) -> Thumbnail:
    return thumbnail(file, bands=shown_bands([band.id for band in plan.bands]), max_size=CELL)


def make_quicklook(store: Store, plan: Plan, key: str) -> tuple[str, bytes]:
    """Draw a mosaic and store the picture as `quicklook.png`; return its key and its PNG bytes."""
    with Picture("", key).opened(store) as file:
        png = quicklook(file, bands=shown_bands([band.id for band in plan.bands]), max_size=PICTURE_SIZE)
    return _write(store, plan, png), png


def make_contact_sheet(
    store: Store, plan: Plan, pictures: Sequence[Picture], thumbnails: Thumbnails | None = None
) -> tuple[str, bytes] | None:
    """Draw files side by side and store the picture as `quicklook.png`.

    Args:
        store: The output.
        plan: The plan of the files.
        pictures: GeoTIFF, PNG or JPEG files, few enough for one picture: see :func:`evenly_spaced`.
        thumbnails: Thumbnails of some of the files, made earlier.

    Returns:
        The key of the picture and its PNG bytes. None if there is no file, or if the format is NPY.
    """
    if not pictures or plan.tile_format.file_format == "NPY":
        return None
    with contextlib.ExitStack() as stack:
        if plan.tile_format.file_format == "GEO_TIFF":
            images = (thumbnails or Thumbnails()).of(store, plan, pictures)
        else:
            images = [Image.open(stack.enter_context(picture.opened(store))) for picture in pictures]
        labels = [picture.label for picture in pictures]
        png = contact_sheet(list(zip(labels, images, strict=True)), cell=CELL)
    return _write(store, plan, png), png


def make_tile_sheet(store: Store, plan: Plan, tiles: Sequence[TileReceipt]) -> tuple[str, bytes] | None:
    """Draw the stored tiles, at most 36 of them, side by side: see :func:`make_contact_sheet`."""
    pictures = [
        Picture(plan.tiles.name(tile.index) or "", tile.key, tile.crc32c) for tile in tiles if tile.key is not None
    ]
    return make_contact_sheet(store, plan, evenly_spaced(pictures))


def _write(store: Store, plan: Plan, png: bytes) -> str:
    key = f"{plan.folder}/quicklook.png"
    store.put(key, png)
    return key

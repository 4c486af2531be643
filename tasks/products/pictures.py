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
from tasks.prefect_io.opener import open_output
from tasks.raster.contact_sheet import shown_bands
from tasks.raster.quicklook import Thumbnail, draw_thumbnails, thumbnail
from tasks.storage.checksum import crc32c
from tasks.storage.store import StorageError, Store

T = TypeVar("T")

PICTURE_SIZE = 800
# A contact sheet shows at most so many.
SHEET = 36
# Pixels a side of each.
CELL = 160


def evenly(items: Sequence[T]) -> list[T]:
    """Return what a contact sheet shows of many: 36 from the first to the last.

    >>> len(evenly(range(1_000))), evenly(range(1_000))[:3], evenly("ab")
    (36, [0, 29, 57], ['a', 'b'])
    """
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, SHEET).round().astype(int))] if items else []


class Picture(NamedTuple):
    """A file on a contact sheet."""

    label: str
    key: str
    crc32c: str | None = None
    """Checksum of its bytes, if it is known."""


class Thumbnails:
    """What contact sheets show of files, taken while others of a plan are still awaited."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], Thumbnail] = {}
        """By key and checksum: a file may be replaced before it is drawn."""

    def take(self, plan: Plan, keys: Sequence[str], *, output: str) -> None:
        """Look at those of some files of a plan that are there."""
        if plan.tile_format.file_format != "GEO_TIFF":
            return
        store = open_output(output)
        for key in keys:
            with contextlib.suppress(KeyError, StorageError, rasterio.errors.RasterioError):
                data = store.get(key)
                self._taken[key, crc32c(data)] = _thumbnail(plan, io.BytesIO(data))

    def of(self, plan: Plan, pictures: Sequence[Picture], store: Store) -> list[Image.Image]:
        """Draw GeoTIFFs. One stretch for all: dates and patches can be compared."""
        looks = []
        for picture in pictures:
            taken = self._taken.get((picture.key, picture.crc32c)) if picture.crc32c else None
            if taken is None:
                with store.open(picture.key) as file:
                    taken = _thumbnail(plan, file)
            looks.append(taken)
        return draw_thumbnails(looks)


def _thumbnail(plan: Plan, file: IO[bytes]) -> Thumbnail:
    return thumbnail(file, bands=shown_bands([band.id for band in plan.bands]), max_size=CELL)


def _write(plan: Plan, name: str, data: bytes, output: str) -> str:
    key = f"{plan.folder}/{name}"
    open_output(output).put(key, data)
    return key

"""Pictures of what is stored, as Prefect tasks: the quicklook of a mosaic, contact sheets of files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import IO, NamedTuple, TypeVar

import numpy as np
import rasterio
from PIL import Image
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.earthengine.plan import Plan
from tasks.output import open_output
from tasks.raster.pictures import contact_sheet, shown_bands
from tasks.raster.quicklook import Look, drawn, look, quicklook
from tasks.retries import RETRIED
from tasks.storage.receipt import TileReceipt, crc32c
from tasks.storage.store import StorageError, Store

T = TypeVar("T")

PICTURE_SIZE = 800
# A contact sheet shows at most so many.
SHEET = 36
# Pixels a side of each.
CELL = 160


@task(name="quicklook", cache_policy=NO_CACHE, **RETRIED)
def region_picture(plan: Plan, key: str, *, output: str) -> tuple[str, bytes]:
    """Draw a mosaic, store the picture and return its key and the picture."""
    store = open_output(output)
    with store.open(key) as file:
        png = quicklook(file, bands=shown_bands([band.id for band in plan.bands]), max_size=PICTURE_SIZE)
    return _write(plan, "quicklook.png", png, output), png


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


class Looks:
    """What contact sheets show of files, taken while others of a plan are still awaited."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], Look] = {}
        """By key and checksum: a file may be replaced before it is drawn."""

    def take(self, plan: Plan, keys: Sequence[str], *, output: str) -> None:
        """Look at those of some files of a plan that are there."""
        if plan.output.file_format != "GEO_TIFF":
            return
        store = open_output(output)
        for key in keys:
            with contextlib.suppress(KeyError, StorageError, rasterio.errors.RasterioError):
                data = store.get(key)
                self._taken[key, crc32c(data)] = _look(plan, io.BytesIO(data))

    def of(self, plan: Plan, pictures: Sequence[Picture], store: Store) -> list[Image.Image]:
        """Draw GeoTIFFs. One stretch for all: dates and patches can be compared."""
        looks = []
        for picture in pictures:
            taken = self._taken.get((picture.key, picture.crc32c)) if picture.crc32c else None
            if taken is None:
                with store.open(picture.key) as file:
                    taken = _look(plan, file)
            looks.append(taken)
        return drawn(looks)


def _look(plan: Plan, file: IO[bytes]) -> Look:
    return look(file, bands=shown_bands([band.id for band in plan.bands]), max_size=CELL)


@task(name="contact-sheet", cache_policy=NO_CACHE, **RETRIED)
def sheet(
    plan: Plan, pictures: Sequence[Picture], *, output: str, looks: Looks | None = None
) -> tuple[str, bytes] | None:
    """Draw files side by side, and return the picture's key and the picture.

    Args:
        plan: What they belong to.
        pictures: GeoTIFF, PNG or JPEG. Not too many: see `evenly`.
        output: Root of the output.
        looks: Those that were taken of some of them.
    """
    if not pictures or plan.output.file_format == "NPY":
        return None
    store = open_output(output)
    with contextlib.ExitStack() as stack:
        if plan.output.file_format == "GEO_TIFF":
            images = (looks or Looks()).of(plan, pictures, store)
        else:
            images = [Image.open(stack.enter_context(store.open(picture.key))) for picture in pictures]
        labels = [picture.label for picture in pictures]
        png = contact_sheet(list(zip(labels, images, strict=True)), cell=CELL)
    return _write(plan, "quicklook.png", png, output), png


@task(name="pictures", cache_policy=NO_CACHE, **RETRIED)
def pictures(plan: Plan, tiles: Sequence[TileReceipt], *, output: str) -> tuple[str, bytes] | None:
    """Draw tiles that are stored as pictures side by side, as `sheet` does."""
    named = [
        Picture(plan.tiles.name(tile.index) or "", tile.key, tile.crc32c) for tile in tiles if tile.key is not None
    ]
    return sheet.fn(plan, evenly(named), output=output)


def _write(plan: Plan, name: str, data: bytes, output: str) -> str:
    key = f"{plan.folder}/{name}"
    open_output(output).put(key, data)
    return key

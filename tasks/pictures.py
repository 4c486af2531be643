"""The picture tasks: quicklooks and contact sheets."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from PIL import Image
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.plan.plan import Plan
from tasks.prefect_io.opener import open_output
from tasks.prefect_io.task_retries import RETRIED
from tasks.products.pictures import CELL, PICTURE_SIZE, Picture, Thumbnails, _write, evenly
from tasks.raster.contact_sheet import contact_sheet, shown_bands
from tasks.raster.quicklook import quicklook
from tasks.storage.receipt import TileReceipt


@task(name="quicklook", cache_policy=NO_CACHE, **RETRIED)
def region_picture(plan: Plan, key: str, *, output: str) -> tuple[str, bytes]:
    """Draw a mosaic, store the picture and return its key and the picture."""
    store = open_output(output)
    with store.open(key) as file:
        png = quicklook(file, bands=shown_bands([band.id for band in plan.bands]), max_size=PICTURE_SIZE)
    return _write(plan, "quicklook.png", png, output), png


@task(name="contact-sheet", cache_policy=NO_CACHE, **RETRIED)
def sheet(
    plan: Plan, pictures: Sequence[Picture], *, output: str, looks: Thumbnails | None = None
) -> tuple[str, bytes] | None:
    """Draw files side by side, and return the picture's key and the picture.

    Args:
        plan: What they belong to.
        pictures: GeoTIFF, PNG or JPEG. Not too many: see `evenly`.
        output: Root of the output.
        looks: Those that were taken of some of them.
    """
    if not pictures or plan.tile_format.file_format == "NPY":
        return None
    store = open_output(output)
    with contextlib.ExitStack() as stack:
        if plan.tile_format.file_format == "GEO_TIFF":
            images = (looks or Thumbnails()).of(plan, pictures, store)
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

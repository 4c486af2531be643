"""The picture tasks: quicklooks and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.plan.plan import Plan
from tasks.prefect_io.task import core_task
from tasks.products.pictures import Picture, Thumbnails, make_contact_sheet, make_quicklook, make_tile_sheet
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store


@core_task("quicklook")
def quicklook(store: Store, plan: Plan, key: str) -> tuple[str, bytes]:
    """Draw a mosaic and store the picture; return its key and its PNG bytes."""
    return make_quicklook(store, plan, key)


@core_task("contact-sheet")
def contact_sheet(
    store: Store, plan: Plan, pictures: Sequence[Picture], thumbnails: Thumbnails | None = None
) -> tuple[str, bytes] | None:
    """Draw files side by side and store the picture; return its key and its PNG bytes.

    Returns None if there is no file, or if the tiles are stored as NPY.
    """
    return make_contact_sheet(store, plan, pictures, thumbnails)


@core_task("pictures")
def tile_sheet(store: Store, plan: Plan, tiles: Sequence[TileReceipt]) -> tuple[str, bytes] | None:
    """Draw tiles that are stored as PNG or JPEG side by side; return as :func:`contact_sheet` does."""
    return make_tile_sheet(store, plan, tiles)

"""The picture tasks: quicklooks and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.plan.plan import Plan
from tasks.prefect_io.task import core_task
from tasks.products.pictures import Picture, Thumbnails, make_contact_sheet, make_quicklook, make_tile_sheet
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store


@core_task("quicklook")
def quicklook(store: Store, plan: Plan, key: str, *, label: str = "", dates: str = "") -> tuple[str, bytes]:
    """Draw a mosaic and store the picture: see :func:`tasks.products.pictures.make_quicklook`."""
    return make_quicklook(store, plan, key, label=label, dates=dates)


@core_task("contact-sheet")
def contact_sheet(
    store: Store,
    plan: Plan,
    pictures: Sequence[Picture],
    thumbnails: Thumbnails | None = None,
    *,
    note: str = "",
    label: str = "",
    dates: str = "",
) -> tuple[str, bytes] | None:
    """Draw files side by side and store the picture: see :func:`tasks.products.pictures.make_contact_sheet`."""
    return make_contact_sheet(store, plan, pictures, thumbnails, note=note, label=label, dates=dates)


@core_task("pictures")
def tile_sheet(
    store: Store, plan: Plan, tiles: Sequence[TileReceipt], *, label: str = "", dates: str = ""
) -> tuple[str, bytes] | None:
    """Draw tiles that are stored as PNG or JPEG side by side; return as :func:`contact_sheet` does."""
    return make_tile_sheet(store, plan, tiles, label=label, dates=dates)

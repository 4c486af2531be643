"""The mosaic task: the tiles of one image, written as one Cloud Optimized GeoTIFF."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.plan.plan import Plan
from tasks.prefect_io.task import core_task
from tasks.products.mosaic import make_mosaic
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store


@core_task("mosaic", run_name="mosaic {name}")
def mosaic(store: Store, plan: Plan, tiles: Sequence[TileReceipt], *, source: int, name: str) -> str:
    """Write the mosaic of one image and return its key: see :func:`tasks.products.mosaic.make_mosaic`."""
    return make_mosaic(store, plan, tiles, source=source, name=name)

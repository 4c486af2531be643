"""The coverage task: a map of the tiles, coloured by status."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.plan.plan import Plan
from tasks.prefect_io.task import core_task
from tasks.products.coverage import make_coverage
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store


@core_task("coverage")
def coverage(store: Store, plan: Plan, tiles: Sequence[TileReceipt], *, label: str = "") -> bytes:
    """Write the coverage map and return it as PNG: see :func:`tasks.products.coverage.make_coverage`."""
    return make_coverage(store, plan, tiles, label=label)

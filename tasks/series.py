"""The series task: the table and the plot of a time series."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.plan.plan import Plan
from tasks.prefect_io.task import core_task
from tasks.products.series import make_series
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store


@core_task("summarise-series")
def series(store: Store, plan: Plan, tiles: Sequence[TileReceipt]) -> tuple[str, str]:
    """Write the table and the plot of a time series and return their keys: see :mod:`tasks.products.series`."""
    return make_series(store, plan, tiles)

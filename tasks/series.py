"""The series tasks: the table and the plot of a time series, and the files of its features."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.plan.plan import Plan
from tasks.prefect_io.task import core_task
from tasks.products.feature_files import make_feature_files
from tasks.products.features import Features
from tasks.products.series import make_series
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store


@core_task("summarise-series")
def series(
    store: Store, plan: Plan, tiles: Sequence[TileReceipt], features: Features, *, label: str = ""
) -> tuple[str, str]:
    """Write the table and the plot of a time series and return their keys: see :mod:`tasks.products.series`."""
    return make_series(store, plan, tiles, features, label=label)


@core_task("feature-files", run_name="feature files {name}")
def feature_files(
    store: Store, plan: Plan, tiles: Sequence[TileReceipt], features: Features, *, source: int, name: str
) -> dict[str, str]:
    """Write a file for each feature of one date: see :func:`tasks.products.feature_files.make_feature_files`.

    Args:
        store: The output.
        plan: The plan.
        tiles: Receipts of all its tiles, in order.
        features: Its features.
        source: Number of the source in the plan.
        name: Date of the source, for the name of the task run.
    """
    del name
    return make_feature_files(store, plan, tiles, features, source=source)

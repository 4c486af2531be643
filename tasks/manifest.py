"""The manifest task: a table with one row for each tile."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.plan.plan import Plan
from tasks.prefect_io.task import core_task
from tasks.products.manifest import make_manifest
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store


@core_task("manifest")
def manifest(store: Store, plan: Plan, tiles: Sequence[TileReceipt]) -> str:
    """Write the manifest of a plan and return its key: see :func:`tasks.products.manifest.make_manifest`."""
    return make_manifest(store, plan, tiles)

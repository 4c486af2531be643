"""The manifest task: one row for each tile."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.extraction import malloc as heap
from tasks.plan.plan import Plan
from tasks.prefect_io.opener import open_output
from tasks.prefect_io.task_retries import RETRIED
from tasks.products.manifest import NAME, _with_paths, encoded, rows
from tasks.products.product import ROW_GROUP, Product, made_of
from tasks.storage.receipt import TileReceipt


@task(name="manifest", cache_policy=NO_CACHE, **RETRIED)
def manifest(plan: Plan, tiles: Sequence[TileReceipt], *, output: str) -> str:
    """Write what became of every tile as GeoParquet, and return its key.

    A row is a tile: `tile` (number in the plan), `source`, `date`, `status`, `key` and `path` of its file,
    `fingerprint`, `crs`, `left`, `bottom`, `right`, `top` (CRS units), `width`, `height` (px), `bytes`, `crc32c`,
    `valid_share` (0 to 1), `attempts` (requests), `seconds`, `reason`, and `geometry`: its corners in WGS 84.

    Args:
        plan: What was asked for.
        tiles: What became of each.
        output: Root of the output.
    """
    store = open_output(output)
    product = Product(store, plan.folder, NAME, made_of(tiles, store.uri))
    if product.is_there:
        return product.key
    # In parts: a whole table of 20,000 rows takes 60 MB, one of a million 3 GB.
    parts = (tiles[start : start + ROW_GROUP] for start in range(0, max(len(tiles), 1), ROW_GROUP))
    key = product.put(encoded(_with_paths(rows(plan, part), part, store) for part in parts))
    heap.trim()
    return key

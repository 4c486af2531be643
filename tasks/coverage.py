"""The coverage task: a map of what became of each tile."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.plan.plan import Plan
from tasks.prefect_io.opener import open_output
from tasks.prefect_io.task_retries import RETRIED
from tasks.products.coverage import NAME, draw
from tasks.products.product import Product, made_of
from tasks.raster.tile_map import Status
from tasks.storage.receipt import TileReceipt


@task(name="coverage", cache_policy=NO_CACHE, **RETRIED)
def coverage(plan: Plan, tiles: Sequence[TileReceipt], *, output: str) -> bytes:
    """Draw what became of every tile, store the picture and return it."""
    store = open_output(output)
    product = Product(store, plan.folder, NAME, made_of(tiles))
    if product.is_there:
        png = store.get(product.key)
    else:
        png = draw(plan, tiles, without=Status.MISSING)
        product.put(png)
    return png

"""The patch-index task: a table with one row for each point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.plan.plan import Plan
from tasks.prefect_io.task import core_task
from tasks.products.patch_index import make_patch_index
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store

if TYPE_CHECKING:
    import geopandas


@core_task("patch-index")
def patch_index(
    store: Store,
    plan: Plan,
    tiles: Sequence[TileReceipt],
    *,
    points: geopandas.GeoDataFrame,
    tile_of_point: NDArray[np.int64],
) -> str:
    """Write the index of patches and return its key: see :func:`tasks.products.patch_index.make_patch_index`."""
    return make_patch_index(store, plan, tiles, points=points, tile_of_point=tile_of_point)

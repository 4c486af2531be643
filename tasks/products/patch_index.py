"""The index of patches: one row for each point."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.extraction import malloc
from tasks.plan.plan import Plan
from tasks.plan.tiles import PatchTiles
from tasks.products.product import ROW_GROUP
from tasks.raster.properties import free_name
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store, check_key

if TYPE_CHECKING:
    import geopandas


def make_patch_index(
    store: Store,
    plan: Plan,
    tiles: Sequence[TileReceipt],
    *,
    points: geopandas.GeoDataFrame,
    tile_of_point: NDArray[np.int64],
) -> str:
    """Write one row a point: its properties, its patch's file, grid and state. GeoParquet in WGS 84; returns the key.

    Columns of ours: `patch` (number in the plan), `status`, `file` (relative to the output, None where empty or
    failed), `crs`, `left`, `top` (CRS units), `scale`, `size` (px), `valid_share`, `reason`.
    A property that has one of these names becomes `file_given`, or `file_given_2` where that is taken, too.

    Args:
        store: The output.
        plan: Patches.
        tiles: What became of each.
        points: As :func:`tasks.raster.points.read_points` gives them: all properties can be written.
        tile_of_point: For each point the number of its patch in the plan.
    """
    assert isinstance(plan.tiles, PatchTiles)
    patches = plan.tiles
    by_index = {tile.index: tile for tile in tiles}
    own = [by_index[number] for number in tile_of_point.tolist()]
    columns: dict[str, object] = {
        "patch": tile_of_point,
        "status": [tile.status for tile in own],
        "file": [tile.key and check_key(tile.key) for tile in own],
        "crs": [patches.crs[zone] for zone in patches.zone[tile_of_point]],
        "left": patches.left[tile_of_point],
        "top": patches.top[tile_of_point],
        "scale": patches.scale,
        "size": patches.size,
        "valid_share": [tile.valid_share for tile in own],
        "reason": [tile.reason for tile in own],
    }
    # A property of the user's may have the same name: it keeps its values under another.
    taken = {*points.columns, *columns}
    index = points.rename(columns={name: free_name(name, taken) for name in columns if name in points.columns})
    for name, values in columns.items():
        index[name] = values
    with io.BytesIO() as file:
        index.to_parquet(file, index=False, row_group_size=ROW_GROUP)
        data = file.getvalue()
    del index
    malloc.trim()
    # Other properties of the same points are another index: it must not replace the first.
    key = f"{plan.folder}/index-{hashlib.sha256(data).hexdigest()[:12]}.parquet"
    store.put(key, data)
    return key

"""The index of patches: a table with one row per point."""

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
from tasks.raster.point_names import point_names
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
    """Write the index of patches as GeoParquet in WGS 84, and return its key.

    Each row is a point, with its properties and these columns: `point` (its id as text, or else its row: see
    :mod:`tasks.raster.point_names`), `patch` (number in the plan), `status`, `file` (relative to the output; None if
    the patch is empty or failed), `crs`, `left`, `top` (CRS units), `scale` (of native pixels that are not square, the
    square root of their area), `size` (px), `valid_share` (0 to 1), `reason`. A property with one of these names is
    renamed: `file` becomes `file_given`, or `file_given_2` if that is taken, too.

    Args:
        store: The output.
        plan: The plan, of patches.
        tiles: Receipts of its tiles.
        points: The points, as :func:`tasks.raster.points.read_points` returns them: all properties can be written.
        tile_of_point: Number of the patch in the plan, for each point.
    """
    assert isinstance(plan.tiles, PatchTiles)
    patches = plan.tiles
    by_index = {tile.index: tile for tile in tiles}
    own = [by_index[number] for number in tile_of_point.tolist()]
    columns: dict[str, object] = {
        "point": point_names(points),
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
    # A property of the user may have the name of one of these columns. It gets another name and keeps its values.
    taken = {*points.columns, *columns}
    index = points.rename(columns={name: free_name(name, taken) for name in columns if name in points.columns})
    for name, values in columns.items():
        index[name] = values
    with io.BytesIO() as file:
        index.to_parquet(file, index=False, row_group_size=ROW_GROUP)
        data = file.getvalue()
    del index
    malloc.trim()
    # The same points with other properties get another index, which must not replace the first.
    key = f"{plan.folder}/index-{hashlib.sha256(data).hexdigest()[:12]}.parquet"
    store.put(key, data)
    return key

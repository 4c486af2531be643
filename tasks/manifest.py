"""The manifest: one row a tile, so that an output explains itself to whoever has neither Prefect nor this project."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.earthengine.plan import Plan
from tasks.earthengine.tiles import corners
from tasks.extraction import heap
from tasks.output import open_output
from tasks.raster.crs import WGS84, crs_of
from tasks.retries import RETRIED
from tasks.storage.product import Product, made_of
from tasks.storage.receipt import TileReceipt

if TYPE_CHECKING:
    import geopandas
    import pandas as pd

NAME = "manifest.parquet"


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
    table = rows(plan, tiles)
    table.insert(5, "path", [None if tile.key is None else store.open_path(tile.key) for tile in tiles])
    with io.BytesIO() as file:
        table.to_parquet(file, index=False)
        del table
        heap.trim()  # a table of 20,000 tiles leaves 60 MB behind
        return product.put(file.getvalue())


def rows(plan: Plan, tiles: Sequence[TileReceipt]) -> geopandas.GeoDataFrame:
    """Return the manifest as a table, but for the paths of its files."""
    import geopandas
    import pandas as pd

    sources = [plan.locate(tile.index)[0] for tile in tiles]
    grids = [plan.grid(tile.index) for tile in tiles]
    table = pd.DataFrame(
        {
            "tile": np.array([tile.index for tile in tiles], np.int64),
            "source": [source.origin or source.name for source in sources],
            "date": [source.time[:10] if source.time else None for source in sources],
            "status": [tile.status for tile in tiles],
            "key": [tile.key for tile in tiles],
            "fingerprint": [tile.fingerprint for tile in tiles],
            "crs": [grid.crs for grid in grids],
            "width": [grid.width for grid in grids],
            "height": [grid.height for grid in grids],
            "bytes": [tile.size for tile in tiles],
            "crc32c": [tile.crc32c for tile in tiles],
            "valid_share": np.array([tile.valid_share for tile in tiles], np.float64),
            "attempts": [tile.attempts for tile in tiles],
            "seconds": [tile.seconds for tile in tiles],
            "reason": [tile.reason for tile in tiles],
        }
    )
    found = corners(grids)
    for number, (name, side) in enumerate({"left": 0, "bottom": 1, "right": 0, "top": 1}.items()):
        ends = found[:, :, side]
        table.insert(7 + number, name, ends.min(axis=1) if name in {"left", "bottom"} else ends.max(axis=1))
    return geopandas.GeoDataFrame(table, geometry=_footprints(found, table["crs"]))


def _footprints(found: NDArray[np.float64], crs: pd.Series) -> geopandas.GeoSeries:
    """Return polygons in WGS 84 of corners, shape (tile, 4, 2), each in its own CRS."""
    import geopandas

    shapes = np.empty(len(found), dtype=object)
    for name in crs.unique():
        chosen = (crs == name).to_numpy()
        given = geopandas.GeoSeries(shapely.polygons(found[chosen]), crs=crs_of(name).proj)
        shapes[chosen] = given.to_crs(WGS84).to_numpy()
    return geopandas.GeoSeries(shapes, crs=WGS84)

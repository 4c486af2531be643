"""The manifest: a table with one row per tile. With it, an output can be used without Prefect and this project."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from tasks.extraction import malloc
from tasks.plan.plan import Plan
from tasks.plan.tiles import corners
from tasks.products.product import ROW_GROUP, Product, acquisitions, made_of
from tasks.raster import globe
from tasks.raster.crs import WGS84
from tasks.raster.tile_outlines import tile_outlines
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store

if TYPE_CHECKING:
    import geopandas
    import pandas as pd
    import pyarrow as pa


NAME = "manifest.parquet"


def make_manifest(store: Store, plan: Plan, tiles: Sequence[TileReceipt]) -> str:
    """Write the manifest as GeoParquet (`manifest.parquet`), and return its key.

    Each row is a tile. Columns: `tile` (number in the plan), `source`, `date`, `status`, `key` and `path` of its file,
    `fingerprint`, `crs`, `left`, `bottom`, `right`, `top` (CRS units), `width`, `height` (px), `bytes`, `crc32c`,
    `valid_share` (0 to 1), `attempts` (requests), `seconds`, `reason`, `image` (its name in a series), `time_start` and
    `time_end` of the acquisition (ISO 8601, UTC), `images` (ids, the last on top), `superseded` (ids of older copies,
    not used), and `geometry` (its outline in WGS 84, cut at 180 degrees). Ids are separated by spaces.

    Args:
        store: The output.
        plan: The plan.
        tiles: Receipts of its tiles.
    """
    product = Product(store, plan.folder, NAME, made_of(tiles, store.uri, *acquisitions(plan)))
    if product.is_there:
        return product.key
    # In parts, to save memory: a whole table of 20,000 rows takes 60 MB, and of a million rows 3 GB.
    parts = (tiles[start : start + ROW_GROUP] for start in range(0, max(len(tiles), 1), ROW_GROUP))
    key = product.put(encoded((_with_paths(rows(plan, part), part, store) for part in parts), plan.left_out))
    malloc.trim()
    return key


def preload(plan: Plan) -> None:
    """Encode a manifest without rows, so that the libraries it needs are imported in advance."""
    encoded([rows(plan, ())])
    malloc.trim()


def _with_paths(table: geopandas.GeoDataFrame, tiles: Sequence[TileReceipt], store: Store) -> geopandas.GeoDataFrame:
    table.insert(5, "path", [None if tile.key is None else store.open_path(tile.key) for tile in tiles])
    return table


def encoded(parts: Iterable[geopandas.GeoDataFrame], left_out: Mapping[str, str] | None = None) -> bytes:
    """Return the rows of all parts as one GeoParquet file. Each part is a row group; memory holds one part at a time.

    Args:
        parts: One table or more, with the same columns.
        left_out: Images that are not in the plan, with reasons: JSON in the metadata of the file, `left_out`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    bounds: list[NDArray[np.float64]] = []
    types: set[str] = set()
    with contextlib.ExitStack() as open_:
        for part in parts:
            table = pa.table(part.to_arrow(index=False))
            if not bounds:
                schema, about = _schema(table.schema), _about(part[:1])
                writer = open_.enter_context(pq.ParquetWriter(file, schema, store_schema=False))
            writer.write_table(table.cast(schema))
            shapes = shapely.get_parts(part.geometry.dropna().to_numpy())
            bounds.append(shapely.bounds(shapes[~shapely.is_empty(shapes)]))
            types.update(part.geometry.geom_type.dropna().unique())
        # The metadata of the first part are valid for all parts, except the bounding box and the types.
        west, south, east, north = np.concatenate(bounds).T
        about["columns"]["geometry"].pop("bbox", None)
        about["columns"]["geometry"]["geometry_types"] = sorted(types)
        if len(west):
            low, high = globe.sides(west, east)  # as the format demands (RFC 7946): west > east across 180 degrees
            about["columns"]["geometry"]["bbox"] = [low, float(south.min()), high, float(north.max())]
        more = {"left_out": json.dumps(dict(left_out))} if left_out else {}
        writer.add_key_value_metadata({"geo": json.dumps(about)} | more)
    return file.getvalue()


def _schema(first: pa.Schema) -> pa.Schema:
    """Return the schema of all parts from that of the first. A column of text that is all null there stays text."""
    import pyarrow as pa

    is_text = (pa.types.is_null, pa.types.is_string, pa.types.is_large_string)
    fields = (each.with_type(pa.large_string()) if any(f(each.type) for f in is_text) else each for each in first)
    return pa.schema(fields)


def _about(table: geopandas.GeoDataFrame) -> dict[str, Any]:
    """Return the GeoParquet metadata that geopandas writes for a table."""
    import pyarrow.parquet as pq

    with io.BytesIO() as file:
        table.to_parquet(file, index=False)
        about: dict[str, Any] = json.loads(pq.read_schema(file).metadata[b"geo"])
        return about


def rows(plan: Plan, tiles: Sequence[TileReceipt]) -> geopandas.GeoDataFrame:
    """Return the manifest as a table, without the column `path`: see :func:`make_manifest`."""
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
            "seconds": np.array([tile.seconds for tile in tiles], np.float64),
            "reason": [tile.reason for tile in tiles],
            "image": [source.label if source.images else None for source in sources],
            "time_start": [source.time for source in sources],
            "time_end": [source.end for source in sources],
            "images": [" ".join(source.images) or None for source in sources],
            "superseded": [" ".join(source.superseded) or None for source in sources],
        }
    )
    found = corners(grids)
    for number, (name, side) in enumerate({"left": 0, "bottom": 1, "right": 0, "top": 1}.items()):
        ends = found[:, :, side]
        table.insert(7 + number, name, ends.min(axis=1) if name in {"left", "bottom"} else ends.max(axis=1))
    return geopandas.GeoDataFrame(table, geometry=_footprints(found, table["crs"]))


def _footprints(found: NDArray[np.float64], crs: pd.Series) -> geopandas.GeoSeries:
    """Return the tiles as polygons in WGS 84, cut at 180 degrees. A tile outside the world has none.

    Args:
        found: Corners of the tiles, shape (tile, 4, 2), each tile in its own CRS.
        crs: The CRS of each tile.
    """
    import geopandas

    outlines: NDArray[Any] = np.empty(len(found), object)
    for name in crs.unique():
        chosen = (crs == name).to_numpy()
        outlines[chosen] = tile_outlines(found[chosen], name)
    return geopandas.GeoSeries(outlines, crs=WGS84)

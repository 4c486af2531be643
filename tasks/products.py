"""Products from stored tiles, as Prefect tasks: mosaics, the summary of a time series, the index of patches."""

from __future__ import annotations

import csv
import hashlib
import io
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import quote

from tasks.earthengine.plan import Plan
from tasks.earthengine.tiles import PatchTiles, RegionTiles
from tasks.extraction import heap
from tasks.output import open_output
from tasks.raster.mosaic import Piece, write_mosaic
from tasks.raster.pictures import SeriesPoint, plot_series
from tasks.raster.properties import free_name
from tasks.raster.raster import common_dtype
from tasks.retries import RETRIED
from tasks.storage.product import ROW_GROUP, Product, made_of
from tasks.storage.receipt import READERS, TileReceipt
from tasks.storage.store import Store, check_key

if TYPE_CHECKING:
    import geopandas

T = TypeVar("T")


def unvisited(value: T) -> T:
    """Return a task's argument that Prefect does not search for futures: 20,000 receipts take it five seconds."""
    return cast("T", quote(value))


def of_source(plan: Plan, tiles: Sequence[TileReceipt], source: int) -> Sequence[TileReceipt]:
    """Return the tiles of one source, without a look at those of the others.

    Args:
        plan: Their plan.
        tiles: Some or all of its tiles, in order.
        source: Its number in the plan.
    """
    ends = (source * len(plan.tiles), (source + 1) * len(plan.tiles))
    start, stop = (bisect_left(tiles, end, key=lambda tile: tile.index) for end in ends)
    return tiles[start:stop]


@task(name="mosaic", task_run_name="mosaic {name}", cache_policy=NO_CACHE, **RETRIED)
def mosaic(plan: Plan, tiles: Sequence[TileReceipt], *, source: int, name: str, output: str) -> str:
    """Write the tiles of one source, out of all in order, as one Cloud Optimized GeoTIFF, and return its key."""
    assert isinstance(plan.tiles, RegionTiles)
    store, tiling = open_output(output), plan.tiles.tiling
    offset = source * len(plan.tiles)
    own = of_source(plan, tiles, source)
    product = _mosaic(store, plan, own, name)
    if product.is_there:
        return product.key
    with store.workspace() as folder:
        files = store.at_hand([tile.key for tile in own if tile.key is not None], folder)
        pieces = []
        for tile in own:
            if tile.key is not None:
                window = tiling.window(plan.tiles.place(tile.index - offset))
                pieces.append(Piece(window=window, source=files[tile.key]))
        path = write_mosaic(
            pieces,
            tiling.geobox,
            folder / product.name,
            bands=[band.id for band in plan.bands],
            dtype=common_dtype(band.dtype for band in plan.bands),
            # A growing series has another fingerprint with each date; its older files stay as they are.
            tags=plan.sources[source].tags(plan.sources[source].identity if plan.home else plan.fingerprint),
            codec=plan.output.codec,
        )
        return product.put_file(path)


def mosaics_there(plan: Plan, tiles: Sequence[TileReceipt], *, output: str) -> dict[str, str]:
    """Return the keys of those mosaics of a series that are there already, of the same tiles, by date."""
    store = open_output(output)
    products = [
        _mosaic(store, plan, of_source(plan, tiles, number), source.label) for number, source in enumerate(plan.sources)
    ]
    with ThreadPoolExecutor(READERS) as pool:
        there = pool.map(lambda product: product.is_there, products)
        return {
            source.label: product.key
            for source, product, is_there in zip(plan.sources, products, there, strict=True)
            if is_there
        }


def _mosaic(store: Store, plan: Plan, tiles: Sequence[TileReceipt], name: str) -> Product:
    # Of each tile its place in the image: the same image of a longer series has the same mosaic.
    placed = [replace(tile, index=tile.index % len(plan.tiles)) for tile in tiles]
    return Product(store, plan.folder, f"{name}.tif", made_of(placed))


@task(name="summarise-series", cache_policy=NO_CACHE, **RETRIED)
def series_summary(plan: Plan, tiles: Sequence[TileReceipt], *, output: str) -> tuple[str, str]:
    """Write what the valid pixels of each band on each date hold, as CSV and as a plot; return both keys."""
    store, made = open_output(output), made_of(tiles)
    table, plot = (Product(store, plan.folder, name, made) for name in ("series.csv", "series.png"))
    if table.is_there and plot.is_there:
        return table.key, plot.key
    points = list(series_points(plan, tiles))
    with io.StringIO() as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["date", "band", "valid_share", "mean", "min", "max"])
        rows.writerows([p.time.date().isoformat(), p.band, p.valid_share, p.mean, p.min, p.max] for p in points)
        table.put(text.getvalue().encode())
    title = f"{plan.sources[0].time or ''} to {plan.sources[-1].time or ''}".replace("T00:00:00+00:00", "")
    return table.key, plot.put(plot_series(points, title=title))


def series_points(plan: Plan, tiles: Sequence[TileReceipt]) -> list[SeriesPoint]:
    """Sum the receipts of each source up to one point a band, without reading a pixel again.

    A failed tile counts as not valid: its pixels are not there.
    """
    points = []
    for number, source in enumerate(plan.sources):
        own = of_source(plan, tiles, number)
        for place, band in enumerate(plan.bands):
            known = [tile.bands[place] for tile in own if len(tile.bands) > place]
            lows = [summary.min for summary in known if summary.min is not None]
            highs = [summary.max for summary in known if summary.max is not None]
            wanted = sum(tile.pixels for tile in own)
            valid = sum(summary.valid or 0 for summary in known)
            counted = sum(summary.counted for summary in known if summary.mean is not None)
            total = sum(summary.counted * summary.mean for summary in known if summary.mean is not None)
            unknown = any(summary.valid is None for summary in known)
            points.append(
                SeriesPoint(
                    time=datetime.fromisoformat(source.time or source.label),
                    band=band.id,
                    valid_share=None if unknown or not wanted else valid / wanted,
                    mean=total / counted if counted else None,
                    min=min(lows, default=None),
                    max=max(highs, default=None),
                )
            )
    return points


@task(name="patch-index", cache_policy=NO_CACHE, **RETRIED)
def patch_index(
    plan: Plan,
    tiles: Sequence[TileReceipt],
    *,
    points: geopandas.GeoDataFrame,
    tile_of_point: NDArray[np.int64],
    output: str,
) -> str:
    """Write one row a point: its properties, its patch's file, grid and state. GeoParquet in WGS 84; returns the key.

    Columns of ours: `patch` (number in the plan), `status`, `file` (relative to the output, None where empty or
    failed), `crs`, `left`, `top` (CRS units), `scale`, `size` (px), `valid_share`, `reason`.
    A property that has one of these names becomes `file_given`, or `file_given_2` where that is taken, too.

    Args:
        plan: Patches.
        tiles: What became of each.
        points: As :func:`tasks.raster.points.read_points` gives them: all properties can be written.
        tile_of_point: For each point the number of its patch in the plan.
        output: Root of the output.
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
    heap.trim()
    # Other properties of the same points are another index: it must not replace the first.
    key = f"{plan.folder}/index-{hashlib.sha256(data).hexdigest()[:12]}.parquet"
    open_output(output).put(key, data)
    return key

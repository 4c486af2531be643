"""The map of a plan: its grid before a run; what is stored, empty, failed or missing after it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.earthengine.plan import Plan
from tasks.earthengine.tiles import corners
from tasks.extraction import heap
from tasks.output import open_output
from tasks.progress import forgiving
from tasks.raster.coverage import Status, coverage_map, degrees
from tasks.raster.crs import WGS84, reproject
from tasks.report import show_picture
from tasks.retries import RETRIED
from tasks.storage.product import Product, made_of
from tasks.storage.receipt import TileReceipt

NAME = "coverage.png"


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


def show_grid(plan: Plan, stored: Sequence[TileReceipt]) -> None:
    """Show the grid of a plan, and which of its tiles are stored already."""
    with forgiving():
        png = draw(plan, stored, without=Status.PLANNED)
        show_picture(png, key="grid", description="Tiles to fetch, and those that are stored already")


def draw_ahead(plan: Plan, stored: Iterable[TileReceipt]) -> None:
    """Draw the map as it will be if all goes well: whoever needs it meanwhile waits for it.

    Args:
        plan: Its grid.
        stored: Tiles that were stored before.
    """
    draw(plan, stored, without=Status.STORED)
    heap.trim()


def draw(plan: Plan, tiles: Iterable[TileReceipt], *, without: Status) -> bytes:
    """Return the map of a plan as PNG.

    Args:
        plan: Its grid.
        tiles: Receipts of some of its tiles, or all.
        without: What a tile is that has no receipt.
    """
    status = np.full(len(plan), without, np.uint8)
    for tile in tiles:
        status[tile.index] = Status[tile.status.upper()]
    title = f"{plan.sources[0].name.partition('/')[0]}: {len(plan):,} tiles"
    with _drawing:
        return _drawn(plan, status.tobytes(), title=title, labels=tuple(source.label for source in plan.sources))


_drawing = threading.Lock()


@functools.lru_cache(maxsize=1)  # of the one that was drawn ahead; plans are equal although their names differ
def _drawn(plan: Plan, status: bytes, *, title: str, labels: tuple[str, ...]) -> bytes:
    clip = plan.output.clip
    return coverage_map(
        lonlat(plan),
        np.frombuffer(status, np.uint8).reshape(len(plan.sources), len(plan.tiles)),
        labels=labels,
        region=None if clip is None else reproject(shapely.from_wkt(clip), plan.grid(0).crs, WGS84),
        title=title,
    )


def lonlat(plan: Plan) -> NDArray[np.float64]:
    """Return the corners of the tiles of one image in longitude and latitude: shape (tile, 4, 2)."""
    tiles = plan.tiles
    found = corners(tiles.grid(number) for number in range(len(tiles)))
    zones = tiles.zones()
    for zone, name in enumerate(tiles.names):
        chosen = zones == zone
        found[chosen] = degrees(found[chosen], name)
    return found

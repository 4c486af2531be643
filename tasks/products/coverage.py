"""The map of a plan's tiles: planned and stored before a run, the status of each after it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from tasks.extraction import malloc
from tasks.plan.plan import Plan
from tasks.plan.tiles import corners
from tasks.products.headings import title, where
from tasks.products.product import Product, made_of
from tasks.raster.house_style import Heading
from tasks.raster.reprojection import lonlat as area_lonlat
from tasks.raster.tile_map import Status, coverage_map
from tasks.raster.tile_outlines import map_corners
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store

NAME = "coverage.png"
# Part of the identity of the map. To be raised when it looks otherwise.
VERSION = 1


def make_coverage(store: Store, plan: Plan, tiles: Sequence[TileReceipt], *, label: str = "") -> bytes:
    """Draw the map of all tiles by status, store it as `coverage.png`, and return the PNG bytes.

    If the stored map was made from the same tiles, and has the same words, it is returned instead.

    Args:
        store: The output.
        plan: The plan.
        tiles: Receipts of all its tiles.
        label: What the user calls the job; empty = nothing.
    """
    product = Product(store, plan.folder, NAME, made_of(tiles, VERSION, *heading(plan, label)))
    if product.is_there:
        png = store.get(product.key)
    else:
        png = draw(plan, tiles, without=Status.MISSING, label=label)
        product.put(png)
    return png


def draw_ahead(plan: Plan, stored: Iterable[TileReceipt], *, label: str = "") -> None:
    """Draw in advance the map of a run in which no missing tile fails, and keep it for :func:`draw`.

    A call of :func:`draw` in another thread waits until this one is done.

    Args:
        plan: The plan.
        stored: Receipts of the tiles that are stored already.
        label: What the user calls the job; empty = nothing.
    """
    draw(plan, stored, without=Status.STORED, label=label)
    malloc.trim()


def draw(plan: Plan, tiles: Iterable[TileReceipt], *, without: Status, label: str = "") -> bytes:
    """Return the map of a plan as PNG bytes.

    Args:
        plan: The plan.
        tiles: Receipts of all or some of its tiles.
        without: Status of the tiles without a receipt.
        label: What the user calls the job; empty = nothing.
    """
    status = np.full(len(plan), without, np.uint8)
    for tile in tiles:
        status[tile.index] = Status[tile.status.upper()]
    words, labels = heading(plan, label), tuple(source.label for source in plan.sources)
    with _drawing:
        return _drawn(plan, status.tobytes(), words=words, labels=labels)


def heading(plan: Plan, label: str = "") -> Heading:
    """Return the words above the map."""
    return Heading(f"{title(plan, label=label)}: {len(plan):,} tile{'s' if len(plan) != 1 else ''}", (where(plan),))


_drawing = threading.Lock()


# Keeps the map of `draw_ahead`. Equal plans may have other names, so words and labels are arguments, too.
@functools.lru_cache(maxsize=1)
def _drawn(plan: Plan, status: bytes, *, words: Heading, labels: tuple[str, ...]) -> bytes:
    clip = plan.tile_format.clip
    return coverage_map(
        lonlat(plan),
        np.frombuffer(status, np.uint8).reshape(len(plan.sources), len(plan.tiles)),
        labels=labels,
        region=None if clip is None else area_lonlat(shapely.from_wkt(clip), plan.grid(0).crs),
        heading=words,
    )


def lonlat(plan: Plan) -> NDArray[np.float64]:
    """Return the corners of one image's tiles as longitude and latitude in degrees: shape (tile, 4, 2)."""
    tiles = plan.tiles
    found = corners(tiles.grid(number) for number in range(len(tiles)))
    zones = tiles.zones()
    for zone, name in enumerate(tiles.names):
        chosen = zones == zone
        found[chosen] = map_corners(found[chosen], name)
    return found

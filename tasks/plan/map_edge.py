"""The edge of a map that repeats itself: which pixels of a grid beyond it are requested on the other side.

A grid in degrees across 180 runs on, from 179 to 181. What Earth Engine answers for longitudes beyond 180 is not
documented, so no request reaches there: a tile is cut at the edge, and the part beyond it is moved by 360 degrees.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from tasks.plan.tiles import PatchTiles, PixelGrid, RegionTiles, Tiles
from tasks.raster.window import Window
from tasks.raster.world_map import map_edge


def edge_beyond(grid: PixelGrid) -> float | None:
    """Return the left edge of the map in CRS units, if a grid reaches beyond the map by a pixel or more. Else None."""
    edge, a = map_edge(grid.crs), grid.affine
    if edge is None or a.b or a.a <= 0:
        return None
    left, width = edge
    whole = a.a * (1 - 1e-6)
    return left if left - a.c >= whole or a.c + a.a * grid.width - left - width >= whole else None


def edge_of(tiles: Tiles, tile: int) -> float | None:
    """Return the left edge of the map of a tile in CRS units, if tiles reach beyond the map. Else None."""
    if isinstance(tiles, RegionTiles):
        return tiles.map_edge
    found = map_edge(tiles.grid(tile).crs) if isinstance(tiles, PatchTiles) and tiles.beyond else None
    return None if found is None else found[0]


def windows(grid: PixelGrid, edge: float | None) -> list[Window]:
    """Return the parts of a grid that lie each on one side of the edge, from left to right.

    Args:
        grid: The grid.
        edge: The left edge of the map, CRS units. None = the grid has one part.
    """
    if edge is None:
        return [Window.of(grid.shape)]
    turns = _turns(grid, edge, np.arange(grid.width))
    starts = [0, *(np.flatnonzero(np.diff(turns)) + 1).tolist()]
    return [
        Window(rows=slice(0, grid.height), columns=slice(start, stop))
        for start, stop in zip(starts, [*starts[1:], grid.width], strict=True)
    ]


def turned(grid: PixelGrid, edge: float | None) -> PixelGrid:
    """Return a grid moved by the width of the map so that its first column lies within the map.

    Args:
        grid: A grid, or one of its parts.
        edge: The left edge of the map, CRS units. None = the grid is not moved.
    """
    if edge is None:
        return grid
    turn = float(_turns(grid, edge, np.zeros(1))[0])
    return replace(grid, affine=Affine.translation(-turn * _width(grid.crs), 0.0) @ grid.affine) if turn else grid


def _turns(grid: PixelGrid, edge: float, columns: NDArray[Any]) -> NDArray[np.float64]:
    """Return how many times the map lies between its own left edge and the centres of columns."""
    return np.floor((grid.affine.c + grid.affine.a * (columns + 0.5) - edge) / _width(grid.crs))


def _width(crs: str) -> float:
    edge = map_edge(crs)
    assert edge is not None
    return edge[1]

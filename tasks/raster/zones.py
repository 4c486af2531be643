"""Zones: which pixels of each tile lie in each of several areas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tasks.raster.clip import inside_window
from tasks.raster.grid import TOLERANCE
from tasks.raster.tiling import Tiling
from tasks.raster.window import Window


@dataclass(frozen=True, kw_only=True, eq=False)
class ZonePart:
    """The pixels of one zone in one tile."""

    zone: int
    """Number of the zone."""
    window: Window
    """Rows and columns of the tile that hold them."""
    mask: NDArray[np.bool_]
    """Which pixels of the window lie in the zone, shape (y, x), True = inside. At least one does."""
    pixels: int
    """Number of pixels that lie in the zone."""


class Zones:
    """Areas on a grid that is cut into tiles. Areas may overlap. A pixel lies in an area if its centre does.

    Args:
        geometries: Polygons in the CRS of the grid, or empty geometries.
        tiling: The grid and its tiles.
    """

    def __init__(self, geometries: Sequence[BaseGeometry], tiling: Tiling) -> None:
        self.geometries = tuple(geometries)
        self._tiling = tiling
        # The windows of the areas in pixels, shape (zone, 4): first row, row after the last, and the same of columns.
        self._windows = np.array([_window(each, tiling) for each in geometries], np.int64).reshape(-1, 4)
        # The bounding box of an area may lie on the grid although the area lies beside it.
        self._windows[~shapely.intersects(self.geometries, tiling.geobox.extent.geom)] = 0

    def __len__(self) -> int:
        return len(self.geometries)

    def window(self, zone: int) -> Window | None:
        """Return the rows and columns of the grid that hold the pixels of a zone. None = it has no pixel there."""
        top, bottom, left, right = self._windows[zone].tolist()
        return Window(rows=slice(top, bottom), columns=slice(left, right)) if bottom > top and right > left else None

    def parts(self, tile: int) -> list[ZonePart]:
        """Return the pixels of each zone in a tile of the tiling, in the order of the zones."""
        whole = self._tiling.window(tile)
        top, bottom = whole.rows.start, whole.rows.stop
        left, right = whole.columns.start, whole.columns.stop
        low = np.maximum(self._windows[:, [0, 2]], (top, left))
        high = np.minimum(self._windows[:, [1, 3]], (bottom, right))
        found = []
        for zone in np.flatnonzero((low < high).all(axis=1)).tolist():
            (row, column), (row_end, column_end) = low[zone].tolist(), high[zone].tolist()
            window = Window(rows=slice(row, row_end), columns=slice(column, column_end))
            mask = inside_window(self.geometries[zone], self._tiling.geobox, window)
            pixels = int(np.count_nonzero(mask))
            if pixels:
                rows, columns = slice(row - top, row_end - top), slice(column - left, column_end - left)
                own = Window(rows=rows, columns=columns)
                found.append(ZonePart(zone=zone, window=own, mask=mask, pixels=pixels))
        return found


def _window(geometry: BaseGeometry, tiling: Tiling) -> tuple[int, int, int, int]:
    shape = tiling.geobox.shape
    if geometry.is_empty:
        return 0, 0, 0, 0
    columns, rows = ~tiling.geobox.affine @ tuple(shapely.get_coordinates(geometry).T)
    # Of the pixels that it touches, only those with their centre in the bounding box can lie in it.
    top, left = (max(int(np.ceil(each.min() - 0.5 - TOLERANCE)), 0) for each in (rows, columns))
    bottom, right = (int(np.floor(each.max() - 0.5 + TOLERANCE)) + 1 for each in (rows, columns))
    return top, min(bottom, int(shape.y)), left, min(right, int(shape.x))

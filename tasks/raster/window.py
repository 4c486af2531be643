"""Windows: ranges of rows and columns of a grid, as named fields, so that their order cannot be confused."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from odc.geo import wh_
from odc.geo.types import Shape2d


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The pixels of a grid in a range of rows and columns. Both slices have a start and a stop, and no step."""

    rows: slice
    columns: slice

    @classmethod
    def of(cls, shape: Shape2d) -> Window:
        """Return the window of all pixels of a grid of this shape."""
        return cls(rows=slice(0, int(shape.y)), columns=slice(0, int(shape.x)))

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.rows.stop - self.rows.start)

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self.columns.stop - self.columns.start)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def shape(self) -> Shape2d:
        """Height and width, in the type of ``GeoBox.shape``."""
        return wh_(self.width, self.height)

    def within(self, shape: Shape2d) -> bool:
        """Return whether the window has pixels, and all of them are inside a grid of this shape."""
        rows, columns = self.rows, self.columns
        return bool(0 <= rows.start < rows.stop <= shape.y and 0 <= columns.start < columns.stop <= shape.x)

    def of_array(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the window of an array, as a view. The last two axes of the array are y and x."""
        return array[..., self.rows, self.columns]

    def __str__(self) -> str:
        rows, columns = self.rows, self.columns
        return f"rows {rows.start} to {rows.stop}, columns {columns.start} to {columns.stop}"


def overlap(windows: Iterable[Window]) -> bool:
    """Return whether two windows have a pixel in common.

    This is a sweep line that moves down the rows. The columns of the windows on the line are kept in order, since these
    windows lie side by side. A window that begins on the line can then only overlap its two neighbours. The cost is
    that of sorting the windows, for a raster of any size.
    """
    starts: list[int] = []  # first columns of the windows on the line, in order
    stops: list[int] = []  # their columns after the last, in the same order
    ends: list[tuple[int, int]] = []  # a heap of the windows on the line: the row after the last, and the first column
    for window in sorted(windows, key=lambda each: (each.rows.start, each.columns.start)):
        if not window.pixels:
            continue
        while ends and ends[0][0] <= window.rows.start:
            place = bisect_left(starts, heapq.heappop(ends)[1])
            del starts[place], stops[place]
        left, right = window.columns.start, window.columns.stop
        place = bisect_left(starts, left)
        if (place and stops[place - 1] > left) or (place < len(starts) and starts[place] < right):
            return True
        starts.insert(place, left)
        stops.insert(place, right)
        heapq.heappush(ends, (window.rows.stop, left))
    return False

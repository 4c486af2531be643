"""Windows: some rows and columns of a grid, by name, so that nobody remembers which comes first."""

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
    """The pixels of a grid in some rows and columns; both have a start and a stop, and no step."""

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
        """Height and width, as a GeoBox has them."""
        return wh_(self.width, self.height)

    def within(self, shape: Shape2d) -> bool:
        """Return whether it has pixels, all of them in a grid of this shape."""
        rows, columns = self.rows, self.columns
        return bool(0 <= rows.start < rows.stop <= shape.y and 0 <= columns.start < columns.stop <= shape.x)

    def of_array(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the view of an array whose last axes are y and x."""
        return array[..., self.rows, self.columns]

    def __str__(self) -> str:
        rows, columns = self.rows, self.columns
        return f"rows {rows.start} to {rows.stop}, columns {columns.start} to {columns.stop}"


def overlap(windows: Iterable[Window]) -> bool:
    """Return whether two windows have a pixel in common.

    A line moves down the rows. Of the windows that it crosses, which lie side by side, the columns are kept in order:
    another that begins there can only touch its two neighbours. The cost is that of sorting, whatever the raster.
    """
    starts: list[int] = []  # of the columns of the windows on the line, in order, with their stops
    stops: list[int] = []
    ends: list[tuple[int, int]] = []  # of these windows: the row after the last, and the first column
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

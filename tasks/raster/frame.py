"""The frame of a map in degrees, and the tiles in it.

Tiles are moved to one side of the antimeridian. If they are many, they are drawn pixel by pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tasks.raster import globe

MARGIN = 1.06
FLATTEST = 0.1
"""Lower limit for the cosine of the latitude by which a map is stretched. At a pole, the cosine is 0."""


class Frame(NamedTuple):
    """The extent of a map in degrees, and its size in pixels."""

    west: float
    """Longitude of the left edge, degrees."""
    south: float
    """Latitude of the lower edge, degrees."""
    across: float
    """Pixels per degree of longitude."""
    down: float
    """Pixels per degree of latitude."""
    width: int
    """Width, pixels."""
    height: int
    """Height, pixels."""

    @property
    def east(self) -> float:
        """Longitude of the right edge, degrees. It is beyond 180 if the map crosses the antimeridian."""
        return self.west + self.width / self.across

    @property
    def north(self) -> float:
        """Latitude of the upper edge, degrees. It is beyond 90 if the map has space above the pole."""
        return self.south + self.height / self.down

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points to pixels from the lower left corner. The last axis is (longitude, latitude) in degrees."""
        return (points - (self.west, self.south)) * (self.across, self.down)


def framed(points: NDArray[np.float64], *, width: int, height: int) -> Frame:
    """Return the frame around points, shape (point, 2), with a true scale at their middle latitude.

    Without points, it is the frame around the whole world.

    Args:
        points: Longitude and latitude, degrees.
        width: Width of the map, pixels.
        height: Height of the map, pixels.
    """
    if not len(points):
        points = np.array([[-180.0, -90.0], [180.0, 90.0]])
    low, high = points.min(axis=0), points.max(axis=0)
    x, y = ((low + high) / 2).tolist()
    wide, tall = np.maximum((high - low) * MARGIN, 1e-6).tolist()
    stretch = 1 / max(math.cos(math.radians(y)), FLATTEST)
    across = min(width / wide, height / tall / stretch)
    down = across * stretch
    return Frame(x - width / across / 2, y - height / down / 2, across, down, width, height)


def joined(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add 360 degrees to western longitudes if that joins torn tiles, or makes the map more than 10 % narrower.

    Args:
        corners: Longitude and latitude of the tile corners, degrees, shape (tile, 4, 2), as a ring that starts at the
            outer corner of the first pixel.
    """
    shapes = corners.copy()
    lon = shapes[..., 0]
    # A tile with vertical sides can be wider than 180 degrees. Any other tile that seems so wide crosses 180 degrees.
    upright = np.isclose(lon[:, 0], lon[:, 3]) & np.isclose(lon[:, 1], lon[:, 2]) & (lon[:, 0] < lon[:, 1])
    torn = (np.ptp(lon, axis=1) > 180) & ~upright
    lon[torn] += 360 * (lon[torn] < 0)
    if lon.size and np.ptp(lon) > 180:
        turned = lon + 360 * (lon.mean(axis=1, keepdims=True) < 0)
        if np.ptp(turned) < 0.9 * np.ptp(lon):
            shapes[..., 0] = turned
    return shapes


def outlines(region: BaseGeometry | None, longitude: float) -> list[NDArray[np.float64]]:
    """Return the rings of a polygon or multipolygon, each of shape (corner, 2), moved to the side of a longitude."""
    if region is None:
        return []
    whole = globe.continuous(region)
    if whole is not region:  # without a line where it was cut at 180 degrees, to less than a pixel
        west, south, east, north = whole.bounds
        whole = shapely.set_precision(whole, max(east - west, north - south) / 1000)
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(whole))]
    return [ring + np.array([360 * round((longitude - ring[:, 0].mean()) / 360), 0]) for ring in rings]


def painted(
    boxes: NDArray[np.float64], kinds: NDArray[np.uint8], sides: Sequence[int], frame: Frame
) -> NDArray[np.int8]:
    """Return the kind that is visible in each pixel, shape (height, width), bottom row first; -1 = no box.

    A greater kind covers a lesser one. The cost depends on the number of boxes, not on their size.

    Args:
        boxes: Left, bottom, right and top of each box, pixels of the frame, shape (box, 4).
        kinds: Kind of each box, as an index into `sides`.
        sides: Smallest side at which a box of each kind is drawn, pixels.
        frame: The frame of the map.
    """
    height, width = frame.height, frame.width
    picture = np.full((height, width), -1, np.int8)
    for kind, side in enumerate(sides):
        chosen = boxes[kinds == kind]
        left, right = _span(chosen[:, 0], chosen[:, 2], side, width)
        bottom, top = _span(chosen[:, 1], chosen[:, 3], side, height)
        # A box is +1 or -1 at its four corners. The sum along both axes counts the boxes over each pixel.
        changes = np.zeros((height + 1) * (width + 1), np.int64)
        for row, column, change in ((bottom, left, 1), (top, right, 1), (bottom, right, -1), (top, left, -1)):
            changes += change * np.bincount(row * (width + 1) + column, minlength=changes.size)
        covering = changes.reshape(height + 1, width + 1).cumsum(axis=0).cumsum(axis=1)
        picture[covering[:height, :width] > 0] = kind
    return picture


def _span(low: NDArray[np.float64], high: NDArray[np.float64], side: int, end: int) -> list[NDArray[np.int64]]:
    """Return the start and stop pixels of intervals: at least ``side`` long, then clipped to 0 ... ``end``.

    Both ends are rounded in the same way, so that there is no gap between neighbours.
    """
    start, stop = np.rint(low), np.rint(high)
    small = stop - start < side
    start[small] = np.rint((low[small] + high[small] - side) / 2)
    stop[small] = start[small] + side
    return [np.clip(value, 0, end).astype(np.int64) for value in (start, stop)]

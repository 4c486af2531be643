"""The frame of a map in degrees, and tiles in it: on one side of the antimeridian, and as pixels if they are many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

MARGIN = 1.06
FLATTEST = 0.1
"""Cosine of the latitude from which on maps are stretched no more: at a pole there would be no end."""


class Frame(NamedTuple):
    """What a map shows, in degrees, and its size."""

    west: float
    south: float
    across: float
    """Pixels a degree of longitude."""
    down: float
    """Pixels a degree of latitude."""
    width: int
    """Pixels."""
    height: int

    @property
    def east(self) -> float:
        """Degrees; beyond 180 where the map crosses the antimeridian."""
        return self.west + self.width / self.across

    @property
    def north(self) -> float:
        """Degrees; beyond 90 where there is room above the pole."""
        return self.south + self.height / self.down

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (longitude, latitude; last axis) as pixels from the lower left."""
        return (points - (self.west, self.south)) * (self.across, self.down)


def framed(points: NDArray[np.float64], *, width: int, height: int) -> Frame:
    """Return the frame around points, shape (point, 2), whose scale is true at their middle latitude.

    Without a point it is the world.
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
    """Return corners whose longitudes run on beyond 180, where that makes tiles whole or the map much narrower.

    Args:
        corners: Longitude and latitude, shape (tile, 4, 2), in the order of a ring from the first pixel's.
    """
    shapes = corners.copy()
    lon = shapes[..., 0]
    # A tile that is upright from west to east is as wide as it says; any other of that width crosses 180.
    upright = np.isclose(lon[:, 0], lon[:, 3]) & np.isclose(lon[:, 1], lon[:, 2]) & (lon[:, 0] < lon[:, 1])
    torn = (np.ptp(lon, axis=1) > 180) & ~upright
    lon[torn] += 360 * (lon[torn] < 0)
    if lon.size and np.ptp(lon) > 180:
        turned = lon + 360 * (lon.mean(axis=1, keepdims=True) < 0)
        if np.ptp(turned) < 0.9 * np.ptp(lon):
            shapes[..., 0] = turned
    return shapes


def outlines(region: BaseGeometry | None, longitude: float) -> list[NDArray[np.float64]]:
    """Return the rings of a polygon or multipolygon, shape (corner, 2) each, on the side of a longitude."""
    if region is None:
        return []
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(region))]
    return [ring + np.array([360 * round((longitude - ring[:, 0].mean()) / 360), 0]) for ring in rings]


def painted(
    boxes: NDArray[np.float64], kinds: NDArray[np.uint8], sides: Sequence[int], frame: Frame
) -> NDArray[np.int8]:
    """Return the kind that is seen in every pixel, shape (height, width) from below; -1 where there is none.

    The greater kind covers the lesser. The cost is that of points, however large the boxes are.

    Args:
        boxes: Left, bottom, right, top in pixels of the frame, shape (box, 4).
        kinds: Index into `sides`, one a box.
        sides: Pixels a side that a box of each kind has at least.
        frame: The map.
    """
    height, width = frame.height, frame.width
    picture = np.full((height, width), -1, np.int8)
    for kind, side in enumerate(sides):
        chosen = boxes[kinds == kind]
        left, right = _span(chosen[:, 0], chosen[:, 2], side, width)
        bottom, top = _span(chosen[:, 1], chosen[:, 3], side, height)
        # A box is four changes, which are summed along both axes.
        changes = np.zeros((height + 1) * (width + 1), np.int64)
        for row, column, change in ((bottom, left, 1), (top, right, 1), (bottom, right, -1), (top, left, -1)):
            changes += change * np.bincount(row * (width + 1) + column, minlength=changes.size)
        covering = changes.reshape(height + 1, width + 1).cumsum(axis=0).cumsum(axis=1)
        picture[covering[:height, :width] > 0] = kind
    return picture


def _span(low: NDArray[np.float64], high: NDArray[np.float64], side: int, end: int) -> list[NDArray[np.int64]]:
    """Return the first and the end pixel of stretches, neighbours without a gap, each at least a side long."""
    start, stop = np.rint(low), np.rint(high)
    small = stop - start < side
    start[small] = np.rint((low[small] + high[small] - side) / 2)
    stop[small] = start[small] + side
    return [np.clip(value, 0, end).astype(np.int64) for value in (start, stop)]

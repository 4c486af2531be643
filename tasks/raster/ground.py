"""What the pixels of a grid are on the ground: how long they are, where north is, and how they are turned upright."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from tasks.raster.crs import WGS84, crs_name, transformer
from tasks.raster.world_map import is_degrees

FLATTEST = 0.1
"""Lower limit for the cosine of the latitude by which pixels in degrees are stretched."""
VARIES, TURNS = 1.05, 5.0
"""Factor by which a scale varies, and degrees by which north turns, beyond which they hold at one point only."""
_GLOBE = pyproj.Geod(ellps="WGS84")


class Ground(NamedTuple):
    """The ground below an upright picture of a grid."""

    metres: float | None
    """Length of the side of a pixel to the right, at the centre. None = not known."""
    north: float | None
    """Direction of north at the centre, degrees clockwise from up. None = not known, or the centre is at a pole."""
    varies: bool
    """Whether scale or north are others in other parts of the picture."""
    stretch: float
    """Height of a pixel, if it is 1 wide and a square on the ground shall be one in the picture."""


def flips(affine: Affine) -> tuple[int, int]:
    """Return the steps (1 or -1) along rows and columns with which pixels lie upright: x to the right, y up.

    A grid whose columns run along y is only freed of its mirror image.
    """
    if abs(affine.a) < abs(affine.b):
        return (-1 if affine.determinant > 0 else 1), 1
    return (-1 if affine.e > 0 else 1), (-1 if affine.a < 0 else 1)


def upright(pixels: NDArray[np.generic], affine: Affine) -> NDArray[np.generic]:
    """Return a view of pixels, shape (y, x, ...), turned so that they lie as people expect: see :func:`flips`."""
    down, across = flips(affine)
    return pixels[::down, ::across]


def ground(box: GeoBox) -> Ground:
    """Return the scale and the north of a grid."""
    height, width = box.shape
    down, across = flips(box.affine)
    a, b, left, d, e, top = tuple(box.affine)[:6]
    assert box.crs is not None
    crs = crs_name(box.crs)
    places = np.array([(0.5, 0.5), (0.05, 0.05), (0.95, 0.05), (0.05, 0.95), (0.95, 0.95)]) * (width, height)
    # Each place, half a pixel to its left, right, upper and lower side: as the upright picture has them.
    sides = 0.5 * np.array([(-across, 0), (across, 0), (0, -down), (0, down)])
    columns, rows = np.moveaxis(places[:, np.newaxis] + sides, -1, 0)
    xs, ys = a * columns + b * rows + left, d * columns + e * rows + top
    lons, lats = (np.asarray(each) for each in transformer(crs, WGS84).transform(xs, ys))
    shape = math.hypot(b, e) / math.hypot(a, d)
    if is_degrees(crs) and np.isfinite(lats[0]).all():
        shape /= max(math.cos(math.radians(float(lats[0].mean()))), FLATTEST)
    found = [_at(lon, lat) for lon, lat in zip(lons, lats, strict=True)]
    metres, north = found[0]
    if metres is None:
        return Ground(None, None, varies=False, stretch=shape)
    lengths = [length for length, _ in found if length is not None]
    turned = [abs((angle - north + 180) % 360 - 180) for _, angle in found if angle is not None and north is not None]
    varies = max(lengths) > VARIES * min(lengths) or max(turned, default=0) > TURNS or len(turned) < len(found)
    return Ground(metres, north, varies=varies, stretch=shape)


def _at(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Return the width of a pixel in metres and the direction of north, from the middles of its four sides."""
    if not (np.isfinite(lon).all() and np.isfinite(lat).all() and np.abs(lat).max() <= 90):
        return None, None
    metres = _GLOBE.inv(lon[0], lat[0], lon[1], lat[1])[2]
    east = [(lon[end] - lon[end - 1] + 180) % 360 - 180 for end in (1, 3)]
    # The way in pixels, to the right and down, along which the longitude stays and the latitude grows.
    right, below = -east[1], east[0]
    if (lat[1] - lat[0]) * right + (lat[3] - lat[2]) * below < 0:
        right, below = -right, -below
    if not metres or not (right or below) or np.abs(lat).max() > 89.99:
        return metres or None, None
    angle = math.degrees(math.atan2(right, -below))
    return metres, round(angle, 6) % 360

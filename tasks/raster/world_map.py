"""Maps of the world: where the map of a CRS ends, where it repeats itself, and for which area it is made."""

from __future__ import annotations

import functools

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from tasks.raster import globe
from tasks.raster.crs import UTM_NORTH, UTM_SOUTH, WGS84, crs_of, transformer

BESIDE_ZONE = 3.0
"""Degrees beside a UTM zone in which it is used, too."""
SEAM_GAP = 1e-9
"""Degrees that are left out beside the edge of a map, so that rounding moves no point to its other side."""


@functools.lru_cache(maxsize=256)
def area_of_use(crs: str) -> BaseGeometry | None:
    """Return the area of use of a CRS in longitude and latitude, cut at 180 degrees. None = the CRS states none.

    A UTM zone is used on both sides of the equator and half a zone to both sides, as in Landsat and Sentinel-2.
    """
    proj = crs_of(crs).proj
    area = proj.area_of_use
    if area is None:
        return None
    if proj.utm_zone:  # a scene at the edge of its zone, and Landsat's northern zones south of the equator
        middle = central_meridian(crs) or 0.0
        return globe.box(middle - 3 - BESIDE_ZONE, UTM_SOUTH, middle + 3 + BESIDE_ZONE, UTM_NORTH)
    return globe.box(area.west, area.south, area.east, area.north)


def is_degrees(crs: str) -> bool:
    """Return whether the coordinates of a CRS are longitude and latitude."""
    return bool(crs_of(crs).proj.is_geographic)


@functools.lru_cache(maxsize=256)
def map_edge(crs: str) -> tuple[float, float] | None:
    """Return the left edge and the width of a map that repeats itself eastwards, in CRS units. None = no such map.

    These are longitude and latitude, and all cylindrical projections, such as EPSG:3857 and EPSG:6933.
    """
    if is_degrees(crs):
        return -180.0, globe.TURN
    middle = central_meridian(crs)
    if middle is None:
        return None
    lons = np.array([middle, middle + 90, middle + 90, middle + 179])
    xs, _ = transformer(WGS84, crs).transform(lons, np.array([0.0, 0.0, 60.0, 0.0]))
    x, quarter, higher, far = xs
    width = 4 * (quarter - x)
    if not (np.isfinite(xs).all() and width > 0):
        return None
    straight = abs(higher - quarter) < width * 1e-9 and abs(far - x - width * 179 / 360) < width * 1e-9
    return (float(x - width / 2), float(width)) if straight else None


@functools.lru_cache(maxsize=64)
def map_outline(crs: str) -> BaseGeometry | None:
    """Return the edge of the whole world on a map of it, such as the sinusoidal one, in CRS units. None = no such map.

    Outside it, PROJ answers with coordinates of other places, or with none.
    """
    middle = None if is_degrees(crs) else central_meridian(crs)
    if middle is None:
        return None
    world = shapely.segmentize(shapely.box(middle - 180 + SEAM_GAP, -90 + SEAM_GAP, middle + 180 - SEAM_GAP, 90), 0.05)
    outline = transformed(world, WGS84, crs)
    if not np.isfinite(shapely.get_coordinates(outline)).all():
        return None
    x, y = transformer(WGS84, crs).transform([middle, middle + 180 - SEAM_GAP], [0.0, 0.0])
    level = x[1] - x[0] > abs(y[1] - y[0]) * 100
    return shapely.make_valid(outline) if level and outline.area > 0 else None


def transformed(geometry: BaseGeometry, source: str, target: str) -> BaseGeometry:
    """Return a geometry with each of its points in another CRS."""
    forward = transformer(source, target).transform
    return shapely.transform(geometry, lambda xy: np.column_stack(forward(xy[:, 0], xy[:, 1])))


def central_meridian(crs: str) -> float | None:
    """Return the central meridian of a projection, degrees. None = it has none."""
    operation = crs_of(crs).proj.coordinate_operation
    found = [each for each in (operation.params if operation else ()) if each.name.startswith("Longitude of")]
    return float(found[0].value) if found else None

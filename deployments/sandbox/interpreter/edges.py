"""How the edges of geometries run: along geodesics or straight in their CRS, over the antimeridian and round poles.

Shapes in longitude and latitude have straight edges for shapely. Here they are given as many vertices as it takes, so
that what shapely and PROJ make of them is right to about a metre.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

from deployments.sandbox.interpreter.values import WGS84, Geometry
from deployments.sandbox.raster import Projection
from deployments.sandbox.sampling import from_coordinates

GEOD = Geod(ellps="WGS84")

_RADIUS = 6_371_008.8  # metres: the mean one, good enough to choose a number of vertices
_NEAR = 1.0  # metres that an edge may be off before it gets more vertices
_STEP = 5_000.0  # metres between these
_MOST = 4_000  # of these vertices on one edge

Array = NDArray[np.float64]


def reprojected(geometry: Geometry, crs: str) -> BaseGeometry:
    """Return a geometry's shape in another CRS, its edges followed by 64 points along its size."""
    dense = fine(meant(geometry) if geometry.crs == WGS84 else geometry.shape)
    return shapely.transform(dense, _between(geometry.crs, crs))


def fine(shape: BaseGeometry, most: float = math.inf) -> BaseGeometry:
    """Return a shape with vertices along its edges: at least 64 along its size, and no farther apart than ``most``."""
    left, bottom, right, top = shape.bounds
    step = min(max(right - left, top - bottom) / 64, most)
    return shapely.segmentize(shape, step) if step > 0 else shape


def _between(crs: str, other: str) -> Callable[[Array], Array]:
    target = Projection(crs=other, transform=Affine.identity())
    return lambda points: np.column_stack(from_coordinates(points[:, 0], points[:, 1], crs, target))


def lonlat_shape(geometry: Geometry) -> BaseGeometry:
    """Return a geometry's shape in longitude and latitude, as meant, between -180 and 180 degrees."""
    return wrapped(meant(geometry))


@functools.lru_cache(maxsize=512)
def meant(geometry: Geometry) -> BaseGeometry:
    """Return a geometry's shape in longitude and latitude with straight edges that run as the geometry means them.

    Longitudes may lie beyond 180 degrees where an edge crosses the antimeridian. A ring round a pole is closed through
    the pole.
    """
    if geometry.crs != WGS84:
        return from_map(fine(geometry.shape), _between(geometry.crs, WGS84))
    return followed(geometry.shape, _along_geodesics) if geometry.geodesic else geometry.shape


def made_of(shape: BaseGeometry, *sources: Geometry) -> Geometry:
    """Return a shape in longitude and latitude as a geometry whose edges are meant as those of its sources are."""
    return Geometry(shape, geodesic=all(source.geodesic or source.crs != WGS84 for source in sources))


def followed(shape: BaseGeometry, path: Callable[[Array], Array]) -> BaseGeometry:
    """Return a shape with each of its lines and rings replaced by what a function makes of its vertices (n, 2)."""
    if isinstance(shape, shapely.Polygon) and not shape.is_empty:
        rings = [path(np.asarray(ring.coords)[:, :2]) for ring in (shape.exterior, *shape.interiors)]
        west = rings[0][:, 0].min()
        # A hole lies on the same turn of the globe as its shell.
        holes = [ring - [360 * math.floor((ring[:, 0].min() - west) / 360), 0] for ring in rings[1:]]
        made: BaseGeometry = shapely.Polygon(rings[0], holes)
        return made if made.is_valid or not shape.is_valid else shapely.make_valid(made)
    if isinstance(shape, shapely.LinearRing):
        return shapely.LinearRing(path(np.asarray(shape.coords)[:, :2]))
    if isinstance(shape, shapely.LineString) and not shape.is_empty:
        return shapely.LineString(path(np.asarray(shape.coords)[:, :2]))
    if hasattr(shape, "geoms") and shape.geom_type != "MultiPoint":
        return type(shape)([followed(part, path) for part in shape.geoms])
    return shape


def _along_geodesics(points: Array) -> Array:
    lon, lat = points.T
    turns = (np.diff(lon) + 180) % 360 - 180  # the shorter way round
    middle = np.radians((lat[1:] + lat[:-1]) / 2)
    east, north = np.radians(turns) * np.cos(middle), np.radians(np.diff(lat))
    length = np.hypot(east, north) * _RADIUS
    off = length * np.abs(east) * np.abs(np.tan(np.clip(np.abs(middle), 0, 1.57))) / 8
    if not (off > _NEAR).any() and np.allclose(np.diff(lon), turns):
        return points
    found = [points[:1]]
    for i in range(len(points) - 1):
        if off[i] > _NEAR:
            count = min(_MOST, math.ceil(length[i] / _STEP))
            between = GEOD.npts(lon[i], lat[i], lon[i + 1], lat[i + 1], count)
            found.append(np.asarray(between).reshape(-1, 2))
        found.append(points[i + 1 : i + 2])
    return _continuous(np.concatenate(found))


def _continuous(points: Array) -> Array:
    """Return points whose longitudes do not jump; a ring that goes once round the globe is closed through a pole."""
    if not np.isfinite(points).all():
        return points
    jumps = np.concatenate([[0], np.cumsum(np.rint(np.diff(points[:, 0]) / 360))])
    lon = points[:, 0] - 360 * jumps
    made = np.column_stack([lon, points[:, 1]])
    closed = len(points) > 2 and np.allclose(points[0], points[-1])
    if closed and abs(lon[-1] - lon[0]) > 180:
        pole = math.copysign(90, points[:, 1].mean())
        return np.concatenate([made, [[lon[-1], pole], [lon[0], pole]], made[:1]])
    return made


def from_map(shape: BaseGeometry, to_lonlat: Callable[[Array], Array]) -> BaseGeometry:
    """Return a shape of a map, such as a circle round a pole, in longitude and latitude."""
    if shape.is_empty or shape.geom_type in {"Point", "MultiPoint"}:
        return shapely.transform(shape, to_lonlat)
    return followed(shape, lambda points: _continuous(to_lonlat(points)))


def wrapped(shape: BaseGeometry) -> BaseGeometry:
    """Return a shape between -180 and 180 degrees of longitude, cut at the antimeridian where it must be."""
    if shape.is_empty:
        return shape
    west, _, east, _ = shape.bounds
    if (west >= -180 and east <= 180) or not math.isfinite(east - west):
        return _apart(shape)
    if shape.geom_type == "Point":
        return shapely.transform(shape, lambda p: np.column_stack([(p[:, 0] + 180) % 360 - 180, p[:, 1]]))
    parts = []
    for turn in range(math.floor((west + 180) / 360), math.ceil((east - 180) / 360) + 1):
        moved: BaseGeometry = shapely.transform(shape, functools.partial(_turned, 360 * turn))
        parts.append(shapely.intersection(_apart(moved), shapely.box(-180, -90, 180, 90)))
    return shapely.union_all(parts)


def _turned(degrees: float, points: Array) -> Array:
    return points - [degrees, 0]


def _apart(shape: BaseGeometry) -> BaseGeometry:
    """Return areas that lie over each other as one, which shapely needs."""
    return shapely.union_all(list(shape.geoms)) if shape.geom_type == "MultiPolygon" and not shape.is_valid else shape


def parts_of(shape: BaseGeometry, *kinds: str) -> list[Any]:
    """Return the simple parts of a shape that are of some kinds, such as ``Polygon``."""
    if hasattr(shape, "geoms"):
        return [part for each in shape.geoms for part in parts_of(each, *kinds)]
    return [shape] if shape.geom_type in kinds and not shape.is_empty else []

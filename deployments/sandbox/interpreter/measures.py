"""Areas, lengths and distances on the WGS 84 ellipsoid, buffers and centroids on maps around a geometry."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from deployments.sandbox.interpreter.edges import GEOD, fine, from_map, lonlat_shape, meant, parts_of
from deployments.sandbox.interpreter.values import WGS84, Geometry
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.sampling import transformer

LINES = ("LineString", "LinearRing")

_FINE = 0.1  # degrees between vertices of an edge that is straight in longitude and latitude
_COARSE = 0.5  # degrees between vertices of a shape that is drawn on a map around it
_WIDEST = 8_000_000.0  # metres of a buffer: a fifth of the way round the globe
_MOST = 1_500  # vertices that are compared for a distance


def area(geometry: Geometry) -> float:
    """Return the area in square metres: the sum of the parts, also where these lie over each other."""
    if geometry.crs == WGS84 and geometry.geodesic:
        oriented = (shapely.orient_polygons(part) for part in parts_of(geometry.shape, "Polygon"))
        return math.fsum(abs(GEOD.geometry_area_perimeter(shapely.force_2d(part))[0]) for part in oriented)
    # Lambert's cylinder keeps areas, has a place for every latitude, and its x is proportional to longitude.
    cylinder = transformer(WGS84, "+proj=cea +ellps=WGS84")

    def unrolled(points: NDArray[np.float64]) -> NDArray[np.float64]:
        _, y = cylinder.transform(np.zeros(len(points)), points[:, 1])
        return np.column_stack([np.radians(points[:, 0]) * GEOD.a, y])

    parts = parts_of(shapely.force_2d(meant(geometry)), "Polygon")
    return math.fsum(shapely.transform(shapely.segmentize(part, _FINE), unrolled).area for part in parts)


def length(geometry: Geometry) -> float:
    """Return the length of lines in metres; areas have none."""
    return _lengths(geometry, parts_of(geometry.shape, *LINES))


def perimeter(geometry: Geometry) -> float:
    """Return the length of the edges of areas in metres; lines have none."""
    return _lengths(geometry, [part.boundary for part in parts_of(geometry.shape, "Polygon")])


def _lengths(geometry: Geometry, lines: list[Any]) -> float:
    if geometry.crs == WGS84 and not geometry.geodesic:
        lines = [shapely.segmentize(line, _FINE) for line in lines]
    elif geometry.crs != WGS84:
        lines = [meant(Geometry(line, geometry.crs, geodesic=False)) for line in lines]
    return math.fsum(GEOD.geometry_length(shapely.force_2d(line)) for line in lines)


def distance(left: Geometry, right: Geometry) -> float:
    """Return the least distance of two geometries in metres."""
    one, other = lonlat_shape(left), lonlat_shape(right)
    if one.intersects(other):
        return 0.0
    one, other = _finer(one), _finer(other)
    near, far = (np.asarray(shapely.get_coordinates(side)) for side in (one, other))
    cosines = _on_a_sphere(near) @ _on_a_sphere(far).T
    i, j = np.unravel_index(int(cosines.argmax()), cosines.shape)
    best = float(GEOD.inv(*near[i], *far[j])[2])
    if left.shape.geom_type == right.shape.geom_type == "Point":
        return best
    # Between the nearest vertices: on a map around them, which is true to scale there.
    (lon, lat), *_ = GEOD.npts(near[i][0], near[i][1], far[j][0], far[j][1], 1)
    to_map, to_lonlat = _maps("aeqd", lon, lat)
    nearest = shapely.shortest_line(shapely.transform(one, to_map), shapely.transform(other, to_map))
    ends = to_lonlat(np.asarray(nearest.coords)) if not nearest.is_empty else np.stack([near[i], far[j]])
    between = float(GEOD.inv(*ends[0], *ends[1])[2])
    return min(best, between) if math.isfinite(between) else best


def _finer(shape: BaseGeometry) -> BaseGeometry:
    """Return a shape with so many vertices that its edges stay in their place on a map."""
    return shapely.segmentize(shape, shape.length / _MOST) if shape.length else shape


def _on_a_sphere(points: NDArray[np.float64]) -> NDArray[np.float64]:
    lon, lat = np.radians(points).T
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


Mapped = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _maps(kind: str, lon: float, lat: float) -> tuple[Mapped, Mapped]:
    """Return the functions from longitude and latitude to a map in metres around a place, and back."""
    lon = (lon + 180) % 360 - 180
    here = f"+proj={kind} +lat_0={lat!r} +lon_0={lon!r} +datum=WGS84 +units=m"

    def to_map(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer(WGS84, here).transform(points[:, 0], points[:, 1]))

    def to_lonlat(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer(here, WGS84).transform(points[:, 0], points[:, 1]))

    return to_map, to_lonlat


def _middle(shape: BaseGeometry) -> tuple[float, float]:
    """Return the middle of a shape: the pole, if it lies round one."""
    west, south, east, north = shape.bounds
    if east - west >= 360 and (north >= 90) != (south <= -90):
        return 0.0, math.copysign(90, north + south)
    return (west + east) / 2, (south + north) / 2


def _of_a_place(geometry: Geometry, where: str) -> BaseGeometry:
    """Return a shape that has a map around it: not one as wide as the globe from pole to pole."""
    shape = meant(geometry)
    west, south, east, north = shape.bounds
    if not math.isfinite(east - west) or (east - west > 180 and north - south > 90):
        raise Refusal(f"{where}: the sandbox does not support geometries as wide as the globe.")
    return shape


def buffered(geometry: Geometry, metres: float) -> Geometry:
    """Return a geometry widened by metres, or narrowed by a negative number of them."""
    if metres > _WIDEST:
        raise Refusal(f"Geometry.buffer: the sandbox does not support distances above {_WIDEST:.0f} metres.")
    shape = _of_a_place(geometry, "Geometry.buffer")
    to_map, to_lonlat = _maps("aeqd", *_middle(shape))
    wide = shapely.buffer(shapely.transform(fine(shape, _COARSE), to_map), metres, quad_segs=16)
    return Geometry(_placed(from_map(wide, to_lonlat), shape))


def centroid(geometry: Geometry) -> Geometry:
    """Return the centre of the parts of the highest dimension, weighted by their areas or lengths on the ground."""
    shape = _of_a_place(geometry, "Geometry.centroid")
    to_map, to_lonlat = _maps("laea", *_middle(shape))
    found = to_lonlat(shapely.get_coordinates(shapely.transform(fine(shape, _COARSE), to_map).centroid))
    return Geometry(shapely.Point(found[0]))


def _placed(found: BaseGeometry, like: BaseGeometry) -> BaseGeometry:
    """Return a shape on the turn of the globe that another lies on."""
    if found.is_empty:
        return found
    turns = round((_middle(like)[0] - (found.bounds[0] + found.bounds[2]) / 2) / 360)
    return shapely.transform(found, lambda points: np.add(points, [360 * turns, 0])) if turns else found

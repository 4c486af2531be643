"""Geometries and features.

Edges are geodesics if the geometry is geodesic, else straight in its CRS (see `edges`). Areas, lengths and distances
are those of the WGS 84 ellipsoid (see `measures`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import shapely
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from deployments.sandbox.interpreter import measures
from deployments.sandbox.interpreter.edges import lonlat_shape, made_of, meant, parts_of, reprojected
from deployments.sandbox.interpreter.metadata import UNBOUNDED
from deployments.sandbox.interpreter.projections import LONLAT
from deployments.sandbox.interpreter.registry import add, function
from deployments.sandbox.interpreter.values import WGS84, ErrorMargin, Geometry, ring_box
from deployments.sandbox.raster import Projection
from deployments.sandbox.refusal import Refusal


def plain(numbers: Any) -> Any:
    """Return nested coordinates as lists of floats."""
    return [plain(part) for part in numbers] if isinstance(numbers, list | tuple) else float(numbers)


def _made(kind: str, coordinates: Any, projection: Projection | None, geodesic: bool | None) -> Geometry:
    try:
        found = shape({"type": kind, "coordinates": plain(coordinates)})
    except (TypeError, ValueError, IndexError, KeyError, OverflowError, RecursionError, shapely.errors.ShapelyError):
        raise Refusal(f"GeometryConstructors.{kind}: Invalid GeoJSON geometry: {str(coordinates)[:200]}.") from None
    crs = WGS84 if projection is None else projection.crs
    # Even-odd filling (the default): rings that cross or lie in each other alternate.
    if kind == "MultiPolygon":  # its parts may lie over each other: an area counts both
        sound: BaseGeometry = shapely.MultiPolygon(
            [p for part in found.geoms for p in parts_of(_sound(part), "Polygon")]
        )
    else:
        sound = _sound(found)
    return Geometry(sound, crs, geodesic if geodesic is not None else crs == WGS84)


def _sound(shape: BaseGeometry) -> BaseGeometry:
    if shape.is_valid or shape.geom_type != "Polygon":
        return shape
    made: BaseGeometry = shapely.make_valid(shape)
    return made if made.area else shape


@function("GeometryConstructors.Point")
def point(coordinates: list[Any], projection: Projection | None) -> Geometry:
    """Make a point."""
    return _made("Point", coordinates, projection, geodesic=None)


@function("GeometryConstructors.MultiPoint")
def multi_point(coordinates: list[Any], projection: Projection | None) -> Geometry:
    """Make several points, of pairs or of numbers in a row."""
    if coordinates and not isinstance(coordinates[0], list):
        coordinates = [list(pair) for pair in zip(coordinates[::2], coordinates[1::2], strict=False)]
    return _made("MultiPoint", coordinates, projection, geodesic=None)


def _constructor(kind: str) -> Callable[[Any, Any, Any], Geometry]:
    return lambda coordinates, projection, geodesic: _made(kind, coordinates, projection, geodesic)


for _kind in ("LineString", "MultiLineString", "LinearRing"):
    add(f"GeometryConstructors.{_kind}", _constructor(_kind))


def _polygon(coordinates: list[Any], projection: Projection | None, geodesic: bool | None) -> Geometry:
    rings = coordinates if coordinates and isinstance(coordinates[0], list) else [coordinates]
    if isinstance(rings[0], list) and rings[0] and not isinstance(rings[0][0], list):
        rings = [rings]  # one ring, not in a list
    return _made("Polygon", rings, projection, geodesic)


add("GeometryConstructors.Polygon", _polygon)
add("GeometryConstructors.MultiPolygon", _constructor("MultiPolygon"))


@function("GeometryConstructors.MultiGeometry")
def multi_geometry(geometries: list[Geometry]) -> Geometry:
    """Put geometries together."""
    return made_of(shapely.GeometryCollection([meant(g) for g in geometries]), *geometries)


@function("GeometryConstructors.Rectangle")
def rectangle(coordinates: list[Any], projection: Projection | None, geodesic: bool | None) -> Geometry:
    """Make a rectangle of two opposite corners."""
    flat = [x for part in coordinates for x in (part if isinstance(part, list) else [part])]
    if len(flat) != 4 or not all(isinstance(x, int | float) and math.isfinite(x) for x in flat):
        raise Refusal(f"GeometryConstructors.Rectangle: Two corners are needed, got {coordinates}.")
    west, south, east, north = map(float, flat)
    box = ring_box(min(west, east), min(south, north), max(west, east), max(south, north))
    crs = WGS84 if projection is None else projection.crs
    return Geometry(box, crs, bool(geodesic) if geodesic is not None else crs == WGS84)


@function("GeometryConstructors.BBox")
def bbox(west: float, south: float, east: float, north: float) -> Geometry:
    """Make a box of longitudes and latitudes, as the client makes it: over the antimeridian, east is beyond 180."""
    if south > north:
        raise Refusal(f"GeometryConstructors.BBox: south ({south}) must not be above north ({north}).")
    if not (west < math.inf and east > -math.inf and south <= 90 and north >= -90):
        raise Refusal(f"GeometryConstructors.BBox: [{west}, {south}, {east}, {north}] is no box.")
    if east - west >= 360:
        west, east = -180.0, 180.0
    else:
        west, east = ((x + 180) % 360 - 180 if not -180 <= x <= 180 else x for x in (west, east))
        east += 360 * (east < west)
    return Geometry(ring_box(west, max(south, -90), east, min(north, 90)), geodesic=False)


def geometry_json(geometry: Geometry) -> dict[str, Any]:
    """Return a geometry as ``getInfo`` shows it."""
    found: dict[str, Any] = dict(mapping(geometry.shape))
    if found["type"] == "GeometryCollection":
        found["geometries"] = [geometry_json(Geometry(part)) for part in geometry.shape.geoms]
    else:
        found["coordinates"] = plain(found["coordinates"])
    if geometry.crs != WGS84:
        found["crs"] = {"type": "name", "properties": {"name": geometry.crs}}
        found["geodesic"] = geometry.geodesic
    elif not geometry.geodesic and geometry.shape.geom_type not in {"Point", "MultiPoint"}:
        found["geodesic"] = False
    return found


@function("ErrorMargin")
def error_margin(value: float | None, unit: str) -> ErrorMargin:
    """Make a margin of error, which the client makes of every literal ``maxError``."""
    if unit not in {"meters", "projected", "infinite"}:
        raise Refusal(f"ErrorMargin: Unknown unit '{unit}'. Units: [meters, projected, infinite].")
    if unit != "infinite" and (value is None or not value >= 0):
        raise Refusal(f"ErrorMargin: The value must not be negative, got {value}.")
    return ErrorMargin(value, unit)


def _check(geometry: Geometry, where: str) -> Geometry:
    if geometry.shape.is_empty:
        raise Refusal(f"{where}: The geometry is empty.")
    return geometry


@function("Geometry.buffer")
def buffer(geometry: Geometry, distance: float) -> Geometry:
    """Widen a geometry by metres."""
    return measures.buffered(_check(geometry, "Geometry.buffer"), distance)


@function("Geometry.distance")
def distance(left: Geometry, right: Geometry) -> float:
    """Return the least distance of two geometries in metres."""
    return measures.distance(_check(left, "Geometry.distance"), _check(right, "Geometry.distance"))


add("Geometry.area", measures.area)
add("Geometry.length", measures.length)
add("Geometry.perimeter", measures.perimeter)


@function("Geometry.withinDistance")
def within_distance(left: Geometry, right: Geometry, metres: float) -> bool:
    """Return whether two geometries are no farther from each other than some metres."""
    return distance(left, right) <= metres


@function("Geometry.centroid")
def centroid(geometry: Geometry) -> Geometry:
    """Return the centre of a geometry."""
    return measures.centroid(_check(geometry, "Geometry.centroid"))


@function("Geometry.transform")
def transform(geometry: Geometry, projection: Projection | Mapping[str, Any] | None) -> Geometry:
    """Return a geometry in another CRS."""
    crs = WGS84 if not isinstance(projection, Projection) else projection.crs
    return geometry if crs == geometry.crs else Geometry(reprojected(geometry, crs), crs, geodesic=crs == WGS84)


def _in_lonlat(compute: Callable[..., BaseGeometry]) -> Callable[..., Geometry]:
    """Return a function of one geometry that is computed in longitude and latitude."""
    return lambda geometry: made_of(compute(meant(_check(geometry, "Geometry"))), geometry)


def _both(compute: Callable[[BaseGeometry, BaseGeometry], Any]) -> Callable[[Geometry, Geometry], Any]:
    """Return a function of two geometries that is computed in longitude and latitude."""

    def apply(left: Geometry, right: Geometry) -> Any:
        found = compute(lonlat_shape(left), lonlat_shape(right))
        return made_of(found, left, right) if isinstance(found, BaseGeometry) else bool(found)

    return apply


@function("Geometry.bounds")
def bounds(geometry: Geometry, _error: Any, projection: Projection | None) -> Geometry:
    """Return the box around a geometry, in longitude and latitude or another CRS."""
    crs = (projection or LONLAT).crs
    _check(geometry, "Geometry.bounds")
    if crs == WGS84:
        shape = meant(geometry)
    elif crs == geometry.crs:
        shape = geometry.shape
    else:
        shape = reprojected(geometry, crs)
    return Geometry(ring_box(*shape.bounds), crs, geodesic=False)


ONE: Mapping[str, Callable[[BaseGeometry], BaseGeometry]] = {
    "convexHull": shapely.convex_hull,
    "dissolve": shapely.union_all,
}
TWO: Mapping[str, Callable[[BaseGeometry, BaseGeometry], Any]] = {
    "intersects": shapely.intersects,
    "disjoint": shapely.disjoint,
    "contains": shapely.covers,
    "containedIn": shapely.covered_by,
    "intersection": shapely.intersection,
    "union": shapely.union,
    "difference": shapely.difference,
    "symmetricDifference": shapely.symmetric_difference,
}
for _name, _compute in ONE.items():
    add(f"Geometry.{_name}", _in_lonlat(_compute))
for _name, _compare in TWO.items():
    add(f"Geometry.{_name}", _both(_compare))

add("Geometry.coordinates", lambda geometry: geometry_json(geometry).get("coordinates", []))
add("Geometry.type", lambda geometry: geometry.shape.geom_type)
add("Geometry.geodesic", lambda geometry: geometry.geodesic)
add("Geometry.edgesAreGeodesics", lambda geometry: geometry.geodesic)
add("Geometry.projection", lambda geometry: replace(LONLAT, crs=geometry.crs))
add("Geometry.isUnbounded", lambda geometry: geometry.crs == WGS84 and geometry.shape.equals(UNBOUNDED.shape))


@function("Geometry.geometries")
def geometries(geometry: Geometry) -> list[Geometry]:
    """List the parts of a geometry."""
    return [replace(geometry, shape=part) for part in getattr(geometry.shape, "geoms", [geometry.shape])]

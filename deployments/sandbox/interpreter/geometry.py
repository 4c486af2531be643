"""Geometries and features.

Distances are those of an azimuthal map around the geometry, areas and lengths those of the WGS 84 ellipsoid.
Edges are straight in the geometry's CRS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import shapely
from pyproj import Geod
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from deployments.sandbox.interpreter.masks import lonlat_shape, reprojected
from deployments.sandbox.interpreter.metadata import UNBOUNDED
from deployments.sandbox.interpreter.projections import LONLAT
from deployments.sandbox.interpreter.registry import add, function
from deployments.sandbox.interpreter.values import WGS84, ErrorMargin, Feature, Geometry, ring_box
from deployments.sandbox.raster import Image, Projection
from deployments.sandbox.refusal import Refusal

GEOD = Geod(ellps="WGS84")


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
    sound = found if found.is_valid or not found.area else shapely.make_valid(found)
    return Geometry(sound, crs, geodesic if geodesic is not None else crs == WGS84)


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
    return Geometry(shapely.GeometryCollection([lonlat_shape(g) for g in geometries]))


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
    """Make a box of longitudes and latitudes; one that passes the antimeridian is two boxes."""
    if south > north:
        raise Refusal(f"GeometryConstructors.BBox: south ({south}) must not be above north ({north}).")
    if west <= east:
        return Geometry(ring_box(west, south, east, north), geodesic=False)
    parts = [ring_box(west, south, 180, north), ring_box(-180, south, east, north)]
    return Geometry(shapely.MultiPolygon(parts), geodesic=False)


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


def _around(geometry: Geometry) -> str:
    """Return a map in metres around the middle of a geometry."""
    middle = shapely.box(*lonlat_shape(geometry).bounds).centroid
    return f"+proj=aeqd +lat_0={middle.y!r} +lon_0={middle.x!r} +datum=WGS84 +units=m"


def _check(geometry: Geometry, where: str) -> Geometry:
    if geometry.shape.is_empty:
        raise Refusal(f"{where}: The geometry is empty.")
    return geometry


@function("Geometry.buffer")
def buffer(geometry: Geometry, distance: float) -> Geometry:
    """Widen a geometry by metres."""
    here = _around(_check(geometry, "Geometry.buffer"))
    wide = shapely.buffer(reprojected(geometry, here), distance, quad_segs=16)
    return Geometry(reprojected(Geometry(wide, here), WGS84))


@function("Geometry.distance")
def distance(left: Geometry, right: Geometry) -> float:
    """Return the least distance of two geometries in metres."""
    both = Geometry(shapely.GeometryCollection([lonlat_shape(left), lonlat_shape(right)]))
    here = _around(_check(both, "Geometry.distance"))
    return float(shapely.distance(reprojected(left, here), reprojected(right, here)))


@function("Geometry.area")
def area(geometry: Geometry) -> float:
    """Return the area in square metres on the ellipsoid."""
    return abs(float(GEOD.geometry_area_perimeter(shapely.force_2d(lonlat_shape(geometry)))[0]))


def _lines(found: BaseGeometry) -> float:
    return float(GEOD.geometry_length(found))


@function("Geometry.length")
def length(geometry: Geometry) -> float:
    """Return the length of lines in metres; areas have none."""
    found = lonlat_shape(geometry)
    return _lines(found) if found.length and not found.area else 0.0


@function("Geometry.perimeter")
def perimeter(geometry: Geometry) -> float:
    """Return the length of the edges of areas in metres; lines have none."""
    found = lonlat_shape(geometry)
    return _lines(found.boundary) if found.area else 0.0


@function("Geometry.transform")
def transform(geometry: Geometry, projection: Projection | Mapping[str, Any] | None) -> Geometry:
    """Return a geometry in another CRS."""
    crs = WGS84 if not isinstance(projection, Projection) else projection.crs
    return geometry if crs == geometry.crs else Geometry(reprojected(geometry, crs), crs, geodesic=crs == WGS84)


def _in_lonlat(compute: Callable[..., BaseGeometry]) -> Callable[..., Geometry]:
    """Return a function of one geometry that is computed in longitude and latitude."""
    return lambda geometry: Geometry(compute(lonlat_shape(_check(geometry, "Geometry"))))


def _both(compute: Callable[[BaseGeometry, BaseGeometry], Any]) -> Callable[[Geometry, Geometry], Any]:
    """Return a function of two geometries that is computed in longitude and latitude."""

    def apply(left: Geometry, right: Geometry) -> Any:
        found = compute(lonlat_shape(left), lonlat_shape(right))
        return Geometry(found) if isinstance(found, BaseGeometry) else bool(found)

    return apply


@function("Geometry.bounds")
def bounds(geometry: Geometry, _error: Any, projection: Projection | None) -> Geometry:
    """Return the box around a geometry, in longitude and latitude or another CRS."""
    moved = transform(_check(geometry, "Geometry.bounds"), projection or LONLAT)
    return Geometry(ring_box(*moved.shape.bounds), moved.crs, geodesic=False)


ONE: Mapping[str, Callable[[BaseGeometry], BaseGeometry]] = {
    "centroid": shapely.centroid,
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


@function("Feature")
def feature(geometry: Geometry | None, metadata: dict[str, Any] | None) -> Feature:
    """Make a feature of a geometry and properties."""
    return Feature(geometry=geometry, properties=metadata or {})


def _element_shape(element: Any, where: str) -> Geometry:
    if isinstance(element, Feature) and element.geometry is not None:
        return element.geometry
    if isinstance(element, Image) and element.footprint is not None:
        return Geometry(element.footprint)
    raise Refusal(f"{where}: The element has no geometry.")


def _of_feature(name: str, compute: Callable[[Geometry], Geometry]) -> Callable[[Any], Feature]:
    """Return a function of a feature's geometry that keeps the feature's properties."""

    def apply(element: Any) -> Feature:
        return Feature(geometry=compute(_element_shape(element, name)), properties=element.properties)

    return apply


@function("Feature.area")
def feature_area(element: Any) -> float:
    """Return the area of an element in square metres."""
    return area(_element_shape(element, "Feature.area"))


@function("Feature.buffer")
def feature_buffer(element: Any, metres: float) -> Feature:
    """Widen the geometry of a feature by metres."""
    return _of_feature("Feature.buffer", lambda geometry: buffer(geometry, metres))(element)


add("Feature.bounds", _of_feature("Feature.bounds", lambda geometry: bounds(geometry, None, None)))
add("Feature.centroid", _of_feature("Feature.centroid", _in_lonlat(shapely.centroid)))


@function("Feature.intersects")
def feature_intersects(left: Any, right: Any) -> bool:
    """Return whether two elements share a point."""
    shapes = [lonlat_shape(_element_shape(side, "Feature.intersects")) for side in (left, right)]
    return bool(shapes[0].intersects(shapes[1]))

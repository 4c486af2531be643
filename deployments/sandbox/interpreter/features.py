"""Features: geometries with properties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deployments.sandbox.interpreter import measures
from deployments.sandbox.interpreter.edges import lonlat_shape
from deployments.sandbox.interpreter.geometry import bounds, buffer, centroid, distance
from deployments.sandbox.interpreter.metadata import INDEX, chosen
from deployments.sandbox.interpreter.registry import add, function
from deployments.sandbox.interpreter.values import Feature, Geometry
from deployments.sandbox.raster import Image
from deployments.sandbox.refusal import Refusal


@function("Feature")
def feature(geometry: Geometry | None, metadata: dict[str, Any] | None) -> Feature:
    """Make a feature of a geometry and properties."""
    return Feature(geometry=geometry, properties=metadata or {})


def _element_shape(element: Any, where: str) -> Geometry:
    if isinstance(element, Feature) and element.geometry is not None:
        return element.geometry
    if isinstance(element, Image) and element.footprint is not None:
        return Geometry(element.footprint, geodesic=False)
    raise Refusal(f"{where}: The element has no geometry.")


def _of_feature(name: str, compute: Callable[[Geometry], Geometry]) -> Callable[[Any], Feature]:
    """Return a function of a feature's geometry that keeps the feature's properties."""

    def apply(element: Any) -> Feature:
        return Feature(geometry=compute(_element_shape(element, name)), properties=element.properties)

    return apply


@function("Feature.area")
def feature_area(element: Any) -> float:
    """Return the area of an element in square metres."""
    return measures.area(_element_shape(element, "Feature.area"))


@function("Feature.buffer")
def feature_buffer(element: Any, metres: float) -> Feature:
    """Widen the geometry of a feature by metres."""
    return _of_feature("Feature.buffer", lambda geometry: buffer(geometry, metres))(element)


@function("Feature.select")
def feature_select(element: Any, selectors: list[str], names: list[str] | None, keep_geometry: bool | None) -> Feature:
    """Keep some properties of a feature, chosen by name or regular expression, and perhaps rename them."""
    if not isinstance(element, Feature):
        raise Refusal("Feature.select: the sandbox supports features only.")
    found = chosen(element.properties, selectors)
    if names is not None and len(names) != len(found):
        raise Refusal(f"Feature.select: {len(names)} new names are given for {len(found)} properties.")
    kept = {new: element.properties[old] for new, old in zip(names or found, found, strict=True)}
    index = {INDEX: element.properties[INDEX]} if INDEX in element.properties else {}
    return Feature(geometry=None if keep_geometry is False else element.geometry, properties=index | kept)


add("Feature.bounds", _of_feature("Feature.bounds", lambda geometry: bounds(geometry, None, None)))
add("Feature.centroid", _of_feature("Feature.centroid", centroid))
add("Feature.length", lambda element: measures.length(_element_shape(element, "Feature.length")))
add("Feature.perimeter", lambda element: measures.perimeter(_element_shape(element, "Feature.perimeter")))


@function("Feature.distance")
def feature_distance(left: Any, right: Any) -> float:
    """Return the least distance of two elements in metres."""
    where = "Feature.distance"
    return distance(_element_shape(left, where), _element_shape(right, where))


@function("Feature.intersects")
def feature_intersects(left: Any, right: Any) -> bool:
    """Return whether two elements share a point."""
    shapes = [lonlat_shape(_element_shape(side, "Feature.intersects")) for side in (left, right)]
    return bool(shapes[0].intersects(shapes[1]))

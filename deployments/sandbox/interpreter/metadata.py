"""What an element says of itself: properties, index, footprint, date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import shapely

from deployments.sandbox.interpreter.dates import parse_date
from deployments.sandbox.interpreter.patterns import pattern
from deployments.sandbox.interpreter.registry import function
from deployments.sandbox.interpreter.values import Collection, Date, Feature, Geometry, ring_box, with_properties
from deployments.sandbox.raster import Band, Image
from deployments.sandbox.refusal import Refusal

INDEX = "system:index"
START = "system:time_start"
UNBOUNDED = Geometry(ring_box(-180, -90, 180, 90), geodesic=False)


def kept(a: Image, b: Image | None, bands: tuple[Band, ...], *, properties: bool = False) -> Image:
    """Return a computed image with what it keeps of its inputs.

    Of metadata that is the index alone, unless ``properties``; the footprint is the one of ``a``, within
    the one of ``b`` if there is one.
    """
    footprint = a.footprint
    if b is not None and b.footprint is not None:
        footprint = b.footprint if footprint is None else footprint.intersection(b.footprint)
    held = dict(a.properties) if properties else {k: a.properties[k] for k in (INDEX,) if k in a.properties}
    return Image(bands=bands, properties=held, footprint=footprint)


def property_of(element: Any, name: str) -> Any:
    """Return a property of an element, or None: also id, version and footprint by their system names."""
    if name in element.properties:
        return element.properties[name]
    if name == ".geo" and isinstance(element, Feature):
        return element.geometry
    if name in {"system:id", "id"} and isinstance(element, Image | Collection):
        return element.id
    if name in {"system:version", "version"} and isinstance(element, Image | Collection):
        return element.version
    if name == "system:footprint" and isinstance(element, Image) and element.footprint is not None:
        outline = element.footprint
        # A ring, as Earth Engine has it: its coordinates are points.
        ring = isinstance(outline, shapely.Polygon) and not outline.is_empty and not outline.interiors
        return Geometry(shapely.LinearRing(outline.exterior) if ring else outline)
    return None


def start_of(element: Any) -> Date | None:
    """Return when an element began, if it says so."""
    value = property_of(element, START)
    return None if value is None else parse_date(value)


@function("Element.get")
def get(element: Any, name: str) -> Any:
    """Return a property, null if there is none."""
    return property_of(element, name)


def _typed(function_name: str, element: Any, name: str, kinds: tuple[type, ...], wanted: str) -> Any:
    value = property_of(element, name)
    if value is not None and not isinstance(value, kinds):
        raise Refusal(f"{function_name}: Property '{name}' is no {wanted}: {value}.")
    return value


@function("Element.getNumber")
def get_number(element: Any, name: str) -> Any:
    """Return a property that must be a number."""
    return _typed("Element.getNumber", element, name, (int, float), "Number")


@function("Element.getString")
def get_string(element: Any, name: str) -> Any:
    """Return a property that must be a string."""
    return _typed("Element.getString", element, name, (str,), "String")


@function("Element.set")
def set_property(element: Any, name: str, value: Any) -> Any:
    """Set a property; null removes it."""
    rest = {k: v for k, v in element.properties.items() if k != name}
    return with_properties(element, rest if value is None else rest | {name: value})


@function("Element.setMulti")
def set_properties(element: Any, properties: Mapping[str, Any]) -> Any:
    """Set several properties."""
    return with_properties(element, {**element.properties, **properties})


@function("Element.propertyNames")
def property_names(element: Any) -> list[str]:
    """List the names of properties; images have their bands listed too."""
    names = sorted(element.properties)
    if isinstance(element, Image):
        names += [name for name in ("system:id", "system:version") if property_of(element, name) is not None]
        names += ["system:footprint"] if element.footprint is not None else []
        names.append("system:bands")
        names.append("system:band_names")
    return names


def chosen(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Return the names that one of the patterns matches wholly."""
    compiled = [pattern(text) for text in patterns]
    return [name for name in names if any(p.on(name).fullmatch(name) for p in compiled)]


@function("Element.toDictionary")
def to_dictionary(element: Any, names: list[str] | None) -> dict[str, Any]:
    """Return properties as a dictionary, without system properties unless they are named."""
    if names is None:
        return {k: v for k, v in element.properties.items() if not k.startswith("system:")}
    return {name: element.properties[name] for name in chosen(element.properties, names)}


@function("Element.copyProperties", "Image.copyProperties")
def copy_properties(destination: Any, source: Any, names: list[str] | None, exclude: list[str] | None) -> Any:
    """Copy properties: those that are named, or all but the system's and the excluded ones."""
    if destination is None or source is None:
        return destination
    if names is None:
        picked = [name for name in source.properties if not name.startswith("system:")]
    else:
        picked = [name for name in names if name in source.properties] or chosen(source.properties, names)
    left_out = set(chosen(picked, exclude or []))
    copied = {name: source.properties[name] for name in picked if name not in left_out}
    return with_properties(destination, {**destination.properties, **copied})


@function("Element.replaceProperties")
def replace_properties(destination: Any, source: Any) -> Any:
    """Give an element the properties of another, and keep its own index."""
    own = {k: v for k, v in destination.properties.items() if k == INDEX}
    return with_properties(destination, {**(source.properties if source is not None else {}), **own})


@function("Image.id", "Feature.id")
def element_id(element: Any) -> Any:
    """Return the id without its collection: the index, else the last part of the id."""
    index = property_of(element, INDEX)
    if index is not None:
        return index
    return element.id.rsplit("/", 1)[-1] if isinstance(element, Image) and element.id else None


@function("Image.date")
def date(image: Image) -> Date:
    """Return when an image was taken."""
    found = start_of(image)
    if found is None:
        raise Refusal("Image.date: Image has no 'system:time_start' property.")
    return found


@function("Element.geometry", "Image.geometry", "Feature.geometry")
def geometry(element: Any) -> Geometry | None:
    """Return the geometry of a feature, or the footprint of an image; the whole world if it has no end."""
    if isinstance(element, Feature):
        return element.geometry
    if isinstance(element, Image) and element.footprint is not None:
        return Geometry(element.footprint, geodesic=False)
    return UNBOUNDED


@function("Feature.setGeometry")
def set_geometry(feature: Any, shape: Geometry | None) -> Any:
    """Give a feature another geometry."""
    if not isinstance(feature, Feature):
        raise Refusal("Feature.setGeometry: Only features can be given a geometry.")
    return replace(feature, geometry=shape)

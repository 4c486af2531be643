"""What distinguishes the area of a job from others: its label, or the name or the place of its region or points."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from flows.parameters import ArealParameters, ExtractionParameters, PatchesParameters

NAMES = ("name", "title", "label", "id")
"""Properties that name a feature, the first of them first."""


def area_of(parameters: ExtractionParameters) -> str:
    """Return the label of a job, or else the file, the property or the place of its region or points.

    It is empty if there is nothing, such as for a whole asset.

    >>> from flows.parameters import RegionParameters
    >>> area_of(RegionParameters(image="a/b", scale=30, region=[-54.66, -25.42, -54.54, -25.10]))
    '25.26S 54.60W'
    """
    if name := called(parameters):
        return name
    given = _given(parameters)
    if isinstance(given, Mapping):
        return _place_of(given)
    if isinstance(given, list) and len(given) == 4:
        west, south, east, north = given
        return _place((west + (east + 360 if west > east else east)) / 2, (south + north) / 2)
    return ""


def called(parameters: ExtractionParameters) -> str:
    """Return what the user calls the area: the label, the file or the property; empty if it has no name."""
    given = _given(parameters)
    if parameters.label:
        return parameters.label
    if isinstance(given, str):
        return PurePath(given).name.split(".")[0]
    return _name_of(given) if isinstance(given, Mapping) else ""


def _given(parameters: ExtractionParameters) -> Any:
    if isinstance(parameters, ArealParameters):
        return parameters.region
    return parameters.points if isinstance(parameters, PatchesParameters) else None


def first_name(parameters: ExtractionParameters) -> str:
    """Return the first name of a run, from its parameters alone: `region itaipu sentinel2_median utm 20`."""
    kind = type(parameters).__name__.removesuffix("Parameters").lower()
    image = parameters.image.model_dump()
    source = image.get("asset") or image.get("recipe") or image.get("name")
    scale = f"{parameters.scale:g}" if parameters.scale else ""
    return " ".join(filter(None, (kind, area_of(parameters), source, parameters.crs, scale)))


def _name_of(geojson: Mapping[str, Any]) -> str:
    """Return the name of the only feature."""
    features = geojson.get("features") if geojson.get("type") == "FeatureCollection" else [geojson]
    if not isinstance(features, list) or len(features) != 1 or not isinstance(features[0], Mapping):
        return ""
    properties = features[0].get("properties")
    named = {**(properties if isinstance(properties, Mapping) else {})}
    values = (named.get(name, features[0].get("id")) for name in NAMES)
    return next((str(value) for value in values if isinstance(value, str | int) and value != ""), "")


def _place_of(geojson: Mapping[str, Any]) -> str:
    """Return the centre of GeoJSON."""
    from shapely import box, total_bounds
    from shapely.geometry import shape

    features = geojson.get("features") if geojson.get("type") == "FeatureCollection" else [geojson]
    with contextlib.suppress(Exception):  # what is no GeoJSON is refused later
        shapes = [shape(each.get("geometry", each)) for each in features or ()]
        centre = box(*total_bounds(shapes)).centroid
        return _place(centre.x, centre.y)
    return ""


def _place(longitude: float, latitude: float) -> str:
    longitude = (longitude + 180) % 360 - 180
    return f"{abs(latitude):.2f}{'S' if latitude < 0 else 'N'} {abs(longitude):.2f}{'W' if longitude < 0 else 'E'}"

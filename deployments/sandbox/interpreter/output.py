"""Values as the JSON that ``getInfo`` returns."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from shapely.geometry import mapping

from deployments.sandbox.interpreter.budget import LARGEST, weight
from deployments.sandbox.interpreter.coercion import type_name
from deployments.sandbox.interpreter.geometry import geometry_json, plain
from deployments.sandbox.interpreter.metadata import INDEX
from deployments.sandbox.interpreter.pixeltypes import type_json
from deployments.sandbox.interpreter.projections import projection_json
from deployments.sandbox.interpreter.values import Collection, Date, DateRange, ErrorMargin, Feature, Geometry
from deployments.sandbox.raster import Band, DataType, Image, Projection
from deployments.sandbox.refusal import Refusal

LONGEST = 5000
"""Elements of a collection that are shown. Source: developers.google.com/earth-engine/guides/debugging."""


def _band(band: Band) -> dict[str, Any]:
    info: dict[str, Any] = {"id": band.id, "data_type": _json(band.type)}
    if band.dimensions is not None:
        info["dimensions"] = list(band.dimensions)
    if any(band.origin):
        info["origin"] = list(band.origin)
    return info | {"crs": band.projection.crs, "crs_transform": list(band.projection.transform)[:6]}


def _image(image: Image) -> dict[str, Any]:
    info: dict[str, Any] = {"type": "Image", "bands": [_band(band) for band in image.bands]}
    if image.id is not None:
        info["id"] = image.id
    if image.version is not None:
        info["version"] = image.version
    properties = _object(image.properties)
    outline = image.footprint
    if image.id is not None and outline is not None and outline.geom_type == "Polygon" and not outline.is_empty:
        ring = plain(mapping(outline)["coordinates"][0])
        properties["system:footprint"] = {"type": "LinearRing", "coordinates": ring}
    return info | ({"properties": properties} if properties else {})


def _feature(feature: Feature) -> dict[str, Any]:
    geometry = None if feature.geometry is None else geometry_json(feature.geometry)
    info: dict[str, Any] = {"type": "Feature", "geometry": geometry}
    index = feature.properties.get(INDEX)
    if index is not None:
        info["id"] = index
    return info | {"properties": _object({k: v for k, v in feature.properties.items() if k != INDEX})}


def _collection(collection: Collection) -> dict[str, Any]:
    if len(collection.elements) > LONGEST:
        raise Refusal(f"Collection query aborted after accumulating over {LONGEST} elements.")
    info: dict[str, Any] = {"type": collection.kind}
    if collection.id is not None:
        info["id"] = collection.id
    if collection.version is not None:
        info["version"] = collection.version
    if collection.kind == "ImageCollection":
        info["bands"] = []
    else:
        info["columns"] = _columns(collection)
    if collection.properties:
        info["properties"] = _object(collection.properties)
    return info | {"features": [_json(element) for element in collection.elements]}


def _columns(collection: Collection) -> dict[str, str]:
    first = collection.elements[0] if collection.elements else None
    if not isinstance(first, Feature):
        return {}
    names = {int: "Long", float: "Float", str: "String"}
    found = {k: names.get(type(v), "Object") for k, v in first.properties.items() if k != INDEX}
    return found | {INDEX: "String"}


def _object(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): _json(value) for key, value in values.items()}


def _date_range(value: DateRange) -> dict[str, Any]:
    if value.start is None or value.end is None:
        raise Refusal("DateRange: the sandbox does not support showing a range without a start or an end.")
    return {"type": "DateRange", "dates": [value.start.millis, value.end.millis]}


def _number(value: float) -> int | float | str:
    if isinstance(value, float) and not math.isfinite(value):
        # JSON has no such numbers; proto-JSON writes them as strings.
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def to_json(value: Any) -> Any:
    """Return a value as JSON, in the shape that the client's ``getInfo`` expects.

    Args:
        value: What ``evaluate`` returned.

    Returns:
        Dictionaries, lists, strings, numbers, booleans and None only; no NaN or infinity.

    Raises:
        Refusal: 400, a value that has no JSON, such as a reducer or a filter, or one that is too large.
    """
    if weight(value, deep=True) > LARGEST:
        raise Refusal("Computed value is too large.")
    return _json(value)


def _json(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        return _json(value.item())
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return [_json(part) for part in value]
    if isinstance(value, Mapping):
        return _object(value)
    for kind, convert in CONVERTERS.items():
        if isinstance(value, kind):
            return convert(value)
    raise Refusal(f"Invalid result type: the sandbox does not support showing a {type_name(value)}.")


CONVERTERS: Mapping[type, Any] = {
    Image: _image,
    Feature: _feature,
    Collection: _collection,
    Geometry: geometry_json,
    Date: lambda value: {"type": "Date", "value": value.millis},
    DateRange: _date_range,
    ErrorMargin: lambda value: {"type": "ErrorMargin", "value": value.value, "unit": value.unit},
    Projection: projection_json,
    DataType: lambda value: _object(type_json(value)),
    bytes: lambda value: base64.b64encode(value).decode(),
}

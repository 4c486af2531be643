"""From what an argument is to what the signature asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import shapely

from deployments.sandbox.interpreter.dates import parse_date
from deployments.sandbox.interpreter.edges import lonlat_shape, made_of
from deployments.sandbox.interpreter.pixels import constant_band
from deployments.sandbox.interpreter.pixeltypes import pixel_type
from deployments.sandbox.interpreter.projections import projection_of
from deployments.sandbox.interpreter.promotion import constant_type
from deployments.sandbox.interpreter.values import (
    Algorithm,
    Collection,
    Date,
    DateRange,
    ErrorMargin,
    Feature,
    Filter,
    Geometry,
    Reducer,
)
from deployments.sandbox.raster import DataType, Image, Projection
from deployments.sandbox.refusal import Refusal

TYPE_NAMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (Image, "Image"),
    (Feature, "Feature"),
    (Geometry, "Geometry"),
    (Date, "Date"),
    (DateRange, "DateRange"),
    (ErrorMargin, "ErrorMargin"),
    (Filter, "Filter"),
    (Reducer, "Reducer"),
    (Algorithm, "Algorithm"),
    (Projection, "Projection"),
    (DataType, "PixelType"),
    (bool, "Boolean"),
    (int, "Integer"),
    (float, "Float"),
    (str, "String"),
    (list, "List"),
    (dict, "Dictionary"),
)


def type_name(value: Any) -> str:
    """Return what Earth Engine calls the type of a value."""
    if isinstance(value, Collection):
        return value.kind
    return next((name for kind, name in TYPE_NAMES if isinstance(value, kind)), "Null")


def constant_image(value: Any) -> Image:
    """Return an image of one constant, or of a band for each constant of a list.

    Raises:
        Refusal: 400, not made of numbers.
    """
    numbers = value if isinstance(value, list) else [value]
    bands = []
    for position, number in enumerate(numbers):
        if not isinstance(number, int | float):
            raise Refusal(
                f"Image.constant: Parameter 'value' must be a number or list of numbers, got {type_name(number)}."
            )
        plain = _number(number)
        if plain is None:
            raise Refusal("Image.constant: Parameter 'value' is too large.")
        name = "constant" if position == 0 else f"constant_{position}"
        bands.append(constant_band(plain, constant_type(plain), name))
    return Image(bands=tuple(bands))


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value if isinstance(value, float) or _in_64_bits(value) else _double(value)
    return None


def _in_64_bits(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _double(value: int) -> float | None:
    """Return an integer that 64 bits do not hold as the double that JSON has for it, None if it has none."""
    try:
        return float(value)
    except OverflowError:
        return None


def _integer(value: Any) -> Any:
    number = _number(value)
    if number is None or not float(number).is_integer():
        return None
    return int(number) if _in_64_bits(int(number)) else None


def _string(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _boolean(value: Any) -> Any:
    return bool(value) if isinstance(value, int | float | str) else None


def _list(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else None


def _dictionary(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return dict(value.properties) if isinstance(value, Image | Feature) else None


def _image(value: Any) -> Any:
    if isinstance(value, Image):
        return value
    if isinstance(value, int | float | list):
        return constant_image(value)
    return None


def _collection(value: Any) -> Any:
    if isinstance(value, Collection):
        return value
    if isinstance(value, Image):
        return Collection(elements=(value,))
    if isinstance(value, Feature):
        return Collection(elements=(value,), kind="FeatureCollection")
    return None


def _images(value: Any) -> Any:
    found = _collection(value)
    return found if found is not None and all(isinstance(e, Image) for e in found.elements) else None


def _element(value: Any) -> Any:
    return value if isinstance(value, Image | Feature | Collection) else None


def _geometry(value: Any) -> Any:
    if isinstance(value, Geometry):
        return value
    if isinstance(value, Feature):
        return value.geometry
    if isinstance(value, Image):
        return Geometry(value.footprint, geodesic=False) if value.footprint is not None else None
    if isinstance(value, Collection):
        parts = [g for e in value.elements if (g := _geometry(e)) is not None]
        return made_of(shapely.union_all([lonlat_shape(g) for g in parts]), *parts) if parts else None
    return None


def _feature(value: Any) -> Any:
    if isinstance(value, Geometry):
        return Feature(geometry=value)
    return value if isinstance(value, Feature | Image) else None


def _date(value: Any) -> Any:
    if isinstance(value, bool):
        return None
    return parse_date(value) if isinstance(value, Date | int | float | str) else None


def _error_margin(value: Any) -> Any:
    if isinstance(value, ErrorMargin):
        return value
    number = _number(value)
    return None if number is None else ErrorMargin(number, "meters")


def _exactly(kind: type) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, kind) else None


COERCIONS: Mapping[str, Callable[[Any], Any]] = {
    "Image": _image,
    "ImageCollection": _images,
    "FeatureCollection": _collection,
    "Element": _element,
    "Feature": _feature,
    "Geometry": _geometry,
    "Number": _number,
    "Float": _number,
    "Integer": _integer,
    "Long": _integer,
    "String": _string,
    "Boolean": _boolean,
    "List": _list,
    "Dictionary": _dictionary,
    "Date": _date,
    "DateRange": _exactly(DateRange),
    "ErrorMargin": _error_margin,
    "Filter": _exactly(Filter),
    "Reducer": _exactly(Reducer),
    "Algorithm": _exactly(Algorithm),
    "Projection": lambda value: projection_of(value) if isinstance(value, str | Projection | Mapping) else None,
    "PixelType": lambda value: pixel_type(value) if isinstance(value, str | DataType | Mapping) else None,
}


def coerce(value: Any, type_text: str, where: str) -> Any:
    """Return a value as the type that a signature names, such as ``List<Filter>``.

    Args:
        value: Anything; null is of no type.
        type_text: As in the list of algorithms; ``Object`` and unknown names take anything.
        where: Function and argument, for the message.

    Raises:
        Refusal: 400, the value cannot be seen as that type.
    """
    match = re.match(r"(\w+)(?:<(.*)>)?$", type_text)
    name, inner = (match.group(1), match.group(2)) if match else (type_text, None)
    rule = COERCIONS.get(name)
    if rule is None:
        return value
    found = rule(value)
    if found is None:
        raise Refusal(f"{where}: Invalid type.\nExpected type: {type_text}.\nActual type: {type_name(value)}.")
    if inner is not None and inner in COERCIONS and isinstance(found, list):
        return [coerce(part, inner, where) for part in found]
    return found

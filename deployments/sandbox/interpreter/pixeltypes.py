"""Pixel types by name and as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.sandbox.raster import (
    DOUBLE,
    FLOAT,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    DataType,
)
from deployments.sandbox.refusal import Refusal

NAMED: Mapping[str, DataType] = {
    "uint8": UINT8,
    "byte": UINT8,
    "int8": INT8,
    "uint16": UINT16,
    "int16": INT16,
    "short": INT16,
    "uint32": UINT32,
    "int32": INT32,
    "int": INT32,
    "int64": INT64,
    "long": INT64,
    "float": FLOAT,
    "double": DOUBLE,
}


def pixel_type(value: Any) -> DataType:
    """Return the type of a name such as ``int8``, or of a PixelType as JSON.

    Raises:
        Refusal: 400, no such type.
    """
    if isinstance(value, DataType):
        return value
    if isinstance(value, str) and value in NAMED:
        return NAMED[value]
    if isinstance(value, Mapping) and str(value.get("precision", "")).upper() in {"INT", "FLOAT", "DOUBLE"}:
        precision = str(value["precision"]).upper()
        default = NAMED["int64"] if precision == "INT" else NAMED[precision.lower()]
        return DataType(
            precision=default.precision,
            min=value.get("min", default.min),
            max=value.get("max", default.max),
        )
    raise Refusal(f"PixelType: Unknown pixel type '{value}'. Types: [{', '.join(NAMED)}].")


def type_json(data_type: DataType) -> dict[str, Any]:
    """Return a PixelType as ``getInfo`` shows it."""
    info: dict[str, Any] = {"type": "PixelType", "precision": data_type.precision.lower()}
    if data_type.min is not None and data_type.max is not None:
        info |= {"min": data_type.min, "max": data_type.max}
    return info

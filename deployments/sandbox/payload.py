"""The payload of a request: JSON checked against the fields that Earth Engine knows, as strictly as Google's server.

Google's front end turns JSON into protocol buffers before Earth Engine sees it. Unknown names and values of the
wrong type are refused there, with texts that name the field in snake case:
``Invalid JSON payload received. Unknown name "origin" at 'grid': Cannot find field.`` (OSGeo/gdal#805) and
``Invalid value at 'file_format' (type.googleapis.com/google.earthengine.v1.ImageFileFormat), "NUMPY_NDARRAY"``
(google/Xee#55).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from deployments.sandbox.refusal import Refusal

LARGEST = 10_485_760
"""Bytes of the largest payload (10 MB, Google's doc page "Usage quotas and limits")."""

FORMATS = (
    "IMAGE_FILE_FORMAT_UNSPECIFIED",
    "JPEG",
    "PNG",
    "AUTO_JPEG_PNG",
    "NPY",
    "GEO_TIFF",
    "TF_RECORD_IMAGE",
    "ZIPPED_GEO_TIFF",
    "ZIPPED_GEO_TIFF_PER_BAND",
)
"""The enum on Google's doc page ImageFileFormat."""

_PACKAGE = "type.googleapis.com/google.earthengine.v1"


@dataclass(frozen=True)
class Message:
    """A protocol buffer message: the fields it has, and what each may hold."""

    name: str
    fields: Mapping[str, Kind]


@dataclass(frozen=True)
class Repeated:
    """A list of one kind."""

    of: Kind


@dataclass(frozen=True)
class Enum:
    """One of some words."""

    name: str
    words: tuple[str, ...]


Scalar = Literal["STRING", "INT32", "DOUBLE", "DOUBLE_VALUE", "STRUCT"]
Kind = Scalar | Message | Repeated | Enum

_GRID = Message(
    "PixelGrid",
    {
        "dimensions": Message("GridDimensions", {"width": "INT32", "height": "INT32"}),
        "affineTransform": Message(
            "AffineTransform",
            dict.fromkeys(("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY"), "DOUBLE"),
        ),
        "crsCode": "STRING",
        "crsWkt": "STRING",
    },
)
_VISUALIZATION = Message(
    "VisualizationOptions",
    {
        "ranges": Repeated(Message("DoubleRange", {"min": "DOUBLE", "max": "DOUBLE"})),
        "paletteColors": Repeated("STRING"),
        "gamma": "DOUBLE_VALUE",  # a number in the docs, {"value": number} from the client's own helper
        "opacity": "DOUBLE_VALUE",
    },
)
_EXPRESSION = Message("Expression", {"result": "STRING", "values": "STRUCT"})
_PIXELS: dict[str, Kind] = {
    "fileFormat": Enum("ImageFileFormat", FORMATS),
    "grid": _GRID,
    "bandIds": Repeated("STRING"),
    "visualizationOptions": _VISUALIZATION,
    "workloadTag": "STRING",
}
GET_PIXELS = Message("GetPixelsRequest", _PIXELS | {"region": "STRUCT"})
COMPUTE_PIXELS = Message("ComputePixelsRequest", _PIXELS | {"expression": _EXPRESSION})
COMPUTE_VALUE = Message("ComputeValueRequest", {"expression": _EXPRESSION, "workloadTag": "STRING"})


def parse(body: bytes, message: Message) -> dict[str, Any]:
    """Return the fields of a body, each of the type that the message says. Absent and null fields are left out.

    Args:
        body: JSON.
        message: What it should be.

    Raises:
        Refusal: 400, in Google's words, with one line for every unknown name.
    """
    if len(body) > LARGEST:
        raise Refusal(f"Request payload size exceeds the limit: {LARGEST} bytes.")
    try:
        payload = json.loads(body or b"{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"Invalid JSON payload received. {error}") from error
    if not isinstance(payload, dict):
        raise Refusal("Invalid JSON payload received. Root element must be a message.")
    unknown: list[str] = []
    fields = _message(payload, message, "", unknown)
    if unknown:
        raise Refusal("\n".join(unknown))
    return fields


def _refuse_constant(text: str) -> NoReturn:
    """``NaN`` and ``Infinity`` are no JSON, though Python reads them."""
    raise ValueError(f"Unexpected token: {text}")


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name)


def _message(value: Any, message: Message, path: str, unknown: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        _invalid(value, path, f"{_PACKAGE}.{message.name}")
    place = f" at '{path}'" if path else ""
    fields: dict[str, Any] = {}
    for name, held in value.items():
        kind = message.fields.get(name)
        if kind is None:
            unknown.append(f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.')
        elif held is not None:
            fields[name] = _value(held, kind, f"{path}.{_snake(name)}".lstrip("."), unknown)
    return fields


def _value(value: Any, kind: Kind, path: str, unknown: list[str]) -> Any:
    if isinstance(kind, Message):
        return _message(value, kind, path, unknown)
    if isinstance(kind, Repeated):
        if not isinstance(value, list):
            _invalid(value, path, "repeated field")
        return [_value(item, kind.of, f"{path}[{i}]", unknown) for i, item in enumerate(value)]
    if isinstance(kind, Enum):
        if not isinstance(value, str) or value not in kind.words:
            _invalid(value, path, f"{_PACKAGE}.{kind.name}")
        return value
    return _scalar(value, kind, path)


def _scalar(value: Any, kind: Scalar, path: str) -> Any:
    if kind == "STRUCT":
        return value if isinstance(value, dict) else _invalid(value, path, "type.googleapis.com/google.protobuf.Struct")
    if kind == "STRING":
        return value if isinstance(value, str) else _invalid(value, path, "TYPE_STRING")
    if kind == "DOUBLE_VALUE" and isinstance(value, dict) and set(value) == {"value"}:
        value = value["value"]
    # Proto-JSON takes numbers in quotes, and booleans for no number.
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        _invalid(value, path, f"TYPE_{kind}")
    if not math.isfinite(number):
        _invalid(value, path, f"TYPE_{kind}")
    if kind == "INT32":
        if not number.is_integer() or not -(2**31) <= number < 2**31:
            _invalid(value, path, "TYPE_INT32")
        return int(number)
    return number


def _invalid(value: Any, path: str, kind: str) -> NoReturn:
    raise Refusal(f"Invalid value at '{path}' ({kind}), {json.dumps(value)}")

"""Metadata of images as Earth Engine's JSON has them, checked: what is no metadata of an image is refused."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from affine import Affine
from odc.geo import wh_
from odc.geo.types import Shape2d

from tasks.earthengine.errors import Transient
from tasks.errors.input import brief

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_SIDE = 2**31 - 1
"""Longest side of an image, pixels: REST reference, GridDimensions (int32)."""
LEVELS = 16
"""Most levels of lists and objects in a property or a footprint. A MultiPolygon of a GeometryCollection has 7."""


@dataclass(frozen=True, kw_only=True)
class BandInfo:
    """One band of an image."""

    id: str
    dtype: str
    """NumPy type in which Earth Engine sends the band, such as ``uint16``. 64-bit integers are sent as ``float64``."""
    crs: str
    """CRS of its native grid: authority code or WKT."""
    transform: Affine
    """From (column, row) to CRS units. (0, 0) is the top-left corner of the top-left pixel."""
    shape: Shape2d | None
    """Height and width in pixels. None = the image is unbounded."""
    integer: bool = False
    """Whether the band has an integer type in Earth Engine."""

    @property
    def has_own_grid(self) -> bool:
        """Whether the band has a grid of its own. A composite has none: Earth Engine reports pixels of one degree."""
        determinant = self.transform.determinant
        composite = self.crs == "EPSG:4326" and self.transform == Affine.identity()
        return not composite and math.isfinite(determinant) and determinant != 0


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """Metadata of an asset, or of a computed image."""

    id: str | None
    """Asset id. None = the image has none, because it is computed."""
    bands: tuple[BandInfo, ...]
    version: str | None = None
    """``updateTime`` of the asset. None = a computed image."""
    time: datetime | None = None
    """Start of the acquisition, ``system:time_start``. None = not known."""
    end: datetime | None = None
    """End of the acquisition, ``system:time_end``. None = not known."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Properties that Earth Engine or its owner gave it."""
    kind: str = "IMAGE"
    """``IMAGE``, ``IMAGE_COLLECTION``, ``FOLDER`` or ``TABLE``."""
    geometry: Mapping[str, Any] | None = None
    """Footprint as GeoJSON in longitude and latitude. None = not known."""


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise ``Transient`` if an answer is not what it should be. It may come from something else than Earth Engine.

    Args:
        what: What the answer should be, such as ``an asset``.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise Transient(f"Earth Engine's answer is not {what}: {type(error).__name__} {brief(error)}") from error


def from_value(value: Any) -> ImageInfo:
    """Return the metadata of an image from its JSON in an answer to `value:compute`.

    Raises:
        TypeError: It is not an image. The message is its type.
        Transient: It is no JSON of an image.
    """
    kind = value.get("type") if isinstance(value, dict) else type(value).__name__
    if kind != "Image":
        raise TypeError(brief(kind))
    with reading("an image"):
        properties = _shallow(value.get("properties", {}))
        return ImageInfo(
            id=_text(value.get("id"), optional=True),
            bands=tuple(
                BandInfo(
                    id=_text(band["id"]),
                    dtype=_dtype(band["data_type"]["precision"], band["data_type"]),
                    integer=_is_integer(band["data_type"]["precision"]),
                    crs=_text(band["crs"] if "crs" in band else band["crs_wkt"]),
                    # Of a clipped image, the transform is still that of the whole: `origin` counts pixels from there.
                    transform=_affine(band["crs_transform"]) @ Affine.translation(*band.get("origin", (0, 0))),
                    shape=_shape(*band["dimensions"]) if "dimensions" in band else None,
                )
                for band in value["bands"]
            ),
            time=_time(properties.get("system:time_start")),
            end=_time(properties.get("system:time_end")),
            properties=properties,
        )


def _time(milliseconds: object) -> datetime | None:
    """Return the time of a ``system:time_start``. None if it is not a time: a user's image may hold anything there."""
    if isinstance(milliseconds, Mapping):  # an `ee.Date` that was set as it is
        milliseconds = milliseconds.get("value")
    try:
        return EPOCH + timedelta(milliseconds=float(str(milliseconds)))
    except (ValueError, OverflowError):
        return None


def from_asset(asset: Any) -> ImageInfo:
    """Return the metadata of an asset from its JSON.

    Raises:
        Transient: It is no JSON of an asset.
    """
    with reading("an asset"):
        return ImageInfo(
            id=_text(asset.get("id") or asset["name"]),
            kind=_text(asset["type"]),
            version=_text(asset.get("updateTime"), optional=True),
            time=_moment(asset["startTime"]) if "startTime" in asset else None,
            end=_moment(asset["endTime"]) if "endTime" in asset else None,
            properties=_shallow(asset.get("properties", {})),
            geometry=_shallow(asset["geometry"]) if asset.get("geometry") is not None else None,
            bands=tuple(_from_band(band) for band in asset.get("bands", [])),
        )


def _from_band(band: dict[str, Any]) -> BandInfo:
    grid = band.get("grid", {})
    affine, size = grid.get("affineTransform", {}), grid.get("dimensions")
    keys = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    data_type = band.get("dataType", {})
    return BandInfo(
        id=_text(band["id"]),
        dtype=_dtype(data_type.get("precision", "DOUBLE"), data_type.get("range", {})),
        integer=_is_integer(data_type.get("precision", "DOUBLE")),
        crs=_text(grid.get("crsCode") or grid.get("crsWkt") or "EPSG:4326"),
        transform=_affine([affine.get(key, 0.0) for key in keys]),
        shape=_shape(size["width"], size["height"]) if size else None,
    )


def _text(value: Any, *, optional: bool = False) -> Any:
    if isinstance(value, str) or (optional and value is None):
        return value
    raise TypeError(f"{brief(value)} is not text")


def _affine(numbers: Any) -> Affine:
    """Return a transform. Its numbers may be infinite or NaN: such a band has no grid of its own."""
    a, b, c, d, e, f = map(float, numbers)
    return Affine(a, b, c, d, e, f)


def _shape(width: Any, height: Any) -> Shape2d:
    for side in (width, height):
        if side != int(side) or not 0 < side <= LONGEST_SIDE:
            raise ValueError(f"{brief(side)} is not a number of pixels from 1 to {LONGEST_SIDE}")
    return wh_(int(width), int(height))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    moment.astimezone(UTC)  # fails at the ends of the calendar, where it would fail later
    return moment


def _shallow(value: Any) -> dict[str, Any]:
    """Return an object if nothing in it is nested too deeply for those who copy, compare or encode it."""
    if not isinstance(value, dict):
        raise TypeError(f"{brief(value)} is not an object")
    waiting = [(each, 1) for each in value.values() if isinstance(each, dict | list)]
    while waiting:
        each, level = waiting.pop()
        if level > LEVELS:
            raise ValueError(f"it is nested more than {LEVELS} levels deep")
        inner = each.values() if isinstance(each, dict) else each
        waiting.extend((one, level + 1) for one in inner if isinstance(one, dict | list))
    return value


def _is_integer(precision: str) -> bool:
    return precision.upper().startswith("INT")


def _dtype(precision: str, limits: Mapping[str, Any]) -> str:
    """Return the NumPy type that Earth Engine sends: the smallest integer type with this range, float32 or float64."""
    if _is_integer(precision):
        low, high = limits.get("min", 0), limits.get("max", 0)
        for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32"):
            if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
                return name
        return "float64"  # 64-bit integers are sent as doubles
    return "float32" if precision.upper() == "FLOAT" else "float64"

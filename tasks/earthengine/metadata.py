"""What Earth Engine knows of an image before its pixels: bands, grid, dates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import ee
import numpy as np
import tenacity
from affine import Affine
from odc.geo import wh_
from odc.geo.types import Shape2d

from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import Throttled, Transient
from tasks.earthengine.footprint import listing_filter
from tasks.earthengine.transport import send

# Metadata is a handful of calls before a run, with somebody waiting: a few seconds bridge a hiccup, and an endpoint
# that is not there is told soon.
_patiently = tenacity.retry(
    retry=tenacity.retry_if_exception_type((Transient, Throttled)),
    stop=tenacity.stop_after_attempt(4),
    wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
    reraise=True,
)


@dataclass(frozen=True, kw_only=True)
class BandInfo:
    """One band of an image."""

    id: str
    dtype: str
    """NumPy type on the wire, such as ``uint16``; 64-bit integers travel as ``float64``."""
    crs: str
    """Authority code or WKT of its native grid."""
    transform: Affine
    """From (column, row) to CRS units, top-left corner of the top-left pixel."""
    shape: Shape2d | None
    """In pixels; None where the image has no end."""
    integer: bool = False
    """Whether Earth Engine holds integers."""


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """An image, stored or computed."""

    id: str | None
    """Asset id, None for a computed image."""
    bands: tuple[BandInfo, ...]
    version: str | None = None
    """``updateTime`` of an asset."""
    time: datetime | None = None
    """``system:time_start``."""
    kind: str = "IMAGE"
    """``IMAGE``, ``IMAGE_COLLECTION``, ``FOLDER`` or ``TABLE``."""
    geometry: Mapping[str, Any] | None = None
    """Footprint as GeoJSON in longitude and latitude."""


def get_asset(connection: Connection, asset_id: str) -> ImageInfo:
    """Return what is known of an asset.

    Raises:
        EarthEngineError: ``Rejected`` where it does not exist, ``Denied`` where it can't be read.
    """
    asset = _call(connection, "GET", ee.data.convert_asset_id_to_asset_name(asset_id))
    try:
        return _from_asset(asset)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Transient(f"{connection.endpoint} answered with something that is no asset ({error!r}).") from error


def list_images(
    connection: Connection, collection: str, *, start: date, end: date, region: Mapping[str, Any] | None
) -> Iterator[ImageInfo]:
    """All images of a collection that begin in [start, end) and touch a region, by date.

    Args:
        connection: The way to Earth Engine.
        collection: Asset id.
        start: First day, UTC.
        end: Day after the last, UTC.
        region: GeoJSON geometry in longitude and latitude, of any number of corners.
    """
    # `endTime` would lose composites that begin inside and end after: a date filter in Earth Engine is by start.
    parts = [f'startTime >= "{start.isoformat()}T00:00:00Z"', f'startTime < "{end.isoformat()}T00:00:00Z"']
    term, touches = (None, lambda _: True) if region is None else listing_filter(region)
    if term is not None:
        parts.append(term)
    params = {"filter": " AND ".join(parts), "pageSize": "1000", "view": "FULL"}
    while True:
        page = _call(
            connection, "GET", f"{ee.data.convert_asset_id_to_asset_name(collection)}:listAssets", params=params
        )
        yield from (_from_asset(asset) for asset in page.get("assets", []) if touches(asset.get("geometry")))
        if not page.get("nextPageToken"):
            return
        params = params | {"pageToken": page["nextPageToken"]}


def compute(connection: Connection, expression: Mapping[str, Any]) -> Any:
    """Return the value of an expression as JSON (`value:compute`, what the client calls getInfo)."""
    body = json.dumps({"expression": expression}).encode()
    return _call(connection, "POST", f"projects/{connection.project}/value:compute", data=body)["result"]


def image_info(connection: Connection, expression: Mapping[str, Any]) -> ImageInfo:
    """Return what is known of a computed image.

    Raises:
        EarthEngineError: the expression is refused.
        TypeError: it gives something that is no image; the message names what.
    """
    value = compute(connection, expression)
    kind = value.get("type") if isinstance(value, dict) else type(value).__name__
    if kind != "Image":
        raise TypeError(str(kind))
    return ImageInfo(
        id=value.get("id"),
        bands=tuple(
            BandInfo(
                id=band["id"],
                dtype=_dtype(band["data_type"]["precision"], band["data_type"]),
                integer=_is_integer(band["data_type"]["precision"]),
                crs=band["crs"] if "crs" in band else band["crs_wkt"],
                transform=Affine(*band["crs_transform"]),
                shape=wh_(*band["dimensions"]) if "dimensions" in band else None,
            )
            for band in value["bands"]
        ),
        time=_time(value.get("properties", {}).get("system:time_start")),
    )


def _time(milliseconds: object) -> datetime | None:
    """Return a date of metadata; a user's image may hold anything there."""
    try:
        return datetime.fromtimestamp(float(str(milliseconds)) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


@_patiently
def _call(connection: Connection, method: str, path: str, **content: Any) -> Any:
    data = send(connection, method, path, **content)
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise Transient(f"Earth Engine answered {path} with something that is no JSON.") from error
    if not isinstance(answer, dict) or "error" in answer:
        raise Transient(f"Earth Engine answered {path} with something that is no {method} result.")
    return answer


def _from_asset(asset: dict[str, Any]) -> ImageInfo:
    return ImageInfo(
        id=asset.get("id") or asset["name"],
        kind=asset["type"],
        version=asset.get("updateTime"),
        time=datetime.fromisoformat(asset["startTime"]) if "startTime" in asset else None,
        geometry=asset.get("geometry"),
        bands=tuple(_from_band(band) for band in asset.get("bands", [])),
    )


def _from_band(band: dict[str, Any]) -> BandInfo:
    grid = band.get("grid", {})
    affine, size = grid.get("affineTransform", {}), grid.get("dimensions")
    keys = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    data_type = band.get("dataType", {})
    return BandInfo(
        id=band["id"],
        dtype=_dtype(data_type.get("precision", "DOUBLE"), data_type.get("range", {})),
        integer=_is_integer(data_type.get("precision", "DOUBLE")),
        crs=grid.get("crsCode") or grid.get("crsWkt") or "EPSG:4326",
        transform=Affine(*(affine.get(key, 0.0) for key in keys)),
        shape=wh_(size["width"], size["height"]) if size else None,
    )


def _is_integer(precision: str) -> bool:
    return precision.upper().startswith("INT")


def _dtype(precision: str, limits: Mapping[str, Any]) -> str:
    """NumPy type that Earth Engine sends: the smallest integer that holds the range, float32 or float64."""
    if _is_integer(precision):
        low, high = limits.get("min", 0), limits.get("max", 0)
        for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32"):
            if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
                return name
        return "float64"  # 64-bit integers travel as doubles
    return "float32" if precision.upper() == "FLOAT" else "float64"

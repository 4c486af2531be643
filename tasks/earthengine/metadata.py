"""Metadata of images, which is read before any pixels: bands, grids, dates."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import ee
import numpy as np
import tenacity
from affine import Affine
from odc.geo import wh_
from odc.geo.types import Shape2d

from tasks.earthengine.asset_name import asset_path
from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import Throttled, TooHeavy, Transient
from tasks.earthengine.expression import encode
from tasks.earthengine.footprint import listing_filter
from tasks.earthengine.transport import send

PAGE = 250
"""Most images of a computed collection that are described in one answer."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Metadata takes a few requests before a run, while the user waits. Retries for a few seconds bridge a short fault, and
# the user still learns soon that an endpoint does not exist.
_retried = tenacity.retry(
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


def get_asset(connection: Connection, asset_id: str) -> ImageInfo:
    """Return the metadata of an asset.

    Raises:
        BadInputError: It is not the id of an asset.
        EarthEngineError: ``Rejected``: the asset does not exist. ``Denied``: it may not be read.
    """
    asset = _call(connection, "GET", asset_path(ee.data.convert_asset_id_to_asset_name(asset_id)))
    try:
        return _from_asset(asset)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Transient(f"The answer of {connection.endpoint} is not an asset ({error!r}).") from error


def list_images(
    connection: Connection, collection: str, *, start: date, end: date, region: Mapping[str, Any] | None
) -> Iterator[ImageInfo]:
    """Yield the images of a collection that begin in [start, end) and touch a region, in the order of the listing.

    Args:
        connection: Connection to Earth Engine.
        collection: Asset id of the collection.
        start: First day (UTC).
        end: Day after the last day (UTC).
        region: GeoJSON geometry in longitude and latitude, with any number of corners. None = everywhere.
    """
    # A filter by `endTime` would lose composites that begin before `end` and end after it. Date filters of Earth
    # Engine compare the start, too.
    parts = [f'startTime >= "{start.isoformat()}T00:00:00Z"', f'startTime < "{end.isoformat()}T00:00:00Z"']
    term, touches = (None, lambda _: True) if region is None else listing_filter(region)
    if term is not None:
        parts.append(term)
    name = asset_path(ee.data.convert_asset_id_to_asset_name(collection))
    params = {"filter": " AND ".join(parts), "pageSize": "1000", "view": "FULL"}
    while True:
        page = _call(connection, "GET", f"{name}:listAssets", params=params)
        yield from (_from_asset(asset) for asset in page.get("assets", []) if touches(asset.get("geometry")))
        if not page.get("nextPageToken"):
            return
        params = params | {"pageToken": page["nextPageToken"]}


def compute(connection: Connection, expression: Mapping[str, Any]) -> Any:
    """Return the value of an expression as JSON (`value:compute`, which the `ee` client calls getInfo)."""
    body = json.dumps({"expression": expression}).encode()
    return _call(connection, "POST", f"projects/{connection.project}/value:compute", data=body)["result"]


def image_info(connection: Connection, expression: Mapping[str, Any]) -> ImageInfo:
    """Return the metadata of a computed image.

    Raises:
        EarthEngineError: Earth Engine refuses the expression.
        TypeError: The expression does not give an image. The message is the type of what it gives.
    """
    return _from_value(compute(connection, expression))


def list_computed(connection: Connection, collection: ee.ImageCollection) -> Iterator[ImageInfo]:
    """Yield the metadata of the images of a computed collection, in its order. Ids are their ``system:index``.

    Raises:
        EarthEngineError: Earth Engine refuses the expression.
    """
    offset, count = 0, PAGE
    while True:
        try:
            values = compute(connection, encode(collection.toList(count, offset)))
        except TooHeavy:
            if count == 1:
                raise
            count //= 2
            continue
        for value in values:
            info = _from_value(value)
            index = info.properties.get("system:index")
            yield replace(info, id=None if index is None else str(index))
        if len(values) < count:
            return
        offset += count


def untimed(connection: Connection, collection: ee.ImageCollection, most: int) -> tuple[int, tuple[str, ...]]:
    """Return how many images of a collection have no ``system:time_start``, and the indices of the first of them.

    Filters by date leave such images out.

    Raises:
        EarthEngineError: Earth Engine refuses the expression.
    """
    rest = collection.filter(ee.Filter.notNull(["system:time_start"]).Not())
    found = {"count": rest.size(), "first": rest.limit(most).aggregate_array("system:index")}
    answer = compute(connection, encode(ee.Dictionary(found)))
    return int(answer["count"]), tuple(map(str, answer["first"]))


def _from_value(value: Any) -> ImageInfo:
    """Return the metadata of an image from its JSON in an answer to `value:compute`.

    Raises:
        TypeError: It is not an image. The message is its type.
    """
    kind = value.get("type") if isinstance(value, dict) else type(value).__name__
    if kind != "Image":
        raise TypeError(str(kind))
    properties = value.get("properties", {})
    return ImageInfo(
        id=value.get("id"),
        bands=tuple(
            BandInfo(
                id=band["id"],
                dtype=_dtype(band["data_type"]["precision"], band["data_type"]),
                integer=_is_integer(band["data_type"]["precision"]),
                crs=band["crs"] if "crs" in band else band["crs_wkt"],
                # Of a clipped image, the transform is still that of the whole: `origin` counts pixels from there.
                transform=Affine(*band["crs_transform"]) @ Affine.translation(*band.get("origin", (0, 0))),
                shape=wh_(*band["dimensions"]) if "dimensions" in band else None,
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


@_retried
def _call(connection: Connection, method: str, path: str, **content: Any) -> Any:
    data = send(connection, method, path, **content)
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise Transient(f"Earth Engine's answer to {method} {path} is not JSON.") from error
    if not isinstance(answer, dict) or "error" in answer:
        raise Transient(f"Earth Engine's answer to {method} {path} is not the JSON of a result.")
    return answer


def _from_asset(asset: dict[str, Any]) -> ImageInfo:
    return ImageInfo(
        id=asset.get("id") or asset["name"],
        kind=asset["type"],
        version=asset.get("updateTime"),
        time=datetime.fromisoformat(asset["startTime"]) if "startTime" in asset else None,
        end=datetime.fromisoformat(asset["endTime"]) if "endTime" in asset else None,
        properties=asset.get("properties", {}),
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
    """Return the NumPy type that Earth Engine sends: the smallest integer type with this range, float32 or float64."""
    if _is_integer(precision):
        low, high = limits.get("min", 0), limits.get("max", 0)
        for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32"):
            if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
                return name
        return "float64"  # 64-bit integers are sent as doubles
    return "float32" if precision.upper() == "FLOAT" else "float64"

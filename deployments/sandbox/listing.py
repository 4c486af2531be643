"""Listings and the JSON of assets (Google's doc pages EarthEngineAsset, listAssets and listImages)."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from shapely.geometry import mapping

from deployments.sandbox.filters import begins, ends, intersects, moment, parse
from deployments.sandbox.raster import Asset, Band
from deployments.sandbox.refusal import Refusal

View = Literal["FULL", "BASIC"]
LARGEST_PAGE: dict[View, int] = {"FULL": 1_000, "BASIC": 10_000}
"""Assets a page; larger page sizes are cut to these, as the docs say."""

# What REST tells by fields of their own, it does not repeat among the properties.
_FIELDS = frozenset(
    f"system:{name}"
    for name in ("time_start", "time_end", "footprint", "id", "version", "asset_size", "bands", "band_names")
)
_GLOBAL = [[x, y] for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))]


@dataclass(frozen=True, kw_only=True)
class Query:
    """One call of listAssets or listImages."""

    size: int
    token: str
    filter: str
    view: View
    start: str = ""
    end: str = ""
    region: str = ""

    @property
    def mark(self) -> str:
        """What of a query must stay the same from page to page."""
        parts = (self.filter, self.view, self.start, self.end, self.region)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def query(parameters: Mapping[str, str]) -> Query:
    """Return the query of a URL's parameters.

    Raises:
        Refusal: 400.
    """
    size = parameters.get("pageSize", "0")
    try:
        count = int(size)
    except ValueError:
        count = -1
    if count < 0:
        raise Refusal(f"Invalid value at 'page_size' (TYPE_INT32), \"{size}\"")
    name = parameters.get("view", "FULL")
    if name not in ("FULL", "BASIC", "IMAGE_VIEW_UNSPECIFIED", "EARTH_ENGINE_ASSET_VIEW_UNSPECIFIED"):
        raise Refusal(f"Invalid value at 'view', \"{name}\"")
    view: View = "BASIC" if name == "BASIC" else "FULL"
    return Query(
        size=min(count or LARGEST_PAGE[view], LARGEST_PAGE[view]),
        token=parameters.get("pageToken", ""),
        filter=parameters.get("filter", ""),
        view=view,
        start=parameters.get("startTime", ""),
        end=parameters.get("endTime", ""),
        region=parameters.get("region", ""),
    )


def page(assets: Sequence[Asset], asked: Query, key: Literal["assets", "images"]) -> dict[str, Any]:
    """Return one page of a listing, in the order that the assets have.

    Args:
        assets: All children.
        asked: Filter and page.
        key: Where the response has them.

    Raises:
        Refusal: 400.
    """
    tests = [parse(asked.filter)]
    if asked.start:
        tests.append(begins(">=", moment(asked.start)))
    if asked.end:
        tests.append(ends("<", moment(asked.end)))
    if asked.region:
        tests.append(intersects(asked.region))
    if key == "images":
        tests.append(lambda asset: asset.type == "IMAGE")
    found = [asset for asset in assets if all(test(asset) for test in tests)]
    first = _offset(asked)
    last = first + asked.size
    result: dict[str, Any] = {}
    if found[first:last]:
        result[key] = [asset_json(asset, asked.view) for asset in found[first:last]]
    if last < len(found):
        result["nextPageToken"] = base64.urlsafe_b64encode(f"{last}:{asked.mark}".encode()).decode()
    return result


def _offset(asked: Query) -> int:
    if not asked.token:
        return 0
    try:
        text = base64.urlsafe_b64decode(asked.token.encode()).decode()
        first, _, mark = text.partition(":")
        offset = int(first)
    except ValueError as error:
        raise Refusal(f"Invalid page token '{asked.token}'.") from error
    if mark != asked.mark or offset < 0:
        raise Refusal(f"Invalid page token '{asked.token}': it belongs to another query.")
    return offset


def asset_json(asset: Asset, view: View = "FULL") -> dict[str, Any]:
    """Return the REST form of an asset. As in all proto-JSON, what is zero or empty is left out."""
    result: dict[str, Any] = {
        "type": asset.type,
        "name": asset.name,
        "id": asset.id,
        "updateTime": _timestamp(asset.update_time),
    }
    if asset.start_time:
        result["startTime"] = _timestamp(asset.start_time)
    if asset.end_time:
        result["endTime"] = _timestamp(asset.end_time)
    if view == "BASIC":
        return result
    properties = {k: _plain(v) for k, v in asset.properties.items() if k not in _FIELDS}
    if properties:
        result["properties"] = properties
    if asset.type == "IMAGE":
        result["geometry"] = mapping(asset.geometry) if asset.geometry else _world()
        result["bands"] = [_band(band) for band in asset.image.bands] if asset.image else []
    if asset.size_bytes:
        result["sizeBytes"] = str(asset.size_bytes)  # int64 is a string in proto-JSON
    return result


def _world() -> dict[str, Any]:
    """The footprint of what is everywhere, as MODIS assets have it."""
    ring = [["-Infinity" if x < 0 else "Infinity" for x in corner] for corner in _GLOBAL]
    return {"type": "Polygon", "coordinates": [ring]}


def _band(band: Band) -> dict[str, Any]:
    x, y = band.projection.transform, band.projection.transform
    transform = {
        "scaleX": x.a,
        "shearX": x.b,
        "translateX": x.c,
        "shearY": y.d,
        "scaleY": y.e,
        "translateY": y.f,
    }
    crs = band.projection.crs
    grid: dict[str, Any] = {"crsWkt" if "[" in crs else "crsCode": crs}
    if band.dimensions:
        grid["dimensions"] = dict(zip(("width", "height"), band.dimensions, strict=True))
    grid["affineTransform"] = {name: _plain(value) for name, value in transform.items() if value}
    return {
        "id": band.id,
        "dataType": band.type.json(),
        "grid": grid,
        "pyramidingPolicy": band.pyramiding,
    }


def _timestamp(instant: datetime) -> str:
    """Return an instant as google.protobuf.Timestamp prints it: no digits of a fraction that is zero."""
    text = instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if instant.microsecond:
        text += f".{instant.microsecond:06d}".removesuffix("000")
    return text + "Z"


def _plain(value: Any) -> Any:
    """Return numbers that JSON has: whole doubles without a fraction, as Google's server prints them."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value

"""Metadata of images, which is read before any pixels: bands, grids, dates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import ee
import tenacity

from tasks.earthengine.asset_name import asset_path
from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import Rejected, Throttled, TooHeavy, Transient
from tasks.earthengine.expression import encode
from tasks.earthengine.footprint import listing_filter
from tasks.earthengine.image_info import ImageInfo, from_asset, from_value, reading
from tasks.earthengine.transport import send
from tasks.errors.input import brief

PAGE = 250
"""Most images of a computed collection that are described in one answer."""
MOST_PAGES = 1_000
"""Most pages of a listing: a million images. Their metadata alone would take 10 GB."""
MOST_VALUES = 2_000_000
"""Most values in an answer: of 1 byte each in JSON, they take up to 250 bytes in memory. A page of 1,000 images of
Sentinel-2 has 700,000."""

# Metadata takes a few requests before a run, while the user waits. Retries for a few seconds bridge a short fault, and
# the user still learns soon that an endpoint does not exist.
_retried = tenacity.retry(
    retry=tenacity.retry_if_exception_type((Transient, Throttled)),
    stop=tenacity.stop_after_attempt(4) | tenacity.stop_after_delay(120),  # one attempt may last for minutes
    wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
    reraise=True,
)


def get_asset(connection: Connection, asset_id: str) -> ImageInfo:
    """Return the metadata of an asset.

    Raises:
        BadInputError: It is not the id of an asset.
        EarthEngineError: ``Rejected``: the asset does not exist. ``Denied``: it may not be read.
    """
    asset = _call(connection, "GET", asset_path(ee.data.convert_asset_id_to_asset_name(asset_id)))
    return from_asset(asset)


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
    params = {"filter": " AND ".join(parts), "pageSize": "1000", "view": "FULL", "prettyPrint": "false"}
    for _ in range(MOST_PAGES):
        page = _page(connection, f"{name}:listAssets", params)
        with reading("a page of images"):
            assets, token = page.get("assets", []), page.get("nextPageToken")
            shown = [asset for asset in assets if touches(asset.get("geometry"))]
        yield from map(from_asset, shown)
        if not token:
            return
        params = params | {"pageToken": str(token)}
    raise _endless(collection)


def _page(connection: Connection, path: str, params: dict[str, str]) -> Any:
    """Return one page of a listing. Pages that are too large for one answer are asked for in smaller ones."""
    size = int(params["pageSize"])
    while True:
        try:
            return _call(connection, "GET", path, params=params | {"pageSize": str(size)})
        except TooHeavy:
            if size == 1:
                raise
            size //= 2


def _endless(collection: str) -> Rejected:
    return Rejected(
        f"{brief(collection)} is listed on more than {MOST_PAGES:,} pages. Give fewer dates or a smaller region."
    )


def compute(connection: Connection, expression: Mapping[str, Any]) -> Any:
    """Return the value of an expression as JSON (`value:compute`, which the `ee` client calls getInfo)."""
    body = json.dumps({"expression": expression}).encode()
    answer = _call(connection, "POST", f"projects/{connection.project}/value:compute", data=body)
    with reading("the JSON of a result"):
        return answer["result"]


def image_info(connection: Connection, expression: Mapping[str, Any]) -> ImageInfo:
    """Return the metadata of a computed image.

    Raises:
        EarthEngineError: Earth Engine refuses the expression.
        TypeError: The expression does not give an image. The message is the type of what it gives.
    """
    return from_value(compute(connection, expression))


def list_computed(connection: Connection, collection: ee.ImageCollection) -> Iterator[ImageInfo]:
    """Yield the metadata of the images of a computed collection, in its order. Ids are their ``system:index``.

    Raises:
        EarthEngineError: Earth Engine refuses the expression.
    """
    offset, count = 0, PAGE
    for _ in range(MOST_PAGES):
        try:
            values = compute(connection, encode(collection.toList(count, offset)))
        except TooHeavy:
            if count == 1:
                raise
            count //= 2
            continue
        if not isinstance(values, list) or len(values) > count:
            raise Transient(f"Earth Engine's answer is not a list of at most {count} images.")
        for value in values:
            try:
                info = from_value(value)
            except TypeError as error:
                raise Transient(f"Earth Engine's answer lists {error}, not an image.") from error
            index = info.properties.get("system:index")
            yield replace(info, id=None if index is None else str(index))
        if len(values) < count:
            return
        offset += count
    raise _endless("The collection")


def untimed(connection: Connection, collection: ee.ImageCollection, most: int) -> tuple[int, tuple[str, ...]]:
    """Return how many images of a collection have no ``system:time_start``, and the indices of the first of them.

    Filters by date leave such images out.

    Raises:
        EarthEngineError: Earth Engine refuses the expression.
    """
    rest = collection.filter(ee.Filter.notNull(["system:time_start"]).Not())
    found = {"count": rest.size(), "first": rest.limit(most).aggregate_array("system:index")}
    answer = compute(connection, encode(ee.Dictionary(found)))
    with reading("a number of images and their indices"):
        return int(answer["count"]), tuple(map(str, answer["first"]))[:most]


@_retried
def _call(connection: Connection, method: str, path: str, **content: Any) -> Any:
    data = send(connection, method, path, **content)
    if sum(map(data.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise TooHeavy(f"Earth Engine's answer to {method} {path} has more than {MOST_VALUES:,} values.")
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError, MemoryError) as error:
        raise Transient(f"Earth Engine's answer to {method} {path} is not JSON, or nested too deeply.") from error
    if not isinstance(answer, dict) or "error" in answer:
        raise Transient(f"Earth Engine's answer to {method} {path} is not the JSON of a result.")
    return answer

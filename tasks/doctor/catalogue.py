"""The catalogue: metadata of public images, and listings of collections."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

from tasks.doctor.asking import NORTH, WEST, Asking, full_name
from tasks.doctor.check import Check, Outcome, fail, ok, warn
from tasks.earthengine.connection import Connection
from tasks.earthengine.image_info import ImageInfo
from tasks.earthengine.metadata import get_asset, list_images
from tasks.raster.crs import SINUSOIDAL, crs_of

AREA = "Catalogue"
ELEVATION, MODIS, SENTINEL = "USGS/SRTMGL1_003", "MODIS/061/MOD13Q1", "COPERNICUS/S2_SR_HARMONIZED"
"""Public datasets that the sandbox simulates, too."""
START, END = date(2020, 1, 1), date(2020, 3, 5)
"""An image of MODIS begins every 16 days: on `END`, too, so that a filter that included it would list it."""
BEGINS = ("2020-01-01", "2020-01-17", "2020-02-02", "2020-02-18")
POINT = {
    "type": "Polygon",
    "coordinates": [
        [[WEST, NORTH - 0.05], [WEST + 0.05, NORTH - 0.05], [WEST + 0.05, NORTH], [WEST, NORTH], [WEST, NORTH - 0.05]]
    ],
}
ACCESS = "Check that the account may read public assets, and run it again."


def catalogue(connect: Callable[[], Connection], ask: Callable[[], Asking]) -> Iterator[Check]:
    """Yield the checks of metadata.

    Args:
        connect: Returns the connection.
        ask: Returns what sends requests.
    """
    make = functools.partial(Check, area=AREA, remedy=ACCESS)
    listed = ("client", "public asset")
    yield make(
        name="public asset",
        expected="int16 at 1 arc second, with updateTime",
        act=lambda: public_asset(connect()),
        needs=("client",),
    )
    yield make(
        name="filter by start",
        expected=f"startTime >= {START} and < {END}: {len(BEGINS)} images of MODIS",
        act=lambda: by_start(connect()),
        needs=listed,
    )
    yield make(
        name="images in a listing",
        expected="id, updateTime, startTime, int16, sinusoidal grid",
        act=lambda: described(connect()),
        needs=("filter by start",),
    )
    yield make(
        name="filter by place",
        expected="images of Sentinel-2 that touch the place, in its UTM zone",
        act=lambda: by_place(connect()),
        needs=listed,
    )
    yield make(
        name="pages of a listing",
        expected="one image a page, and another on the next",
        act=lambda: pages(ask()),
        needs=listed,
    )


def public_asset(connection: Connection) -> Outcome:
    """Read the metadata of an image that everybody may read."""
    info = get_asset(connection, ELEVATION)
    (band,) = info.bands
    found = f"{band.dtype}, {band.crs}, scale {band.transform.a * 3600:.3f}″, updateTime {info.version}"
    if info.version is None:
        return warn(found, "Without updateTime, a run does not notice that an asset was processed again. Report this.")
    good = band.dtype == "int16" and band.crs == "EPSG:4326" and abs(band.transform.a * 3600 - 1) < 1e-6
    return ok(found) if good else warn(found)


def _modis(connection: Connection) -> list[ImageInfo]:
    return list(list_images(connection, MODIS, start=START, end=END, region=None))


def by_start(connection: Connection) -> Outcome:
    """List a collection between two days. The second day is not part of it."""
    found = tuple(sorted(image.time.date().isoformat() for image in _modis(connection) if image.time))
    shown = ", ".join(found) or "no image"
    if found == BEGINS:
        return ok(f"{len(found)} images")
    return fail(shown, "A time series would miss images, or hold too many: report this line, and do not run one.")


def described(connection: Connection) -> Outcome:
    """Compare the metadata of listed images with what a plan needs."""
    image = _modis(connection)[0]
    band = next(each for each in image.bands if each.id == "NDVI")
    found = f"id {image.id}, updateTime {image.version}, {image.time}, {band.dtype}, {band.crs[:20]}"
    if not image.id or image.time is None or not _sinusoidal(band.crs):
        return fail(found, "A plan cannot be made from such metadata: report this line.")
    good = image.version is not None and band.dtype == "int16" and image.time == datetime(2020, 1, 1, tzinfo=UTC)
    return ok(found) if good else warn(found)


def _sinusoidal(crs: str) -> bool:
    return crs_of(crs).to_wkt() == crs_of(SINUSOIDAL).to_wkt() or "Sinusoidal" in crs


def by_place(connection: Connection) -> Outcome:
    """List the images of a few days that touch a small box."""
    images = list_images(connection, SENTINEL, start=date(2020, 5, 1), end=date(2020, 6, 1), region=POINT)
    found: list[ImageInfo] = [image for image, _ in zip(images, range(5), strict=False)]
    crs = {band.crs for image in found for band in image.bands if band.id == "B4"}
    types = {band.dtype for image in found for band in image.bands if band.id == "B4"}
    shown = f"{len(found)} images, {', '.join(sorted(crs | types))}"
    return ok(shown) if found and crs == {"EPSG:32721"} and types == {"uint16"} else warn(shown)


def pages(asking: Asking) -> Outcome:
    """Ask for two pages of one image each."""
    path = f"{full_name(MODIS)}:listAssets"
    params = {"pageSize": "1", "view": "BASIC", "filter": f'startTime >= "{START}T00:00:00Z"'}
    first: dict[str, Any] = json.loads(asking.ask("GET", path, params=params)[1])
    token = first.get("nextPageToken")
    if len(first.get("assets", [])) != 1 or not token:
        return fail(f"{len(first.get('assets', []))} images, next page: {bool(token)}", "Report this line.")
    second = json.loads(asking.ask("GET", path, params=params | {"pageToken": token})[1])
    names = {each["name"].rpartition("/")[2] for page in (first, second) for each in page.get("assets", [])}
    if len(names) == 2:
        return ok(" then ".join(sorted(names)))
    return fail(
        f"the pages list {', '.join(sorted(names))}", "Listings of more than 1,000 images fail: report this line."
    )

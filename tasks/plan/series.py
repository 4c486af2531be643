"""Find the images of a time series: the acquisitions of a collection, or its days."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, overload

import numpy as np
import shapely

from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import Rejected, TooHeavy
from tasks.earthengine.image_info import BandInfo, ImageInfo
from tasks.earthengine.metadata import untimed
from tasks.earthengine.recipes import Box
from tasks.errors.input import BadInputError
from tasks.plan.acquisition import Acquired
from tasks.plan.choices import GroupBy, MissingBands
from tasks.plan.collection import Collection, open_collection
from tasks.plan.grouping import Group, day_of, group_images
from tasks.plan.images import ImageRecord, read_asset
from tasks.plan.labels import labels_of
from tasks.plan.missing_bands import complete
from tasks.plan.specs import ImageSpec

# The end of a series without an end date: a day after all images.
NEVER = date(9999, 12, 31)
FIRST, DAY = date(2, 1, 1), timedelta(days=1)
# Images without a time that are named.
NAMED = 100
KEEP_TIME = (
    "Set the property system:time_start. In a function that is mapped over a collection, keep it with "
    "image.copyProperties(original, ['system:time_start'])"
)


@dataclass(frozen=True)
class Series(Sequence[ImageRecord]):
    """The images of a time series, sorted by time."""

    images: tuple[ImageRecord, ...]
    left_out: Mapping[str, str]
    """Images of the region that are not in the series: why, by id."""

    @overload
    def __getitem__(self, place: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ImageRecord]: ...
    def __getitem__(self, place: int | slice) -> ImageRecord | Sequence[ImageRecord]:
        return self.images[place]

    def __len__(self) -> int:
        return len(self.images)


def find_series(
    connection: Connection,
    spec: ImageSpec,
    *,
    start: date,
    end: date | None,
    geometry: Mapping[str, Any],
    box: Box,
    bands: Sequence[str] | None = None,
    group_by: GroupBy = "auto",
    missing_bands: MissingBands = "fail",
) -> Series:
    """Return the images of a series: every image of the collection is in one of them, or is left out with a reason.

    Args:
        connection: Connection to Earth Engine.
        spec: A collection.
        start: First day, UTC, or in local solar time with `group_by=solar_day`.
        end: Day after the last day. None = all that the collection holds since `start`.
        geometry: GeoJSON in longitude and latitude. Images that do not touch it are left out.
        box: Bounding box of the geometry, for recipes that declare it.
        bands: Bands that are requested. None = all that an image has.
        group_by: Which images are joined: see :func:`tasks.plan.grouping.group_images`.
        missing_bands: What becomes of an image without one of the bands: see
            :func:`tasks.plan.missing_bands.complete`.

    Raises:
        BadInputError: There is no such collection, it has no image here between the dates, or a band is missing.
        EarthEngineError: Earth Engine does not answer, or refuses.
    """
    collection = open_collection(connection, spec, box)
    longitude = _longitude(geometry)
    infos = _between(collection, start, end or NEVER, geometry, longitude if group_by == "solar_day" else 0.0)
    left_out = _without_time(connection, collection, geometry, found=bool(infos))
    if not infos:
        raise BadInputError(
            "start",
            start.isoformat(),
            "the collection has no image of this region "
            + ("since then" if end is None else f"from that day to {end}")
            + _dates_of(connection, spec),
            "Widen the dates or the region. Is longitude first?",
        )
    wanted, infos, skipped = complete(infos, bands, missing_bands)
    by_id = {str(info.id): info for info in infos}
    groups = group_images([_acquired(info, wanted) for info in infos], group_by, longitude=longitude)
    records = (
        replace(
            collection.record([by_id[image.id] for image in group.images], wanted),
            label=label,
            time=group.start,
            end=group.end,
            images=tuple(image.id for image in group.images),
            superseded=tuple(image.id for image in group.superseded),
        )
        for group, label in zip(groups, labels_of(groups), strict=True)
    )
    return Series(tuple(records), left_out | skipped | dict(_superseded(groups)))


def _dates_of(connection: Connection, spec: ImageSpec) -> str:
    """Return the first and the last day of a collection, for a message. Empty = not known."""
    info = None if spec.asset is None else read_asset(connection, spec.asset)
    if info is None or info.time is None:
        return ""
    return f": {spec.asset} has images from {info.time.date()}" + (f" to {info.end.date()}" if info.end else "")


def _between(
    collection: Collection, start: date, end: date, geometry: Mapping[str, Any], longitude: float
) -> list[ImageInfo]:
    """Return the images of a region that start on the days in [start, end), in solar time at a longitude."""
    if not longitude:
        return collection.find(start=start, end=end, geometry=geometry)
    wider = {"start": max(start, FIRST) - DAY, "end": min(end, NEVER - DAY) + DAY}
    found = collection.find(**wider, geometry=geometry)
    return [info for info in found if info.time and start <= day_of(info.time, longitude) < end]


def _acquired(info: ImageInfo, wanted: Sequence[BandInfo]) -> Acquired:
    assert info.time is not None
    has = {band.id for band in info.bands}
    return Acquired(
        id=str(info.id),
        start=info.time,
        end=info.end,
        properties=info.properties,
        updated=info.version,
        bands=tuple(band.id for band in wanted if band.id in has),
        outline=_outline(info, has.intersection(band.id for band in wanted)),
    )


def _outline(info: ImageInfo, names: set[str]) -> tuple[str, float, float, float, float] | None:
    band = next((band for band in info.bands if band.id in names), None)
    if band is None or band.shape is None or not band.has_own_grid:
        return None
    corners = ((0, 0), (band.shape.x, 0), (0, band.shape.y), (band.shape.x, band.shape.y))
    xs, ys = zip(*(band.transform @ corner for corner in corners), strict=True)
    return band.crs, min(xs), min(ys), max(xs), max(ys)


def _superseded(groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    for group in groups:
        for copy in group.superseded:
            yield copy.id, f"an older copy of a scene in the image of {group.start:%Y-%m-%d %H:%M:%S} UTC"


def _without_time(
    connection: Connection, collection: Collection, geometry: Mapping[str, Any], *, found: bool
) -> dict[str, str]:
    """Return the images of a region that have no time, with the reason why they are left out.

    Raises:
        BadInputError: No image of the region has a time.
    """
    if collection.timed and found:
        return {}
    count, ids = 0, tuple[str, ...]()
    # The images of other dates are looked at, too, and Earth Engine may refuse one of them.
    with contextlib.suppress(Rejected, TooHeavy):
        count, ids = untimed(connection, collection.within(geometry), NAMED)
    if count and not found:
        raise BadInputError(
            "image",
            collection.label,
            f"no image of this region is of these dates, and {count} have no property system:time_start, such as "
            f"{', '.join(ids[:3])}, and so are of no date",
            KEEP_TIME,
        )
    named = dict.fromkeys(ids, f"no system:time_start. {KEEP_TIME}")
    return named | ({f"{count - len(ids)} more": "no system:time_start"} if count > len(ids) else {})


def _longitude(geometry: Mapping[str, Any]) -> float:
    """Return the longitude of a region's centre, degrees east, also if the region is cut in two at 180 degrees."""
    parts = shapely.get_parts(shapely.geometry.shape(geometry))
    west, _, east, _ = shapely.bounds(parts).T
    turns = np.exp(1j * np.radians((west + east) / 2))
    return float(np.degrees(np.angle(turns.sum())))

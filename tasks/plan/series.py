"""Find the images of a time series: one for each day of a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import ee
import numpy as np

from tasks.earthengine.connection import Connection, ensure_client
from tasks.earthengine.errors import Rejected
from tasks.earthengine.expression import canonical, encode
from tasks.earthengine.metadata import (
    ImageInfo,
    compute,
    list_images,
)
from tasks.earthengine.recipes import Box
from tasks.errors.input import BadInputError
from tasks.plan.images import (
    UNPINNED,
    ImageRecord,
    build_image,
    computed_info,
    label_of,
    plain_name,
    read_asset,
    stored_image,
    version_of,
)
from tasks.plan.specs import ImageSpec

# The end of a series without an end date: a day after all images.
NEVER = date(2200, 1, 1)


def find_series(
    connection: Connection, spec: ImageSpec, *, start: date, end: date | None, geometry: Mapping[str, Any], box: Box
) -> tuple[ImageRecord, ...]:
    """Return one image for each day (UTC) on which the collection has any, sorted by date.

    The images of one day are mosaicked.

    Args:
        connection: Connection to Earth Engine.
        spec: A collection.
        start: First day.
        end: Day after the last day. None = all that the collection holds since `start`.
        geometry: GeoJSON in longitude and latitude. Images that do not touch it are left out.
        box: Bounding box of the geometry, for recipes that declare it.

    Raises:
        BadInputError: There is no such collection, or it has no image here between the dates.
        EarthEngineError: Earth Engine does not answer, or refuses.
    """
    if spec.asset is not None:
        info = read_asset(connection, spec.asset)
        if info.kind != "IMAGE_COLLECTION":
            raise BadInputError(
                "image.asset",
                spec.asset,
                f"is of type {info.kind}, not IMAGE_COLLECTION",
                "Name a collection, or extract a region of the image",
            )
        found = list(list_images(connection, spec.asset, start=start, end=end or NEVER, region=geometry))
        series = [_day(connection, info.id or spec.asset, day, images) for day, images in _by_day(found).items()]
    else:
        series = _computed_series(connection, spec, start=start, end=end or NEVER, geometry=geometry, box=box)
    if not series:
        raise BadInputError(
            "start",
            start.isoformat(),
            "the collection has no image of this region "
            + ("since then" if end is None else f"from that day to {end}"),
            "Widen the dates or the region",
        )
    return tuple(series)


def _computed_series(
    connection: Connection, spec: ImageSpec, *, start: date, end: date, geometry: Mapping[str, Any], box: Box
) -> list[ImageRecord]:
    value = build_image(connection, spec, box)
    if not isinstance(value, ee.ImageCollection):
        raise BadInputError(
            f"image.{'recipe' if spec.recipe else 'expression'}",
            label_of(spec),
            "does not give an image collection",
            "Give an image collection, or extract a region of the image",
        )
    area = ee.Geometry(dict(geometry), None, False)
    collection = value.filterDate(start.isoformat(), end.isoformat()).filterBounds(area)
    times = ee.Dictionary(
        {"index": collection.aggregate_array("system:index"), "time": collection.aggregate_array("system:time_start")}
    )
    try:
        answer = compute(connection, encode(times))
    except Rejected as error:
        raise BadInputError("image", label_of(spec), error.message, "Fix it. No pixels were requested") from error
    days: dict[str, list[str]] = {}
    for index, milliseconds in sorted(zip(answer["index"], answer["time"], strict=True), key=lambda pair: pair[1]):
        day = np.datetime64(int(milliseconds), "ms").astype("datetime64[D]")
        days.setdefault(str(day), []).append(index)
    series = []
    info: ImageInfo | None = None
    for day, indices in days.items():
        # Filtered by this day alone: the expression, and so the fingerprint, must not depend on `start` and `end`.
        after = (np.datetime64(day) + 1).astype(str)
        images = value.filterDate(day, after).filter(ee.Filter.inList("system:index", indices))
        expression = encode(images.first() if len(indices) == 1 else images.mosaic())
        # Only the first image is looked up, since the images of a collection have the same bands. If one has others,
        # its tiles fail with a message.
        info = info or computed_info(connection, expression, spec)
        dated = replace(info, time=_midnight(day))
        series.append(
            ImageRecord(
                name=f"{label_of(spec)}/{day}",
                origin=spec.recipe or spec.name,
                info=dated,
                asset=None,
                expression=expression,
                version=version_of(spec),
            )
        )
    return series


def _by_day(images: Sequence[ImageInfo]) -> dict[str, list[ImageInfo]]:
    days: dict[str, list[ImageInfo]] = {}
    for image in sorted(images, key=lambda image: (image.time is None, image.time, image.id)):
        if image.time is not None:
            days.setdefault(image.time.date().isoformat(), []).append(image)
    return days


def _day(connection: Connection, collection: str, day: str, images: Sequence[ImageInfo]) -> ImageRecord:
    name = f"{plain_name(collection.rsplit('/', maxsplit=1)[-1])}/{day}"
    if len(images) == 1:
        return replace(stored_image(images[0]), name=name)
    ensure_client(connection)
    names = [ee.data.convert_asset_id_to_asset_name(str(image.id)) for image in images]
    expression = encode(ee.ImageCollection([ee.Image(name) for name in names]).mosaic())
    versions = canonical([[name, image.version or UNPINNED] for name, image in zip(names, images, strict=True)])
    info = replace(images[0], id=None, time=_midnight(day))
    return ImageRecord(
        name=name,
        origin=collection,
        info=info,
        asset=None,
        expression=expression,
        version=versions,
        members=tuple(images),
    )


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)

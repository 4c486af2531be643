"""From what the user named (an asset, a recipe, an expression) to images that can be planned."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import ee
import numpy as np

from tasks.earthengine.connection import Connection, ensure_client
from tasks.earthengine.errors import BadInputError, Rejected
from tasks.earthengine.expression import canonical, decode, encode, mask_bands, with_mask
from tasks.earthengine.metadata import (
    BandInfo,
    ImageInfo,
    compute,
    get_asset,
    image_info,
    list_images,
)
from tasks.earthengine.plan import Output, Source
from tasks.earthengine.recipes import Box, find

UNPINNED = "unpinned"


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the user named: exactly one of the three."""

    asset: str | None = None
    recipe: str | None = None
    recipe_parameters: Mapping[str, Any] | None = None
    expression: Mapping[str, Any] | None = None
    name: str = "expression"
    """Label of an expression."""
    as_of: date | None = None


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An image whose bands are known, stored or computed."""

    name: str
    """Folder of its tiles: letters, digits, `_`, `.`, `-`, and `/` before the date of a series."""
    origin: str
    """What the user would call it: an asset id, a recipe, a collection."""
    info: ImageInfo
    asset: str | None
    """Full asset name of a stored image."""
    expression: Mapping[str, Any] | None
    """Expression of a computed image."""
    version: str

    def bands(self, wanted: Sequence[str] | None) -> tuple[BandInfo, ...]:
        """Return the bands asked for, in that order, or all.

        Raises:
            BadInputError: the image has no such band.
        """
        known = {band.id: band for band in self.info.bands}
        if not known:
            remedy = "Widen its dates or the region: the collection behind it may be empty"
            raise BadInputError("image", self.origin, "an image without bands", remedy)
        for band in wanted or ():
            if band not in known:
                raise BadInputError("bands", list(wanted or ()), f"no band {band!r}", f"There are: {', '.join(known)}")
        return tuple(known[band] for band in (wanted or known))


def open_image(connection: Connection, named: Named, region: Box | None) -> Opened:
    """Return the one image that was named.

    Raises:
        BadInputError: there is none, or it is a collection.
        EarthEngineError: Earth Engine can't be asked.
    """
    if named.asset is not None:
        info = _asset(connection, named.asset)
        if info.kind != "IMAGE":
            raise BadInputError(
                "image.asset",
                named.asset,
                f"is of type {info.kind}, not IMAGE",
                "Name one image, extract a time series of the collection, or use a recipe that reduces it",
            )
        return _stored(info)
    value = _built(connection, named, region)
    if isinstance(value, ee.ImageCollection):
        raise BadInputError(
            f"image.{'recipe' if named.recipe else 'expression'}",
            _label(named),
            "gives an image collection, not one image",
            "Extract a time series of it, or reduce it (median(), mosaic(), ...)",
        )
    expression = encode(value)
    return Opened(
        name=_label(named),
        origin=named.recipe or named.name,
        info=_computed_info(connection, expression, named),
        asset=None,
        expression=expression,
        version=_version(named),
    )


def open_series(
    connection: Connection, named: Named, *, start: date, end: date, geometry: Mapping[str, Any], box: Box
) -> tuple[Opened, ...]:
    """Return one image a day (UTC) on which the collection has any, by date; those of one day are mosaicked.

    Args:
        connection: The way to Earth Engine.
        named: A collection.
        start: First day.
        end: Day after the last.
        geometry: GeoJSON in longitude and latitude: images that don't touch it are left out.
        box: Its bounding box, for recipes.

    Raises:
        BadInputError: there is no such collection, or nothing in it between the dates.
    """
    if named.asset is not None:
        info = _asset(connection, named.asset)
        if info.kind != "IMAGE_COLLECTION":
            raise BadInputError(
                "image.asset",
                named.asset,
                f"is of type {info.kind}, not IMAGE_COLLECTION",
                "Name a collection, or extract a region of the image",
            )
        found = list(list_images(connection, named.asset, start=start, end=end, region=geometry))
        series = [_day(connection, info.id or named.asset, day, images) for day, images in _by_day(found).items()]
    else:
        series = _computed_series(connection, named, start=start, end=end, geometry=geometry, box=box)
    if not series:
        raise BadInputError(
            "start",
            start.isoformat(),
            f"the collection holds nothing here from that day to {end}",
            "Widen the dates or the region",
        )
    return tuple(series)


def source(connection: Connection, image: Opened, bands: Sequence[BandInfo], output: Output) -> Source:
    """Return how the pixels of an image are asked for, so that its mask is kept as the output wants it.

    - Pictures (PNG, JPEG) come as Earth Engine draws them.
    - ``exact``: as NPY with the mask in bands of its own; a stored image is loaded in an expression for that, since
      getPixels sends zeroes for masked pixels.
    - ``nodata``: as GeoTIFF, whose nodata value tells masked pixels apart for signed and floating bands (geedim's test
      against the live service: -128, -32768, -2**31, -inf by type).
    - ``unknown``: as NPY, plainly.

    Raises:
        BadInputError: the masks can't be kept as the output wants it.
    """
    ids = tuple(band.id for band in bands)
    dtypes = tuple(band.dtype for band in bands)
    time = image.info.time.isoformat() if image.info.time else None
    common: dict[str, Any] = {"name": image.name, "origin": image.origin, "version": image.version, "time": time}
    plain: dict[str, Any] = {
        "asset": image.asset,
        "expression": canonical(image.expression) if image.expression else None,
    }
    if output.file_format in {"PNG", "JPEG"}:
        return Source(**common, **plain, wire=output.file_format, wire_bands=ids, wire_dtypes=dtypes)
    if output.masks == "unknown":
        return Source(**common, **plain, wire="NPY", wire_bands=ids, wire_dtypes=dtypes)
    if output.masks == "nodata":
        _check_nodata(bands, output)
        return Source(**common, **plain, wire="GEO_TIFF", wire_bands=ids, wire_dtypes=dtypes)
    ensure_client(connection)
    value = image.asset if image.asset is not None else decode(image.expression or {})
    masks = mask_bands(len(ids))
    for band in masks:
        if band in ids:
            raise BadInputError(
                "bands", list(ids), f"{band!r} is the name of the band that carries the mask", "Rename it"
            )
    return Source(
        **common,
        expression=canonical(encode(with_mask(ee.Image(value), ids))),
        wire="NPY",
        wire_bands=(*ids, *masks),
        wire_dtypes=(*dtypes, *["uint8"] * len(masks)),
    )


def _check_nodata(bands: Sequence[BandInfo], output: Output) -> None:
    """Refuse bands of which Earth Engine's GeoTIFF does not tell masked pixels apart."""
    types = {("int64" if band.integer and band.dtype == "float64" else band.dtype) for band in bands}
    if output.file_format != "GEO_TIFF" or len(types) > 1 or next(iter(types)) == "int64" or "uint" in str(types):
        raise BadInputError(
            "masks",
            output.masks,
            f"only GEO_TIFF of signed or floating bands of one type tells masked pixels apart, not "
            f"{output.file_format} of {', '.join(sorted(types))}",
            "Use masks=exact",
        )


def _asset(connection: Connection, asset: str) -> ImageInfo:
    try:
        return get_asset(connection, asset)
    except Rejected as error:
        raise BadInputError(
            "image.asset", asset, error.message, "Check the id in the Earth Engine data catalog"
        ) from error


def _stored(info: ImageInfo) -> Opened:
    assert info.id is not None
    return Opened(
        name=_plain(info.id.rsplit("/", maxsplit=1)[-1]),
        origin=info.id,
        info=info,
        asset=ee.data.convert_asset_id_to_asset_name(info.id),
        expression=None,
        version=info.version or UNPINNED,
    )


def _built(connection: Connection, named: Named, region: Box | None) -> Any:
    ensure_client(connection)
    if named.recipe is not None:
        return find(named.recipe).build(named.recipe_parameters or {}, region=region, as_of=named.as_of)
    try:
        value = decode(named.expression or {})
    except (ee.EEException, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        why = "refers to itself, or is nested too deep" if isinstance(error, RecursionError) else error
        remedy = "Give what ee.serializer.encode returns"
        raise BadInputError("image.expression", named.expression, f"is no expression ({why})", remedy) from None
    # A collection that was filtered or mapped is known to the client as a collection of anything.
    return ee.ImageCollection(value) if isinstance(value, ee.Collection) else value


def _computed_info(connection: Connection, expression: Mapping[str, Any], named: Named) -> ImageInfo:
    field = "image.recipe" if named.recipe else "image.expression"
    try:
        return image_info(connection, expression)
    except Rejected as error:
        raise BadInputError(field, _label(named), error.message, "Correct it; no pixel was asked for") from error
    except TypeError as error:
        raise BadInputError(field, _label(named), f"gives {error}, not an image", "Give an ee.Image") from error


def _computed_series(
    connection: Connection, named: Named, *, start: date, end: date, geometry: Mapping[str, Any], box: Box
) -> list[Opened]:
    value = _built(connection, named, box)
    if not isinstance(value, ee.ImageCollection):
        raise BadInputError(
            f"image.{'recipe' if named.recipe else 'expression'}",
            _label(named),
            "gives one image, not an image collection",
            "Extract a region of it, or give a collection",
        )
    area = ee.Geometry(dict(geometry), None, False)
    collection = value.filterDate(start.isoformat(), end.isoformat()).filterBounds(area)
    times = ee.Dictionary(
        {"index": collection.aggregate_array("system:index"), "time": collection.aggregate_array("system:time_start")}
    )
    try:
        answer = compute(connection, encode(times))
    except Rejected as error:
        raise BadInputError("image", _label(named), error.message, "Correct it; no pixel was asked for") from error
    days: dict[str, list[str]] = {}
    for index, milliseconds in sorted(zip(answer["index"], answer["time"], strict=True), key=lambda pair: pair[1]):
        day = np.datetime64(int(milliseconds), "ms").astype("datetime64[D]")
        days.setdefault(str(day), []).append(index)
    opened = []
    info: ImageInfo | None = None
    for day, indices in days.items():
        # By its day alone: with other dates asked for, or another region, it is the same image.
        after = (np.datetime64(day) + 1).astype(str)
        images = value.filterDate(day, after).filter(ee.Filter.inList("system:index", indices))
        expression = encode(images.first() if len(indices) == 1 else images.mosaic())
        # The images of a collection have the same bands: the first tells, and a tile of another says if it doesn't.
        info = info or _computed_info(connection, expression, named)
        dated = replace(info, time=_midnight(day))
        opened.append(
            Opened(
                name=f"{_label(named)}/{day}",
                origin=named.recipe or named.name,
                info=dated,
                asset=None,
                expression=expression,
                version=_version(named),
            )
        )
    return opened


def _by_day(images: Sequence[ImageInfo]) -> dict[str, list[ImageInfo]]:
    days: dict[str, list[ImageInfo]] = {}
    for image in sorted(images, key=lambda image: (image.time is None, image.time, image.id)):
        if image.time is not None:
            days.setdefault(image.time.date().isoformat(), []).append(image)
    return days


def _day(connection: Connection, collection: str, day: str, images: Sequence[ImageInfo]) -> Opened:
    name = f"{_plain(collection.rsplit('/', maxsplit=1)[-1])}/{day}"
    if len(images) == 1:
        return replace(_stored(images[0]), name=name)
    ensure_client(connection)
    names = [ee.data.convert_asset_id_to_asset_name(str(image.id)) for image in images]
    expression = encode(ee.ImageCollection([ee.Image(name) for name in names]).mosaic())
    versions = canonical([[name, image.version or UNPINNED] for name, image in zip(names, images, strict=True)])
    info = replace(images[0], id=None, time=_midnight(day))
    return Opened(name=name, origin=collection, info=info, asset=None, expression=expression, version=versions)


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def _version(named: Named) -> str:
    return f"as_of:{named.as_of.isoformat()}" if named.as_of else UNPINNED


def _label(named: Named) -> str:
    return _plain((named.recipe or named.name).rsplit(":", maxsplit=1)[-1])


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "image"

"""From what the user names (an asset, a recipe, an expression) to an image whose bands are known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ee

from tasks.earthengine.connection import Connection, ensure_client
from tasks.earthengine.errors import Rejected
from tasks.earthengine.expression import decode, encode
from tasks.earthengine.metadata import (
    BandInfo,
    ImageInfo,
    get_asset,
    image_info,
)
from tasks.earthengine.recipes import Box, find
from tasks.errors.input import BadInputError
from tasks.plan.specs import ImageSpec

UNPINNED = "unpinned"


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
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


def find_image(connection: Connection, named: ImageSpec, region: Box | None) -> ImageRecord:
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
    return ImageRecord(
        name=_label(named),
        origin=named.recipe or named.name,
        info=_computed_info(connection, expression, named),
        asset=None,
        expression=expression,
        version=_version(named),
    )


def _asset(connection: Connection, asset: str) -> ImageInfo:
    try:
        return get_asset(connection, asset)
    except Rejected as error:
        raise BadInputError(
            "image.asset", asset, error.message, "Check the id in the Earth Engine data catalog"
        ) from error


def _stored(info: ImageInfo) -> ImageRecord:
    assert info.id is not None
    return ImageRecord(
        name=_plain(info.id.rsplit("/", maxsplit=1)[-1]),
        origin=info.id,
        info=info,
        asset=ee.data.convert_asset_id_to_asset_name(info.id),
        expression=None,
        version=info.version or UNPINNED,
    )


def _built(connection: Connection, named: ImageSpec, region: Box | None) -> Any:
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


def _computed_info(connection: Connection, expression: Mapping[str, Any], named: ImageSpec) -> ImageInfo:
    field = "image.recipe" if named.recipe else "image.expression"
    try:
        return image_info(connection, expression)
    except Rejected as error:
        raise BadInputError(field, _label(named), error.message, "Correct it; no pixel was asked for") from error
    except TypeError as error:
        raise BadInputError(field, _label(named), f"gives {error}, not an image", "Give an ee.Image") from error


def _version(named: ImageSpec) -> str:
    return f"as_of:{named.as_of.isoformat()}" if named.as_of else UNPINNED


def _label(named: ImageSpec) -> str:
    return _plain((named.recipe or named.name).rsplit(":", maxsplit=1)[-1])


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "image"

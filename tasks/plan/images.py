"""Find the image that a user names (by an asset, a recipe or an expression), and read its metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ee

from tasks.earthengine.connection import Connection, start_client
from tasks.earthengine.errors import Rejected
from tasks.earthengine.expression import decode, encode
from tasks.earthengine.image_info import BandInfo, ImageInfo
from tasks.earthengine.metadata import get_asset, image_info
from tasks.earthengine.recipes import Box, find
from tasks.errors.input import BadInputError
from tasks.plan.specs import ImageSpec

UNPINNED = "unpinned"


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """An image, stored or computed, and its metadata."""

    name: str
    """Folder of its tiles: letters, digits, `_`, `.`, `-`, and in a series `/` before the date."""
    origin: str
    """Name that the user knows: an asset id, a recipe, a collection, or the label of an expression."""
    info: ImageInfo
    asset: str | None
    """Full asset name of a stored image. None = a computed image."""
    expression: Mapping[str, Any] | None
    """Expression of a computed image. None = a stored image."""
    version: str
    """See :class:`tasks.plan.plan.Source`."""
    members: tuple[ImageInfo, ...] = ()
    """Metadata of the images that it is a mosaic of. Empty = it is one image."""
    label: str = ""
    """Name of its files in a series. Empty = the last part of `name`."""
    time: datetime | None = None
    """Start of the acquisition. None = that of `info`."""
    end: datetime | None = None
    """End of the acquisition. None = not known."""
    images: tuple[str, ...] = ()
    """Ids of the images that it is made of, the last on top. Empty = not known."""
    superseded: tuple[str, ...] = ()
    """Ids of older copies of these images, which are not used."""

    def bands(self, names: Sequence[str] | None) -> tuple[BandInfo, ...]:
        """Return some bands of the image.

        Args:
            names: Names of the bands, in the order of the result. None = all bands.

        Raises:
            BadInputError: The image has no bands, or not all of these.
        """
        known = {band.id: band for band in self.info.bands}
        if len(known) < len(self.info.bands):
            twice = sorted({band.id for band in self.info.bands if [b.id for b in self.info.bands].count(band.id) > 1})
            raise BadInputError("image", self.origin, f"it has several bands named {twice[0]!r}", "Rename its bands")
        if not known:
            remedy = "Widen the dates or the region: the collection that the image is made from may be empty"
            raise BadInputError("image", self.origin, "the image has no bands", remedy)
        for band in names or ():
            if band not in known:
                raise BadInputError(
                    "bands", list(names or ()), f"there is no band {band!r}", f"There are: {', '.join(known)}"
                )
        for band in names or known:
            if not band or band[0].isspace() or re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", band):
                reason = f"no file can keep the name of the band {band!r}"
                remedy = "Rename the band: a name is not empty, begins with no blank, and has no control characters"
                raise BadInputError("bands", list(names or known), reason, remedy)
        return tuple(known[band] for band in (names or known))


def find_image(connection: Connection, spec: ImageSpec, region: Box | None) -> ImageRecord:
    """Return the one image that the user names.

    Args:
        connection: Connection to Earth Engine.
        spec: What the user names.
        region: Bounding box of the job, for recipes that declare it.

    Raises:
        BadInputError: There is no such image, or it is a collection.
        EarthEngineError: Earth Engine does not answer, or refuses.
    """
    if spec.asset is not None:
        info = read_asset(connection, spec.asset)
        if info.kind != "IMAGE":
            raise BadInputError(
                "image",
                spec.asset,
                f"is of type {info.kind}, not IMAGE",
                "Name one image, extract a time series of the collection, or use a recipe that makes one image of it",
            )
        return stored_image(info)
    value = build_image(connection, spec, region)
    if isinstance(value, ee.ImageCollection):
        raise BadInputError(
            "image",
            label_of(spec),
            "gives an image collection, not one image",
            "Extract a time series of it, or reduce it to one image (median(), mosaic(), ...)",
        )
    expression = encode(value)
    return ImageRecord(
        name=label_of(spec),
        origin=spec.recipe or spec.name,
        info=computed_info(connection, expression, spec),
        asset=None,
        expression=expression,
        version=version_of(spec),
    )


def read_asset(connection: Connection, asset: str) -> ImageInfo:
    """Return the metadata of an asset.

    Raises:
        BadInputError: There is no such asset.
        EarthEngineError: Earth Engine does not answer, or refuses.
    """
    try:
        return get_asset(connection, asset)
    except Rejected as error:
        raise BadInputError("image", asset, error.message, "Check the id in the Earth Engine data catalog") from error


def stored_image(info: ImageInfo) -> ImageRecord:
    """Return the record of a stored image from its metadata."""
    assert info.id is not None
    return ImageRecord(
        name=plain_name(info.id.rsplit("/", maxsplit=1)[-1]),
        origin=info.id,
        info=info,
        asset=ee.data.convert_asset_id_to_asset_name(info.id),
        expression=None,
        version=info.version or UNPINNED,
    )


def build_image(connection: Connection, spec: ImageSpec, region: Box | None) -> Any:
    """Return the `ee` object of a recipe or an expression.

    Args:
        connection: Connection to Earth Engine.
        spec: A recipe or an expression.
        region: Bounding box of the job, for recipes that declare it.

    Raises:
        BadInputError: The recipe, its parameters or the expression is not valid.
    """
    start_client(connection)
    if spec.recipe is not None:
        return find(spec.recipe).build(spec.recipe_parameters or {}, region=region, as_of=spec.as_of)
    try:
        value = decode(spec.expression or {})
    except (ee.EEException, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        why = "it refers to itself, or is nested too deeply" if isinstance(error, RecursionError) else error
        remedy = "Give the JSON that ee.serializer.encode returns"
        raise BadInputError("image", spec.expression, f"not an expression ({why})", remedy) from None
    # The `ee` client decodes an image collection that was filtered or mapped as an ee.Collection.
    return ee.ImageCollection(value) if isinstance(value, ee.Collection) else value


def computed_info(connection: Connection, expression: Mapping[str, Any], spec: ImageSpec) -> ImageInfo:
    """Return the metadata of a computed image.

    Raises:
        BadInputError: Earth Engine refuses the expression, or the expression does not give an image.
        EarthEngineError: Earth Engine does not answer, or denies access.
    """
    try:
        return image_info(connection, expression)
    except Rejected as error:
        raise BadInputError("image", label_of(spec), error.message, "Fix it. No pixels were requested") from error
    except TypeError as error:
        raise BadInputError("image", label_of(spec), f"gives {error}, not an image", "Give an ee.Image") from error


def version_of(spec: ImageSpec) -> str:
    """Return the version of a computed image: its `as_of` day, or ``unpinned``."""
    return f"as_of:{spec.as_of.isoformat()}" if spec.as_of else UNPINNED


def label_of(spec: ImageSpec) -> str:
    """Return the name of a recipe or an expression, in the form of a folder name."""
    return plain_name((spec.recipe or spec.name).rsplit(":", maxsplit=1)[-1])


def plain_name(name: str) -> str:
    """Return a name of only letters, digits, `_`, `.` and `-`, without a dot at the beginning."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "image"

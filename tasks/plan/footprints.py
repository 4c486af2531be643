"""Footprints of images: whether a place touches an image, and the region of a whole image."""

from __future__ import annotations

import shapely
from shapely.geometry.base import BaseGeometry

from tasks.errors.input import BadInputError
from tasks.plan.images import ImageRecord
from tasks.raster.crs import WGS84
from tasks.raster.region import Region


def _outline(image: ImageRecord) -> BaseGeometry | None:
    """Return the footprint of an image in longitude and latitude. None = it is not known, or has no bounds."""
    geometry = image.info.geometry
    if not geometry or "Infinity" in str(geometry):
        return None
    shape = shapely.geometry.shape(geometry)
    return shape if shape.area else None


def check_touches(image: ImageRecord, place: BaseGeometry, field: str) -> None:
    """Check that a place touches an image, if the footprint of the image is known.

    Args:
        image: The image.
        place: Region or points in WGS 84 longitude and latitude.
        field: Parameter that the message names.

    Raises:
        BadInputError: The place does not touch the image.
    """
    outline = _outline(image)
    if outline is not None and not shapely.intersects(outline, place):
        shown = ", ".join(f"{side:.3f}" for side in outline.bounds)
        raise BadInputError(
            field,
            [round(side, 3) for side in place.bounds],
            f"does not touch {image.origin}, which is at [{shown}] (west, south, east, north)",
            "Give a place on the image. Are longitude and latitude swapped?",
        )


def footprint_of(image: ImageRecord) -> Region:
    """Return the footprint of an image as a region.

    Raises:
        BadInputError: The footprint is not known, or has no bounds.
    """
    shape = _outline(image)
    if shape is None:
        raise BadInputError(
            "region", None, "the footprint of the image is not known, so a region is needed", "Give a region"
        )
    return Region(geometry=shape, crs=WGS84)

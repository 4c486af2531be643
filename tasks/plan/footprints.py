"""Footprints of images: whether a place touches an image, and the region of a whole image."""

from __future__ import annotations

import math

import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from tasks.errors.input import BadInputError, InputError
from tasks.plan.images import ImageRecord
from tasks.raster import globe
from tasks.raster.crs import UTM_NORTH, UTM_SOUTH, WGS84, canonical_crs, crs_of
from tasks.raster.region import Region
from tasks.raster.reprojection import TornError, reproject
from tasks.raster.world_map import is_degrees

NEAR = 0.1
"""Degrees around the footprint of an image within which a region is kept."""


def outline_of(image: ImageRecord) -> BaseGeometry | None:
    """Return the footprint of an image in longitude and latitude, cut at 180 degrees.

    Near 180 degrees and the poles it is made from the grid of the image: Earth Engine's footprints are rings of
    geodesics, whose longitudes jump or run on there.

    Returns:
        None if the footprint is not known, or has no bounds.
    """
    shape = _reported(image)
    if shape is None or _is_plain(shape):
        return shape
    own = whole_grid(image)
    try:
        return shapely.make_valid(globe.cut(shape)) if own is None else own.wgs84
    except InputError:  # the grid reaches beyond its CRS, as global ones do
        return shapely.make_valid(globe.cut(shape))


def check_touches(image: ImageRecord, place: BaseGeometry, field: str) -> None:
    """Check that a place touches an image, if the footprint of the image is known.

    Args:
        image: The image.
        place: Region or points in WGS 84 longitude and latitude, cut at 180 degrees.
        field: Parameter that the message names.

    Raises:
        BadInputError: The place does not touch the image.
    """
    outline = outline_of(image)
    if outline is None:
        return
    if not globe.touch(outline, place):
        other = swapped(place)
        raise BadInputError(
            field,
            [round(side, 3) for side in globe.bounds(place)],
            f"does not touch {image.origin}, which is at {globe.shown(globe.bounds(outline))}",
            "Give longitude first: with longitude and latitude swapped, it lies on the image"
            if other is not None and globe.touch(outline, other)
            else "Give a place on the image",
        )


def swapped(place: BaseGeometry) -> BaseGeometry | None:
    """Return a place with longitude and latitude swapped. None = there is no such place.

    Args:
        place: Region or points in WGS 84 longitude and latitude.
    """
    west, _, east, _ = place.bounds
    return None if max(-west, east) > 90 else shapely.transform(place, lambda lonlat: lonlat[:, ::-1])


def footprint_of(image: ImageRecord) -> Region:
    """Return the footprint of an image as a region: near 180 degrees and the poles, the rectangle of its grid.

    Raises:
        BadInputError: The footprint is not known, or has no bounds.
    """
    reported, shape = _reported(image), outline_of(image)
    if reported is None or shape is None:
        raise BadInputError(
            "region", None, "the footprint of the image is not known, so a region is needed", "Give a region"
        )
    own = None if _is_plain(reported) else whole_grid(image)
    return Region(geometry=shape, crs=WGS84) if own is None else own


def reachable(image: ImageRecord, region: Region, crs: str) -> Region:
    """Return a region, or its part near an image if the CRS of the image has no place for the whole region.

    Args:
        image: The image.
        region: The region.
        crs: CRS of the image's own grid, in which the region is needed.
    """
    try:
        reproject(region.geometry, region.crs, crs)
    except TornError:
        outline = outline_of(image)
        near = None if outline is None else shapely.intersection(region.wgs84, outline.buffer(NEAR))
        if near is None or near.is_empty:
            raise
        return Region(geometry=globe.united([shapely.intersection(near, shapely.box(-180, -90, 180, 90))]), crs=WGS84)
    return region


def whole_grid(image: ImageRecord) -> Region | None:
    """Return the rectangle of the grid of an image's first band as a region. None = the grid is not known."""
    for band in image.info.bands[:1]:
        if band.shape is not None and all(map(math.isfinite, band.transform)):
            crs = canonical_crs(band.crs)
            extent = GeoBox(band.shape, band.transform, crs_of(crs)).extent.geom
            return Region(geometry=globe.folded(extent) if is_degrees(crs) else extent, crs=crs)
    return None


def _is_plain(shape: BaseGeometry) -> bool:
    """Return whether a reported footprint is used as it is: it is valid, and lies off 180 degrees and the poles."""
    west, south, east, north = shape.bounds
    inside = west > -180 and east < 180 and south >= UTM_SOUTH and north <= UTM_NORTH
    return bool(inside and shape.is_valid and globe.cut(shape) is shape)


def _reported(image: ImageRecord) -> BaseGeometry | None:
    geometry = image.info.geometry
    if not geometry or "Infinity" in str(geometry):
        return None
    shape = shapely.geometry.shape(geometry)
    if shape.geom_type in {"LinearRing", "LineString"}:
        shape = shapely.Polygon(shape)
    return shape if shape.area else None

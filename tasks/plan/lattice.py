"""Native grids: the lattice of pixels on which images are stored."""

from __future__ import annotations

from collections.abc import Sequence

from odc.geo.geobox import GeoBox

from tasks.earthengine.metadata import BandInfo
from tasks.errors.input import BadInputError
from tasks.plan.images import ImageRecord
from tasks.raster.crs import canonical_crs, crs_of
from tasks.raster.grid import native_geobox
from tasks.raster.region import Region

NATIVE = "native"


def native_grid(image: ImageRecord, bands: Sequence[BandInfo], region: Region | None) -> tuple[str, GeoBox]:
    """Return the CRS and the grid of an image's own pixels, cut to a region.

    Raises:
        InputError: The image has no one grid, or the region does not touch it.
    """
    first = bands[0]
    for band in bands:
        if (band.crs, band.transform, band.shape) != (first.crs, first.transform, first.shape):
            raise BadInputError(
                "crs",
                NATIVE,
                f"bands {first.id!r} and {band.id!r} have different grids",
                "Give a CRS and a scale, or choose bands with the same grid",
            )
    if image.asset is None:
        raise BadInputError("crs", NATIVE, "a computed image has no grid of its own", "Give a CRS and a scale")
    crs = canonical_crs(first.crs)
    if region is not None:
        return crs, native_geobox(region, crs, first.transform, shape=first.shape)
    if first.shape is None:
        raise BadInputError("region", None, "the image is unbounded", "Give a region")
    return crs, GeoBox(first.shape, first.transform, crs_of(crs))

"""Native grids: the lattice of the pixels that images are stored with, and the part of it that they cover."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from affine import Affine
from odc.geo import wh_
from odc.geo.geobox import GeoBox
from odc.geo.types import Shape2d

from tasks.earthengine.image_info import BandInfo
from tasks.errors.input import BadInputError
from tasks.plan.images import ImageRecord
from tasks.plan.units import metres_per_unit, short, unit
from tasks.raster.crs import canonical_crs, crs_of
from tasks.raster.grid import TOLERANCE, native_geobox
from tasks.raster.region import Region

NATIVE = "native"
SAME_SIZE = 1e-9
"""Relative difference of two pixel sizes that is rounding: sizes are often written with ten digits."""


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """The lattice of an image's own pixels, or that of several images whose pixels line up."""

    crs: str
    """Canonical name of the CRS."""
    affine: Affine
    """From (column, row) of pixel corners to CRS units."""
    start: tuple[int, int] = (0, 0)
    """Column and row at which the images begin."""
    shape: Shape2d | None
    """Height and width of what the images cover together, pixels. None = they have no bounds."""

    def grid(self, region: Region | None) -> GeoBox:
        """Return the pixels that cover a region, as far as the images reach.

        Args:
            region: The region. None = the images as a whole.

        Raises:
            InputError: The region does not touch the images, or is needed because they have no bounds.
        """
        if region is not None:
            return native_geobox(region, self.crs, self.affine, shape=self.shape, start=self.start)
        if self.shape is None:
            raise BadInputError("region", None, "the image is unbounded", "Give a region")
        x, y = self.affine @ self.start
        a = self.affine
        return GeoBox(self.shape, Affine(a.a, a.b, x, a.d, a.e, y), crs_of(self.crs))


def native_lattice(images: Sequence[ImageRecord], names: Sequence[str], *, growing: bool = False) -> Lattice:
    """Return the one lattice on which the bands of all images lie. The order of the images does not matter.

    Args:
        images: The images of a plan. Of a mosaic, its members are looked at.
        names: Names of the bands that are requested.
        growing: Whether images will be added later. If the images differ in extent, the lattice then has no bounds,
            because the grid of a growing series must not change with its next image.

    Raises:
        BadInputError: The images have no such lattice: one is computed and has no grid, or two of them differ in CRS,
            pixel size, or by a part of a pixel. The message names the two and the difference.
    """
    placed: dict[object, tuple[str, BandInfo]] = {}  # each grid once: a long series has few
    for record in images:
        for name, band in _grids(record, names):
            placed.setdefault((band.crs, band.transform, _size(band)), (name, band))
    if not placed:
        raise BadInputError("bands", list(names), "no image has one of these bands", "Name bands that the images have")
    first_name, first = next(iter(placed.values()))
    for name, band in placed.values():
        found = difference(first, band)
        if found is not None:
            remedy = "Give crs and scale, or choose images of one grid (a filter or a smaller region)"
            raise BadInputError("crs", NATIVE, f"{first_name} and {name} differ: {found}", remedy)
    crs, bands = canonical_crs(first.crs), [band for _, band in placed.values()]
    if len({(band.transform, _size(band)) for band in bands}) == 1:
        return Lattice(crs=crs, affine=first.transform, shape=first.shape)
    return _united(crs, bands, growing=growing)


def own_pixels(images: Sequence[ImageRecord], names: Sequence[str]) -> list[float]:
    """Return the sides of the images' own pixels on the ground, metres. Images without a grid are left out.

    Args:
        images: The images of a plan.
        names: Names of the bands that are requested.
    """
    infos = (info for record in images for info in record.members or (record.info,))
    bands = {
        (band.crs, abs(band.transform.determinant))
        for info in infos
        for band in info.bands
        if band.id in names and band.has_own_grid
    }
    return [math.sqrt(area) * metres_per_unit(crs) for crs, area in bands]


def difference(one: BandInfo, other: BandInfo) -> str | None:
    """Return why two bands do not lie on one lattice: their CRS, pixel size or offset. None = they do."""
    if (one.crs, one.transform) == (other.crs, other.transform):
        return None
    ones, others = canonical_crs(one.crs), canonical_crs(other.crs)
    if ones != others:
        return f"CRS {short(ones)} and {short(others)}"
    step = ~one.transform @ other.transform
    if max(abs(step.a - 1), abs(step.b), abs(step.d), abs(step.e - 1)) > SAME_SIZE:
        return f"pixels of {_pixel(one.transform)} and {_pixel(other.transform)} (width x height in {unit(ones)})"
    margin = TOLERANCE + SAME_SIZE * max(abs(step.c), abs(step.f))
    if max(abs(step.c - round(step.c)), abs(step.f - round(step.f))) > margin:
        return f"their origins are {step.c:.7g} columns and {step.f:.7g} rows apart, not whole pixels"
    return None


def _grids(record: ImageRecord, names: Sequence[str]) -> Iterator[tuple[str, BandInfo]]:
    """Yield the name and the one grid of each image that a record is made of.

    Raises:
        BadInputError: An image has no grid of its own, or its bands have different ones.
    """
    for info in record.members or (record.info,):
        name = (info.id or record.name).rsplit("/", maxsplit=1)[-1]
        known = {band.id: band for band in info.bands}
        bands = [known[band] for band in names if band in known]
        for band in bands:
            if not band.has_own_grid:
                remedy = "Give a CRS and a scale"
                raise BadInputError("crs", NATIVE, f"{name} is a computed image without a grid of its own", remedy)
            found = difference(bands[0], band)
            if found is None and (bands[0].transform, bands[0].shape) != (band.transform, band.shape):
                found = f"extents of {_extent(bands[0])} and {_extent(band)}"
            if found is not None:
                reason = f"bands {bands[0].id!r} and {band.id!r} of {name} have different grids: {found}"
                alike = ", ".join(other.id for other in bands if difference(bands[0], other) is None)
                remedy = f"Give a CRS and a scale, or choose bands with the same grid, such as {alike}"
                raise BadInputError("crs", NATIVE, reason, remedy)
        yield from ((name, band) for band in bands[:1])


def _united(crs: str, bands: Sequence[BandInfo], *, growing: bool) -> Lattice:
    """Return the lattice of bands that line up, with the union of their extents.

    Its origin is the lattice's own, near the origin of the CRS, and not that of one of the images.
    """
    size = min(bands, key=lambda band: tuple(band.transform)).transform
    turned = Affine(size.a, size.b, 0.0, size.d, size.e, 0.0)
    columns, rows = ~turned @ (size.c, size.f)
    phase = round(columns - round(columns), 6) + 0.0, round(rows - round(rows), 6) + 0.0
    x, y = turned @ phase
    affine = Affine(size.a, size.b, x, size.d, size.e, y)
    corners = [~affine @ (band.transform.c, band.transform.f) for band in bands]
    left, top = min(round(column) for column, _ in corners), min(round(row) for _, row in corners)
    shapes = [band.shape for band in bands]
    if growing or None in shapes:
        return Lattice(crs=crs, affine=affine, shape=None)
    right = max(round(column) + shape.x for (column, _), shape in zip(corners, shapes, strict=True) if shape)
    bottom = max(round(row) + shape.y for (_, row), shape in zip(corners, shapes, strict=True) if shape)
    return Lattice(crs=crs, affine=affine, start=(left, top), shape=wh_(right - left, bottom - top))


def _size(band: BandInfo) -> tuple[int, int] | None:
    return None if band.shape is None else (band.shape.y, band.shape.x)


def _pixel(affine: Affine) -> str:
    if affine.b == affine.d == 0:
        return f"{affine.a:.12g} x {affine.e:.12g}"
    return f"({affine.a:.12g}, {affine.b:.12g}; {affine.d:.12g}, {affine.e:.12g})"


def _extent(band: BandInfo) -> str:
    size = "no bounds" if band.shape is None else f"{band.shape.x} x {band.shape.y} pixels"
    return f"{size} at {band.transform.c:.12g}, {band.transform.f:.12g}"

"""Masks, and where images end."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from deployments.sandbox.interpreter import promotion
from deployments.sandbox.interpreter.coercion import constant_image
from deployments.sandbox.interpreter.edges import fine, lonlat_shape, reprojected
from deployments.sandbox.interpreter.pixels import matched, pixelwise
from deployments.sandbox.interpreter.promotion import stored
from deployments.sandbox.interpreter.registry import function
from deployments.sandbox.interpreter.values import WGS84, Collection, Feature, Geometry
from deployments.sandbox.raster import FLOAT, Band, Grid, Image, Pixels, Projection
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.sampling import from_coordinates

_SLACK = 1e-6  # of a pixel: bounds that meet a pixel's edge but for rounding take no further pixel
FRACTION = replace(FLOAT, min=0, max=1)


def inside(shape: BaseGeometry, crs: str, grid: Grid) -> NDArray[np.bool_]:
    """Return which pixel centres of a grid lie in a shape.

    Edges are straight in the shape's CRS and are followed by 64 points along its size.

    Args:
        shape: In units of ``crs``; only its areas count, a point or a line covers the pixels that it meets.
        crs: Authority code or WKT.
        grid: The pixels.

    Returns:
        (height, width) booleans.
    """
    if shape.is_empty:
        return np.zeros(grid.shape, bool)
    dense = shape if grid.crs == crs else fine(shape)
    target = Projection(crs=grid.crs, transform=grid.transform)

    def to_pixels(points: NDArray[np.float64]) -> NDArray[np.float64]:
        cols, rows = from_coordinates(points[:, 0], points[:, 1], crs, target)
        # What cannot be projected lies far off; rasterising needs finite numbers.
        return np.nan_to_num(np.column_stack([cols, rows]), posinf=1e9, neginf=-1e9)

    pixels = shapely.transform(dense, to_pixels)
    if not shapely.box(0, 0, grid.width, grid.height).intersects(pixels):
        return np.zeros(grid.shape, bool)
    areal = shape.area > 0
    burnt: NDArray[np.bool_] = rasterio.features.rasterize(
        [(pixels, 1)], grid.shape, transform=Affine.identity(), dtype="uint8", all_touched=not areal
    ).astype(bool)
    return burnt


def masked_band(band: Band, mask: Band) -> Band:
    """Return a band whose mask is the lesser of its own and of another band's value, where that is valid."""

    def read(grid: Grid) -> Pixels:
        pixels, other = band.read(grid), mask.read(grid)
        share = np.clip(other.values.astype(np.float32, copy=False), 0, 1) * (other.mask > 0)
        return Pixels(pixels.values, np.minimum(pixels.mask, share))

    return replace(band, read=read, resampled=None)


def chosen_band(test: Band, yes: Band, no: Band, like: Band, band_id: str) -> Band:
    """Return a band of ``yes`` where ``test`` is not zero and of ``no`` elsewhere; masked as ``test`` is."""
    result = promotion.union(yes.type, no.type)

    def read(grid: Grid) -> Pixels:
        which, first, second = test.read(grid), yes.read(grid), no.read(grid)
        picked = which.values != 0
        values = np.where(picked, stored(first.values, result), stored(second.values, result))
        mask = np.where(picked, first.mask, second.mask)
        return Pixels(values, np.minimum(mask, which.mask))

    return Band(
        id=band_id, type=result, projection=like.projection, read=read, dimensions=like.dimensions, origin=like.origin
    )


def _remasked(band: Band, mask: Band) -> Band:
    low, high = band.type.min, band.type.max
    empty = 0 if low is None or high is None else min(max(0, low), high)

    def read(grid: Grid) -> Pixels:
        pixels, other = band.read(grid), mask.read(grid)
        share = np.clip(other.values.astype(np.float32, copy=False), 0, 1) * (other.mask > 0)
        values = np.where(pixels.mask > 0, pixels.values, np.asarray(empty, pixels.values.dtype))
        return Pixels(values, share.astype(np.float32, copy=False))

    return replace(band, read=read, resampled=None)


def _mask_of(band: Band) -> Band:
    def read(grid: Grid) -> Pixels:
        return Pixels(band.read(grid).mask, np.broadcast_to(np.float32(1), grid.shape))

    return replace(band, type=FRACTION, read=read, resampled=None)


@function("Image.mask")
def mask(image: Image, new: Image | None) -> Image:
    """Return the masks of an image's bands as fractions, themselves valid everywhere; or set the masks.

    Where a mask that is set was zero, the value is now zero, or the one of its type that is closest to it. Source: the
    description of Image.mask in Earth Engine's list of algorithms.
    """
    if new is not None:
        if len(new.bands) > 1 and len(image.bands) == 1:
            raise Refusal("Image.mask: The mask must have one band, or as many as the image (1).")
        pairs = matched("Image.mask", image, new)
        return replace(image, bands=tuple(_remasked(band, other) for band, other, _ in pairs))
    return replace(image, bands=tuple(_mask_of(band) for band in image.bands))


@function("Image.updateMask")
def update_mask(image: Image, new: Image) -> Image:
    """Mask an image also where another is zero or masked; one band of a mask counts for all."""
    if len(new.bands) > 1 and len(image.bands) == 1:
        raise Refusal("Image.updateMask: The mask must have one band, or as many as the image (1).")
    pairs = matched("Image.updateMask", image, new)
    return replace(image, bands=tuple(masked_band(band, other) for band, other, _ in pairs))


@function("Image.selfMask")
def self_mask(image: Image) -> Image:
    """Mask an image where it is zero."""
    return replace(image, bands=tuple(masked_band(band, band) for band in image.bands))


def _filled(band: Band, fill: Band, footprint: BaseGeometry | None) -> Band:
    result = promotion.union(band.type, fill.type)

    def read(grid: Grid) -> Pixels:
        pixels, other = band.read(grid), fill.read(grid)
        hole = pixels.mask == 0
        if footprint is not None:
            hole &= inside(footprint, WGS84, grid)
        values = np.where(hole, stored(other.values, result), stored(pixels.values, result))
        return Pixels(values, np.where(hole, other.mask, pixels.mask))

    return replace(band, type=result, read=read, resampled=None)


@function("Image.unmask")
def unmask(image: Image, value: Image | None, same_footprint: bool) -> Image:
    """Fill what is wholly masked with another image (0), inside the footprint or everywhere."""
    fill = value if value is not None else constant_image(0)
    if len(fill.bands) > 1 and len(image.bands) == 1:
        raise Refusal("Image.unmask: The value must have one band, or as many as the image (1).")
    footprint = image.footprint if same_footprint else None
    pairs = matched("Image.unmask", image, fill)
    bands = tuple(_filled(band, other, footprint) for band, other, _ in pairs)
    return replace(image, bands=bands, footprint=footprint if same_footprint else None)


def _replaced(band: Band, test: Band, value: Band) -> Band:
    result = promotion.union(band.type, value.type)

    def read(grid: Grid) -> Pixels:
        pixels, which, other = band.read(grid), test.read(grid), value.read(grid)
        here = (which.values != 0) & (which.mask > 0) & (other.mask > 0) & (pixels.mask > 0)
        values = np.where(here, stored(other.values, result), stored(pixels.values, result))
        return Pixels(values, pixels.mask)

    return replace(band, type=result, read=read, resampled=None)


@function("Image.where")
def where(image: Image, test: Image, value: Image) -> Image:
    """Replace values where a test is not zero; where anything is masked, the input stays as it is.

    Source: the description of Image.where in Earth Engine's list of algorithms.
    """
    tests = matched("Image.where", image, test)
    values = matched("Image.where", image, value)
    if not len(image.bands) == len(tests) == len(values):
        raise Refusal("Image.where: 'test' and 'value' must have one band, or as many as the input.")
    bands = (_replaced(band, t[1], v[1]) for band, t, v in zip(image.bands, tests, values, strict=True))
    return replace(image, bands=tuple(bands))


def _clipped(band: Band, shape: Geometry) -> Band:
    def read(grid: Grid) -> Pixels:
        pixels = band.read(grid)
        return Pixels(pixels.values, np.where(inside(shape.shape, shape.crs, grid), pixels.mask, np.float32(0)))

    again = band.resampled
    resampled = None if again is None else lambda mode: _clipped(again(mode), shape)
    return replace(band, read=read, resampled=resampled)


def _window(shape: Geometry, band: Band) -> tuple[int, int, int, int] | None:
    """Return ``(left, top, right, bottom)`` of a shape in the pixels of a band, None if it has no place there."""
    xs, ys = shapely.get_coordinates(reprojected(shape, band.projection.crs)).T
    inverse = ~band.projection.transform
    cols, rows = inverse.a * xs + inverse.b * ys + inverse.c, inverse.d * xs + inverse.e * ys + inverse.f
    if not cols.size or not (np.isfinite(cols).all() and np.isfinite(rows).all()):
        return None
    left, top = (math.floor(part.min() + _SLACK) for part in (cols, rows))
    # A point or a line on the edge of a pixel has that pixel.
    right, bottom = (max(math.ceil(part.max() - _SLACK), first + 1) for part, first in ((cols, left), (rows, top)))
    return left, top, right, bottom


def _cut(band: Band, window: tuple[int, int, int, int] | None) -> Band:
    """Return a band whose pixels end where a window ends, on the same lattice."""
    if window is None:
        return band
    left, top, right, bottom = window
    if band.dimensions is not None:
        x, y = band.origin
        left, top = max(left, x), max(top, y)
        right, bottom = min(right, x + band.dimensions[0]), min(bottom, y + band.dimensions[1])
    if left >= right or top >= bottom:
        return replace(band, dimensions=(0, 0), origin=(0, 0))
    return replace(band, dimensions=(right - left, bottom - top), origin=(left, top))


@function("Image.clip")
def clip(image: Image, geometry: Any) -> Image:
    """Mask an image outside a geometry, a feature or a collection of features."""
    shape = clip_shape(geometry)
    lonlat = lonlat_shape(shape)
    shape = Geometry(lonlat, geodesic=False) if shape.crs == WGS84 else shape
    footprint = lonlat if image.footprint is None else image.footprint.intersection(lonlat)
    windows = {band.projection: _window(shape, band) for band in image.bands}
    bands = (_cut(_clipped(band, shape), windows[band.projection]) for band in image.bands)
    return replace(image, bands=tuple(bands), footprint=footprint)


def clip_shape(geometry: Any) -> Geometry:
    """Return the geometry that an image is clipped to.

    Raises:
        Refusal: 400, there is none.
    """
    if isinstance(geometry, Geometry):
        return geometry
    if isinstance(geometry, Feature) and geometry.geometry is not None:
        return geometry.geometry
    if isinstance(geometry, Image) and geometry.footprint is not None:
        return Geometry(geometry.footprint, geodesic=False)
    if isinstance(geometry, Collection):
        parts = [lonlat_shape(clip_shape(element)) for element in geometry.elements]
        return Geometry(shapely.union_all(parts), geodesic=False)
    raise Refusal("Image.clip: The geometry for image clipping must not be empty or unbounded.")


@function("Image.blend")
def blend(bottom: Image, top: Image) -> Image:
    """Lay one image over another."""
    pairs = matched("Image.blend", bottom, top)
    bands = []
    for below, above, name in pairs:
        test = pixelwise(lambda m: m > 0, (_mask_of(above),), promotion.BOOLEAN, name)
        bands.append(chosen_band(test, above, below, below, name))
    return replace(bottom, bands=tuple(bands), footprint=None)


def choose(test: Image, yes: Image, no: Image) -> Image:
    """Return one image where a test is not zero and another elsewhere: ``test ? yes : no``."""
    bands = []
    for first, second, name in matched("Image.expression", yes, no):
        judges = test.bands if len(test.bands) == 1 else [b for b in test.bands if b.id == name] or test.bands
        bands.append(chosen_band(judges[0], first, second, first, name))
    return replace(yes, bands=tuple(bands))

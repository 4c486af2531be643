"""Images in a projection of their own, and reading between pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from affine import Affine

from deployments.sandbox.interpreter.pixels import DEGREE, Remembered
from deployments.sandbox.interpreter.projections import (
    LONLAT,
    METRES_A_DEGREE,
    nominal_scale,
    target_projection,
)
from deployments.sandbox.interpreter.promotion import floating, stored
from deployments.sandbox.interpreter.registry import function
from deployments.sandbox.raster import DOUBLE, Band, Grid, Image, Pixels, Projection, Resampling
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.sampling import pixel_coordinates, sample

LARGEST = 2**26
"""Pixels of an intermediate grid: a request that needs more is refused, as Earth Engine refuses it."""


def through(band: Band, projection: Projection, grid: Grid, resampling: Resampling) -> Pixels:
    """Compute a band on the pixels of a projection that a grid touches, then sample those.

    Raises:
        Refusal: 400, the intermediate grid is too large.
    """
    cols, rows = pixel_coordinates(grid, projection)
    known = np.isfinite(cols) & np.isfinite(rows)
    if not known.any():
        return Pixels(np.zeros(grid.shape, band.type.numpy), np.zeros(grid.shape, np.float32))
    margin = 0 if resampling == "nearest" else 2
    left, right = (math.floor(f(cols[known])) for f in (np.min, np.max))
    top, bottom = (math.floor(f(rows[known])) for f in (np.min, np.max))
    # One pixel more than the floor: sampling gives a point a hair before an edge to the pixel behind it.
    width, height = right - left + 2 + 2 * margin, bottom - top + 2 + 2 * margin
    if width * height > LARGEST:
        raise Refusal(f"Reprojection output too large ({width}x{height} pixels).")
    moved = projection.transform @ Affine.translation(left - margin, top - margin)
    inner = band.read(Grid(crs=projection.crs, transform=moved, width=width, height=height))
    found = sample(inner, cols - (left - margin), rows - (top - margin), resampling)
    result = band.type if resampling == "nearest" else floating(band.type)
    return Pixels(stored(found.values, result), found.mask)


def _reprojected(band: Band, projection: Projection) -> Band:
    def reading(resampling: Resampling) -> Band:
        return replace(
            band,
            type=band.type if resampling == "nearest" else floating(band.type),
            projection=projection,
            dimensions=None,
            origin=(0, 0),
            read=lambda grid: through(band, projection, grid, resampling),
            resampled=reading,
        )

    return reading("nearest")


@function("Image.reproject")
def reproject(image: Image, projection: Projection, transform: Sequence[Any] | None, scale: float | None) -> Image:
    """Compute an image in a projection, whatever projection the request asks for."""
    target = target_projection(projection, transform, scale)
    return replace(image, bands=tuple(_reprojected(band, target) for band in image.bands))


@function("Image.setDefaultProjection")
def set_default_projection(
    image: Image, projection: Projection, transform: Sequence[Any] | None, scale: float | None
) -> Image:
    """Give an image a default projection, without computing it there."""
    target = target_projection(projection, transform, scale)
    bands = (replace(band, projection=target, dimensions=None, origin=(0, 0), resampled=None) for band in image.bands)
    return replace(image, bands=tuple(bands))


def _level(projection: Projection, grid: Grid) -> Projection:
    """Return a projection on the level of the pyramid that a grid reads: the finest not coarser than it.

    Source: developers.google.com/earth-engine/guides/scale.
    """
    ratio = nominal_scale(Projection(crs=grid.crs, transform=grid.transform)) / nominal_scale(projection)
    factor = 2 ** max(0, math.floor(math.log2(ratio * (1 + 1e-6))))
    return Projection(crs=projection.crs, transform=projection.transform @ Affine.scale(factor))


def _interpolated(band: Band, mode: Resampling) -> Band:
    """Return a computed band interpolated between the pixels of its default projection."""

    def read(grid: Grid) -> Pixels:
        return through(band, _level(band.projection, grid), grid, mode)

    return replace(band, type=floating(band.type), read=read)


@function("Image.resample")
def resample(image: Image, mode: str) -> Image:
    """Interpolate an image when it is read in other projections than its own.

    Stored bands are resampled where they are read. Computed ones are computed in their default projection
    and then interpolated.
    """
    if mode not in {"bilinear", "bicubic"}:
        raise Refusal(f"Image.resample: Invalid mode '{mode}'. Must be one of 'bilinear' or 'bicubic'.")
    chosen: Resampling = "bilinear" if mode == "bilinear" else "bicubic"
    bands = []
    for band in image.bands:
        if band.resampled is not None:
            again = band.resampled(chosen)
            read = Remembered(again.read)
            bands.append(replace(again, id=band.id, read=read, dimensions=band.dimensions, origin=band.origin))
        elif band.projection == DEGREE:
            raise Refusal(
                f"Image.resample: band '{band.id}' has no meaningful default projection (a composite or a "
                "constant). Resample the images that it is made of."
            )
        else:
            bands.append(_interpolated(band, chosen))
    return replace(image, bands=tuple(bands))


@function("Image.projection")
def projection_of_image(image: Image) -> Projection:
    """Return the default projection that all bands of an image share."""
    if not image.bands:
        raise Refusal("Image.projection: The image has no bands.")
    first = image.bands[0]
    other = next((b for b in image.bands if b.projection != first.projection), None)
    if other is not None:
        raise Refusal(
            "Image.projection: The bands of the specified image contains different projections. "
            "Use 'select' to pick a single band."
        )
    return first.projection


def _lonlat_band(axis: int) -> Band:
    limit = (180, 90)[axis]

    def read(grid: Grid) -> Pixels:
        part = pixel_coordinates(grid, LONLAT)[axis]
        lost = ~np.isfinite(part)
        return Pixels(np.where(lost, 0.0, part), np.where(lost, np.float32(0), np.float32(1)))

    return Band(
        id=("longitude", "latitude")[axis],
        type=replace(DOUBLE, min=-limit, max=limit),
        projection=DEGREE,
        read=read,
    )


@function("Image.pixelLonLat")
def pixel_lonlat() -> Image:
    """Return longitude and latitude of pixel centres, in degrees."""
    return Image(bands=(_lonlat_band(0), _lonlat_band(1)))


@function("Image.pixelCoordinates")
def pixel_coordinates_image(projection: Projection) -> Image:
    """Return x and y of pixel centres in a projection's pixels."""

    def band(axis: int) -> Band:
        def read(grid: Grid) -> Pixels:
            part = pixel_coordinates(grid, projection)[axis]
            lost = ~np.isfinite(part)
            return Pixels(np.where(lost, 0.0, part), np.where(lost, np.float32(0), np.float32(1)))

        return Band(id="xy"[axis], type=DOUBLE, projection=projection, read=read)

    return Image(bands=(band(0), band(1)))


@function("Image.pixelArea")
def pixel_area() -> Image:
    """Return the area of each pixel in square metres, on a sphere of the equatorial radius."""
    radius = METRES_A_DEGREE * 180 / math.pi

    def read(grid: Grid) -> Pixels:
        corners = Grid(
            crs=grid.crs,
            transform=grid.transform @ Affine.translation(-0.5, -0.5),
            width=grid.width + 1,
            height=grid.height + 1,
        )
        lon, lat = (np.radians(part) for part in pixel_coordinates(corners, LONLAT))
        # Lambert's cylinder keeps areas: the shoelace of the corners there is the area on the sphere.
        x, y = np.unwrap(lon, axis=1), np.sin(lat)
        ring = [(0, 0), (0, 1), (1, 1), (1, 0)]
        parts = [(_corner(x, *p), _corner(y, *p)) for p in ring]
        twice = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(parts, parts[1:] + parts[:1], strict=True))
        area = np.abs(np.asarray(twice)) / 2 * radius**2
        lost = ~np.isfinite(area)
        return Pixels(np.where(lost, 0.0, area), np.where(lost, np.float32(0), np.float32(1)))

    return Image(bands=(Band(id="area", type=DOUBLE, projection=DEGREE, read=read),))


def _corner(values: Any, row: int, col: int) -> Any:
    return values[row : values.shape[0] - 1 + row, col : values.shape[1] - 1 + col]


@function("Projection")
def projection(crs: Any, transform: Sequence[Any] | None) -> Projection:
    """Make a projection of a code or WKT, and perhaps a transform."""
    from deployments.sandbox.interpreter.projections import projection_of

    return projection_of(crs, transform)


@function("Projection.nominalScale")
def scale_of(of: Projection) -> float:
    """Return the size of a pixel in metres."""
    return nominal_scale(of)


@function("Projection.crs")
def crs(of: Projection) -> str:
    """Return the code of the CRS."""
    return of.crs


@function("Projection.wkt")
def wkt(of: Projection) -> str:
    """Return the CRS as WKT 1."""
    from deployments.sandbox.raster import crs_of

    return str(crs_of(of.crs).to_wkt("WKT1_GDAL"))


@function("Projection.transform")
def transform_text(of: Projection) -> str:
    """Return the transform as the WKT of an affine math transform."""
    t = of.transform
    rows = ((t.a, t.b, t.c), (t.d, t.e, t.f))
    parts = [f'PARAMETER["elt_{i}_{j}", {v}]' for i, row in enumerate(rows) for j, v in enumerate(row)]
    head = 'PARAMETER["num_row", 3], PARAMETER["num_col", 3]'
    return f'PARAM_MT["Affine", {head}, {", ".join(parts)}]'


@function("Projection.atScale")
def at_scale_of(of: Projection, metres: float) -> Projection:
    """Return a projection with pixels of another size in metres."""
    from deployments.sandbox.interpreter.projections import at_scale

    return at_scale(of, metres)


@function("Projection.scale")
def scaled(of: Projection, x: float, y: float) -> Projection:
    """Return a projection with its pixels scaled."""
    return Projection(crs=of.crs, transform=of.transform @ Affine.scale(x, y))


@function("Projection.translate")
def translated(of: Projection, x: float, y: float) -> Projection:
    """Return a projection with its pixels moved."""
    return Projection(crs=of.crs, transform=of.transform @ Affine.translation(x, y))

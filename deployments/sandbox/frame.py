"""From the parts of a grid that a request gives to the grid that it gets.

What a request leaves out comes from the image (Google's doc pages getPixels, PixelGrid and "Projections"):

====================  ==================================================================================
left out              taken from
====================  ==================================================================================
CRS                   the default projection of the first band asked for
affine transform      the same, if the CRS is its own; else square pixels of the same nominal size in metres
dimensions            the region's bounding box in the output CRS, else the whole image
====================  ==================================================================================

A region with dimensions: "the grid is ultimately rescaled to the requested size" (getPixels).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from deployments.sandbox.raster import Band, Grid, Projection, crs_of
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.request import Frame

LARGEST_SIDE = 32_768
"""Pixels (Google's doc page computePixels: 32K in either dimension; text from google/Xee#85)."""
MOST_BANDS = 1024
LARGEST_SIZE = 50_331_648
"""Bytes: 48 MiB of uncompressed pixels."""

_METRES_A_DEGREE = 6_378_137 * math.pi / 180
_WORLD = shapely.box(-180, -90, 180, 90)
_SLACK = 1e-6  # of a pixel: bounds that meet a pixel's edge but for rounding take no further pixel


def resolve(
    frame: Frame, bands: Sequence[Band], footprint: BaseGeometry | None, region: BaseGeometry | None = None
) -> Grid:
    """Return the full grid of a request.

    Args:
        frame: What the request gives.
        bands: The bands asked for; the first one's projection is the default.
        footprint: Of the image, in longitude/latitude; None = unbounded.
        region: What getPixels was asked for, in longitude/latitude.

    Raises:
        Refusal: 400, when nothing bounds the image.
    """
    first = bands[0]
    native = first.projection
    crs = frame.crs or native.crs
    own = _same(crs, native.crs)
    if frame.width is not None and frame.height is not None and (frame.transform or own) and region is None:
        return Grid(crs=crs, transform=frame.transform or native.transform, width=frame.width, height=frame.height)
    if own and region is None and first.dimensions and frame.transform in (None, native.transform):
        width, height = first.dimensions
        if not (width and height):
            raise Refusal("The image has no pixels: it was clipped to where it has none.")
        moved = native.transform @ Affine.translation(*first.origin)
        return Grid(crs=crs, transform=moved, width=width, height=height)

    box = _box(footprint if region is None else region, crs)
    if frame.width is not None and frame.height is not None:  # rescaled to the requested size
        left, bottom, right, top = box
        if not (right > left and top > bottom):
            raise Refusal("The region has no area: it cannot be rescaled to grid.dimensions.")
        step = Affine.scale((right - left) / frame.width, -(top - bottom) / frame.height)
        return Grid(crs=crs, transform=Affine.translation(left, top) @ step, width=frame.width, height=frame.height)
    transform = frame.transform or (native.transform if own else _square(native, crs, box))
    return _cover(box, transform, crs)


def check(grid: Grid, bands: Sequence[Band]) -> None:
    """Refuse what is over Earth Engine's limits.

    The size counts one byte of mask for every band and pixel besides the value
    (recorded in google/Xee#50: 56623104 = 48 x 512 x 256 x (8 + 1)).

    Raises:
        Refusal: 400, with Earth Engine's texts.
    """
    if max(grid.shape) > LARGEST_SIDE:
        raise Refusal(
            f"Pixel grid dimensions ({grid.width}x{grid.height}) must be less than or equal to {LARGEST_SIDE}."
        )
    if len(bands) > MOST_BANDS:
        raise Refusal(f"Number of bands ({len(bands)}) must be less than or equal to {MOST_BANDS}.")
    size = grid.width * grid.height * sum(band.type.numpy.itemsize + 1 for band in bands)
    if size > LARGEST_SIZE:
        raise Refusal(f"Total request size ({size} bytes) must be less than or equal to {LARGEST_SIZE} bytes.")


def _box(area: BaseGeometry | None, crs: str) -> tuple[float, float, float, float]:
    """Return (left, bottom, right, top) of an area in CRS units: its edges are followed, not only its corners."""
    target = crs_of(crs)
    if area is None and not target.is_geographic:
        raise Refusal("The image is unbounded: the request must give grid.dimensions and grid.affineTransform.")
    area = _WORLD if area is None else area
    reach = max(area.bounds[2] - area.bounds[0], area.bounds[3] - area.bounds[1])
    corners = shapely.get_coordinates(area.segmentize(reach / 64) if reach else area)
    xs, ys = Transformer.from_crs("OGC:CRS84", target, always_xy=True).transform(*corners.T)
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise Refusal("The region cannot be projected to the output CRS.")
    left, bottom, right, top = float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys))
    return left, bottom, right, top


def _cover(box: tuple[float, float, float, float], transform: Affine, crs: str) -> Grid:
    """Return the smallest window of whole pixels that covers a box, on the lattice of a transform."""
    left, bottom, right, top = box
    inverse = ~transform
    columns, rows = zip(*(inverse @ (x, y) for x in (left, right) for y in (bottom, top)), strict=True)
    first, last = math.floor(min(columns) + _SLACK), math.ceil(max(columns) - _SLACK)
    above, below = math.floor(min(rows) + _SLACK), math.ceil(max(rows) - _SLACK)
    return Grid(
        crs=crs,
        transform=transform @ Affine.translation(first, above),
        width=max(last - first, 1),
        height=max(below - above, 1),
    )


def _square(native: Projection, crs: str, box: tuple[float, float, float, float]) -> Affine:
    """Return square pixels of the native nominal size, from the top-left corner of a box."""
    metres = math.sqrt(abs(native.transform.determinant)) * _metres(crs_of(native.crs))
    step = metres / _metres(crs_of(crs))
    return Affine.translation(box[0], box[3]) @ Affine.scale(step, -step)


@functools.lru_cache(maxsize=256)
def _same(one: str, other: str) -> bool:
    return one == other or bool(crs_of(one) == crs_of(other))  # PROJ takes a while for the second


def _metres(crs: CRS) -> float:
    """Return how many metres one unit of a CRS is; of degrees, at the equator."""
    if crs.is_geographic:
        return _METRES_A_DEGREE
    return float(crs.axis_info[0].unit_conversion_factor) if crs.axis_info else 1.0

"""Make the tiles of a region: its grid, cut into tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from tasks.earthengine.recipes import Box
from tasks.errors.input import BadInputError
from tasks.plan.footprints import check_touches, footprint_of
from tasks.plan.images import ImageRecord
from tasks.plan.lattice import NATIVE, native_lattice, own_pixels
from tasks.plan.plan import TileFormat
from tasks.plan.specs import PixelSpec
from tasks.plan.tiles import RegionTiles
from tasks.plan.units import check_units
from tasks.raster.clip import touching
from tasks.raster.crs import reproject, resolve_crs
from tasks.raster.grid import covering_geobox
from tasks.raster.region import Region
from tasks.raster.small_parts import on_grid
from tasks.raster.tiling import Tiling


def region_box(geometry: BaseGeometry) -> Box:
    """Return the bounding box that recipes get: `[west, south, east, north]`, rounded outwards to whole degrees.

    It is rounded so that neighbouring jobs give the same expression.

    Args:
        geometry: Geometry in WGS 84 longitude and latitude.
    """
    west, south, east, north = geometry.bounds
    return [
        float(max(-180, math.floor(west))),
        float(max(-90, math.floor(south))),
        float(min(180, math.ceil(east))),
        float(min(90, math.ceil(north))),
    ]


def region_tiles(
    images: Sequence[ImageRecord],
    names: Sequence[str],
    pixels: PixelSpec,
    region: Region | None,
    tile_size: int,
    *,
    growing: bool = False,
) -> tuple[RegionTiles, TileFormat]:
    """Return the tiles of a region, and the tile format with the geometry that clips them.

    Args:
        images: The images of the plan. All have the one grid.
        names: Names of the bands that are requested.
        pixels: CRS, scale, anchor and clip.
        region: The region. None = the footprint of the one image.
        tile_size: Pixels per side of a tile.
        growing: Whether images will be added later: see :func:`tasks.plan.lattice.native_lattice`.

    Raises:
        InputError: The grid cannot be made, or does not touch the image.
    """
    if pixels.crs.lower() == NATIVE:
        lattice = native_lattice(images, names, growing=growing)
        crs, box = lattice.crs, lattice.grid(region)
    else:
        crs, box = _grid(images, names, pixels, region)
    tiling = Tiling(box, tile_size)
    whole = RegionTiles(crs=crs, tiling=tiling)
    if region is None or not (pixels.clip or pixels.leave_out):
        return whole, pixels.tile_format
    geometry = on_grid(region, crs, box)
    kept = touching(geometry, tiling)
    if not len(kept):
        bounds = [round(side, 3) for side in region.geometry.bounds]
        raise BadInputError("region", bounds, "it does not touch the image", "Give a region on the image")
    tiles = whole if len(kept) == len(tiling) else replace(whole, kept=tuple(kept.tolist()))
    if not pixels.clip:
        return tiles if tiles.is_sparse else whole, pixels.tile_format
    return tiles, replace(pixels.tile_format, clip=shapely.to_wkt(geometry, rounding_precision=-1))


def _grid(
    images: Sequence[ImageRecord], names: Sequence[str], pixels: PixelSpec, region: Region | None
) -> tuple[str, GeoBox]:
    area = region or footprint_of(images[0])
    if region is not None and len(images) == 1:  # the images of a series were found by the region
        check_touches(images[0], region.wgs84, "region")
    crs, scale = resolve_crs(pixels.crs, area.wgs84), pixels.scale or 0.0
    west, south, east, north = reproject(area.geometry, area.crs, crs).bounds
    own = own_pixels(images, names)
    check_units(crs, scale, anchor=pixels.anchor, own=own, area=(east - west, north - south), whole=region is None)
    return crs, covering_geobox(area, crs, scale, anchor=pixels.anchor)

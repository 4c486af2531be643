"""Make the tiles of a region: its grid, cut into tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from tasks.earthengine.metadata import BandInfo
from tasks.earthengine.recipes import Box
from tasks.errors.input import BadInputError
from tasks.plan.footprints import check_touches, footprint_of
from tasks.plan.images import ImageRecord
from tasks.plan.lattice import NATIVE, native_grid
from tasks.plan.plan import TileFormat
from tasks.plan.specs import PixelSpec
from tasks.plan.tiles import RegionTiles
from tasks.raster.clip import touching
from tasks.raster.crs import crs_of, reproject, resolve_crs
from tasks.raster.grid import covering_geobox
from tasks.raster.region import Region
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
    image: ImageRecord, bands: Sequence[BandInfo], pixels: PixelSpec, region: Region | None, tile_size: int
) -> tuple[RegionTiles, TileFormat]:
    """Return the tiles of a region, and the tile format with the geometry that clips them.

    Args:
        image: The image.
        bands: Its bands that are requested.
        pixels: CRS, scale, anchor and clip.
        region: The region. None = the footprint of the image.
        tile_size: Pixels per side of a tile.

    Raises:
        InputError: The grid cannot be made, or does not touch the image.
    """
    crs, box = _grid(image, bands, pixels, region)
    tiling = Tiling(box, tile_size)
    if region is None or not pixels.clip:
        return RegionTiles(crs=crs, tiling=tiling), pixels.tile_format
    geometry = reproject(region.geometry, region.crs, crs)
    kept = touching(geometry, tiling)
    tiles = RegionTiles(crs=crs, tiling=tiling, kept=None if len(kept) == len(tiling) else tuple(kept.tolist()))
    return tiles, replace(pixels.tile_format, clip=shapely.to_wkt(geometry, rounding_precision=-1))


def _grid(
    image: ImageRecord, bands: Sequence[BandInfo], pixels: PixelSpec, region: Region | None
) -> tuple[str, GeoBox]:
    if pixels.crs.lower() == NATIVE:
        return native_grid(image, bands, region)
    area = region or footprint_of(image)
    if region is not None:
        check_touches(image, region.wgs84, "region")
    crs, scale = resolve_crs(pixels.crs, area.wgs84), pixels.scale or 0.0
    box = covering_geobox(area, crs, scale, anchor=pixels.anchor)
    west, south, east, north = reproject(area.geometry, area.crs, crs).bounds
    if scale > max(east - west, north - south):
        unit = crs_of(crs).proj.axis_info[0].unit_name
        raise BadInputError(
            "scale",
            scale,
            f"one pixel would cover the whole region of {east - west:g} x {north - south:g} {unit}",
            f"Give the pixel size in {unit}, the unit of {crs[:20]}",
        )
    return crs, box

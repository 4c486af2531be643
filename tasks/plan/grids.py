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
from tasks.plan.beyond_180 import check_reprojected, left_edge
from tasks.plan.footprints import check_touches, footprint_of, reachable
from tasks.plan.images import ImageRecord
from tasks.plan.lattice import NATIVE, Lattice, native_lattice, own_pixels
from tasks.plan.map_edge import edge_beyond
from tasks.plan.plan import TileFormat
from tasks.plan.specs import PixelSpec
from tasks.plan.tiles import PixelGrid, RegionTiles
from tasks.plan.units import check_units
from tasks.raster import globe
from tasks.raster.clip import touching
from tasks.raster.crs import UTM_NORTH, UTM_SOUTH, resolve_crs
from tasks.raster.grid import covering_geobox
from tasks.raster.region import Region
from tasks.raster.reprojection import check_area_of_use, reproject
from tasks.raster.small_parts import on_grid
from tasks.raster.tiling import Tiling

WIDE = 90.0
"""Degrees of longitude from which the grid of a box may have many tiles far away from it."""


def region_box(geometry: BaseGeometry) -> Box:
    """Return the bounding box that recipes get: `[west, south, east, north]`, rounded outwards to whole degrees.

    It is rounded so that neighbouring jobs give the same expression. If it crosses 180 degrees, west is greater than
    east (RFC 7946).

    Args:
        geometry: Geometry in WGS 84 longitude and latitude, cut at 180 degrees.
    """
    west, south, east, north = globe.bounds(geometry)
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
    lattice = native_lattice(images, names, growing=growing) if pixels.crs.lower() == NATIVE else None
    if lattice is None:
        crs, box = _grid(images, names, pixels, region)
    else:
        region = None if region is None else reachable(images[0], region, lattice.crs)
        crs, box = lattice.crs, lattice.grid(region)
    tiling = Tiling(box, tile_size)
    whole = RegionTiles(crs=crs, tiling=tiling, map_edge=_map_edge(crs, box, lattice, left_edge(images, names, crs)))
    area = region or (footprint_of(images[0]) if lattice is None else None)
    spread = area is not None and _is_spread(area)
    clip = pixels.clip and region is not None
    if area is None or not (clip or spread or (pixels.leave_out and region is not None)):
        return whole, pixels.tile_format
    geometry = on_grid(area, crs, box)
    kept = touching(geometry, tiling)
    if not len(kept):
        sides = [round(side, 3) for side in globe.bounds(area.wgs84)]
        raise BadInputError("region", sides, "it does not touch the image", "Give a region on the image")
    tiles = whole if len(kept) == len(tiling) else replace(whole, kept=tuple(kept.tolist()))
    if not clip:
        return tiles if spread or tiles.is_sparse else whole, pixels.tile_format
    return tiles, replace(pixels.tile_format, clip=shapely.to_wkt(geometry, rounding_precision=-1))


def _is_spread(area: Region) -> bool:
    """Return whether the grid of an area may have many tiles far away from it, which are left out even of a box.

    On a map, an area across 180 degrees, around a pole or of many degrees can be a ring, or lie at both edges.
    """
    lonlat = area.wgs84
    west, south, east, north = globe.continuous(lonlat).bounds
    return globe.crosses(lonlat) or south < UTM_SOUTH or north > UTM_NORTH or east - west > WIDE


def _map_edge(crs: str, box: GeoBox, lattice: Lattice | None, stored: float | None) -> float | None:
    """Return the left edge of the map at which requests of a grid turn to its other side. None = they do not.

    Args:
        crs: CRS of the grid.
        box: The grid.
        lattice: The images' own pixels, if the grid is native.
        stored: Where an image begins that is stored beyond the map: see :mod:`tasks.plan.beyond_180`.
    """
    grid = PixelGrid(crs=crs, affine=box.affine, width=int(box.shape.x), height=int(box.shape.y))
    if lattice is None or lattice.shape is None:
        return edge_beyond(grid) if stored is None else stored
    # The pixels of an image lie where its own grid has them, also beyond 180 degrees.
    column = round((~lattice.affine @ (box.affine.c, box.affine.f))[0]) - lattice.start[0]
    if 0 <= column <= lattice.shape.x - grid.width:
        return None
    return float((lattice.affine @ lattice.start)[0])


def _grid(
    images: Sequence[ImageRecord], names: Sequence[str], pixels: PixelSpec, region: Region | None
) -> tuple[str, GeoBox]:
    area = region or footprint_of(images[0])
    if region is not None and len(images) == 1:  # the images of a series were found by the region
        check_touches(images[0], region.wgs84, "region")
    crs, scale = resolve_crs(pixels.crs, area.wgs84), pixels.scale or 0.0
    check_area_of_use(area.wgs84, crs, "region")
    check_reprojected(images, names, crs, area.wgs84, "region", turns=True)
    west, south, east, north = reproject(area.geometry, area.crs, crs).bounds
    own = own_pixels(images, names)
    check_units(crs, scale, anchor=pixels.anchor, own=own, area=(east - west, north - south), whole=region is None)
    return crs, covering_geobox(area, crs, scale, anchor=pixels.anchor)

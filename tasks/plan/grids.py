"""Make the tiles of a plan: the grid of a region cut into tiles, or patches around points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.types import XY
from shapely.geometry.base import BaseGeometry

from tasks.earthengine.metadata import BandInfo
from tasks.earthengine.recipes import Box
from tasks.errors.input import BadInputError
from tasks.plan.images import ImageRecord
from tasks.plan.plan import TileFormat
from tasks.plan.tiles import PatchTiles, RegionTiles
from tasks.raster.clip import touching
from tasks.raster.crs import WGS84, canonical_crs, crs_of, reproject, resolve_crs, utm_codes
from tasks.raster.grid import ORIGIN, covering_geobox, native_geobox, patch_corners
from tasks.raster.region import Region
from tasks.raster.tiling import Tiling

if TYPE_CHECKING:
    import geopandas
from tasks.plan.specs import PixelSpec

NATIVE = "native"


def patch_tiles(
    points: geopandas.GeoDataFrame,
    *,
    crs: str,
    scale: float,
    size: int,
    anchor: XY[float] = ORIGIN,
) -> tuple[PatchTiles, NDArray[np.int64]]:
    """Return the distinct patches around points, and the patch of each point.

    Args:
        points: Centres in WGS 84.
        crs: CRS of the patches. ``utm`` = for each point, its own UTM zone.
        scale: Pixel size in CRS units.
        size: Pixels per side of a patch.
        anchor: See :class:`tasks.plan.specs.PixelSpec`.

    Returns:
        The patches, and for each point the number of its patch, shape (point,). Points may share a patch.
    """
    import pandas as pd  # imported here, because it takes half a second, and a region does not need it

    lon, lat = points.geometry.x.to_numpy(), points.geometry.y.to_numpy()
    codes = utm_codes(lon, lat) if crs.strip().lower() == "utm" else np.full(len(lon), canonical_crs(crs), dtype=object)
    zone, names = pd.factorize(codes, sort=True)
    corners = pd.DataFrame({"zone": zone, "left": 0.0, "top": 0.0})
    for number, name in enumerate(names):
        chosen = zone == number
        patches = patch_corners(lon[chosen], lat[chosen], str(name), scale, size, anchor=anchor)
        corners.loc[chosen, "left"], corners.loc[chosen, "top"] = patches.left, patches.top
    # pandas groups by hashing. numpy.unique sorts, which takes 1.5 s for a million rows.
    tile_of_point = corners.groupby(["zone", "left", "top"], sort=True).ngroup()
    distinct = corners.drop_duplicates().sort_values(["zone", "left", "top"])
    tiles = PatchTiles(
        crs=tuple(map(str, names)),
        zone=distinct["zone"].to_numpy(np.int32),
        left=distinct["left"].to_numpy(),
        top=distinct["top"].to_numpy(),
        scale=scale,
        size=size,
    )
    return tiles, tile_of_point.to_numpy().astype(np.int64, copy=False)


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
        return _native_grid(image, bands, region)
    area = region or _footprint(image)
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


def _native_grid(image: ImageRecord, bands: Sequence[BandInfo], region: Region | None) -> tuple[str, GeoBox]:
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


def _footprint(image: ImageRecord) -> Region:
    shape = _outline(image)
    if shape is None:
        raise BadInputError(
            "region", None, "the footprint of the image is not known, so a region is needed", "Give a region"
        )
    return Region(geometry=shape, crs=WGS84)

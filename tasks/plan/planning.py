"""Make a plan from parameters. Metadata is requested, pixels are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from tasks.earthengine.connection import Connection
from tasks.earthengine.image_info import BandInfo
from tasks.earthengine.recipes import WORLD
from tasks.plan.choices import GroupBy, MissingBands
from tasks.plan.images import ImageRecord, find_image
from tasks.plan.plan import Band, Plan, TileFormat
from tasks.plan.series import find_series
from tasks.plan.sources import source
from tasks.plan.specs import ImageSpec
from tasks.plan.tiles import PatchTiles, RegionTiles
from tasks.plan.units import check_units
from tasks.raster.region import Region

if TYPE_CHECKING:
    import geopandas
from tasks.plan.beyond_180 import check_reprojected
from tasks.plan.doubts import date_doubts, place_doubts, size_doubts
from tasks.plan.footprints import check_touches
from tasks.plan.grids import region_box, region_tiles
from tasks.plan.lattice import NATIVE, native_lattice, own_pixels
from tasks.plan.limits import check_limits
from tasks.plan.patches import native_patch_tiles, patch_tiles
from tasks.plan.specs import PixelSpec


def plan_region(
    connection: Connection, spec: ImageSpec, pixels: PixelSpec, *, region: Region | None, tile_size: int
) -> Plan:
    """Plan a region of one image, cut into tiles.

    Args:
        connection: Connection to Earth Engine.
        spec: One image.
        pixels: Bands, grid and format.
        region: The region. None = the whole image.
        tile_size: Pixels per side of a tile.

    Raises:
        InputError: A parameter is not valid.
        EarthEngineError: Earth Engine does not answer, or refuses.
    """
    image = find_image(connection, spec, region_box(region.wgs84) if region else None)
    bands = image.bands(pixels.bands)
    names = [band.id for band in bands]
    tiles, tile_format = region_tiles([image], names, pixels, region, tile_size)
    doubts = place_doubts([image], region.wgs84 if region else None, "region") + size_doubts([image], names, tiles)
    plan = replace(_plan("region", connection, [image], bands, tile_format, tiles), doubts=doubts)
    return check_limits(plan, pixels, "tile_size", tile_size)


def plan_timeseries(
    connection: Connection,
    spec: ImageSpec,
    pixels: PixelSpec,
    *,
    region: Region,
    start: date,
    end: date | None,
    tile_size: int,
    group_by: GroupBy = "auto",
    missing_bands: MissingBands = "fail",
) -> Plan:
    """Plan the images of a collection, all on one grid. Images of one acquisition are joined.

    Args:
        connection: Connection to Earth Engine.
        spec: A collection.
        pixels: Bands, grid and format.
        region: The region.
        start: First day (UTC).
        end: Day after the last day (UTC). None = all days from `start` that the collection holds.
        tile_size: Pixels per side of a tile.
        group_by: Which images are joined: see :func:`tasks.plan.grouping.group_images`.
        missing_bands: What becomes of images without one of the bands: see
            :func:`tasks.plan.missing_bands.complete`.

    Raises:
        InputError: A parameter is not valid.
        EarthEngineError: Earth Engine does not answer, or refuses.
    """
    area = region.wgs84
    geometry = shapely.geometry.mapping(area)
    series = find_series(
        connection,
        spec,
        start=start,
        end=end,
        geometry=geometry,
        box=region_box(area),
        bands=pixels.bands,
        group_by=group_by,
        missing_bands=missing_bands,
    )
    bands = series[0].bands(pixels.bands)
    names = [band.id for band in bands]
    tiles, tile_format = region_tiles(series, names, pixels, region, tile_size, growing=end is None)
    times = [image.time or image.info.time for image in series]
    doubts = size_doubts(series, names, tiles) + date_doubts([time for time in times if time], start, end)
    plan = _plan("timeseries", connection, series, bands, tile_format, tiles)
    plan = replace(plan, left_out=series.left_out, doubts=place_doubts(series, area, "region") + doubts)
    return check_limits(plan, pixels, "tile_size", tile_size)


def plan_patches(
    connection: Connection, spec: ImageSpec, pixels: PixelSpec, *, points: geopandas.GeoDataFrame, size: int
) -> tuple[Plan, NDArray[np.int64]]:
    """Plan a square patch around each point.

    Args:
        connection: Connection to Earth Engine.
        spec: One image.
        pixels: Bands, grid and format. With CRS ``utm``, each patch is in the UTM zone of its own point.
        points: Centres in WGS 84.
        size: Pixels per side of a patch.

    Returns:
        The plan, and for each point the number of the tile that is its patch, shape (point,). Points may share a patch.

    Raises:
        InputError: A parameter is not valid.
        EarthEngineError: Earth Engine does not answer, or refuses.
    """
    # A recipe gets the whole world as its region: with the box of the points, a further point would change every patch.
    image = find_image(connection, spec, WORLD)
    bands = image.bands(pixels.bands)
    place = shapely.MultiPoint(points.geometry.to_numpy())
    check_touches(image, place, "points")
    names = [band.id for band in bands]
    if pixels.crs.lower() == NATIVE:
        tiles, tile_of_point = native_patch_tiles(points, lattice=native_lattice([image], names), size=size)
    else:
        scale = pixels.scale or 0.0
        tiles, tile_of_point = patch_tiles(points, crs=pixels.crs, scale=scale, size=size, anchor=pixels.anchor)
        check_reprojected([image], names, pixels.crs, place, "points", turns=False)
        for crs in tiles.names:
            check_units(crs, scale, anchor=pixels.anchor, own=own_pixels([image], names), patch=size)
    kept = pixels.tile_format
    # Patches are read side by side, so each of them is stored in the same way.
    tile_format = replace(kept, alike=kept.file_format == "GEO_TIFF" and kept.masks != "unknown")
    doubts = place_doubts([image], place, "points") + size_doubts([image], names, tiles)
    plan = replace(_plan("patches", connection, [image], bands, tile_format, tiles), doubts=doubts)
    return check_limits(plan, pixels, "size", size), tile_of_point


def _plan(  # noqa: PLR0917 - private, and the order is that of the Plan
    name: str,
    connection: Connection,
    images: Sequence[ImageRecord],
    bands: Sequence[BandInfo],
    tile_format: TileFormat,
    tiles: RegionTiles | PatchTiles,
) -> Plan:
    ids = [band.id for band in bands]
    return Plan(
        name=name,
        # `image.bands` checks that each image has the bands. If one does not, the message names it.
        sources=tuple(source(connection, image, image.bands(ids), tile_format) for image in images),
        tiles=tiles,
        bands=tuple(Band(id=band.id, dtype=band.dtype) for band in bands),
        tile_format=tile_format,
    )

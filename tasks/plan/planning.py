"""From parameters to a plan: metadata is asked for, pixels are not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from tasks.earthengine.connection import Connection
from tasks.earthengine.metadata import BandInfo
from tasks.plan.images import ImageRecord, find_image
from tasks.plan.plan import Band, Plan, TileFormat
from tasks.plan.series import find_series
from tasks.plan.sources import source
from tasks.plan.specs import ImageSpec
from tasks.plan.tiles import PatchTiles, RegionTiles
from tasks.raster.region import Region

if TYPE_CHECKING:
    import geopandas
from tasks.plan.grids import _check_touches, _region_tiles, patch_tiles, region_box
from tasks.plan.limits import _checked
from tasks.plan.specs import PixelSpec

# No image is of that day: the end of a series that has none.
NEVER = date(2200, 1, 1)


def plan_region(
    connection: Connection, named: ImageSpec, wanted: PixelSpec, *, region: Region | None, tile_size: int
) -> Plan:
    """Plan a region of one image, cut into tiles of `tile_size` px.

    Raises:
        BadInputError: a parameter can't be.
        EarthEngineError: Earth Engine can't be asked.
    """
    image = find_image(connection, named, region_box(region.wgs84) if region else None)
    bands = image.bands(wanted.bands)
    tiles, output = _region_tiles(image, bands, wanted, region, tile_size)
    return _checked(_plan("region", connection, [image], bands, output, tiles), wanted, "tile_size", tile_size)


def plan_timeseries(
    connection: Connection,
    named: ImageSpec,
    wanted: PixelSpec,
    *,
    region: Region,
    start: date,
    end: date | None,
    tile_size: int,
) -> Plan:
    """Plan every day of a collection in [start, end) over one grid; without an end, all that it holds.

    Raises:
        BadInputError: a parameter can't be.
        EarthEngineError: Earth Engine can't be asked.
    """
    area = region.wgs84
    geometry = shapely.geometry.mapping(area)
    series = find_series(connection, named, start=start, end=end or NEVER, geometry=geometry, box=region_box(area))
    bands = series[0].bands(wanted.bands)
    tiles, output = _region_tiles(series[0], bands, wanted, region, tile_size)
    return _checked(_plan("timeseries", connection, series, bands, output, tiles), wanted, "tile_size", tile_size)


def plan_patches(
    connection: Connection, named: ImageSpec, wanted: PixelSpec, *, points: geopandas.GeoDataFrame, size: int
) -> tuple[Plan, NDArray[np.int64]]:
    """Plan a patch of `size` px around each point.

    Args:
        connection: The way to Earth Engine.
        named: One image.
        wanted: With ``utm``, each patch is in the zone of its own point.
        points: Centres in WGS 84.
        size: Pixels a side.

    Returns:
        The plan, and for each point the tile that is its patch: points with the same patch share it.

    Raises:
        BadInputError: a parameter can't be.
        EarthEngineError: Earth Engine can't be asked.
    """
    image = find_image(connection, named, region_box(shapely.box(*points.total_bounds)))
    bands = image.bands(wanted.bands)
    _check_touches(image, shapely.MultiPoint(points.geometry.to_numpy()), "points")
    tiles, tile_of_point = patch_tiles(
        points, crs=wanted.crs, scale=wanted.scale or 0.0, size=size, anchor=wanted.anchor
    )
    plan = _plan("patches", connection, [image], bands, wanted.tile_format, tiles)
    return _checked(plan, wanted, "size", size), tile_of_point


def _plan(  # noqa: PLR0917 -- private, and the order is that of the Plan
    name: str,
    connection: Connection,
    images: Sequence[ImageRecord],
    bands: Sequence[BandInfo],
    output: TileFormat,
    tiles: RegionTiles | PatchTiles,
) -> Plan:
    ids = [band.id for band in bands]
    return Plan(
        name=name,
        # Each image has the bands, or the message names the one that has not.
        sources=tuple(source(connection, image, image.bands(ids), output) for image in images),
        tiles=tiles,
        bands=tuple(Band(id=band.id, dtype=band.dtype) for band in bands),
        tile_format=output,
    )

"""From parameters to a plan: metadata is asked for, pixels are not."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.types import XY
from shapely.geometry.base import BaseGeometry

from tasks.earthengine.choices import MAX_BANDS, MAX_SIDE
from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import BadInputError
from tasks.earthengine.image import Named, Opened, open_image, open_series, source
from tasks.earthengine.metadata import BandInfo
from tasks.earthengine.plan import (
    MAX_PAYLOAD_BYTES,
    MAX_REQUEST_BYTES,
    Output,
    Plan,
    PlannedBand,
    pixel_bytes,
)
from tasks.earthengine.recipes import Box
from tasks.earthengine.tiles import PatchTiles, RegionTiles
from tasks.raster.clip import touching
from tasks.raster.crs import WGS84, canonical_crs, crs_of, reproject, resolve_crs, utm_codes
from tasks.raster.grid import ORIGIN, covering_geobox, native_geobox, patch_corners
from tasks.raster.region import Region
from tasks.raster.tiling import Tiling

if TYPE_CHECKING:
    import geopandas

NATIVE = "native"
# No image is of that day: the end of a series that has none.
NEVER = date(2200, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What every plan needs besides its image and its place."""

    bands: Sequence[str] | None
    """None = all."""
    crs: str
    """``utm``, ``native``, or anything pyproj knows."""
    scale: float | None
    """Pixel size in CRS units; None with ``native``."""
    anchor: XY[float] = ORIGIN
    """Some pixel corner (x, y) in CRS units: corners lie there plus whole multiples of the scale."""
    output: Output
    max_requests: int = 100_000
    """A plan of more is refused."""
    clip: bool = False
    """Whether pixels outside the region are masked, and tiles outside it are not asked for."""


def plan_region(connection: Connection, named: Named, wanted: Wanted, *, region: Region | None, tile_size: int) -> Plan:
    """Plan a region of one image, cut into tiles of `tile_size` px.

    Raises:
        BadInputError: a parameter can't be.
        EarthEngineError: Earth Engine can't be asked.
    """
    image = open_image(connection, named, region_box(region.wgs84) if region else None)
    bands = image.bands(wanted.bands)
    tiles, output = _region_tiles(image, bands, wanted, region, tile_size)
    return _checked(_plan("region", connection, [image], bands, output, tiles), wanted, "tile_size", tile_size)


def plan_timeseries(
    connection: Connection,
    named: Named,
    wanted: Wanted,
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
    series = open_series(connection, named, start=start, end=end or NEVER, geometry=geometry, box=region_box(area))
    bands = series[0].bands(wanted.bands)
    tiles, output = _region_tiles(series[0], bands, wanted, region, tile_size)
    return _checked(_plan("timeseries", connection, series, bands, output, tiles), wanted, "tile_size", tile_size)


def plan_patches(
    connection: Connection, named: Named, wanted: Wanted, *, points: geopandas.GeoDataFrame, size: int
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
    image = open_image(connection, named, region_box(shapely.box(*points.total_bounds)))
    bands = image.bands(wanted.bands)
    _check_touches(image, shapely.MultiPoint(points.geometry.to_numpy()), "points")
    tiles, tile_of_point = patch_tiles(
        points, crs=wanted.crs, scale=wanted.scale or 0.0, size=size, anchor=wanted.anchor
    )
    plan = _plan("patches", connection, [image], bands, wanted.output, tiles)
    return _checked(plan, wanted, "size", size), tile_of_point


def patch_tiles(
    points: geopandas.GeoDataFrame,
    *,
    crs: str,
    scale: float,
    size: int,
    anchor: XY[float] = ORIGIN,
) -> tuple[PatchTiles, NDArray[np.int64]]:
    """Return one patch for each distinct place, and for each point the patch that is its own."""
    import pandas as pd  # here, for it takes half a second, which a region does not need

    lon, lat = points.geometry.x.to_numpy(), points.geometry.y.to_numpy()
    codes = utm_codes(lon, lat) if crs.strip().lower() == "utm" else np.full(len(lon), canonical_crs(crs), dtype=object)
    zone, names = pd.factorize(codes, sort=True)
    corners = pd.DataFrame({"zone": zone, "left": 0.0, "top": 0.0})
    for number, name in enumerate(names):
        chosen = zone == number
        patches = patch_corners(lon[chosen], lat[chosen], str(name), scale, size, anchor=anchor)
        corners.loc[chosen, "left"], corners.loc[chosen, "top"] = patches.left, patches.top
    # By hashing: to sort a million rows takes numpy.unique a second and a half.
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
    """Return the bounding box in whole degrees that recipes get: neighbouring jobs give the same expression.

    Args:
        geometry: In WGS 84 longitude and latitude.
    """
    west, south, east, north = geometry.bounds
    return [
        float(max(-180, math.floor(west))),
        float(max(-90, math.floor(south))),
        float(min(180, math.ceil(east))),
        float(min(90, math.ceil(north))),
    ]


def _region_tiles(
    image: Opened, bands: Sequence[BandInfo], wanted: Wanted, region: Region | None, tile_size: int
) -> tuple[RegionTiles, Output]:
    crs, box = _grid(image, bands, wanted, region)
    tiling = Tiling(box, tile_size)
    if region is None or not wanted.clip:
        return RegionTiles(crs=crs, tiling=tiling), wanted.output
    geometry = reproject(region.geometry, region.crs, crs)
    kept = touching(geometry, tiling)
    tiles = RegionTiles(crs=crs, tiling=tiling, kept=None if len(kept) == len(tiling) else tuple(kept.tolist()))
    return tiles, replace(wanted.output, clip=shapely.to_wkt(geometry, rounding_precision=-1))


def _grid(image: Opened, bands: Sequence[BandInfo], wanted: Wanted, region: Region | None) -> tuple[str, GeoBox]:
    if wanted.crs.lower() == NATIVE:
        return _native_grid(image, bands, region)
    area = region or _footprint(image)
    if region is not None:
        _check_touches(image, region.wgs84, "region")
    crs, scale = resolve_crs(wanted.crs, area.wgs84), wanted.scale or 0.0
    box = covering_geobox(area, crs, scale, anchor=wanted.anchor)
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


def _native_grid(image: Opened, bands: Sequence[BandInfo], region: Region | None) -> tuple[str, GeoBox]:
    first = bands[0]
    for band in bands:
        if (band.crs, band.transform, band.shape) != (first.crs, first.transform, first.shape):
            raise BadInputError(
                "crs",
                NATIVE,
                f"bands {first.id!r} and {band.id!r} have different grids",
                "Give a CRS and a scale, or bands of one grid",
            )
    if image.asset is None:
        raise BadInputError("crs", NATIVE, "a computed image has no grid of its own", "Give a CRS and a scale")
    crs = canonical_crs(first.crs)
    if region is not None:
        return crs, native_geobox(region, crs, first.transform, shape=first.shape)
    if first.shape is None:
        raise BadInputError("region", None, "the image has no end", "Give a region")
    return crs, GeoBox(first.shape, first.transform, crs_of(crs))


def _outline(image: Opened) -> BaseGeometry | None:
    """Where a stored image is, in longitude and latitude; None where that is not known or everywhere."""
    geometry = image.info.geometry
    if not geometry or "Infinity" in str(geometry):
        return None
    shape = shapely.geometry.shape(geometry)
    return shape if shape.area else None


def _check_touches(image: Opened, place: BaseGeometry, field: str) -> None:
    outline = _outline(image)
    if outline is not None and not shapely.intersects(outline, place):
        shown = ", ".join(f"{side:.3f}" for side in outline.bounds)
        raise BadInputError(
            field,
            [round(side, 3) for side in place.bounds],
            f"does not touch {image.origin}, which is at [{shown}] (west, south, east, north)",
            "Give a place on the image; are longitude and latitude swapped?",
        )


def _footprint(image: Opened) -> Region:
    shape = _outline(image)
    if shape is None:
        raise BadInputError("region", None, "the image has no footprint to take instead", "Give a region")
    return Region(geometry=shape, crs=WGS84)


def _plan(  # noqa: PLR0917 -- private, and the order is that of the Plan
    name: str,
    connection: Connection,
    images: Sequence[Opened],
    bands: Sequence[BandInfo],
    output: Output,
    tiles: RegionTiles | PatchTiles,
) -> Plan:
    ids = [band.id for band in bands]
    return Plan(
        name=name,
        # Each image has the bands, or the message names the one that has not.
        sources=tuple(source(connection, image, image.bands(ids), output) for image in images),
        tiles=tiles,
        bands=tuple(PlannedBand(id=band.id, dtype=band.dtype) for band in bands),
        output=output,
    )


def _checked(plan: Plan, wanted: Wanted, field: str, side: int) -> Plan:
    """Refuse what Earth Engine would refuse, before the first request."""
    if len(plan) == 0:
        raise BadInputError("region", None, "there is nothing to fetch", "Give a larger region, or more points")
    if len(plan) > wanted.max_requests:
        raise BadInputError(
            "max_requests",
            wanted.max_requests,
            f"the plan has {len(plan):,} requests ({len(plan.sources):,} images x {len(plan.tiles):,} tiles)",
            "Raise it on purpose, or give a smaller region, a coarser scale or larger tiles",
        )
    widest = max(plan.sources, key=lambda source: pixel_bytes(source.wire_dtypes))
    bands, per_pixel = len(widest.wire_bands), pixel_bytes(widest.wire_dtypes)
    if bands > MAX_BANDS:
        raise BadInputError(
            "bands", bands, f"more than {MAX_BANDS} in one request, mask bands counted", "Name fewer bands"
        )
    if plan.output.file_format in {"PNG", "JPEG"} and bands not in {1, 3}:
        raise BadInputError(
            "bands",
            list(widest.wire_bands),
            f"a {plan.output.file_format} picture shows 1 band or 3, not {bands}",
            "Name one band, or red, green and blue",
        )
    if plan.output.file_format in {"PNG", "JPEG"}:
        _check_colours(plan)
    first = plan.grid(0)
    size = first.width * first.height * per_pixel
    if size > MAX_REQUEST_BYTES:
        fits = min(MAX_SIDE, math.isqrt(MAX_REQUEST_BYTES // per_pixel))
        raise BadInputError(
            field,
            side,
            f"one request would ask for {size} bytes, limit {MAX_REQUEST_BYTES} "
            f"({first.width} x {first.height} px x {per_pixel} bytes in {bands} bands, masks counted)",
            f"Give at most {fits}, or fewer bands",
        )
    payload = len(plan.request(0).body)
    if payload > MAX_PAYLOAD_BYTES:
        raise BadInputError(
            "image.expression", f"{payload} bytes", f"longer than {MAX_PAYLOAD_BYTES} bytes", "Simplify the expression"
        )
    return plan


def _check_colours(plan: Plan) -> None:
    options = json.loads(plan.output.visualization or "{}")
    if not options and {band.dtype for band in plan.bands} != {"uint8"}:
        raise BadInputError(
            "visualization",
            None,
            f"bands of {', '.join(sorted({band.dtype for band in plan.bands}))} need a range to be shown in 8 bits",
            "Give the values that are darkest and brightest, such as {'min': 0, 'max': 3000}",
        )
    if "paletteColors" in options and len(plan.bands) != 1:
        raise BadInputError(
            "visualization.palette",
            options["paletteColors"],
            f"colours one band, not {len(plan.bands)}",
            "Name one band",
        )

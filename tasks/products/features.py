"""The features of a time series: the areas that its table has rows for, on the grid of its plan."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass

import shapely
from shapely.geometry.base import BaseGeometry

from tasks.earthengine.expression import fingerprint
from tasks.plan.plan import Plan
from tasks.plan.tiles import RegionTiles
from tasks.raster.areas import Area
from tasks.raster.grid import placed
from tasks.raster.region import Region
from tasks.raster.reprojection import STEPS
from tasks.raster.small_parts import on_grid, with_touched_pixels
from tasks.raster.zones import Zones

# Names that every file system takes. Windows has devices of the excluded ones.
_PLAIN = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)$)[a-z0-9][a-z0-9_-]{0,63}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Areas on the grid of a plan, each with its name and properties."""

    areas: tuple[Area, ...]
    """The features, in the order of the user. Empty = the region is one area without a name."""
    zones: Zones
    """Their pixels. One area is one zone."""

    @functools.cached_property
    def identity(self) -> str:
        """SHA-256 over the geometries. Names and properties are not part of it."""
        return fingerprint([shapely.to_wkb(shapely.normalize(each), hex=True) for each in self.zones.geometries])

    @property
    def without_pixels(self) -> list[str]:
        """Names of the features that have no area, or lie outside the grid, such as outside the image."""
        return [area.name for zone, area in enumerate(self.areas) if self.zones.window(zone) is None]

    @property
    def files(self) -> tuple[str, ...]:
        """A name for the files of each feature: its own id if all ids are plain, else its number, which sorts."""
        names = [area.name for area in self.areas]
        digits = len(str(len(names) - 1))
        plain = all(map(_PLAIN.fullmatch, names)) and len({name.lower() for name in names}) == len(names)
        if plain and names != [str(number) for number in range(len(names))]:
            return tuple(names)
        return tuple(f"{number:0{digits}}" for number in range(len(names)))


def series_features(plan: Plan, region: Region, *, per_feature: bool) -> Features:
    """Return the areas for which a time series is summarised.

    Args:
        plan: The plan of the series.
        region: Its region.
        per_feature: Whether each feature is an area. False = the whole region is one.
    """
    assert isinstance(plan.tiles, RegionTiles)
    areas = region.areas if per_feature else ()
    crs, tiling = plan.tiles.crs, plan.tiles.tiling
    if not areas:
        return Features(areas=areas, zones=Zones([on_grid(region, crs, tiling.geobox)], tiling))
    extent = _extent(region.geometry)
    moved = [_placed(area.geometry, region.crs, plan.tiles, extent) for area in areas]
    return Features(areas=areas, zones=Zones(with_touched_pixels(moved, tiling.geobox), tiling))


def _placed(geometry: BaseGeometry, source: str, tiles: RegionTiles, extent: float) -> BaseGeometry:
    """Reproject a feature with edges as dense as those of the whole region, which clips the files."""
    if geometry.is_empty:
        return geometry
    steps = math.ceil(STEPS * _extent(geometry) / extent)
    return placed(geometry, source, tiles.crs, tiles.tiling.geobox, steps=steps)


def _extent(geometry: BaseGeometry) -> float:
    west, south, east, north = geometry.bounds
    return float(max(east - west, north - south))

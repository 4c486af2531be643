"""The words above pictures: what a plan reads, when and where, and which bands a picture shows."""

from __future__ import annotations

import functools
import math

import numpy as np
import shapely

from tasks.earthengine.quantities import quantity
from tasks.errors.input import InputError
from tasks.plan.plan import Plan
from tasks.plan.tiles import PatchTiles, PixelGrid, RegionTiles, corners, is_code
from tasks.plan.units import plural, unit
from tasks.raster import globe
from tasks.raster.colours import AS_STORED, Quantity
from tasks.raster.crs import SINUSOIDAL, WGS84, crs_of, transformer
from tasks.raster.reprojection import lonlat
from tasks.raster.tile_outlines import tile_outlines

BETWEEN = " · "
"""What stands between the facts of a line."""


def title(plan: Plan, *, label: str = "", dates: str = "") -> str:
    """Return what a plan reads, and when: `itaipu: MODIS/061/MOD13Q1, 2020-01-01 to 2020-12-18`.

    Args:
        plan: The plan.
        label: What the user calls the job; empty = nothing.
        dates: When the image is of, if the plan does not say so, such as the dates of a composite.
    """
    what = f"{label}: {origin(plan)}" if label.strip() else origin(plan)
    return ", ".join(filter(None, (what, when(plan) or dates)))


def origin(plan: Plan) -> str:
    """Return the id of the image or collection, or the name of the recipe or expression, that a plan reads."""
    found = {source.origin or source.name for source in plan.sources}
    if len(found) > 1:  # images of a collection
        found = {each.rpartition("/")[0] for each in found}
    return found.pop() if len(found) == 1 else plan.sources[0].name.partition("/")[0]


def when(plan: Plan) -> str:
    """Return the day of the image of a plan, or the first and the last day of its images; empty = not known."""
    days = [(source.title or source.time or "")[:10] for source in plan.sources]
    if not all(days):
        return ""
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


@functools.lru_cache(maxsize=4)  # all pictures of a run ask; equal plans have one place
def where(plan: Plan) -> str:
    """Return the place of a plan, its CRS, and the size of its pixels."""
    grid = plan.grid(0)
    names = plan.tiles.names
    crs = " and ".join(map(_crs, names[:2])) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    step = math.sqrt(abs(grid.affine.determinant))
    units = unit(grid.crs)
    size = f"{step:.4g} m" if units == "metre" else f"{step:.4g} {plural(units)}"
    return BETWEEN.join(filter(None, (_extent(plan), crs, f"{size} pixels")))


def left_out(plan: Plan) -> str:
    """Return how many images of the collection are not in a series, and the first of them; empty = none."""
    if not plan.left_out:
        return ""
    first, count = next(iter(plan.left_out)), len(plan.left_out)
    return f"{count:,} image{'s' if count > 1 else ''} of the collection left out of the series, such as {first}"


def quantity_of(plan: Plan, band: str) -> Quantity:
    """Return what the numbers of a band stand for."""
    return quantity(origin(plan), band)


def common_quantity(plan: Plan, bands: list[str]) -> Quantity:
    """Return what the numbers of some bands stand for; `AS_STORED` if they differ."""
    found = {quantity_of(plan, band) for band in bands}
    return found.pop() if len(found) == 1 else AS_STORED


def _crs(name: str) -> str:
    if name == SINUSOIDAL:
        return f"{name} (MODIS sinusoidal)"
    long = str(crs_of(name).proj.name).removeprefix("WGS 84 / ")
    return f"{name} ({long})" if is_code(name) and long not in {name, "unknown"} else name if is_code(name) else long


def _extent(plan: Plan) -> str:
    """Return the bounding box of a plan in degrees, for people; empty = it has none."""
    try:
        if plan.tile_format.clip is not None:
            area = lonlat(shapely.from_wkt(plan.tile_format.clip), plan.grid(0).crs)
            return degrees(globe.bounds(area))
        if isinstance(plan.tiles, RegionTiles):
            box = plan.tiles.tiling.geobox
            whole = PixelGrid(crs=plan.tiles.crs, affine=box.affine, width=int(box.shape.x), height=int(box.shape.y))
            outline = tile_outlines(corners([whole]), plan.tiles.crs)[0]
            return "" if outline is None else degrees(globe.bounds(outline))
    except InputError:  # a part lies outside the map of the CRS
        return ""
    assert isinstance(plan.tiles, PatchTiles)
    return _around(plan.tiles)


def _around(patches: PatchTiles) -> str:
    """Return the box around the middles of patches."""
    grid, half = patches.grid(0), patches.size / 2
    a, b, d, e = grid.affine.a, grid.affine.b, grid.affine.d, grid.affine.e
    middles = np.column_stack([patches.left + (a + b) * half, patches.top + (d + e) * half])
    for number, name in enumerate(patches.crs):
        chosen = patches.zone == number
        middles[chosen] = np.column_stack(transformer(name, WGS84).transform(*middles[chosen].T))
    middles = middles[np.isfinite(middles).all(axis=1)]
    return degrees(globe.bounds(shapely.MultiPoint(middles))) if len(middles) else ""


def degrees(sides: list[float]) -> str:
    """Return a bounding box in degrees, for people.

    Args:
        sides: West, south, east and north, degrees. If west is greater than east, it crosses 180 degrees.
    """
    west, south, east, north = sides
    extent = max(north - south, (east - west) % 360, 1e-6)
    digits = min(5, max(0, math.ceil(2 - math.log10(extent) - 1)))
    if east - west >= 360 - 1e-6:
        return f"{_pair(south, north, 'SN', digits)}, all longitudes"
    return f"{_pair(south, north, 'SN', digits)}, {_pair(west, east, 'WE', digits)}"


def _pair(low: float, high: float, letters: str, digits: int) -> str:
    one, other = (f"{abs(side):.{digits}f}°" for side in (low, high))
    first = letters[low > 0 or (low == 0 and high > 0)]
    last = letters[high > 0 or (high == 0 and low >= 0)]
    if first == last:
        return f"{one} to {other} {last}" if one != other else f"{one} {last}"
    return f"{one} {first} to {other} {last}"

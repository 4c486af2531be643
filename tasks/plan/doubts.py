"""Doubts: what makes a plan look like a mistake, although it can be fetched. Metadata alone is used."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import shapely
from shapely.geometry.base import BaseGeometry

from tasks.plan.footprints import outline_of, swapped
from tasks.plan.images import ImageRecord
from tasks.plan.lattice import own_pixels
from tasks.plan.tiles import RegionTiles, Tiles
from tasks.plan.units import metres_per_unit, plural, short, unit
from tasks.raster import globe

LEAST_SHARE = 0.5
"""Share of a place on the footprint of the images below which it is doubted."""
FINER = 10.0
"""How many times smaller than the image's own pixel a pixel may be without a doubt."""
SMALL = 2
"""Pixels per side up to which a region is doubted."""
LONGEST_GAP = timedelta(days=60)
GAP_SHARE = 0.25
"""A series whose first or last image is farther than this from its dates, days and share of the dates, is doubted."""


def place_doubts(images: Sequence[ImageRecord], place: BaseGeometry | None, field: str) -> tuple[str, ...]:
    """Return a doubt if most of a place lies off the footprints of the images.

    Args:
        images: The images of a plan. If the footprint of one is not known, there is no doubt.
        place: Region or points in WGS 84, cut at 180 degrees. None = the whole image.
        field: Parameter that gave the place.
    """
    outlines = [outline_of(image) for image in images]
    known = [outline for outline in outlines if outline is not None]
    if place is None or len(known) < len(outlines) or not known:
        return ()
    outline = known[0] if len(known) == 1 else shapely.unary_union(known)
    share = _share(place, outline)
    if share >= LEAST_SHARE:
        return ()
    what = f"{share:.0%} of {'the points lie' if field == 'points' else 'the region lies'}"
    whose = images[0].origin if len({image.origin for image in images}) == 1 else "the images"
    text = f"Only {what} on {whose}, which is at {globe.shown(globe.bounds(outline))}: the rest will be empty."
    other = swapped(place)
    if other is not None and _share(other, outline) > max(share, LEAST_SHARE):
        return (f"{text} With longitude and latitude swapped it would lie there. Does {field} give longitude first?",)
    return (f"{text} Is {field} the place that you mean?",)


def size_doubts(images: Sequence[ImageRecord], names: Sequence[str], tiles: Tiles) -> tuple[str, ...]:
    """Return doubts about the size of the pixels: a region of one pixel, or pixels that the image does not have.

    Args:
        images: The images of a plan.
        names: Names of the bands that are requested.
        tiles: The tiles of the plan.
    """
    grid = tiles.grid(0)
    side = abs(grid.affine.determinant) ** 0.5
    units = plural(unit(grid.crs))
    found = []
    if isinstance(tiles, RegionTiles) and max(tiles.tiling.geobox.shape) <= SMALL:
        height, width = tiles.tiling.geobox.shape
        found.append(
            f"The whole region is {width} x {height} pixels of {side:g} {units}. Is scale in {units}, the unit of "
            f"{short(grid.crs)}?"
        )
    own, metres = own_pixels(images, names), side * metres_per_unit(grid.crs)
    if own and metres * FINER < min(own):
        times = min(own) / metres
        found.append(
            f"A pixel of {metres:.3g} m is 1/{times:,.0f} of the image's own pixel ({min(own):.3g} m): {times**2:,.0f} "
            "times as many pixels are fetched as the image has. Is scale what you mean?"
        )
    return tuple(found)


def date_doubts(times: Sequence[datetime], start: date, end: date | None) -> tuple[str, ...]:
    """Return doubts about the dates of a series: it begins long after `start`, or ends long before `end`.

    Args:
        times: Start of each image of the series.
        start: First day.
        end: Day after the last day. None = the series grows, and its end is not doubted.
    """
    days = sorted(time.date() for time in times)
    if not days:
        return ()
    least = max(LONGEST_GAP, GAP_SHARE * ((end or days[-1]) - start))
    found = []
    if days[0] - start > least:
        found.append(f"The first image of this region is of {days[0]}, {_span(days[0] - start)} after start = {start}.")
    if end is not None and end - days[-1] > least:
        found.append(f"The last image of this region is of {days[-1]}, {_span(end - days[-1])} before end = {end}.")
    return tuple(f"{text} Are the dates right?" for text in found)


def _share(place: BaseGeometry, outline: BaseGeometry) -> float:
    """Return the share of a place on an outline: of its area, or of its points."""
    if place.area:
        return float(shapely.intersection(place, outline).area / place.area)
    parts = shapely.get_parts(place)
    return float(shapely.intersects(parts, outline).mean()) if len(parts) else 1.0


def _span(time: timedelta) -> str:
    years = time.days / 365.25
    return f"{time.days} days" if years < 2 else f"{years:.0f} years"

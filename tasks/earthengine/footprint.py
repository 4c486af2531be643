"""Footprints: which images of a listing touch a region, also where the region is too long for a URL."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import shapely
import shapely.affinity
from shapely.geometry.base import BaseGeometry

MAX_TEXT = 2_000
"""Characters of GeoJSON that go into a URL: three times as many once it is escaped, where servers take some 8,000."""
STEP = 10.0
"""Degrees of longitude between two corners of a covering box."""


def covering(region: BaseGeometry) -> BaseGeometry | None:
    """Return a polygon of few corners that covers a region on the globe, or None for half of the globe and more.

    Edges of Earth Engine's polygons are geodesics (Google's guide "Geodesic vs. Planar Geometries"), which bow
    towards the poles: the northern edge of a box covers more than its parallel, the southern one less (in the
    northern hemisphere). So its edges get corners, and it is wider by what is left of the bow.

    Args:
        region: In WGS 84 longitude and latitude.
    """
    west, south, east, north = region.bounds
    if east - west > 180:
        return None  # beyond half of the globe, inside and outside of a ring are a matter of opinion
    steps = max(1, math.ceil((east - west) / STEP))
    # A geodesic between two corners of latitude p has its middle at atan(tan(p) * k): at 45 degrees it bows most.
    # (A quarter of a degree: what the margin itself, of a tenth at the most, adds to their distance.)
    k = 1 / math.cos(math.radians((east - west + 0.25) / steps / 2))
    margin = math.degrees(math.atan((k - 1) / (2 * math.sqrt(k)))) + 1e-3  # 100 m more for the ellipsoid and rounding
    xs = np.linspace(west - margin, east + margin, steps + 1).clip(-180, 180)
    low, high = max(-90.0, south - margin), min(90.0, north + margin)
    ring = np.concatenate(
        [np.column_stack([xs, np.full_like(xs, low)]), np.column_stack([xs, np.full_like(xs, high)])[::-1]]
    )
    return shapely.Polygon(ring.round(6))


def listing_filter(region: Mapping[str, Any]) -> tuple[str | None, Callable[[Mapping[str, Any] | None], bool]]:
    """Return how a listing is limited to a region: by the server as far as a URL goes, the rest here.

    Args:
        region: GeoJSON geometry in WGS 84 longitude and latitude.

    Returns:
        A term of the filter of `listAssets` (None = the server can't help), and a test of footprints that the server
        lets pass.
    """
    text = _term(region)
    if len(text) <= MAX_TEXT:
        return text, lambda _: True
    shape = shapely.geometry.shape(region)
    box = covering(shape)
    shapely.prepare(shape)
    return None if box is None else _term(shapely.geometry.mapping(box)), lambda footprint: touches(footprint, shape)


def touches(footprint: Mapping[str, Any] | None, region: BaseGeometry) -> bool:
    """Return whether an image may touch a region. Edges are straight in longitude and latitude.

    In doubt it does, which costs masked pixels, where an image left out would cost data: a footprint that is missing,
    has infinite corners (as MODIS) or is no geometry touches everything, and one that crosses the antimeridian
    is tried on either side.

    Args:
        footprint: GeoJSON of an asset; corners may be the texts ``Infinity`` and ``-Infinity``.
        region: In WGS 84 longitude and latitude.
    """
    if not footprint:
        return True
    try:
        shape = shapely.geometry.shape(footprint)
        if shape.geom_type in {"LinearRing", "LineString"}:  # Earth Engine's `system:footprint` is the outline alone
            shape = shapely.Polygon(shape)
    except Exception:  # noqa: BLE001 -- shapely raises a dozen types for a value that is no geometry
        return True
    if shape.is_empty or not np.isfinite(shapely.get_coordinates(shape)).all():
        return True
    shapes = [shape]
    west, _, east, _ = shape.bounds
    if east - west > 180:  # from 179 to -179: the short way round is across the antimeridian
        shapes.append(shapely.transform(shape, lambda xy: xy + np.where(xy[:, :1] < 0, [[360.0, 0.0]], 0.0)))
    shapes = [shapely.make_valid(shape) for shape in shapes]
    return any(
        shapely.intersects(region, shapely.affinity.translate(shape, turn))
        for shape in shapes
        for turn in (0, -360, 360)
    )


def _term(geometry: Mapping[str, Any]) -> str:
    geojson = json.dumps(geometry).replace('"', "'")
    return f'intersects("{geojson}")'

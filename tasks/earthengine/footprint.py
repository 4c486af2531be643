"""Footprints: which images of a listing touch a region, even if the region is too long for a URL."""

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
"""Maximum length of GeoJSON in a URL, in characters. Escaped, it is three times as long. Servers accept about 8,000."""
POLAR = 80.0
"""Latitude, degrees, beyond which a footprint of more than 180 degrees is taken for a ring around the pole."""
STEP = 10.0
"""Maximum degrees of longitude between two neighbouring corners of a covering polygon."""


def covering(region: BaseGeometry) -> BaseGeometry | None:
    """Return a polygon of few corners that covers a region on the globe, or None if it is wider than 180 degrees.

    The edges of Earth Engine's polygons are geodesics (Google's guide "Geodesic vs. Planar Geometries"). Geodesics bow
    towards the poles. In the northern hemisphere, the northern edge of a box therefore covers more than its parallel,
    and the southern edge covers less. To make up for that, the long edges get more corners, and the polygon is made
    wider by the bow that is left between two corners.

    Args:
        region: Region in WGS 84 longitude and latitude.
    """
    west, south, east, north = region.bounds
    if east - west > 180:
        return None  # for a ring around more than half of the globe, it is not defined which side is inside
    steps = max(1, math.ceil((east - west) / STEP))
    # The middle of a geodesic between two corners at latitude p is at atan(tan(p) * k). The bow is largest at 45
    # degrees. 0.25 degrees: the margin itself (at most 0.12 degrees) makes the polygon longer at both ends.
    k = 1 / math.cos(math.radians((east - west + 0.25) / steps / 2))
    margin = math.degrees(math.atan((k - 1) / (2 * math.sqrt(k)))) + 1e-3  # plus 100 m for the ellipsoid and rounding
    xs = np.linspace(west - margin, east + margin, steps + 1).clip(-180, 180)
    low, high = max(-90.0, south - margin), min(90.0, north + margin)
    ring = np.concatenate(
        [np.column_stack([xs, np.full_like(xs, low)]), np.column_stack([xs, np.full_like(xs, high)])[::-1]]
    )
    return shapely.Polygon(ring.round(6))


def listing_filter(region: Mapping[str, Any]) -> tuple[str | None, Callable[[Mapping[str, Any] | None], bool]]:
    """Return a filter for the server and a test for its answers, which together limit a listing to a region.

    If the region fits into a URL, the server compares it with the footprints, and the test is always True. If not, the
    server gets a covering polygon of few corners, and the test does the rest.

    Args:
        region: GeoJSON geometry in WGS 84 longitude and latitude.

    Returns:
        A term for the filter of `listAssets` (None = the server cannot filter by this region), and the test of a
        listed footprint.
    """
    text = _term(region)
    if len(text) <= MAX_TEXT:
        return text, lambda _: True
    shape = shapely.geometry.shape(region)
    box = covering(shape)
    shapely.prepare(shape)
    return None if box is None else _term(shapely.geometry.mapping(box)), lambda footprint: touches(footprint, shape)


def touches(footprint: Mapping[str, Any] | None, region: BaseGeometry) -> bool:
    """Return whether an image may touch a region. Edges are taken as straight in longitude and latitude.

    In doubt, the answer is True: one image too many costs masked pixels, but one image too few loses data. So a
    footprint touches every region if it is missing, is not a geometry, or has infinite corners (as MODIS has).
    A footprint that crosses the antimeridian is tested on both sides of it.

    Args:
        footprint: GeoJSON of an asset. Corners may be the texts ``Infinity`` and ``-Infinity``.
        region: Region in WGS 84 longitude and latitude.
    """
    if not footprint:
        return True
    try:
        shape = shapely.geometry.shape(footprint)
        if shape.geom_type in {"LinearRing", "LineString"}:  # Earth Engine's `system:footprint` is the outline alone
            shape = shapely.Polygon(shape)
    except Exception:  # noqa: BLE001 - shapely raises a dozen types for a value that is not a geometry
        return True
    if shape.is_empty or not np.isfinite(shapely.get_coordinates(shape)).all():
        return True
    shapes = [shape]
    west, south, east, north = shape.bounds
    if east - west > 180 and max(-south, north) > POLAR:
        return True  # a ring around a pole: its edges in degrees do not show what is inside
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

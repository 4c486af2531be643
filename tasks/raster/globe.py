"""The globe: areas in longitude and latitude, whole at 180 degrees and at the poles.

Every area in longitude and latitude is valid and lies within -180 to 180: what crosses 180 degrees is cut there into
the parts of a multipolygon (RFC 7946, section 3.1.9), and what contains a pole reaches a latitude of 90 degrees.

The package `antimeridian` was measured and not used: of a ring in EPSG:3413 that is clockwise it takes the rest of the
globe (480 times the area), an edge through the south pole gives an invalid polygon, and a box from -170 to 170 becomes
the box across 180 degrees. It decides by the direction of rings, and rings of Earth Engine and of Shapefiles run either
way. Here the polar plane decides, in which an area around a pole is an ordinary polygon.

Three functions cut at 180 degrees: `cut` what a user gave, whose edges may jump there; `wrapped` what was transformed,
whose edges are short; `folded` what runs on beyond it. `continuous` is the reverse: it joins the parts again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
import shapely.affinity
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

TURN = 360.0
TINY = 1e-9
"""Degrees: 0.1 mm on the ground. Nearer to the pole than this is the pole."""
SHORT_WAY = 20.0
"""Degrees: a given edge takes the way across 180 if it is shorter than this, as in GDAL (offset 10 on each side)."""


def cut(geometry: BaseGeometry) -> BaseGeometry:
    """Return polygons in longitude and latitude, whose longitudes may be beyond 180 or jump there, cut at 180 degrees.

    An edge of more than 180 degrees means the short way across 180 degrees if that is shorter than `SHORT_WAY`, or if
    another edge of the ring is so. Any other edge is the straight line of RFC 7946. A ring that then goes around the
    globe contains the pole that is nearer to it. Geometries that need no change are returned as they are.
    """
    west, _, east, _ = geometry.bounds
    if west >= -180 and east <= 180 and short_way(geometry) is None:
        return geometry
    return united([_placed(part, given=True) for part in shapely.get_parts(geometry)])


def cut_collection(geometry: BaseGeometry) -> BaseGeometry:
    """Return a geometry of any type with its polygons cut at 180 degrees, see :func:`cut`."""
    if geometry.geom_type == "GeometryCollection":
        return shapely.GeometryCollection([cut_collection(each) for each in geometry.geoms])
    return cut(geometry) if geometry.geom_type.endswith("Polygon") and not geometry.is_empty else geometry


def wrapped(geometry: BaseGeometry) -> BaseGeometry:
    """Return polygons with dense edges, transformed to longitude and latitude, cut at 180 degrees.

    Each edge is short on the ground, so that it takes the short way across 180 degrees or past a pole.
    """
    return united([_placed(part, given=False) for part in shapely.get_parts(geometry)])


def folded(geometry: BaseGeometry, left: float = -180.0, width: float = TURN) -> BaseGeometry:
    """Return an area with its parts beyond a map that repeats itself moved to the other side of the map.

    Args:
        geometry: Polygons whose x run on beyond the map. No edge takes the short way: compare :func:`cut`.
        left: Left edge of the map, units of the CRS.
        width: Width of the map.
    """
    west, south, east, north = geometry.bounds
    turns = range(math.floor((west - left) / width + TINY), math.ceil((east - left) / width - TINY))
    if turns in {range(0), range(1)}:
        return geometry
    pieces = []
    for turn in turns:
        strip = shapely.box(left + turn * width, south - 1, left + (turn + 1) * width, north + 1)
        pieces.append(shapely.affinity.translate(shapely.intersection(geometry, strip), -turn * width))
    return united(pieces)


def is_plain(lonlat: NDArray[np.float64]) -> bool:
    """Return whether a dense ring, shape (point, 2) in degrees, keeps away from 180 degrees and from the poles."""
    return bool((np.abs(np.diff(lonlat[:, 0])) < 20).all() and (np.abs(lonlat[:, 1]) < 90).all())


def crosses(geometry: BaseGeometry) -> bool:
    """Return whether an area in longitude and latitude has parts on both sides of 180 degrees, or touches a pole."""
    west, south, east, north = geometry.bounds
    return bool((west <= -180 and east >= 180) or max(-south, north) >= 90)


def touch(one: BaseGeometry, other: BaseGeometry) -> bool:
    """Return whether two places in longitude and latitude touch. A point at 180 degrees is the point at -180."""
    copies = (other, *(shapely.affinity.translate(other, turn) for turn in (-TURN, TURN)))
    return any(shapely.intersects(one, copy) for copy in copies)


def continuous(geometry: BaseGeometry, period: float = TURN) -> BaseGeometry:
    """Return polygons moved by the period of their map so that they are as near to each other as can be.

    An area on both sides of 180 degrees, from 170 to 180 and from -180 to -170, then reaches from 170 to 190.

    Args:
        geometry: Polygons or points in a CRS whose map repeats itself eastwards. They are returned as they are if they
            need not move.
        period: Width of the map, in units of the CRS.
    """
    west, _, east, _ = geometry.bounds
    parts = shapely.get_parts(geometry)
    if len(parts) < 2 or east - west <= period / 2:
        return geometry
    ends = shapely.bounds(parts)[:, [0, 2]]
    gap = _gap(ends, period)
    if gap is None:
        return geometry
    behind = ends[:, 1] <= gap[0]
    moved = [shapely.transform(parts[behind], lambda xy: xy + np.array([period, 0.0])), parts[~behind]]
    if geometry.geom_type == "MultiPoint":
        return shapely.MultiPoint(np.concatenate(moved))
    # The edges of a projected map meet but for rounding, those of degrees exactly.
    return united(list(np.concatenate(moved)), 0.0 if period == TURN else 1e-6)


def _gap(ends: NDArray[np.float64], period: float) -> tuple[float, float] | None:
    """Return the widest gap between intervals, shape (interval, 2), if it is wider than that at the edge of the map."""
    order = ends[np.argsort(ends[:, 0])]
    reach = np.maximum.accumulate(order[:, 1])
    gaps = order[1:, 0] - reach[:-1]
    widest = int(np.argmax(gaps)) if len(gaps) else 0
    if not len(gaps) or gaps[widest] <= period - (reach[-1] - order[0, 0]) + TINY * period:
        return None
    return float(reach[widest]), float(order[widest + 1, 0])


def sides(west: NDArray[np.float64], east: NDArray[np.float64]) -> tuple[float, float]:
    """Return the west and the east side of the box around areas that are cut at 180 degrees.

    Args:
        west: Western ends of the areas, degrees, shape (area,).
        east: Eastern ends, shape (area,).

    Returns:
        West is greater than east if there are areas on both sides of 180 degrees that touch it (RFC 7946).
    """
    if not len(west):
        return np.nan, np.nan
    low, high = float(west.min()), float(east.max())
    gap = _gap(np.column_stack([west, east]), TURN) if low <= -180 and high >= 180 else None  # degrees
    return (low, high) if gap is None else (gap[1], gap[0])


def bounds(geometry: BaseGeometry) -> list[float]:
    """Return the bounding box of an area in longitude and latitude: west, south, east, north.

    If it crosses 180 degrees, west is greater than east (RFC 7946, section 5.2).
    """
    west, south, east, north = continuous(geometry).bounds
    return [west, south, east - TURN if east > 180 and west > -180 and east - west < TURN else east, north]


def centre(geometry: BaseGeometry) -> tuple[float, float]:
    """Return longitude and latitude of the centroid of an area or of points, on the right side of 180 degrees."""
    point = shapely.centroid(continuous(geometry))
    return (point.x - TURN if point.x > 180 else point.x), point.y


def box(west: float, south: float, east: float, north: float) -> BaseGeometry:
    """Return the area of a bounding box in degrees. If west is greater than east, it crosses 180 degrees."""
    return folded(shapely.box(west, south, east + TURN if west > east else east, north))


def shown(sides: Sequence[float]) -> str:
    """Return the text of a bounding box in degrees for messages."""
    return f"[{', '.join(f'{side:.3f}' for side in sides)}] (west, south, east, north)"


def unclear_edge(geometry: BaseGeometry) -> tuple[float, float] | None:
    """Return the longitudes of a given edge that may go either way around the globe. None = all edges are clear.

    An edge of more than 180 degrees goes the long way, as a straight line does (RFC 7946), if its polygon is then
    counterclockwise, as the same standard demands.
    """
    for part in shapely.get_parts(geometry):
        if part.geom_type != "Polygon" or part.is_empty or part.exterior.is_ccw:
            continue
        ring = shapely.get_coordinates(part.exterior)
        steps = np.abs(np.diff(ring[:, 0]))
        long = np.flatnonzero((steps > TURN / 2) & (steps < TURN - TINY))
        if long.size and not _jumps(ring) and np.abs(ring[:, 0]).max() <= 180:
            return float(ring[long[0], 0]), float(ring[long[0] + 1, 0])
    return None


def short_way(geometry: BaseGeometry) -> float | None:
    """Return the degrees of the longest given edge that takes the short way across 180 degrees. None = none does."""
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(geometry))]
    found = [float(np.abs(np.diff(ring[:, 0])).max()) for ring in rings if _jumps(ring)]
    return max(found, default=None)


def _jumps(ring: NDArray[np.float64]) -> bool:
    """Return whether a given ring takes the short way across 180 degrees anywhere."""
    steps = np.abs(np.diff(ring[:, 0]))
    near = (steps > TURN / 2) & (steps > TURN - SHORT_WAY)
    if not near.any():
        return False
    # The edges of the whole world reach from -180 to 180. The short way would leave nothing of it.
    return bool(np.ptp(_unrolled(ring[:, 0])) > TINY)


def _unrolled(lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the longitudes of a ring without jumps: they run on beyond 180 degrees."""
    return lon + TURN * np.concatenate([[0.0], np.cumsum(-np.round(np.diff(lon) / TURN))])


def _placed(part: BaseGeometry, *, given: bool) -> BaseGeometry:
    """Return one polygon, cut at 180 degrees.

    Args:
        part: The polygon.
        given: Whether its edges are those of a user or of Earth Engine, which may be long. If not, they are dense.
    """
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(part)]
    if given:
        lons = [_unrolled(ring[:, 0]) if _jumps(ring) else ring[:, 0] for ring in rings]
        polar = any(abs(lon[-1] - lon[0]) > 1 for lon in lons)
    else:
        lons = [_unrolled(ring[:, 0]) for ring in rings]
        # Dense edges turn far only beside a pole.
        polar = any(abs(lon[-1] - lon[0]) > 1 or np.abs(np.diff(lon)).max(initial=0) > SHORT_WAY for lon in lons)
    if polar:
        return _polar(rings, given=given)
    shell, *holes = [np.column_stack([lon, ring[:, 1]]) for lon, ring in zip(lons, rings, strict=True)]
    middle = (shell[:, 0].min() + shell[:, 0].max()) / 2
    turns = [round((middle - hole[:, 0].mean()) / TURN) for hole in holes]
    holes = [hole + np.array([TURN * turn, 0.0]) for hole, turn in zip(holes, turns, strict=True)]
    whole = shapely.make_valid(shapely.Polygon(shell, holes))
    return folded(whole)


def _polar(rings: list[NDArray[np.float64]], *, given: bool) -> BaseGeometry:
    """Return the polygon of rings around, beside or through a pole.

    It is drawn in the polar plane (distance from the pole in degrees, and longitude as the angle), in which it is an
    ordinary polygon, and cut there into quadrants. Longitudes within a quadrant have no jump.
    """
    if given:
        rings = [_dense(ring) for ring in rings]
    side = 1.0 if np.mean(rings[0][:, 1]) >= 0 else -1.0
    flat = []
    for ring in rings:
        angle, far = np.radians(ring[:, 0]), 90 - side * ring[:, 1]
        flat.append(np.column_stack([far * np.cos(angle), far * np.sin(angle)]))
    whole = shapely.make_valid(shapely.Polygon(flat[0], flat[1:]))
    parts: list[BaseGeometry] = []
    for low in (-180.0, -90.0, 0.0, 90.0):
        start, end = np.radians(low), np.radians(low + 90)
        corner = [(0, 0), (np.cos(start), np.sin(start)), (np.cos(end), np.sin(end))]
        far_corner = (corner[1][0] + corner[2][0], corner[1][1] + corner[2][1])
        quadrant = shapely.Polygon(np.rint([corner[0], corner[1], far_corner, corner[2]]) * 400)
        pieces = shapely.get_parts(shapely.intersection(whole, quadrant))
        parts += [_sector(each, low, side) for each in pieces if each.geom_type == "Polygon" and not each.is_empty]
    return united(parts)


def _sector(piece: Any, low: float, side: float) -> BaseGeometry:
    """Return a polygon of the polar plane within one quadrant, whose longitudes are ``low`` to ``low`` + 90."""
    rings = []
    for ring in shapely.get_rings(piece):
        x, y = shapely.get_coordinates(ring)[:-1].T
        far = np.hypot(x, y)
        lon = np.degrees(np.arctan2(y, x))
        lon = np.clip(np.where(lon < low - 1, lon + TURN, np.where(lon > low + 91, lon - TURN, lon)), low, low + 90)
        points = np.column_stack([lon, side * (90 - far)])
        at = np.flatnonzero(far < TINY)
        if at.size:
            # The pole is an edge along the latitude of 90 degrees, from the longitude of one neighbour to the other's.
            i, count = int(at[0]), len(points)
            ends = [[points[(i - 1) % count, 0], side * 90], [points[(i + 1) % count, 0], side * 90]]
            points = np.concatenate([points[:i], ends, points[i + 1 :]])
        rings.append(points)
    return shapely.make_valid(shapely.Polygon(rings[0], rings[1:]))


def _dense(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a given ring around a pole with its edges cut into steps of at most a degree, straight in degrees."""
    lon = _unrolled(ring[:, 0])
    line = shapely.segmentize(shapely.LineString(np.column_stack([lon, ring[:, 1]])), 1.0)
    return np.asarray(shapely.get_coordinates(line))


def united(parts: list[BaseGeometry], grid: float = 0.0) -> BaseGeometry:
    """Return the union of polygons, without the points and lines where they only touch."""
    whole = shapely.union_all(parts, grid_size=grid or None)
    if not whole.is_valid:  # the slit of a cap, from the edge of the map to the pole
        whole = shapely.union_all(shapely.get_parts(shapely.make_valid(whole)))
    polygons = [part for part in shapely.get_parts(whole) if part.geom_type == "Polygon" and part.area > 0]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)

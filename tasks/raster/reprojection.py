"""Reprojection: areas from one CRS to another, whole at the edges of maps, and refused where a CRS has no place."""

from __future__ import annotations

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tasks.errors.input import InputError, refused
from tasks.raster import globe
from tasks.raster.crs import UTM_NORTH, UTM_SOUTH, WGS84, canonical_crs, crs_of, transformer, utm_codes
from tasks.raster.world_map import (
    SEAM_GAP,
    area_of_use,
    central_meridian,
    is_degrees,
    map_edge,
    map_outline,
    transformed,
)

STEPS = 1000
"""Into how many segments the longer side of a bounding box is cut, if no other number is given."""
ROUND_TRIP = 1e-5
"""Degrees (1 m on the ground) by which a point may be off after the way to another CRS and back."""
CHECKED = 10_000
"""Points of an outline that make the round trip."""
WIDE = 30.0
"""Degrees of longitude from which an area may be larger than the map of a CRS."""


class TornError(InputError):
    """A CRS has no place for an area: its transform is not finite, tears it apart or cannot be inverted."""


def reproject(geometry: BaseGeometry, source: str, target: str, *, steps: int = STEPS) -> BaseGeometry:
    """Return polygons in another CRS. Edges are densified first, so that they keep their course on the ground.

    An area on both sides of the edge of the target's map stays in one piece, if that map repeats itself: in degrees, it
    then reaches from 170 to 190. In other CRS, the parts lie where the CRS has them.

    Args:
        geometry: Polygon or multipolygon in the CRS ``source``. Longitudes and latitudes are cut at 180 degrees.
        source: CRS of the geometry.
        target: CRS of the result.
        steps: Edges are cut into segments no longer than the longer side of the bounding box divided by this number.

    Raises:
        TornError: The target CRS has no place for a part of the geometry.
    """
    source, target = canonical_crs(source), canonical_crs(target)
    if source == target:
        edge = map_edge(target)
        return geometry if edge is None else globe.continuous(geometry, edge[1])
    try:
        if is_degrees(target):
            return globe.continuous(_lonlat(geometry, source, target, steps))
        if is_degrees(source):
            return _from_lonlat(geometry, source, target, steps)
        moved, edge = _moved(geometry, source, target, steps), map_edge(target)
        return moved if edge is None else globe.continuous(moved, edge[1])
    except TornError:
        if is_degrees(source) or is_degrees(target):
            raise
        return _from_lonlat(lonlat(geometry, source), WGS84, target, steps)


def lonlat(geometry: BaseGeometry, crs: str) -> BaseGeometry:
    """Return polygons in WGS 84 longitude and latitude, with densified edges, cut at 180 degrees.

    Raises:
        TornError: A part of the geometry lies outside the area that the CRS covers.
    """
    crs = canonical_crs(crs)
    return geometry if crs == WGS84 else _lonlat(geometry, crs, WGS84, STEPS)


def check_area_of_use(place: BaseGeometry, crs: str, field: str) -> None:
    """Check that a place touches the area of use of a CRS. A CRS that states none is not checked.

    Args:
        place: Region or points in WGS 84 longitude and latitude, cut at 180 degrees.
        crs: The CRS.
        field: Parameter that the place comes from, for the message.

    Raises:
        BadInputError: The place lies wholly outside. The message names the area and a CRS for the place.
    """
    area = area_of_use(crs)
    if area is not None and not globe.touch(area, place):
        where = f"{field} at {globe.shown(globe.bounds(place))}"
        raise refused(
            "crs", _short(crs), f"it is made for {_extent(crs)}, which does not touch the {where}", _advice(place)
        )


def _from_lonlat(geometry: BaseGeometry, source: str, target: str, steps: int) -> BaseGeometry:
    """Return an area of longitudes and latitudes in a projected CRS, with the parts on both sides of 180 joined."""
    try:  # no edge at 180 degrees that could leave a gap
        moved = _moved(globe.continuous(geometry), source, target, steps)
    except TornError:
        middle = central_meridian(target)
        if middle is None:
            raise
        moved = _moved(_cut_at(geometry, middle + 180), source, target, steps)
    edge = map_edge(target)
    if edge is not None:
        moved = globe.continuous(moved, edge[1])
    # Parts that meet at 180 degrees or a pole are joined. Others keep their coordinates to the bit.
    return globe.united([moved], 1e-6) if globe.crosses(geometry) else moved


def _lonlat(geometry: BaseGeometry, source: str, target: str, steps: int) -> BaseGeometry:
    edge, outline = map_edge(source), map_outline(source)
    if edge is not None and not is_degrees(source):
        geometry = globe.folded(geometry, *edge)
    beyond = outline is not None and not shapely.covers(outline, geometry)
    if beyond:
        geometry = _halves(shapely.intersection(outline, geometry), source)
        if geometry.is_empty:
            raise _torn(geometry, source, "the region lies outside the world on its map")
    dense = _dense(geometry, steps)
    moved = transformed(dense, source, target)
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(moved))]
    if not all(np.isfinite(ring).all() for ring in rings) or not _comes_back(dense, moved, source, target):
        raise _torn(geometry, source, "a part of the region lies outside the area that it covers")
    if is_degrees(source):
        return globe.cut(moved)
    if beyond:
        return _opened(dense, moved, source)
    if edge is not None or outline is not None:
        moved = _on_seam(moved, source)
    return moved if all(map(globe.is_plain, rings)) else globe.wrapped(moved)


def _halves(geometry: BaseGeometry, crs: str) -> BaseGeometry:
    """Return an area on a map of the world, cut at the central meridian."""
    middle, _ = transformer(WGS84, crs).transform(central_meridian(crs), 0.0)
    west, south, east, north = geometry.bounds
    boxes = (shapely.box(west, south, middle, north), shapely.box(middle, south, east, north))
    parts = [part for each in boxes for part in shapely.get_parts(shapely.intersection(geometry, each))]
    return shapely.MultiPolygon([part for part in parts if part.geom_type == "Polygon" and part.area > 0])


def _opened(halves: BaseGeometry, moved: BaseGeometry, crs: str) -> BaseGeometry:
    """Return the halves of a map of the world in degrees, cut at 180 degrees.

    The western and the eastern edge of the map are one meridian, and meet at the poles. So each half is kept on its
    side of the central meridian: a ring around the whole world would have no area in degrees.

    Args:
        halves: Polygons on either side of the central meridian, in the CRS.
        moved: The same polygons, transformed to degrees.
        crs: The CRS.
    """
    middle = central_meridian(crs) or 0.0
    x, _ = transformer(WGS84, crs).transform(middle, 0.0)
    parts = []
    for half, found in zip(shapely.get_parts(halves), shapely.get_parts(moved), strict=True):
        side = 1.0 if half.centroid.x > x else -1.0
        lon, lat = shapely.get_coordinates(found).T
        off = side * ((lon - middle + 180) % globe.TURN - 180)
        off = np.clip(np.where(off < -90, off + globe.TURN, off), 0, 180)
        off = middle + side * np.where(off > 180 - 2 * SEAM_GAP, 180, off)
        parts.append(shapely.make_valid(shapely.set_coordinates(found, np.column_stack([off, lat]))))
    return globe.folded(globe.united(parts))


def _on_seam(lonlat: BaseGeometry, crs: str) -> BaseGeometry:
    """Return an area in degrees whose points beside the edge of a map of the world lie exactly on its meridian."""
    seam = (central_meridian(crs) or 0.0) + 180

    def snapped(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        exact = seam + globe.TURN * np.round((xy[:, 0] - seam) / globe.TURN)
        return np.column_stack([np.where(np.abs(xy[:, 0] - exact) <= 2 * SEAM_GAP, exact, xy[:, 0]), xy[:, 1]])

    return shapely.transform(lonlat, snapped)


def _moved(geometry: BaseGeometry, source: str, target: str, steps: int) -> BaseGeometry:
    dense = _dense(geometry, steps)
    moved = transformed(dense, source, target)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise _torn(geometry, target, "a part of the region has no finite coordinates in it", source)
    if not _comes_back(dense, moved, source, target):
        raise _torn(geometry, target, "a part of the region lies where it cannot be inverted", source)
    rings = zip(*(shapely.get_rings(shapely.get_parts(each)) for each in (dense, moved)), strict=True)
    if any(_is_torn(shapely.get_coordinates(a), shapely.get_coordinates(b), source, target) for a, b in rings):
        raise _torn(geometry, target, "the region crosses the edge of its map", source)
    if is_degrees(source) and not _is_filled(geometry, moved, source, target):
        raise _torn(geometry, target, "the region is larger than its map", source)
    return moved


def _dense(geometry: BaseGeometry, steps: int) -> BaseGeometry:
    west, south, east, north = geometry.bounds
    return _segmented(geometry, max(east - west, north - south) / steps)


def _segmented(geometry: BaseGeometry, step: float) -> BaseGeometry:
    """Return a geometry with short edges. GEOS would join the parts of a multipolygon that touch."""
    if geometry.geom_type != "MultiPolygon" or geometry.is_valid:
        return shapely.segmentize(geometry, step)
    return shapely.MultiPolygon([shapely.segmentize(part, step) for part in geometry.geoms])


def _comes_back(given: BaseGeometry, moved: BaseGeometry, source: str, target: str) -> bool:
    """Return whether the points of an outline come back from the target CRS to where they were."""
    points, there = shapely.get_coordinates(given), shapely.get_coordinates(moved)
    every = -(-len(points) // CHECKED)
    points, there = points[::every], there[::every]
    back = np.column_stack(transformer(target, source).transform(there[:, 0], there[:, 1]))
    off = back - points
    if is_degrees(source):
        off[:, 0] = (off[:, 0] - globe.TURN * np.round(off[:, 0] / globe.TURN)) * np.cos(np.radians(points[:, 1]))
        limit = ROUND_TRIP
    else:
        limit = np.radians(ROUND_TRIP) * 6.4e6 / crs_of(source).proj.axis_info[0].unit_conversion_factor
    return bool((np.abs(off) < limit).all())  # also False for NaN and infinity


def _is_filled(geometry: BaseGeometry, moved: BaseGeometry, source: str, target: str) -> bool:
    """Return whether what lies inside a wide area of degrees lies inside its transformed outline, too."""
    west, south, east, north = geometry.bounds
    if east - west < WIDE:
        return True
    xs, ys = (part.ravel() for part in np.meshgrid(np.linspace(west, east, 26)[1:-1], np.linspace(south, north, 14)))
    inside = shapely.contains_xy(geometry, xs, ys)
    there = np.column_stack(transformer(source, target).transform(xs[inside], ys[inside]))
    if not np.isfinite(there).all():
        return False
    whole = shapely.make_valid(moved)
    reach = max(whole.bounds[2] - whole.bounds[0], whole.bounds[3] - whole.bounds[1])
    return bool((shapely.distance(whole, shapely.points(there)) < reach / STEPS).all())


def _is_torn(ring: NDArray[np.float64], ends: NDArray[np.float64], source: str, target: str) -> bool:
    """Return whether a transform tears a ring apart.

    An edge is torn if its transformed midpoint is far from the midpoint between its transformed ends.

    Args:
        ring: Points in the source CRS, shape (point, 2).
        ends: The same points in the target CRS.
        source: CRS of the ring.
        target: CRS of the ends.
    """
    middles = np.column_stack(transformer(source, target).transform(*((ring[1:] + ring[:-1]) / 2).T))
    step = np.hypot(*(ends[1:] - ends[:-1]).T)
    bow = np.hypot(*(middles - (ends[1:] + ends[:-1]) / 2).T)
    extent = np.ptp(ends, axis=0).max()  # much shorter steps are rounding, as where an edge shrinks to a pole
    return bool(not np.isfinite(bow).all() or ((bow > step / 4) & (step > extent / 100)).any())


def _cut_at(geometry: BaseGeometry, longitude: float) -> BaseGeometry:
    """Return an area in longitude and latitude, cut at one more meridian."""
    edge = (longitude + 180) % globe.TURN - 180
    sides = shapely.box(-180, -90, edge - SEAM_GAP, 90), shapely.box(edge + SEAM_GAP, -90, 180, 90)
    return shapely.MultiPolygon(
        [
            part
            for side in sides
            for part in shapely.get_parts(shapely.intersection(geometry, side))
            if part.geom_type == "Polygon" and not part.is_empty
        ]
    )


def _torn(geometry: BaseGeometry, crs: str, reason: str, source: str | None = None) -> TornError:
    place = None if source is None or not is_degrees(source) else geometry
    made = "" if area_of_use(crs) is None else f" (it is made for {_extent(crs)})"
    error = refused("crs", _short(crs), f"{reason}{made}", _advice(place))
    return TornError(str(error))


def _extent(crs: str) -> str:
    area = crs_of(crs).proj.area_of_use
    assert area is not None
    return globe.shown([area.west, area.south, area.east, area.north])


def _advice(place: BaseGeometry | None) -> str:
    """Return which CRS would do for a place in longitude and latitude."""
    if place is None:
        return "Choose a CRS that covers the region: 'utm', 'EPSG:3413' (north), 'EPSG:3031' (south) or 'EPSG:6933'"
    west, south, east, north = globe.continuous(place).bounds
    if (north > UTM_NORTH or south < UTM_SOUTH) and south < 0 < north:
        return f"Choose a CRS that covers it, such as {WGS84!r}"
    if north > UTM_NORTH or south < UTM_SOUTH:
        polar = "EPSG:3413" if north > -south else "EPSG:3031"
        return f"Choose a CRS that covers it, such as {polar!r}"
    lon, lat = globe.centre(place)
    zone = f"'utm' (here {utm_codes(lon, lat)}), or " if east - west < 12 else ""
    return f"Choose a CRS that covers it, such as {zone}'EPSG:6933'"


def _short(name: str) -> str:
    return name if len(name) < 40 else str(pyproj.CRS(crs_of(name).proj).name)

"""Outlines of tiles in longitude and latitude: valid polygons, cut at 180 degrees, with the poles inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from tasks.errors.input import InputError
from tasks.raster import globe
from tasks.raster.crs import WGS84, transformer
from tasks.raster.reprojection import lonlat
from tasks.raster.world_map import is_degrees, map_outline

BENT = 1.0
"""A tile of this many degrees has bent edges where the tangent of its latitude is 1, and larger ones nearer to the
equator: the edge is then 0.2 % of its length away from the straight line between its ends."""
FINE, COARSE = 64, 8
"""Segments of an edge that is bent."""


def degrees(corners: NDArray[np.float64], crs: str) -> NDArray[np.float64]:
    """Return corners, shape (..., 2) of (x, y) in a CRS, as longitude and latitude in WGS 84.

    Corners outside the area that the CRS covers are infinite.
    """
    return np.stack(transformer(crs, WGS84).transform(corners[..., 0], corners[..., 1]), axis=-1)


def map_corners(corners: NDArray[np.float64], crs: str) -> NDArray[np.float64]:
    """Return the corners of tiles for a map in degrees, shape (tile, 4, 2), see :func:`degrees`.

    A tile at a pole, or partly outside the world on its map, is the box around its outline: its four corners are no
    outline in degrees.
    """
    found, world = degrees(corners, crs), map_outline(crs)
    with np.errstate(invalid="ignore"):  # infinite corners stay
        steps = np.diff(found[..., 0], axis=1, append=found[:, :1, 0])
        turns = np.abs(steps - globe.TURN * np.round(steps / globe.TURN))
        boxed = (np.abs(found[..., 1]).max(axis=1) > 80) & (turns.max(axis=1) > 60) & (not is_degrees(crs))
    if world is not None:
        boxed |= ~shapely.covers(world, shapely.polygons(corners))
    for number, outline in zip(np.flatnonzero(boxed), tile_outlines(corners[boxed], crs), strict=True):
        if outline is None:
            found[number] = np.inf
        else:
            west, south, east, north = globe.bounds(outline)
            east += globe.TURN * (west > east)
            found[number] = [(west, north), (east, north), (east, south), (west, south)]
    return found


def tile_outlines(corners: NDArray[np.float64], crs: str) -> NDArray[Any]:
    """Return tiles as polygons and multipolygons in longitude and latitude, shape (tile,).

    Straight edges become more points only where they are bent in degrees. A tile that lies partly outside the world on
    its map has its part inside; one that lies wholly outside is None.

    Args:
        corners: Corners of the tiles, shape (tile, 4, 2), CRS units, as a ring.
        crs: Their CRS.
    """
    found = degrees(corners, crs)
    outlines: NDArray[Any] = np.empty(len(corners), object)
    world = map_outline(crs)
    if world is not None:  # beyond it, PROJ answers with other places
        shapely.prepare(world)
        found[~shapely.covers(world, shapely.polygons(corners))] = np.nan
    lon, lat = found[..., 0], found[..., 1]
    with np.errstate(invalid="ignore"):  # infinite corners are not plain
        if is_degrees(crs):
            plain = (np.abs(lon) <= 180).all(axis=1) & (np.abs(lat) <= 90).all(axis=1)
            far = np.zeros(0)
        else:
            wide, highest = np.ptp(lon, axis=1), np.abs(lat).max(axis=1)
            size = np.maximum(np.ptp(lat, axis=1), wide * np.cos(np.radians(highest)))
            far = size * np.tan(np.radians(highest.clip(max=89.9)))
            plain = (wide < 90) & (far < BENT) & (size < 10) & (highest < 89.9)
    outlines[plain] = shapely.polygons(found[plain])
    others = np.flatnonzero(~plain)
    for number in others if not far.size else others[~np.isfinite(far[others])]:
        outlines[number] = _one(corners[number], crs)
    for steps, low, high in ((COARSE, 0.0, 16.0), (FINE, 16.0, np.inf)):
        bent = others[(far[others] >= low) & (far[others] < high)] if far.size else others[:0]
        if len(bent):
            outlines[bent] = _bent(corners[bent], crs, steps)
    return outlines


def _bent(corners: NDArray[np.float64], crs: str, steps: int) -> NDArray[Any]:
    """Return the outlines of tiles whose edges are bent or cross 180 degrees."""
    share = (np.arange(steps) / steps)[np.newaxis, np.newaxis, :, np.newaxis]
    start, end = corners[:, :, np.newaxis], np.roll(corners, -1, axis=1)[:, :, np.newaxis]
    rings = (start + (end - start) * share).reshape(len(corners), -1, 2)
    rings = np.concatenate([rings, rings[:, :1]], axis=1)
    found = degrees(rings, crs)
    outlines: NDArray[Any] = np.empty(len(corners), object)
    whole: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(found), axis=(1, 2))
    plain = whole & (np.abs(np.diff(found[..., 0], axis=1)).max(axis=1) < globe.SHORT_WAY)
    outlines[plain] = shapely.polygons(found[plain])
    for number in np.flatnonzero(whole & ~plain):
        outlines[number] = globe.wrapped(shapely.Polygon(found[number]))
    for number in np.flatnonzero(~whole):
        outlines[number] = _one(corners[number], crs)
    return outlines


def _one(corners: NDArray[np.float64], crs: str) -> shapely.Geometry | None:
    """Return the outline of a tile beyond 180 degrees, or partly outside the world on its map."""
    polygon = shapely.Polygon(corners)
    try:
        found = globe.folded(polygon) if is_degrees(crs) else lonlat(polygon, crs)
        return globe.united([shapely.intersection(found, shapely.box(-180, -90, 180, 90))])
    except InputError:
        return None

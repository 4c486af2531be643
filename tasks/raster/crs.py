"""Coordinate reference systems: one name for each, UTM zones, transforms between them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pyproj
import shapely
from numpy.typing import ArrayLike, NDArray
from odc.geo.crs import CRS
from pyproj import Transformer
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from tasks.errors.input import InputError

WGS84 = "EPSG:4326"

SINUSOIDAL = "SR-ORG:6974"
"""Earth Engine's code of the MODIS sinusoidal grid, which PROJ cannot resolve."""
SINUSOIDAL_PROJ = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs +type=crs"

UTM_SOUTH, UTM_NORTH = -80.0, 84.0
"""Latitudes between which UTM is defined."""


@functools.lru_cache(maxsize=256)
def crs_of(name: str) -> CRS:
    """Return the CRS of an authority code, WKT, PROJ string or ``SR-ORG:6974``.

    Raises:
        InputError: PROJ does not know it, or it is not a horizontal CRS of two axes.
    """
    text = name.strip()
    if text.upper() == SINUSOIDAL:
        return CRS(SINUSOIDAL_PROJ)
    try:
        crs = pyproj.CRS.from_user_input(text)
    except CRSError as error:
        raise InputError(
            f"crs {name!r} is not known to PROJ: give a code such as 'EPSG:32633', WKT, a PROJ string, "
            f"{SINUSOIDAL!r} for the MODIS grid, or 'utm'"
        ) from error
    if len(crs.axis_info) != 2 or not (crs.is_geographic or crs.is_projected):
        raise InputError(
            f"crs {name!r} ({crs.name}) is not a horizontal CRS of two axes: pixels need a projected or "
            "geographic one, such as 'EPSG:32633' or 'EPSG:4326'"
        )
    return CRS(crs)


@functools.lru_cache(maxsize=256)
def canonical_crs(name: str) -> str:
    """Return the one name of a CRS: ``EPSG:n``, ``SR-ORG:6974``, or WKT where there is no code.

    Axis order plays no part, since pixels are always x, y. The WKT is that of GDAL's flavour of version 1
    where it can express the CRS, else version 2.

    Raises:
        InputError: as `crs_of`.
    """
    crs = crs_of(name).proj
    if crs.equals(crs_of(SINUSOIDAL).proj):
        return SINUSOIDAL
    if crs.equals(crs_of(WGS84).proj, ignore_axis_order=True):
        return WGS84
    code = crs.to_epsg(min_confidence=70)
    # 70 admits near matches (another name, another datum ensemble), so the definition has the last word.
    if code is not None and pyproj.CRS.from_epsg(code).equals(crs, ignore_axis_order=True):
        return f"EPSG:{code}"
    try:
        return str(crs.to_wkt("WKT1_GDAL"))
    except CRSError:
        return str(crs.to_wkt())


def crs_name(crs: CRS) -> str:
    """Return the canonical name of an odc-geo CRS, as Earth Engine's ``crsCode`` or ``crsWkt`` takes it."""
    return canonical_crs(str(crs))


def utm_codes(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.str_]:
    """Return the EPSG codes of the UTM zones of points, with the exceptions of Norway and Svalbard.

    These are the zones of the military grid, by which Sentinel-2 is tiled, and not the strict bands of 6
    degrees that the EPSG registry gives as areas of use.

    Args:
        lon: Longitudes in degrees, -180 to 180, any shape.
        lat: Latitudes in degrees, same shape.

    Returns:
        Codes such as ``EPSG:32633`` (north) and ``EPSG:32733`` (south, below the equator), same shape.

    Raises:
        InputError: a point lies outside 80 S to 84 N, where UTM ends, or is not finite.
    """
    lon, lat = np.broadcast_arrays(np.asarray(lon, dtype=float), np.asarray(lat, dtype=float))
    outside = ~((lat >= UTM_SOUTH) & (lat <= UTM_NORTH) & np.isfinite(lon))
    if outside.any():
        i = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"crs 'utm' has no zone for longitude {lon.flat[i]}, latitude {lat.flat[i]}: UTM reaches from 80 S "
            "to 84 N; give a polar CRS such as 'EPSG:3413' (north) or 'EPSG:3031' (south)"
        )
    zone = np.floor((lon + 180) / 6).astype(int) % 60 + 1
    zone = np.where((lat >= 56) & (lat < 64) & (lon >= 3) & (lon < 12), 32, zone)
    svalbard = (lat >= 72) & (lon >= 0) & (lon < 42)
    zone = np.where(svalbard, 31 + 2 * np.digitize(lon, [9, 21, 33]), zone)
    numbers = np.where(lat >= 0, 32600, 32700) + zone
    return np.char.add("EPSG:", numbers.astype(str))


def resolve_crs(crs: str, geometry: BaseGeometry) -> str:
    """Return the canonical name of a CRS; ``utm`` stands for the zone of a geometry's centroid.

    Args:
        crs: Anything that `crs_of` takes, or ``utm``.
        geometry: In WGS 84 longitude and latitude; looked at only for ``utm``.

    Raises:
        InputError: the CRS is not known or not horizontal, or UTM has no zone there.
    """
    if crs.strip().lower() == "utm":
        centre = shapely.centroid(geometry)
        return str(utm_codes(centre.x, centre.y))
    return canonical_crs(crs)


@functools.lru_cache(maxsize=256)
def transformer(source: str, target: str) -> Transformer:
    """Return the transform between two CRS, x before y on both sides (safe to share between threads)."""
    return Transformer.from_crs(crs_of(source).proj, crs_of(target).proj, always_xy=True)


def reproject(geometry: BaseGeometry, source: str, target: str, *, steps: int = 1000) -> BaseGeometry:
    """Return polygons in another CRS, their edges densified so that they keep their course.

    Args:
        geometry: Polygon or multipolygon in the CRS ``source``.
        source: Its CRS.
        target: The CRS asked for.
        steps: Edges are cut to at most the longest side divided by this.

    Raises:
        InputError: a part of it has no finite coordinates there, or the outline is torn apart, as at the
            antimeridian or around a pole in longitude and latitude.
    """
    if canonical_crs(source) == canonical_crs(target):
        return geometry
    west, south, east, north = geometry.bounds
    dense = shapely.segmentize(geometry, max(east - west, north - south) / steps)
    forward = transformer(source, target).transform

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(forward(xy[:, 0], xy[:, 1]))

    moved = shapely.transform(dense, move)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise InputError(f"the region cannot be expressed in {_short(target)}: choose a CRS that covers it")
    for ring in shapely.get_rings(shapely.get_parts(dense)):
        _check_whole(shapely.get_coordinates(ring), move, target)
    return moved


def _check_whole(
    ring: NDArray[np.float64], move: Callable[[NDArray[np.float64]], NDArray[np.float64]], target: str
) -> None:
    """Refuse a ring that the transform tears: between two neighbours the middle does not stay between."""
    ends = move(ring)
    middles = move((ring[1:] + ring[:-1]) / 2)
    step = np.hypot(*(ends[1:] - ends[:-1]).T)
    bow = np.hypot(*(middles - (ends[1:] + ends[:-1]) / 2).T)
    extent = np.ptp(ends, axis=0).max()  # steps far below it are rounding, as where an edge shrinks to a pole
    if not np.isfinite(bow).all() or ((bow > step / 4) & (step > extent / 100)).any():
        raise InputError(
            f"the region crosses the edge of {_short(target)} (the antimeridian, or a pole): "
            "split it there, or choose a CRS centred on it"
        )


def _short(name: str) -> str:
    return name if len(name) < 40 else crs_of(name).proj.name

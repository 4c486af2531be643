"""Coordinate reference systems (CRS): one canonical name for each, UTM zones, and transformers."""

from __future__ import annotations

import functools
import re

import numpy as np
import pyproj
from numpy.typing import ArrayLike, NDArray
from odc.geo.crs import CRS
from pyproj import Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely.geometry.base import BaseGeometry

from tasks.errors.input import refused
from tasks.raster import globe

WGS84 = "EPSG:4326"

SINUSOIDAL = "SR-ORG:6974"
"""Earth Engine's code for the MODIS sinusoidal grid. PROJ cannot resolve it."""
SINUSOIDAL_PROJ = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs +type=crs"

UTM_SOUTH, UTM_NORTH = -80.0, 84.0
"""Latitudes between which UTM is defined, degrees."""

_FILE = re.compile(
    r"(init|grids|file|model)\s*=\s*@?(\"|[^\s\"]*[/\\])"
    r"|(PARAMETERFILE\s*[\[(]\s*\"([^\"]|\"\")*\"|\"PROJ4_GRIDS\")\s*,\s*\"([^\"]|\"\")*[/\\]",
    re.IGNORECASE,
)
"""A path of a file in a PROJ string or in WKT, which PROJ would read. Names of grids, such as ``@null``, are none. In a
PROJ string, what is in quotes may hold blanks, and no other value needs them."""


def check_crs_text(text: str) -> None:
    """Check that a CRS names no file of the disk.

    Raises:
        InputError: It does.
    """
    if _FILE.search(text):
        reason = "it names a file, which PROJ would read"
        raise refused("crs", text, reason, "Give a CRS without the path of a file, such as 'EPSG:32633'")


@functools.lru_cache(maxsize=256)
def crs_of(name: str) -> CRS:
    """Return the CRS for an authority code, WKT, a PROJ string or ``SR-ORG:6974``.

    Raises:
        InputError: PROJ does not know the CRS, it names a file, or it is not a horizontal CRS with two axes.
    """
    text = name.strip()
    if text.upper() == SINUSOIDAL:
        return CRS(SINUSOIDAL_PROJ)
    check_crs_text(text)
    try:
        crs = pyproj.CRS.from_user_input(text)
    except CRSError as error:
        raise refused(
            "crs",
            name,
            "PROJ does not know this CRS",
            f"Give a code such as 'EPSG:32633', WKT, a PROJ string, {SINUSOIDAL!r} for the MODIS grid, or 'utm'",
        ) from error
    check_crs_text(crs.to_wkt())  # there are more ways to write it than to store it
    if len(crs.axis_info) != 2 or not (crs.is_geographic or crs.is_projected):
        raise refused(
            "crs",
            name,
            f"{crs.name} is not a horizontal CRS with two axes, which a pixel grid needs",
            "Give a projected or geographic CRS, such as 'EPSG:32633' or 'EPSG:4326'",
        )
    return CRS(crs)


@functools.lru_cache(maxsize=256)
def canonical_crs(name: str) -> str:
    """Return the canonical name of a CRS: ``EPSG:n``, ``SR-ORG:6974``, or WKT if it has no code.

    Axis order is ignored, since coordinates are always in the order x, y here. The WKT is WKT 1 in GDAL's variant if
    that can express the CRS, otherwise WKT 2.

    Raises:
        InputError: See `crs_of`.
    """
    crs = crs_of(name).proj
    if crs.equals(crs_of(SINUSOIDAL).proj):
        return SINUSOIDAL
    if crs.equals(crs_of(WGS84).proj, ignore_axis_order=True):
        return WGS84
    code = crs.to_epsg(min_confidence=70)
    # A confidence of 70 also finds near matches (another name, another datum ensemble), so definitions are compared.
    if code is not None and pyproj.CRS.from_epsg(code).equals(crs, ignore_axis_order=True):
        return f"EPSG:{code}"
    try:
        return str(crs.to_wkt("WKT1_GDAL"))
    except CRSError:
        return str(crs.to_wkt())


def crs_name(crs: CRS) -> str:
    """Return the canonical name of an odc-geo CRS, for Earth Engine's field ``crsCode`` or ``crsWkt``."""
    return canonical_crs(str(crs))


def utm_codes(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.str_]:
    """Return the EPSG codes of the UTM zones of points: strict zones of 6 degrees, as in the EPSG registry.

    There are no exceptions for Norway and Svalbard, as in geopandas. The Military Grid Reference System has them, and
    so have Sentinel-2's tiles.

    Args:
        lon: Longitudes in degrees, -180 to 180, any shape.
        lat: Latitudes in degrees, same shape.

    Returns:
        Codes such as ``EPSG:32633`` (north) and ``EPSG:32733`` (south, below the equator), same shape.

    Raises:
        InputError: A point lies outside 80 S to 84 N, the limits of UTM, or is not finite.
    """
    lon, lat = np.broadcast_arrays(np.asarray(lon, dtype=float), np.asarray(lat, dtype=float))
    outside = ~((lat >= UTM_SOUTH) & (lat <= UTM_NORTH) & np.isfinite(lon))
    if outside.any():
        i = int(np.flatnonzero(outside)[0])
        raise refused(
            "crs",
            "utm",
            f"there is no UTM zone at longitude {lon.flat[i]:.6f}, latitude {lat.flat[i]:.6f} (UTM is 80 S to 84 N)",
            "Give a polar CRS such as 'EPSG:3413' (north) or 'EPSG:3031' (south)",
        )
    zone = np.floor((lon + 180) / 6).astype(int) % 60 + 1
    numbers = np.where(lat >= 0, 32600, 32700) + zone
    return np.char.add("EPSG:", numbers.astype(str))


def resolve_crs(crs: str, geometry: BaseGeometry) -> str:
    """Return the canonical name of a CRS; ``utm`` means the UTM zone at the centre of a geometry.

    Args:
        crs: Any text that `crs_of` accepts, or ``utm``.
        geometry: A geometry in WGS 84 longitude and latitude, cut at 180 degrees. Only ``utm`` needs it.

    Raises:
        InputError: The CRS is not known or not horizontal, or the centre lies outside the limits of UTM.
    """
    if crs.strip().lower() == "utm":
        return str(utm_codes(*globe.centre(geometry)))
    return canonical_crs(crs)


@functools.lru_cache(maxsize=256)
def transformer(source: str, target: str) -> Transformer:
    """Return the transformer between two CRS: x before y on both sides, safe to share between threads.

    Raises:
        InputError: A CRS is not known, or there is no transformation between them.
    """
    try:
        return Transformer.from_crs(crs_of(source).proj, crs_of(target).proj, always_xy=True)
    except ProjError as error:
        reason = f"PROJ has no transformation between it and {target}"
        raise refused("crs", source, reason, "Give a CRS that is related to the earth, such as 'EPSG:32633'") from error

"""Points: the centres of patches, read from GeoJSON, a vector file or a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.raster.crs import WGS84
from tasks.raster.refusal import InputError
from tasks.raster.vector import existing, features_crs, read_features, read_frame

if TYPE_CHECKING:
    import geopandas

COLUMNS = (("lon", "lat"), ("longitude", "latitude"), ("lng", "lat"), ("x", "y"))
"""Pairs of column names, case ignored, in which a CSV may hold longitude and latitude."""


def read_points(points: Mapping[str, Any] | str | Path) -> geopandas.GeoDataFrame:
    """Read points, in the order given.

    Args:
        points: GeoJSON, or the path of a CSV (WGS 84, columns ``lon``/``lat``, ``longitude``/``latitude``
            or ``x``/``y``) or of any vector file, GeoParquet included, in its own CRS.

    Returns:
        A frame in EPSG:4326 with the index 0, 1, 2, ..., a point in every row, and all properties; the two
        columns of a CSV that became the geometry are left out.

    Raises:
        InputError: it cannot be read, or a row is no point on the earth; the message names the row,
            counted from 0, and what to do.
    """
    import geopandas

    if isinstance(points, Mapping):
        geometries, properties = read_features(points, what="points")
        frame = geopandas.GeoDataFrame(properties, geometry=geometries, crs=features_crs(points))
    elif Path(points).suffix.lower() == ".csv":
        frame = _read_csv(points)
    else:
        frame = read_frame(points, what="points")
    frame = frame.reset_index(drop=True)
    if frame.empty:
        raise InputError(f"points {_brief(points)} holds no feature: give at least one point")
    _check_points(frame, points)
    frame = frame.to_crs(WGS84)
    _check_world(frame, points)
    return frame


def _read_csv(path: str | Path) -> geopandas.GeoDataFrame:
    import geopandas
    import pandas as pd

    file = existing(path, what="points")
    try:
        table = pd.read_csv(file)
    except (ValueError, OSError) as error:  # pandas' parser errors and undecodable bytes are ValueErrors
        raise InputError(f"points {str(path)!r} cannot be read as CSV ({error}): repair the file") from error
    names = {str(name).strip().lower(): name for name in table.columns}
    pair = next(((names[x], names[y]) for x, y in COLUMNS if x in names and y in names), None)
    if pair is None:
        raise InputError(
            f"points {str(path)!r} has the columns {', '.join(map(repr, table.columns))}, but none for the "
            "coordinates: name them 'lon' and 'lat' (WGS 84 degrees)"
        )
    lon, lat = (pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float) for name in pair)
    broken = np.flatnonzero(~(np.isfinite(lon) & np.isfinite(lat)))
    if broken.size:
        row = int(broken[0])
        x, y = (table[name].iloc[row] for name in pair)
        raise InputError(
            f"row {row} of points {str(path)!r} has {pair[0]}={x}, {pair[1]}={y}: give finite numbers in "
            f"degrees, or remove the row ({broken.size} such rows)"
        )
    return geopandas.GeoDataFrame(
        table.drop(columns=list(pair)), geometry=geopandas.points_from_xy(lon, lat), crs=WGS84
    )


def _check_points(frame: geopandas.GeoDataFrame, given: object) -> None:
    shapes = frame.geometry
    missing = np.flatnonzero(shapes.isna() | shapes.is_empty)
    if missing.size:
        raise InputError(
            f"row {missing[0]} of points {_brief(given)} has no geometry: give it a point, or remove it "
            f"({missing.size} such rows)"
        )
    other = np.flatnonzero(shapes.geom_type != "Point")
    if other.size:
        raise InputError(
            f"row {other[0]} of points {_brief(given)} is a {shapes.iloc[other[0]].geom_type}, not a point: "
            f"give points, such as the centroids of the polygons ({other.size} such rows)"
        )


def _check_world(frame: geopandas.GeoDataFrame, given: object) -> None:
    lon, lat = frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()
    outside = np.flatnonzero(~((np.abs(lon) <= 180) & (np.abs(lat) <= 90)))  # also true of NaN and infinity
    if outside.size:
        row = outside[0]
        raise InputError(
            f"row {row} of points {_brief(given)} lies outside the world (longitude {lon[row]}, latitude "
            f"{lat[row]}): give longitudes of -180 to 180 and latitudes of -90 to 90 ({outside.size} such rows)"
        )


def _brief(given: object) -> str:
    text = repr(str(given)) if isinstance(given, str | Path) else repr(given)
    return text if len(text) <= 120 else f"{text[:117]}..."

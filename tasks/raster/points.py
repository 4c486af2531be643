"""Points: the centres of patches, read from GeoJSON, a vector file or a CSV table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors.input import brief, refused
from tasks.raster.crs import WGS84, crs_of
from tasks.raster.properties import free_name, property_table, writable
from tasks.raster.vector import existing, features_crs, read_features, read_frame

if TYPE_CHECKING:
    import geopandas

COLUMNS = (("lon", "lat"), ("longitude", "latitude"), ("lng", "lat"), ("x", "y"))
"""Pairs of column names for longitude and latitude in a CSV, in order of preference. Case is ignored."""


def read_points(points: Mapping[str, Any] | str | Path) -> geopandas.GeoDataFrame:
    """Read points, in the order given.

    Args:
        points: GeoJSON, the path of a CSV, or the path of a vector file (GeoParquet included). Coordinates of a CSV
            are in WGS 84, in columns ``lon``/``lat``, ``longitude``/``latitude``, ``lng``/``lat`` or ``x``/``y``. A
            vector file has its own CRS.

    Returns:
        A frame in EPSG:4326 with the index 0, 1, 2, ..., a point in every row, and all properties. The two columns of
        a CSV that became the geometry are left out. Properties with mixed or nested values become JSON text, so that
        they can be written, see `tasks.raster.properties.writable`.

    Raises:
        InputError: The points cannot be read, or a row is not a point on the earth. The message names the row, counted
            from 0, and what to do.
    """
    import geopandas

    if isinstance(points, Mapping):
        geometries, properties = read_features(points, what="points")
        crs = crs_of(features_crs(points, what="points")).proj
        frame = geopandas.GeoDataFrame(property_table(properties), geometry=geometries, crs=crs)
    elif not isinstance(points, str | Path):
        raise refused("points", points, "it is neither GeoJSON nor a path", "Give one of them")
    elif Path(points).suffix.lower() == ".csv":
        frame = _read_csv(points)
    else:
        frame = read_frame(points, what="points")
    # A named index is a property. An index without a name only counts rows, and is dropped.
    frame = frame.reset_index(drop=frame.index.names == [None])
    if frame.empty:
        raise refused("points", points, "it has no features", "Give at least one point")
    _check_points(frame, points)
    frame = frame.to_crs(WGS84)
    _check_world(frame, points)
    return writable(frame)


def _read_csv(path: str | Path) -> geopandas.GeoDataFrame:
    import geopandas
    import pandas as pd

    file = existing(path, what="points")
    try:
        with warnings.catch_warnings():
            # Otherwise pandas drops the last values of rows that are longer than the header.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Find one dtype for each whole column, and do not take the first column for row names.
            table = pd.read_csv(file, low_memory=False, index_col=False)
    except (ValueError, OSError, pd.errors.ParserWarning) as error:  # parser errors and bad bytes are ValueErrors
        reason = f"it cannot be read as CSV ({' '.join(str(error).split())})"
        raise refused("points", path, reason, "Fix the file") from error
    names = {str(name).strip().lower(): name for name in table.columns}
    pair = next(((names[x], names[y]) for x, y in COLUMNS if x in names and y in names), None)
    if pair is None:
        raise refused(
            "points",
            path,
            f"it has the columns {', '.join(map(repr, table.columns))}, but no coordinate columns",
            "Separate columns by commas, and name the coordinate columns 'lon' and 'lat' (degrees, WGS 84)",
        )
    lon, lat = (pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float) for name in pair)

    def check(wrong: NDArray[np.bool_], reason: str, remedy: str) -> None:
        if wrong.any():
            row = int(np.argmax(wrong))
            held = ", ".join(f"{str(name).strip()} = {brief(table[name].tolist()[row])}" for name in pair)
            raise refused("points", path, f"row {row} has {held}, {reason} (such rows: {wrong.sum()})", remedy)

    check(~(np.isfinite(lon) & np.isfinite(lat)), "which are not finite numbers", "Give degrees, or remove the row")
    check(
        (np.abs(lat) > 90) & (np.abs(lat) <= 180) & (np.abs(lon) <= 180),
        "but a latitude cannot be beyond 90 degrees",
        "Are longitude and latitude swapped? If so, swap the names of the columns",
    )
    check(
        (np.abs(lon) > 180) | (np.abs(lat) > 90),
        "which is outside the world: a CSV has longitude and latitude in degrees (WGS 84)",
        "Give longitudes of -180 to 180 and latitudes of -90 to 90. For coordinates in another CRS, give a file that "
        "stores its CRS, such as a GeoPackage",
    )
    return geopandas.GeoDataFrame(
        table.drop(columns=list(pair)).rename(columns={"geometry": free_name("geometry", table.columns)}),
        geometry=geopandas.points_from_xy(lon, lat),
        crs=WGS84,
    )


def _check_points(frame: geopandas.GeoDataFrame, given: object) -> None:
    shapes = frame.geometry
    missing = np.flatnonzero(shapes.isna() | shapes.is_empty)
    if missing.size:
        raise refused(
            "points",
            given,
            f"row {missing[0]} has no geometry (such rows: {missing.size})",
            "Give it a point, or remove the row",
        )
    other = np.flatnonzero(shapes.geom_type != "Point")
    if other.size:
        raise refused(
            "points",
            given,
            f"row {other[0]} is a {shapes.iloc[other[0]].geom_type}, not a point (such rows: {other.size})",
            "Give points, such as the centroids of the polygons",
        )


def _check_world(frame: geopandas.GeoDataFrame, given: object) -> None:
    lon, lat = frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()
    outside = np.flatnonzero(~((np.abs(lon) <= 180) & (np.abs(lat) <= 90)))  # also true of NaN and infinity
    if outside.size:
        row = outside[0]
        swapped = "Are longitude and latitude swapped? " if 90 < abs(lat[row]) <= 180 and abs(lon[row]) <= 180 else ""
        raise refused(
            "points",
            given,
            f"row {row} lies outside the world (longitude {lon[row]}, latitude {lat[row]}; such rows: {outside.size})",
            f"{swapped}Give longitudes of -180 to 180 and latitudes of -90 to 90, longitude first",
        )

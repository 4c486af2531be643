"""Points: the centres of patches, read from GeoJSON, a vector file or a table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import ProjError

from tasks.errors.input import refused
from tasks.raster.crs import WGS84
from tasks.raster.geojson import geojson_frame
from tasks.raster.layers import POINTS
from tasks.raster.properties import free_name, writable
from tasks.raster.table import SUFFIXES, read_table
from tasks.raster.vector import read_frame

if TYPE_CHECKING:
    import geopandas

_log = logging.getLogger("pixel_quarry")


def read_points(
    points: Mapping[str, Any] | str | Path, layer: str = "", *, note: Callable[[str], object] = _log.info
) -> geopandas.GeoDataFrame:
    """Read points, in the order given.

    Args:
        points: GeoJSON, the path of a table, see `tasks.raster.table.read_table`, or the path of a vector file
            (GeoParquet included), which has its own CRS.
        layer: Name of a layer of the vector file, see `tasks.raster.layers.read_layers`.
        note: Called with a line for the log if the file could be read in another way.

    Returns:
        A frame in EPSG:4326 with the index 0, 1, 2, ..., a point in every row, and all properties. The two columns of
        a table that became the geometry are left out. Properties with mixed or nested values become JSON text, so that
        they can be written, see `tasks.raster.properties.writable`. If a MultiPoint has several points, each has a row
        with all properties, and a column ``part`` counts the points of each feature from 0.

    Raises:
        InputError: The points cannot be read, or a row is not a point on the earth. The message names the row, counted
            from 0, and what to do.
    """
    import geopandas

    is_table = isinstance(points, str | Path) and Path(points).suffix.lower() in SUFFIXES
    if layer and (is_table or isinstance(points, Mapping)):
        raise refused("layer", layer, "the points have no layers", "Leave layer empty, or give a file with layers")
    if isinstance(points, Mapping):
        frame = geojson_frame(points, what="points")
    elif not isinstance(points, str | Path):
        raise refused("points", points, "it is neither GeoJSON nor a path", "Give one of them")
    elif is_table:
        table = read_table(points, note=note)
        geometry = geopandas.points_from_xy(table.lon, table.lat)
        frame = geopandas.GeoDataFrame(table.properties, geometry=geometry, crs=WGS84)
    else:
        frame = read_frame(points, what="points", layer=layer, fitting=POINTS, note=note)
    if frame.empty:
        raise refused("points", points, "it has no features", "Give at least one point")
    frame, rows = _exploded(frame, points)
    try:
        frame = frame.to_crs(WGS84)
    except ProjError as error:
        reason = "PROJ has no transformation from its CRS to longitude and latitude"
        raise refused("points", points, reason, "Store the file in another CRS, such as EPSG:4326") from error
    _check_world(frame, points, rows)
    return writable(frame)


def _exploded(frame: geopandas.GeoDataFrame, given: object) -> tuple[geopandas.GeoDataFrame, NDArray[np.int64]]:
    """Return a frame with one point in every row, and the row from which each comes."""
    import geopandas

    _check_points(frame, given)
    if (shapely.get_type_id(frame.geometry.to_numpy()) == 0).all():
        return frame, np.arange(len(frame))
    # From collections of collections down to points.
    parts, rows = shapely.get_parts(frame.geometry.to_numpy(), return_index=True)
    while (shapely.get_type_id(parts) > 0).any():
        parts, inner = shapely.get_parts(parts, return_index=True)
        rows = rows[inner]
    counts = np.bincount(rows, minlength=len(frame))
    table = frame.iloc[rows].reset_index(drop=True)
    table[table.geometry.name] = geopandas.GeoSeries(parts, crs=frame.crs)
    if (counts > 1).any():
        if "part" in table:
            table = table.rename(columns={"part": free_name("part", table.columns)})
        table["part"] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return table, rows


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
    simple = shapely.get_dimensions(shapes.to_numpy()) == 0
    other = np.flatnonzero(~simple)
    if other.size:
        raise refused(
            "points",
            given,
            f"row {other[0]} is a {shapes.iloc[other[0]].geom_type}, not a point (such rows: {other.size})",
            "Give points, such as the centroids of the polygons",
        )


def _check_world(frame: geopandas.GeoDataFrame, given: object, rows: NDArray[np.int64]) -> None:
    lon, lat = frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()
    outside = np.flatnonzero(~((np.abs(lon) <= 180) & (np.abs(lat) <= 90)))  # also true of NaN and infinity
    if outside.size:
        row = outside[0]
        swapped = "Are longitude and latitude swapped? " if 90 < abs(lat[row]) <= 180 and abs(lon[row]) <= 180 else ""
        raise refused(
            "points",
            given,
            f"row {rows[row]} lies outside the world (longitude {lon[row]}, latitude {lat[row]}; such rows: "
            f"{len(set(rows[outside].tolist()))})",
            f"{swapped}Give longitudes of -180 to 180 and latitudes of -90 to 90, longitude first",
        )

"""Read vector data: GeoJSON, GeoParquet, and what GDAL reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors.input import refused
from tasks.raster.crs import check_crs_text, crs_of
from tasks.raster.geojson import JSON, geojson_frame, parse_geojson
from tasks.raster.layers import AREAS
from tasks.raster.reader_process import read_in_process
from tasks.raster.staging import unpacked_size
from tasks.raster.user_file import begins_like_json, existing, read_bytes

if TYPE_CHECKING:
    import geopandas

PARQUET = (".parquet", ".geoparquet", ".pq")
PACKED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".tar", ".7z", ".rar")
TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".ods", ".dbf")
_log = logging.getLogger("pixel_quarry")


def read_frame(
    path: str | Path,
    *,
    what: str,
    crs: str | None = None,
    layer: str = "",
    fitting: Collection[str] = AREAS,
    note: Callable[[str], object] = _log.info,
) -> geopandas.GeoDataFrame:
    """Read the features of a vector file, in the CRS of the file.

    Args:
        path: A local file: GeoJSON (also one feature a line), GeoParquet if it has such a suffix, otherwise a format
            of `tasks.raster.file_reader.DRIVERS`.
        what: Name of the field in error messages, such as ``region``.
        crs: The CRS of a file without a CRS.
        layer: See `tasks.raster.layers.read_layers`.
        fitting: Types of geometries that can be used.
        note: Called with a line for the log if there was a choice.

    Raises:
        InputError: The file is missing, cannot be read, or has no geometry or no CRS, or the layer is not clear.
    """
    import geopandas

    file = existing(path, what=what)
    suffix = file.suffix.lower()
    if suffix in PACKED:
        raise refused(what, path, "it is a packed file, and only zip is read", "Unpack it, and give the file in it")
    if suffix in TABLES:
        remedy = "Give GeoJSON, GeoPackage, Shapefile or GeoParquet. For points, save the table as CSV with lon and lat"
        raise refused(what, path, "it is a table without geometry", remedy)
    value = stored_geojson(path, what=what)
    if layer and (suffix in PARQUET or value is not None):
        raise refused("layer", layer, f"{path} has no layers", "Leave layer empty")
    frame: Any
    if value is not None:
        frame = geojson_frame(value, what=what)
    else:
        frame = _read_in_process(file, what=what, layer=layer, fitting=fitting, note=note)
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise refused(what, path, "it is a table without geometry", "Give a file of features")
    if frame.crs is None:
        if crs is None:
            raise refused(
                what,
                path,
                "it has no CRS",
                "Store the file with its CRS (for a Shapefile, in a .prj file beside it)",
            )
        frame = frame.set_crs(crs_of(crs).proj)
    check_crs_text(frame.crs.to_wkt() + frame.crs.srs)
    return frame


def stored_geojson(path: str | Path, *, what: str) -> Mapping[str, Any] | None:
    """Return the GeoJSON in a file, whatever its suffix. None = the file has another format.

    Raises:
        InputError: The file is missing, too large or nested too deeply.
    """
    file = existing(path, what=what)
    if file.is_dir() or not (file.suffix.lower() in JSON or begins_like_json(file, what=what)):
        return None
    try:
        return parse_geojson(read_bytes(file, what=what))
    except RecursionError as error:
        reason = "its lists or objects are nested too deeply"
        raise refused(what, path, reason, "Give GeoJSON with properties that are nested less") from error


def _read_in_process(
    file: Path, *, what: str, layer: str, fitting: Collection[str], note: Callable[[str], object]
) -> Any:
    """Return the features of a file that a library reads, in a process of its own."""
    size = unpacked_size(file, what=what)
    parquet = file.suffix.lower() in PARQUET
    answer = read_in_process(file, size=size, what=what, parquet=parquet, layer=layer, fitting=fitting)
    if answer.refused is not None:
        raise answer.refused
    if answer.error:
        reason = f"it cannot be read as a vector file ({answer.error})"
        raise refused(what, file, reason, "Give GeoJSON, GeoPackage, Shapefile or GeoParquet")
    for line in answer.notes:
        note(line)
    return answer.frame

"""Read vector data: GeoJSON values, and any file that geopandas can read."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors.input import InputError, refused
from tasks.raster.crs import crs_of
from tasks.raster.geojson import JSON, geojson_frame, one_line, parse_geojson
from tasks.raster.layers import AREAS, read_layers

if TYPE_CHECKING:
    import geopandas

PARQUET = (".parquet", ".geoparquet", ".pq")
PACKED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".tar", ".7z", ".rar")
TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".ods", ".dbf")
_WKT = re.compile(
    r"\s*(SRID=\d+;\s*)?(MULTI)?(POINT|LINESTRING|LINEARRING|POLYGON|CURVE|SURFACE|GEOMETRYCOLLECTION)"
    r"\s*(ZM|Z|M)?\s*(\(|EMPTY)",
    re.IGNORECASE,
)

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
        path: A local file: GeoJSON (also one feature a line) or GeoParquet if it has such a suffix, otherwise any
            format that GDAL can read.
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
    try:
        frame: Any
        if suffix in PARQUET:
            frame = _read_parquet(file)
        elif value is not None:
            frame = geojson_frame(value, what=what)
        else:
            frame = read_layers(file, what=what, layer=layer, fitting=fitting, note=note)
    except InputError:
        raise
    except Exception as error:  # each reader has its own errors, with the same meaning for the user
        raise refused(
            what,
            path,
            f"it cannot be read as a vector file ({one_line(error)})",
            "Give GeoJSON, GeoPackage, Shapefile or GeoParquet",
        ) from error
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
    return frame


def stored_geojson(path: str | Path, *, what: str) -> Mapping[str, Any] | None:
    """Return the GeoJSON in a file. None = the file has another format.

    Raises:
        InputError: The file is missing.
    """
    file = existing(path, what=what)
    return parse_geojson(file.read_bytes()) if file.suffix.lower() in JSON else None


def _read_parquet(file: Path) -> Any:
    import geopandas
    import pyarrow.parquet as pq

    if b"geo" not in (pq.read_metadata(file).metadata or {}):
        return None
    frame = geopandas.read_parquet(file, to_pandas_kwargs={"integer_object_nulls": True})
    # An index is a property, unless it is of numbers without a name, which only count rows.
    counts = frame.index.names == [None] and frame.index.dtype.kind in "iu"
    return frame.reset_index(drop=counts, allow_duplicates=True)


def existing(path: str | Path, *, what: str) -> Path:
    """Return the path of an existing file.

    Raises:
        InputError: There is no such file, or the text is not a path.
    """
    text = str(path)
    if _WKT.match(text):
        raise refused(what, text, "WKT is not accepted", "Give GeoJSON, or the path of a vector file")
    if text.lstrip().startswith(("{", "[")):
        raise refused(what, text, "it is the text of JSON, not a path", "Give the JSON itself, as an object")
    if "://" in text:
        raise refused(what, text, "it is an address, not a file", "Download the file, and give its path")
    try:
        file = Path(path).expanduser()
        there = bool(text) and file.exists()
    except RuntimeError as error:
        raise refused(
            what, text, "there is no such user, or the user has no home folder", "Give the whole path, without ~"
        ) from error
    except OSError as error:  # too long for a path, or in a folder without permission
        raise refused(
            what,
            text,
            f"it cannot be looked up as a file ({error.strerror}; {len(text)} characters)",
            "Give GeoJSON as an object, or the path of a file that you may read",
        ) from error
    if not there:
        raise refused(what, text, "there is no such file", "Give the path of an existing file")
    return file

"""Read vector data: GeoJSON values, and any file that geopandas can read."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from tasks.errors.input import InputError, refused
from tasks.raster.crs import WGS84, canonical_crs, crs_of
from tasks.raster.layers import AREAS, read_layers
from tasks.raster.properties import free_name, property_table

if TYPE_CHECKING:
    import geopandas

PARQUET = (".parquet", ".geoparquet", ".pq")
JSON = (".geojson", ".json", ".geojsonl", ".geojsons", ".geojsonseq", ".ndjson", ".ndgeojson", ".jsonl")
TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".ods", ".dbf")
GEOJSON = frozenset(
    {"FeatureCollection", "Feature", "GeometryCollection"}
    | {f"{multi}{kind}" for multi in ("", "Multi") for kind in ("Point", "LineString", "Polygon")}
)
"""Types of GeoJSON values."""
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
            f"it cannot be read as a vector file ({_reason(error)})",
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
    """Return the GeoJSON in a file, also with one feature a line. None = the file has another format.

    Raises:
        InputError: The file is missing.
    """
    file = existing(path, what=what)
    if file.suffix.lower() not in JSON:
        return None
    data = file.read_bytes()
    try:
        text = data.decode(json.detect_encoding(data)).lstrip("\ufeff")
        value = json.loads(text)
    except UnicodeDecodeError:
        return None
    except ValueError:
        # RFC 8142 has a mark before each feature. Otherwise a feature ends with its line.
        lines = text.split("\x1e") if "\x1e" in text else text.splitlines()
        with contextlib.suppress(ValueError):
            features = [_feature(json.loads(line)) for line in lines if line.strip()]
            return {"type": "FeatureCollection", "features": features}
        return None
    return value if isinstance(value, Mapping) and value.get("type") in GEOJSON else None


def _read_parquet(file: Path) -> Any:
    import geopandas
    import pyarrow.parquet as pq

    if b"geo" not in (pq.read_schema(file).metadata or {}):
        return None
    return geopandas.read_parquet(file, to_pandas_kwargs={"integer_object_nulls": True})


def _feature(value: object) -> object:
    bare = isinstance(value, Mapping) and value.get("type") in GEOJSON - {"Feature", "FeatureCollection"}
    return {"type": "Feature", "geometry": value, "properties": {}} if bare else value


def geojson_frame(geojson: Mapping[str, Any], *, what: str) -> geopandas.GeoDataFrame:
    """Return the features of GeoJSON, in its CRS.

    The ``id`` of a feature is a property, too, unless ids only count the features. If there is another property of that
    name, it is ``id_given``.

    Raises:
        InputError: The value is not GeoJSON.
    """
    import geopandas

    geometries, properties = read_features(geojson, what=what)
    ids = [feature.get("id") for feature in geojson.get("features", [geojson])]
    counted = [str(each) for each in ids] == [str(n) for n in range(len(ids))]
    if not counted and set(map(type, ids)) != {type(None)} and ids != [held.get("id") for held in properties]:
        names = {name for held in properties for name in held}
        given = free_name("id", names)
        properties = [
            {"id": each} | {given if name == "id" else name: value for name, value in held.items()}
            for each, held in zip(ids, properties, strict=True)
        ]
    crs = crs_of(features_crs(geojson, what=what)).proj
    return geopandas.GeoDataFrame(property_table(properties), geometry=geometries, crs=crs)


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


def read_features(geojson: Mapping[str, Any], *, what: str) -> tuple[list[BaseGeometry | None], list[dict[str, Any]]]:
    """Return the geometries and the properties of GeoJSON: a geometry, Feature or FeatureCollection.

    Raises:
        InputError: The value is not GeoJSON.
    """
    kind = geojson.get("type")
    if kind == "FeatureCollection":
        features = geojson.get("features")
        if not isinstance(features, list):
            raise refused(what, geojson, "it is a FeatureCollection without a list of features", "Add 'features'")
    elif kind == "Feature":
        features = [geojson]
    else:
        features = [{"type": "Feature", "geometry": geojson, "properties": {}}]
    geometries, properties = [], []
    for i, feature in enumerate(features):
        if not isinstance(feature, Mapping) or "geometry" not in feature:
            raise refused(what, feature, f"feature {i} is not a GeoJSON feature", "Give each feature a 'geometry'")
        held = feature.get("properties")
        if held is not None and not isinstance(held, Mapping):
            raise refused(what, feature, f"the properties of feature {i} are not an object", "Give an object")
        geometries.append(_geometry(feature["geometry"], number=i, what=what))
        properties.append(dict(held or {}))
    return geometries, properties


def features_crs(geojson: Mapping[str, Any], *, what: str) -> str:
    """Return the CRS of GeoJSON: that of the ``crs`` member if there is one, as before RFC 7946, otherwise WGS 84.

    The member may be in the whole value, in a feature or, as PostGIS writes it, in a geometry.

    Raises:
        InputError: The member is not a CRS, or there are several.
    """
    features = geojson.get("features")
    parts = [geojson, *(part for part in (features if isinstance(features, list) else ()) if isinstance(part, Mapping))]
    parts += [part["geometry"] for part in parts if isinstance(part.get("geometry"), Mapping)]
    # A set, because many features share one name, and each name needs only one lookup.
    found = {str(_crs_name(part["crs"])) for part in parts if part.get("crs") is not None}
    try:
        names = {canonical_crs(name) for name in found}
    except InputError as error:
        raise refused(
            f"{what}.crs",
            ", ".join(sorted(found)),
            "PROJ does not know it as a horizontal CRS with two axes",
            "Leave 'crs' out for WGS 84, or give {'type': 'name', 'properties': {'name': 'EPSG:32633'}}",
        ) from error
    if len(names) > 1:
        raise refused(f"{what}.crs", ", ".join(sorted(names)), "there are several CRS", "Give all features in one CRS")
    return names.pop() if names else WGS84


def _crs_name(member: object) -> object:
    if not isinstance(member, Mapping):
        return member
    properties = member.get("properties")
    return properties.get("name", member) if isinstance(properties, Mapping) else member


def _geometry(value: object, *, number: int, what: str) -> BaseGeometry | None:
    if value is None:
        return None
    try:
        with np.errstate(invalid="ignore"):  # the caller refuses NaN with a clear message
            return shapely.geometry.shape(value)
    except Exception as error:  # shapely has a dozen error types for a value that is not a geometry
        raise refused(
            what,
            value,
            f"the geometry of feature {number} is not a GeoJSON geometry ({_reason(error)})",
            "Give an object with 'type' and 'coordinates' of finite numbers",
        ) from error


def _reason(error: Exception) -> str:
    """Return the message of an error on one line, or the name of its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__

"""Vector data in: GeoJSON values and any file that geopandas reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from tasks.raster.crs import WGS84, canonical_crs
from tasks.raster.refusal import InputError

if TYPE_CHECKING:
    import geopandas

PARQUET = (".parquet", ".geoparquet", ".pq")


def read_frame(path: str | Path, *, what: str, crs: str | None = None) -> geopandas.GeoDataFrame:
    """Return the features of a vector file, in the file's own CRS.

    Args:
        path: A local file: GeoParquet by its suffix, else any format that GDAL knows.
        what: How messages call it, such as ``region``.
        crs: The CRS of a file that names none.

    Raises:
        InputError: it is missing, unreadable, without geometry, or has no CRS.
    """
    import geopandas

    file = existing(path, what=what)
    try:
        reader = geopandas.read_parquet if file.suffix.lower() in PARQUET else geopandas.read_file
        frame = reader(file)
    except Exception as error:  # every reader below has errors of its own, and all mean the same to the user
        raise InputError(
            f"{what} {str(path)!r} cannot be read as a vector file ({error}): give GeoJSON, GeoPackage, "
            "Shapefile or GeoParquet"
        ) from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise InputError(f"{what} {str(path)!r} holds a table without geometry: give a file of features")
    if frame.crs is None:
        if crs is None:
            raise InputError(
                f"{what} {str(path)!r} does not say its CRS: store it with one (for a Shapefile, beside it as "
                ".prj), or name it"
            )
        frame = frame.set_crs(canonical_crs(crs))
    return frame


def existing(path: str | Path, *, what: str) -> Path:
    """Return the path of a file that is there.

    Raises:
        InputError: there is none.
    """
    file = Path(path).expanduser()
    if not str(path) or not file.exists():
        raise InputError(f"{what} {str(path)!r} is not there: give the path of an existing file")
    return file


def read_features(geojson: Mapping[str, Any], *, what: str) -> tuple[list[BaseGeometry | None], list[dict[str, Any]]]:
    """Return the geometries and the properties of GeoJSON: a geometry, Feature or FeatureCollection.

    Raises:
        InputError: it is not GeoJSON.
    """
    kind = geojson.get("type")
    if kind == "FeatureCollection":
        features = geojson.get("features")
        if not isinstance(features, list):
            raise InputError(f"{what} is a FeatureCollection without a list of features: add 'features'")
    elif kind == "Feature":
        features = [geojson]
    else:
        features = [{"type": "Feature", "geometry": geojson, "properties": {}}]
    geometries, properties = [], []
    for i, feature in enumerate(features):
        if not isinstance(feature, Mapping) or "geometry" not in feature:
            raise InputError(f"feature {i} of {what} is no GeoJSON feature: each needs a 'geometry'")
        geometries.append(_geometry(feature["geometry"], what=what))
        properties.append(dict(feature.get("properties") or {}))
    return geometries, properties


def features_crs(geojson: Mapping[str, Any]) -> str:
    """Return the CRS of GeoJSON: WGS 84, or the ``crs`` member that files older than RFC 7946 carry."""
    member = geojson.get("crs")
    if not isinstance(member, Mapping):
        return WGS84
    return canonical_crs(str((member.get("properties") or {}).get("name")))


def _geometry(value: object, *, what: str) -> BaseGeometry | None:
    if value is None:
        return None
    try:
        with np.errstate(invalid="ignore"):  # NaN is refused by the reader, with words
            return shapely.geometry.shape(value)
    except Exception as error:  # shapely raises a dozen types for a value that is no geometry
        raise InputError(
            f"{what} is no GeoJSON geometry ({error!r}): give an object with 'type' and 'coordinates'"
        ) from error

"""Read GeoJSON: features with their geometries, properties and CRS, from a value or a file, without a change."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from tasks.errors.input import InputError, refused
from tasks.raster.crs import WGS84, canonical_crs, crs_of
from tasks.raster.properties import check_table, free_name, property_table

if TYPE_CHECKING:
    import geopandas

JSON = (".geojson", ".json", ".geojsonl", ".geojsons", ".geojsonseq", ".ndjson", ".ndgeojson", ".jsonl")
"""Suffixes of files that may hold GeoJSON."""
GEOJSON = frozenset(
    {"FeatureCollection", "Feature", "GeometryCollection"}
    | {f"{multi}{kind}" for multi in ("", "Multi") for kind in ("Point", "LineString", "Polygon")}
)
"""Types of GeoJSON values."""


def parse_geojson(data: bytes) -> Mapping[str, Any] | None:
    """Return the GeoJSON in a file, also with one feature a line. None = the bytes are something else."""
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
    return value if _kind(value) in GEOJSON else None


def _kind(value: object) -> str | None:
    """Return the type that a GeoJSON value states."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    return kind if isinstance(kind, str) else None


def _feature(value: object) -> object:
    bare = _kind(value) in GEOJSON - {"Feature", "FeatureCollection"}
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
    columns = len({name for held in properties for name in held})
    check_table(geojson, what=what, columns=columns, rows=len(ids), values=sum(map(len, properties)))
    crs = crs_of(features_crs(geojson, what=what)).proj
    return geopandas.GeoDataFrame(property_table(properties), geometry=geometries, crs=crs)


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
        if isinstance(value, Mapping) and not isinstance(value.get("type"), str):
            raise TypeError("it has no 'type'")  # noqa: TRY301 - as shapely raises for others
        with np.errstate(invalid="ignore"):  # the caller refuses NaN with a clear message
            return shapely.geometry.shape(value)
    except Exception as error:  # shapely has a dozen error types for a value that is not a geometry
        raise refused(
            what,
            value,
            f"the geometry of feature {number} is not a GeoJSON geometry ({one_line(error)})",
            "Give an object with 'type' and 'coordinates' of finite numbers",
        ) from error


def one_line(error: Exception) -> str:
    """Return the message of an error on one line, or the name of its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__

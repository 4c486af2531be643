"""Layers of vector files: which of them a user means, and their features without loss."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors.input import refused
from tasks.raster.geojson import JSON, geojson_frame, parse_geojson
from tasks.raster.properties import free_name
from tasks.raster.staging import GEODATABASE, staged

if TYPE_CHECKING:
    import geopandas
    import pandas as pd

ALL = "*"
"""Names all layers."""
POINTS = frozenset({"Point", "MultiPoint", "GeometryCollection"})
AREAS = frozenset({"Polygon", "MultiPolygon", "GeometryCollection"})
_DOCUMENTS = {"LIBKML", "KML"}
"""Drivers of files that are one document. Their layers are folders, in which a user orders its features."""
_OF_KML = dict.fromkeys(("id", "description", "timestamp", "begin", "end", "altitudeMode", "drawOrder", "icon"))
_OF_KML |= {"tessellate": -1, "extrude": 0, "visibility": -1}
"""Columns that GDAL makes for every KML, with the value that stands for none."""
_COUNTERS = {"fid", "ogc_fid", "ogr_fid", "objectid"}
"""Names that GDAL and ArcGIS give to a primary key that nobody asked for."""


@dataclass(frozen=True, eq=False)
class _Layer:
    dataset: Path
    name: str
    label: str
    """Name that the user sees and gives. In a zip of several files it begins with the file."""
    kind: str
    """Type of its geometries, such as ``MultiPoint Z``, as the file declares it. Empty = it declares none."""
    geojson: Mapping[str, Any] | None
    """Its features, if it is GeoJSON, which GDAL does not read."""


def read_layers(
    file: Path, folder: Path, *, what: str, layer: str, fitting: Collection[str], note: Callable[[str], object]
) -> geopandas.GeoDataFrame | None:
    """Return the features of the layer that a user means. None = the file has no layer with geometries.

    A layer is meant if it is named. Otherwise only layers count that hold a geometry of a fitting type. If there are
    several, the layers of a KML are read as one, and any other file is refused. The features of several layers have
    the name of theirs in the column ``layer``.

    Args:
        file: A file or folder that GDAL can read, or a zip of them.
        folder: An empty folder, in which GDAL finds it.
        what: Name of the field in error messages.
        layer: Name of a layer; ``*`` = all with fitting geometries; "" = the only one.
        fitting: Types of geometries that can be used.
        note: Called with a line for the log if several layers become one.

    Raises:
        InputError: The layer is not there, or is not clear.
        Exception: GDAL cannot read the file.
    """
    layers = list(_layers(staged(file, folder, what=what), folder))
    if not layers:
        return None
    if layer and layer != ALL:
        named = [each for each in layers if each.label == layer]
        if not named:
            have = ", ".join(repr(each.label) for each in layers)
            raise refused("layer", layer, f"{file} has no such layer", f"Give one of: {have}")
        return _features(named[0], what)
    if len(layers) == 1:
        return _features(layers[0], what)
    # Layers of another type are not read: they may be large.
    frames = {each: _features(each, what) for each in layers if _may_fit(each, fitting)}
    held = {each: int(frame.geom_type.isin(fitting).sum()) for each, frame in frames.items()}
    used = [each for each, count in held.items() if count]
    left = [each for each in layers if each not in used and _count(each)]
    if not used:  # what is wrong with its features is seen later
        return _features((left or layers)[0], what)
    others = f" Others hold nothing that can be used: {', '.join(each.label for each in left)}." if left else ""
    if len(used) == 1:
        if others:
            note(f"{file}: read layer {used[0].label!r}.{others}")
        return frames[used[0]]
    shown = ", ".join(f"{each.label!r} ({held[each]} {'feature' if held[each] == 1 else 'features'})" for each in used)
    if not layer and not all(_info(each)["driver"] in _DOCUMENTS for each in used):
        raise refused(
            what,
            file,
            f"it has several layers: {shown}",
            f"Name one with layer, such as layer = {used[0].label!r}, or give layer = '{ALL}' for all of them",
        )
    note(f"{file}: read all layers: {shown}.{others} The column 'layer' has their names.")
    return _joined([(each.label, frames[each]) for each in used], what, file)


def _layers(paths: Sequence[Path], folder: Path) -> Iterator[_Layer]:
    """Yield the layers that have geometries."""
    import pyogrio

    several = len(paths) > 1
    for path in paths:
        value = parse_geojson(path.read_bytes()) if path.suffix.lower() in JSON else None
        if value is None:
            kinds = {name: kind for name, kind in pyogrio.list_layers(path).tolist() if kind is not None}
        else:
            kinds = {str(value.get("name") or path.stem): ""}
        within = path.relative_to(folder).as_posix()
        # GDAL takes the files of a folder in the order of the disk.
        for name in sorted(kinds) if path.is_dir() and path.suffix.lower() != GEODATABASE else kinds:
            alone = path.stem == name
            label = name if not several else within if alone else f"{within}:{name}"
            yield _Layer(path, name, label, kinds[name], value)


def _info(layer: _Layer) -> dict[str, Any]:
    import pyogrio

    if layer.geojson is not None:
        return {"driver": "GeoJSON"}
    return pyogrio.read_info(layer.dataset, layer=layer.name)  # type: ignore[no-any-return]  # it has no types


def _may_fit(layer: _Layer, fitting: Collection[str]) -> bool:
    """Return whether a layer can hold geometries of a fitting type. A layer that declares no type can."""
    kind = layer.kind.removeprefix("2.5D ").partition(" ")[0]
    simple = {f"{multi}{one}" for multi in ("", "Multi") for one in ("Point", "LineString", "Polygon")}
    return kind in fitting or kind not in simple


def _count(layer: _Layer) -> int:
    import pyogrio

    if layer.geojson is not None:
        return len(layer.geojson.get("features", [None]))
    return int(pyogrio.read_info(layer.dataset, layer=layer.name, force_feature_count=True)["features"])


def _features(layer: _Layer, what: str) -> geopandas.GeoDataFrame:
    """Return the features of a layer. Whole numbers and booleans stay what they are beside missing values."""
    if layer.geojson is not None:
        return geojson_frame(layer.geojson, what=what)
    info = _info(layer)
    how: dict[str, Any] = {"layer": layer.name, "fid_as_index": bool(info["fid_column"])}
    arrow: dict[str, Any] = {"use_arrow": True, "arrow_to_pandas_kwargs": {"integer_object_nulls": True}}
    tried: list[dict[str, Any]] = [how | arrow, how]
    if info["driver"] == "ESRI Shapefile":
        how["ADJUST_TYPE"] = "YES"  # otherwise whole numbers of more than 18 digits are floats
        # GDAL's guess for a file that does not state its encoding. Other text is hardly ever valid as UTF-8.
        guesses = ["UTF-8", info["encoding"]] if info["encoding"] == "ISO-8859-1" else [info["encoding"]]
        tried = [how | arrow | {"encoding": guess} for guess in guesses] + [how]
    for options in tried[:-1]:
        with contextlib.suppress(Exception):  # Arrow has no error type for text in another encoding
            return _read(layer, info, options)
    return _read(layer, info, tried[-1])


def _read(layer: _Layer, info: Mapping[str, Any], options: Mapping[str, Any]) -> geopandas.GeoDataFrame:
    import pyogrio

    frame = pyogrio.read_dataframe(layer.dataset, **options)
    if "geometry" in info["fields"]:  # a property, which the geometries have replaced
        alone = pyogrio.read_dataframe(layer.dataset, read_geometry=False, columns=["geometry"], **options)
        frame[free_name("geometry", frame.columns)] = alone["geometry"]
    for name in frame.columns[frame.dtypes == "str"]:
        frame[name] = frame[name].astype(object)  # Arrow decodes text only now
    if info["driver"] == "LIBKML":
        made = [name for name in _OF_KML.keys() & frame.columns if _is_unset(frame[name], _OF_KML[name])]
        frame = frame.drop(columns=made)
    return _with_fid(frame, info["fid_column"])


def _is_unset(values: pd.Series, default: int | None) -> bool:
    return bool((values.isna() | (values == default)).all())


def _with_fid(frame: geopandas.GeoDataFrame, name: str) -> geopandas.GeoDataFrame:
    """Return the features with their primary key as a property, unless it only counts the features."""
    numbers = frame.index.tolist()
    counted = any(numbers == list(range(first, first + len(numbers))) for first in (0, 1))
    if not name or name in frame.columns or (counted and name.lower() in _COUNTERS):
        return frame.reset_index(drop=True)
    return frame.rename_axis(name).reset_index()


def _joined(frames: Sequence[tuple[str, geopandas.GeoDataFrame]], what: str, file: Path) -> geopandas.GeoDataFrame:
    import geopandas
    import numpy as np
    import pandas as pd

    crs = frames[0][1].crs
    for label, frame in frames:
        if frame.crs != crs:
            reason = f"its layers {frames[0][0]!r} and {label!r} are in different CRS"
            raise refused(what, file, reason, "Name one with layer, or store them in one CRS")
    tables = [pd.DataFrame(frame.drop(columns=frame.geometry.name)).astype(object) for _, frame in frames]
    table = pd.concat(tables, ignore_index=True)
    if "layer" in table:
        table = table.rename(columns={"layer": free_name("layer", table.columns)})
    table["layer"] = np.repeat([label for label, _ in frames], [len(frame) for _, frame in frames])
    geometry = np.concatenate([frame.geometry.to_numpy() for _, frame in frames])
    return geopandas.GeoDataFrame(table, geometry=geometry, crs=crs)

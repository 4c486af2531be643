"""Regions: the area that a user asks for, read from a bounding box, GeoJSON or a vector file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from tasks.errors.input import InputError, refused
from tasks.raster.areas import Area, areas, polygons
from tasks.raster.crs import WGS84, canonical_crs, reproject, transformer
from tasks.raster.geojson import features_crs, read_features
from tasks.raster.properties import unique_names
from tasks.raster.vector import read_frame, stored_geojson

if TYPE_CHECKING:
    import geopandas

_log = logging.getLogger("pixel_quarry")
MARGIN = 1e-9
"""Degrees by which a coordinate may exceed 180 or 90. It allows for rounding errors."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """An area of the earth."""

    geometry: BaseGeometry
    """Polygon or multipolygon in ``crs``, axis order x, y (longitude, latitude). It is the union of all features."""
    crs: str
    """Canonical name of the CRS, see `tasks.raster.crs.canonical_crs`."""
    areas: tuple[Area, ...] = ()
    """Its features, if it has several, or one with properties. Empty = it is one area without properties."""

    @property
    def wgs84(self) -> BaseGeometry:
        """The same area in WGS 84 longitude and latitude, with densified edges.

        Raises:
            InputError: The region crosses the antimeridian or contains a pole.
        """
        return reproject(self.geometry, self.crs, WGS84)


def read_region(
    region: Sequence[float] | Mapping[str, Any] | str | Path,
    crs: str | None = None,
    *,
    layer: str = "",
    note: Callable[[str], object] = _log.info,
) -> Region:
    """Read a region from user input.

    Args:
        region: A bounding box ``(west, south, east, north)`` (list or tuple), GeoJSON (a geometry, Feature or
            FeatureCollection), or the path of a vector file (GeoJSON, GeoPackage, Shapefile, GeoParquet).
        crs: The CRS of a bounding box or GeoJSON. None = the ``crs`` member of the GeoJSON, or else WGS 84 longitude
            and latitude. A vector file has its own CRS, and this one is used only if it has none.
        layer: Name of a layer of the vector file, see `tasks.raster.layers.read_layers`.
        note: Called with a line for the log if several layers become one.

    Raises:
        InputError: The region cannot be read, or is not an area on the earth. The message names the given value and
            what to do.
    """
    properties: list[dict[str, Any]] = [{}]
    ids: list[object] = [None]
    is_file = isinstance(region, str | Path)
    value = stored_geojson(region, what="region") if isinstance(region, str | Path) else region
    if layer and (value is not None or not is_file):
        raise refused("layer", layer, "the region has no layers", "Leave layer empty, or give a file with layers")
    if isinstance(region, str | Path) and value is None:
        frame = read_frame(region, what="region", crs=crs, layer=layer, note=note)
        geometries, own = list(frame.geometry), str(frame.crs.to_wkt())
        properties, ids = _records(frame), [None] * len(frame)
    elif isinstance(value, Mapping):
        own = (None if is_file else crs) or features_crs(value, what="region")
        geometries, properties = read_features(value, what="region")
        ids = _ids(value)
    else:
        geometries, own = [_box(region)], crs or WGS84
    try:
        name = canonical_crs(own)
    except InputError as error:
        raise refused("region", region, f"its CRS cannot be used ({error})", "Give it in another CRS") from error
    whole = _united(geometries, region)
    _check_world(whole, name, region)
    several = len(geometries) > 1 or any(properties)
    return Region(geometry=whole, crs=name, areas=areas(geometries, properties, ids) if several else ())


def _records(frame: geopandas.GeoDataFrame) -> list[dict[str, Any]]:
    """Return the properties of each feature of a vector file; None = missing."""
    plain = frame.drop(columns=frame.geometry.name)
    names = unique_names(plain.columns)
    columns = [plain.iloc[:, n].astype(object).where(plain.iloc[:, n].notna(), None) for n in range(len(names))]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)] or [{} for _ in frame.index]


def _ids(geojson: Mapping[str, Any]) -> list[object]:
    """Return the id of each feature of GeoJSON; None = it has none."""
    features = geojson.get("features", [geojson])
    return [feature.get("id") if isinstance(feature, Mapping) else None for feature in features]


def _box(box: object) -> BaseGeometry:
    if (
        not isinstance(box, list | tuple)
        or len(box) != 4
        or not all(isinstance(side, int | float | np.number) and not isinstance(side, bool) for side in box)
    ):
        raise refused("region", box, "it is not a bounding box", "Give four numbers [west, south, east, north]")
    try:
        west, south, east, north = (float(side) for side in box)
    except OverflowError:  # an integer of more than 308 digits
        west = south = east = north = np.inf
    if not np.isfinite([west, south, east, north]).all():
        raise refused("region", box, "a side is not finite", "Give four finite numbers")
    if west > east:
        raise refused(
            "region",
            box,
            f"its west side ({west}) is east of its east side ({east})",
            "Write it as [west, south, east, north]. If the region crosses the antimeridian, split it in two at 180 "
            "degrees",
        )
    if south > north:
        raise refused(
            "region",
            box,
            f"its south side ({south}) is north of its north side ({north})",
            "Write it as [west, south, east, north]",
        )
    return shapely.box(west, south, east, north)


def _united(geometries: Sequence[BaseGeometry | None], given: object) -> BaseGeometry:
    """Return the union of all polygons as one valid polygon or multipolygon."""
    parts = [part for part in geometries if part is not None and not part.is_empty]
    if not parts:
        raise refused("region", given, "it is empty", "Give at least one polygon")
    if not np.isfinite(shapely.get_coordinates(parts)).all():
        raise refused("region", given, "it has coordinates that are not finite", "Fix its geometry")
    whole = polygons(parts)
    if whole.is_empty:
        raise refused(
            "region",
            given,
            "it has no area",
            "Give polygons, or a box with west < east and south < north. To get pixels around points, extract patches",
        )
    return whole


def _check_world(geometry: BaseGeometry, crs: str, given: object) -> None:
    west, south, east, north = geometry.bounds
    reach = f"(x {west} to {east}, y {south} to {north})"
    if crs == WGS84:
        if west < -180 - MARGIN or east > 180 + MARGIN or south < -90 - MARGIN or north > 90 + MARGIN:
            raise refused(
                "region",
                given,
                f"it extends outside the world {reach}",
                "Give longitudes of -180 to 180 and latitudes of -90 to 90, longitude first. For another CRS, give "
                "GeoJSON with a 'crs' member, or a vector file",
            )
        return
    xs, ys = shapely.get_coordinates(geometry).T
    lon, lat = transformer(crs, WGS84).transform(xs, ys)
    if not np.isfinite([lon, lat]).all():
        raise refused(
            "region",
            given,
            f"it extends outside the area where its CRS is defined {reach}",
            "Check that its coordinates are in that CRS",
        )

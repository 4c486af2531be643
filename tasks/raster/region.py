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
from tasks.raster import globe
from tasks.raster.areas import Area, areas, polygons
from tasks.raster.crs import WGS84, canonical_crs, transformer
from tasks.raster.geojson import features_crs, read_features
from tasks.raster.properties import unique_names
from tasks.raster.reprojection import lonlat
from tasks.raster.vector import read_frame, stored_geojson
from tasks.raster.world_map import is_degrees

if TYPE_CHECKING:
    import geopandas

_log = logging.getLogger("pixel_quarry")
MARGIN = 1e-9
"""Degrees by which a coordinate may exceed 180 or 90. It allows for rounding errors."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """An area of the earth."""

    geometry: BaseGeometry
    """Polygon or multipolygon in ``crs``, axis order x, y: the union of all features. Longitudes and latitudes are cut
    at 180 degrees."""
    crs: str
    """Canonical name of the CRS, see `tasks.raster.crs.canonical_crs`."""
    areas: tuple[Area, ...] = ()
    """Its features, if it has several, or one with properties. Empty = it is one area without properties."""

    @property
    def wgs84(self) -> BaseGeometry:
        """The same area in WGS 84 longitude and latitude, with densified edges, cut at 180 degrees.

        Raises:
            InputError: A part of the region lies outside the area that its CRS covers.
        """
        return lonlat(self.geometry, self.crs)


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
            FeatureCollection), or the path of a vector file (GeoJSON, GeoPackage, Shapefile, GeoParquet). A box in
            degrees whose west is greater than its east crosses 180 degrees (RFC 7946). Polygons in degrees may cross
            180 degrees in any way, see :func:`tasks.raster.globe.cut`.
        crs: The CRS of a bounding box or GeoJSON. None = the ``crs`` member of the GeoJSON, or else WGS 84 longitude
            and latitude. A vector file has its own CRS, and this one is used only if it has none.
        layer: Name of a layer of the vector file, see `tasks.raster.layers.read_layers`.
        note: Called with a line for the log if several layers become one, if a box crosses 180 degrees, or if an edge
            of a polygon jumps there.

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
        geometries, own = [], crs or WGS84
    try:
        name = canonical_crs(own)
    except InputError as error:
        raise refused("region", region, f"its CRS cannot be used ({error})", "Give it in another CRS") from error
    degrees = is_degrees(name)
    is_box = not is_file and not isinstance(region, Mapping)
    if is_box:
        box = _box(region, degrees=degrees)
        west, _, east, _ = box.bounds
        if degrees and east > 180:
            note(f"region: the box crosses 180 degrees. It reaches from {west:g} eastwards and is {east - west:g} wide")
        geometries = [box]
    if degrees:
        geometries = _cut(geometries, region, note, is_box=is_box)
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


def _box(box: object, *, degrees: bool) -> BaseGeometry:
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
    if west > east and not degrees:
        raise refused(
            "region",
            box,
            f"its west side ({west}) is east of its east side ({east})",
            "Write it as [west, south, east, north]",
        )
    if south > north:
        raise refused(
            "region",
            box,
            f"its south side ({south}) is north of its north side ({north})",
            "Write it as [west, south, east, north]",
        )
    if degrees and west > east:
        if not max(abs(west), abs(east)) <= 180 + MARGIN:
            raise refused(
                "region",
                box,
                f"its west side ({west}) is east of its east side ({east})",
                "Write it as [west, south, east, north]. If it crosses 180 degrees, give longitudes of -180 to 180",
            )
        east += globe.TURN
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


def _cut(
    geometries: Sequence[BaseGeometry | None], given: object, note: Callable[[str], object], *, is_box: bool
) -> list[BaseGeometry | None]:
    """Return geometries in degrees, their polygons cut at 180, after a check that it is clear what they mean."""
    parts = [part for part in geometries if part is not None and not part.is_empty]
    if not np.isfinite(shapely.get_coordinates(parts)).all():
        return list(geometries)  # refused later
    _check_longitudes(parts, given)
    if is_box:  # its east is east of its west, however wide it is
        return [globe.folded(part) for part in parts]
    jump = max(filter(None, map(globe.short_way, parts)), default=None)
    if jump is not None:
        note(f"region: an edge of {jump:g} degrees takes the short way across 180 degrees")
    return [None if each is None else globe.cut_collection(shapely.force_2d(each)) for each in geometries]


def _check_longitudes(parts: Sequence[BaseGeometry], given: object) -> None:
    """Check that longitudes go at most once around the globe, and that it is clear which way each edge goes."""
    if not parts:
        return
    west, south, east, north = shapely.total_bounds(parts)
    if west < -360 - MARGIN or east > 540 or east - west > 360 + MARGIN or max(-south, north) > 90 + MARGIN:
        reach = f"(x {west} to {east}, y {south} to {north})"
        raise refused(
            "region",
            given,
            f"it extends outside the world {reach}",
            "Give longitudes of -180 to 180 and latitudes of -90 to 90, longitude first. For another CRS, give "
            "GeoJSON with a 'crs' member, or a vector file",
        )
    edge = next(filter(None, map(globe.unclear_edge, parts)), None)
    if edge is not None:
        raise refused(
            "region",
            given,
            f"its edge from longitude {edge[0]:g} to {edge[1]:g} may go either way around the globe",
            "If it crosses 180 degrees, cut it there into a MultiPolygon (RFC 7946), or give a box with west > east. "
            "If not, give it a corner at least every 180 degrees",
        )


def _check_world(geometry: BaseGeometry, crs: str, given: object) -> None:
    if is_degrees(crs):
        return
    west, south, east, north = geometry.bounds
    reach = f"(x {west} to {east}, y {south} to {north})"
    xs, ys = shapely.get_coordinates(geometry).T
    lon, lat = transformer(crs, WGS84).transform(xs, ys)
    if not np.isfinite([lon, lat]).all():
        raise refused(
            "region",
            given,
            f"it extends outside the area where its CRS is defined {reach}",
            "Check that its coordinates are in that CRS",
        )

"""Laws of regions."""

import json
import math
import re
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from rasterio.warp import transform_bounds

from tasks.errors.input import InputError
from tasks.raster.region import read_region

TRIANGLE: dict[str, Any] = {"type": "Polygon", "coordinates": [[[11, 46], [11.4, 46.1], [11.1, 46.3], [11, 46]]]}
SQUARE = {"type": "Polygon", "coordinates": [[[12, 46], [12.5, 46], [12.5, 46.5], [12, 46.5], [12, 46]]]}


def feature(geometry: object, **properties: object) -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def test_a_box_is_longitude_and_latitude() -> None:
    region = read_region([11, 46.0, 11.5, 46.25])
    assert region.crs == "EPSG:4326"
    assert region.geometry.equals(shapely.box(11, 46, 11.5, 46.25))
    assert region.wgs84 is region.geometry


def test_a_box_in_another_crs_keeps_it() -> None:
    region = read_region((600_000, 5_090_000, 640_000, 5_110_000), "epsg:32632")
    assert region.crs == "EPSG:32632"
    assert region.geometry.bounds == (600_000, 5_090_000, 640_000, 5_110_000)
    assert region.wgs84.bounds == pytest.approx(
        transform_bounds("EPSG:32632", "EPSG:4326", *region.geometry.bounds, densify_pts=1000), abs=1e-6
    )


def test_geojson_is_united() -> None:
    one = read_region(TRIANGLE)
    assert one.geometry.equals(shapely.geometry.shape(TRIANGLE))
    assert read_region(feature(TRIANGLE, name="a")).geometry.equals(one.geometry)
    collection = {"type": "FeatureCollection", "features": [feature(TRIANGLE), feature(SQUARE), feature(None)]}
    both = read_region(collection)
    assert both.geometry.geom_type == "MultiPolygon"
    assert both.geometry.area == pytest.approx(one.geometry.area + 0.25)


def test_old_geojson_says_its_crs() -> None:
    square = shapely.geometry.mapping(shapely.box(600_000, 5_090_000, 640_000, 5_110_000))
    member = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    assert read_region({**square, "crs": member}).crs == "EPSG:32632"


@pytest.mark.parametrize("member", ["EPSG:32632", {"type": "name", "properties": {"name": "EPSG:32632"}}])
def test_a_geometry_may_say_its_crs_as_postgis_writes_it(member: object) -> None:
    square = shapely.geometry.mapping(shapely.box(600_000, 5_090_000, 640_000, 5_110_000))
    collection = {"type": "FeatureCollection", "features": [feature({**square, "crs": member})]}
    region = read_region(collection)
    assert region.crs == "EPSG:32632"
    assert region.geometry.bounds == (600_000, 5_090_000, 640_000, 5_110_000)
    assert read_region({**TRIANGLE, "crs": None}).crs == "EPSG:4326"


def test_heights_are_left_out() -> None:
    high = {
        "type": "Polygon",
        "coordinates": [[[x, y, 100.0 * n] for n, (x, y) in enumerate(TRIANGLE["coordinates"][0])]],
    }
    region = read_region(high)
    assert not region.geometry.has_z
    assert region.geometry.equals(shapely.geometry.shape(TRIANGLE))


def test_of_a_collection_the_areas_count() -> None:
    line = {"type": "LineString", "coordinates": [[0, 0], [9, 9]]}
    several = {"type": "MultiPolygon", "coordinates": [TRIANGLE["coordinates"], SQUARE["coordinates"]]}
    empty = {"type": "GeometryCollection", "geometries": []}
    nested = {"type": "GeometryCollection", "geometries": [several]}
    region = read_region({"type": "GeometryCollection", "geometries": [line, empty, nested]})
    assert region.geometry.equals(shapely.geometry.shape(several))


def test_a_bow_tie_becomes_its_two_triangles() -> None:
    tie = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    assert read_region(tie).geometry.area == pytest.approx(2.0)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".shp", ".parquet"])
def test_a_file_brings_its_own_crs(tmp_path: Path, suffix: str) -> None:
    shapes = [shapely.box(600_000, 5_090_000, 610_000, 5_095_000), shapely.box(610_000, 5_095_000, 620_000, 5_110_000)]
    frame = geopandas.GeoDataFrame({"id": [1, 2]}, geometry=shapes, crs="EPSG:32632")
    path = tmp_path / f"fields{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".geojson":
        frame.to_crs("EPSG:4326").to_file(path)
    else:
        frame.to_file(path)

    region = read_region(path, crs="EPSG:3857")

    assert region.crs == ("EPSG:4326" if suffix == ".geojson" else "EPSG:32632")
    whole = shapely.union_all(shapes)
    if suffix != ".geojson":
        assert region.geometry.symmetric_difference(whole).area < 1e-6
    assert read_region(str(path)).geometry.equals(region.geometry)


def test_a_file_without_crs_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "bare.shp"
    frame = geopandas.GeoDataFrame({"id": [1]}, geometry=[shapely.box(600_000, 5_090_000, 610_000, 5_095_000)])
    frame.set_crs("EPSG:32632").to_file(path)
    path.with_suffix(".prj").unlink()
    with pytest.raises(ValueError, match=r"bare\.shp': it has no CRS.*\.prj"):
        read_region(path)
    assert read_region(path, crs="EPSG:32632").crs == "EPSG:32632"


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ([11, 46, 12], r"not a bounding box\. Give four numbers"),
        ([11, 46, 12, "47"], "not a bounding box"),
        ([11, 46, 12, True], "not a bounding box"),
        (7, "not a bounding box"),
        ([11, 46, math.nan, 47], "not finite"),
        ([11, 46, math.inf, 47], "not finite"),
        ([200, 46, 11, 47], r"west side \(200.0\) is east of its east side \(11.0\).*of -180 to 180"),
        ([11, 47, 12, 46], "south side"),
        ([11, 46, 11, 47], "no area"),
        ([11, 46, 12, 91], "outside the world.*latitudes of -90 to 90"),
        ([11, 46, 381, 47], "outside the world"),
        ([-361, 46, -350, 47], "outside the world"),
        ([600_000, 5_090_000, 640_000, 5_110_000], "GeoJSON with a 'crs' member"),
        ({"type": "Point", "coordinates": [11, 46]}, "no area.*extract patches"),
        ({"type": "LineString", "coordinates": [[11, 46], [12, 47]]}, "no area"),
        ({"type": "FeatureCollection", "features": []}, "is empty"),
        ({"type": "FeatureCollection"}, "without a list of features"),
        ({"type": "FeatureCollection", "features": [{"type": "Polygon"}]}, "feature 0 is not a GeoJSON feature"),
        ({"type": "Polygon", "coordinates": []}, "is empty"),
        ({"type": "Polygon", "coordinates": "here"}, "not a GeoJSON geometry"),
        ({"type": "Circle", "coordinates": [0, 0]}, "not a GeoJSON geometry"),
        ({}, "not a GeoJSON geometry"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, math.nan], [1, 1], [0, 0]]]}, "not finite"),
        ("nowhere.geojson", "'nowhere.geojson': there is no such file"),
        ("", "'': there is no such file"),
        ("POLYGON ((11 46, 12 46, 12 47, 11 46))", "WKT is not accepted"),
        ("SRID=4326;MultiPolygon Z (((11 46 0, 12 46 0, 12 47 0, 11 46 0)))", "WKT is not accepted"),
        ("POLYGON ((" + ", ".join(f"{n / 7} 46" for n in range(400)) + "))", "WKT is not accepted"),
        ("a" * 300, r"cannot be looked up as a file.*300 characters.*GeoJSON"),
        ("~nobody-of-this-name/x.geojson", "no such user"),
        ("nul\0.geojson", "there is no such file"),
        ('{"type": "Polygon"}', "the text of JSON"),
        ([11, 46, 10**400, 47], "not finite"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, None], [1, 1], [0, 0]]]}, "not a GeoJSON geometry"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [math.inf, 1], [1, 1], [0, 0]]]}, "not finite"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "not a GeoJSON geometry"),
        ({"type": "GeometryCollection", "geometries": []}, "is empty"),
        ({"type": "GeometryCollection"}, "is empty"),
        ({"type": "FeatureCollection", "features": [feature(None)]}, "is empty"),
        ({"type": "Feature", "geometry": TRIANGLE, "properties": [1]}, "properties of feature 0 are not an object"),
        ({**TRIANGLE, "crs": {"type": "name", "properties": {"name": "EPSG:99999999"}}}, r"^region\.crs.*PROJ"),
        ({**TRIANGLE, "crs": {"type": "link", "properties": {"href": "x"}}}, r"^region\.crs.*'type': 'name'"),
        ({**TRIANGLE, "crs": {"type": "name", "properties": ["EPSG:4326"]}}, r"^region\.crs"),
        (
            {
                "type": "FeatureCollection",
                "features": [
                    feature({**TRIANGLE, "crs": "EPSG:4326"}),
                    feature({**SQUARE, "crs": "EPSG:3857"}),
                ],
            },
            r"^region\.crs = 'EPSG:3857, EPSG:4326': there are several CRS",
        ),
    ],
)
def test_what_is_no_region_is_refused_with_a_remedy(region: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        read_region(region)  # type: ignore[arg-type]  # what users may give
    assert isinstance(refused.value, InputError)
    assert re.fullmatch(r"region(\.crs)? = .+: .+\. [A-Z].*[.?]", str(refused.value)), "field = value: reason. remedy."
    assert len(str(refused.value)) < 500


def test_files_that_hold_no_region_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.gpkg").write_bytes(b"not a database")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    for name, message in {
        "broken.gpkg": "cannot be read as a vector file",
        "broken.parquet": "cannot be read as a vector file",
        "table.csv": "table without geometry",
        "empty.geojson": "is empty|without geometry",
    }.items():
        with pytest.raises(ValueError, match=message) as refused:
            read_region(tmp_path / name)
        assert name in str(refused.value)
        assert isinstance(refused.value, InputError)


def test_coordinates_outside_a_projection_are_refused() -> None:
    with pytest.raises(ValueError, match="outside the area where its CRS is defined"):
        read_region([5e7, 5e7, 6e7, 6e7], "EPSG:3035")

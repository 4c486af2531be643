"""Laws of points."""

import math
import re
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from rasterio.warp import transform

from tasks.errors.input import InputError
from tasks.raster.points import read_points
from tasks.raster.region import read_region

XY = [(11.25, 46.5), (-70.125, -33.75), (179.5, 0.0)]


@pytest.fixture
def frame() -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(
        {"label": ["a", "b", "c"], "count": [3, 1, 2]},
        geometry=geopandas.points_from_xy(*zip(*XY, strict=True)),
        crs="EPSG:4326",
        index=[7, 5, 9],
    )


def check_style(refused: ValueError) -> None:
    assert isinstance(refused, InputError)
    assert re.fullmatch(r"points(\.crs)? = .+: .+\. [A-Z].*[.?]", str(refused)), "field = value: reason. remedy."
    assert len(str(refused)) < 600


def check(points: geopandas.GeoDataFrame, tolerance: float = 0) -> None:
    assert points.crs == "EPSG:4326"
    assert list(points.index) == [0, 1, 2]
    assert points["label"].tolist() == ["a", "b", "c"]
    assert points["count"].tolist() == [3, 1, 2]
    assert pytest.approx(np.array(XY), abs=tolerance) == np.array([points.geometry.x, points.geometry.y]).T


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".parquet", ".shp"])
def test_files_keep_order_and_properties(tmp_path: Path, frame: geopandas.GeoDataFrame, suffix: str) -> None:
    path = tmp_path / f"points{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    check(read_points(path))


def test_a_file_s_own_crs_is_honoured(tmp_path: Path, frame: geopandas.GeoDataFrame) -> None:
    frame.to_crs("EPSG:3857").to_file(tmp_path / "mercator.gpkg")
    check(read_points(tmp_path / "mercator.gpkg"), tolerance=1e-9)


def test_geojson(frame: geopandas.GeoDataFrame) -> None:
    check(read_points(frame.__geo_interface__))
    single = read_points({"type": "Point", "coordinates": [11.25, 46.5]})
    assert single.geometry.iloc[0] == shapely.Point(11.25, 46.5)


@pytest.mark.parametrize("header", ["lon,lat", "Longitude,LATITUDE", "x,y", " lng , lat "])
def test_csv(tmp_path: Path, header: str) -> None:
    x, y = header.split(",")
    path = tmp_path / "points.csv"
    rows = "\n".join(f"{lat},{label},{lon},{n}" for (lon, lat), label, n in zip(XY, "abc", [3, 1, 2], strict=True))
    path.write_text(f"{y},label,{x},count\n{rows}\n")
    points = read_points(path)
    check(points)
    assert list(points.columns) == ["label", "count", "geometry"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("lon,lat\n1,2\n3,\n", r"row 1 has lon = 3, lat = ''.*\(such rows: 1\)"),
        ("lon,lat\n1,2\n3,4\nx,5\n", r"row 2 has lon = 'x', lat = 5"),
        ("lon,lat\n1,2\n3,inf\n", "row 1 .*not finite"),
        ("lon,lat\n1,2\n181,4\n", "row 1 has lon = 181, lat = 4, which is outside the world.*GeoPackage"),
        ("lon,lat\n1,2\n46.5,-111.25\n", "row 1 has lon = 46.5, lat = -111.25.*swapped"),
        ("lon,lat\n1,-90.5\n", "row 0 .*a latitude cannot be beyond 90.*swapped"),
        ("x,y\n600000,5090000\n", "row 0 has x = 600000, y = 5090000, which is outside the world: a CSV has longitude"),
        ("lon,lat\n11,46,5\n12,47,6\n", "cannot be read as CSV"),
        ("lon,lat\n11,46\n12,47,6\n", "cannot be read as CSV"),
        ("lon lat\n11 46\n", "'lon lat'.*by commas"),
        ("easting,northing\n1,2\n", "columns 'easting', 'northing'.*'lon' and 'lat'"),
        ("lon,lat\n", "has no features"),
        ("", "cannot be read as CSV"),
    ],
)
def test_a_csv_that_holds_no_points_is_refused(tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(table)
    with pytest.raises(ValueError, match=message) as refused:
        read_points(path)
    assert "points.csv'" in str(refused.value)
    check_style(refused.value)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"type": "FeatureCollection", "features": []}, "no features"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}, "row 0 .*is a Polygon.*centroids"),
        ({"type": "Point", "coordinates": [200, 0]}, "row 0 .*outside the world"),
        ({"type": "Point", "coordinates": [46.5, 111.25]}, "row 0 .*outside the world.*swapped"),
        ({"type": "Point", "coordinates": []}, "row 0 .*no geometry"),
        ({"type": "Point", "coordinates": [math.nan, 4]}, "row 0 "),
        ({"type": "Point", "coordinates": [1, -math.inf]}, "row 0 .*outside the world"),
        ({"type": "Point", "coordinates": [None, 4]}, "not a GeoJSON geometry"),
        ({"type": "GeometryCollection", "geometries": []}, "row 0 .*no geometry"),
        ({"type": "MultiPoint", "coordinates": []}, "row 0 .*no geometry"),
        ({"type": "MultiPoint", "coordinates": [[1, 2], [3, 95]]}, "row 0 .*outside the world"),
        (
            {
                "type": "GeometryCollection",
                "geometries": [
                    {"type": "Point", "coordinates": [1, 2]},
                    {"type": "LineString", "coordinates": [[1, 2], [3, 4]]},
                ],
            },
            "row 0 is a GeometryCollection, not a point",
        ),
        ({"type": "Feature", "geometry": None, "properties": {}}, "row 0 .*no geometry"),
        (
            {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": "none"},
            "properties of feature 0 are not an object",
        ),
        ({"type": "Point", "coordinates": [1, 2], "crs": "EPSG:99999999"}, r"^points\.crs"),
        ({"type": "Point"}, "not a GeoJSON geometry"),
        ("missing.parquet", "'missing.parquet': there is no such file"),
        ("missing.csv", "'missing.csv': there is no such file"),
        ("POINT (11.25 46.5)", "WKT is not accepted"),
        ("MULTIPOINT (" + ", ".join(f"({n} 46)" for n in range(180)) + ")", "WKT is not accepted"),
        ("b" * 300, "cannot be looked up as a file"),
        ("b" * 300 + ".csv", "cannot be looked up as a file"),
        ("~nobody-of-this-name/x.csv", "no such user"),
        ("nul\0.csv", "there is no such file"),
        ([[11, 46]], "neither GeoJSON nor a path"),
        (None, "neither GeoJSON nor a path"),
    ],
)
def test_what_is_no_points_is_refused(points: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        read_points(points)  # type: ignore[arg-type]  # what users may give
    check_style(refused.value)


def test_geojson_in_another_crs_and_with_heights() -> None:
    member = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    points = read_points({"type": "Point", "coordinates": [672_000.0, 5_152_000.0, 250.0], "crs": member})
    lon, lat = transform("EPSG:32632", "EPSG:4326", [672_000.0], [5_152_000.0])
    assert (points.geometry.x[0], points.geometry.y[0]) == pytest.approx((lon[0], lat[0]), abs=1e-9)
    # Earth Engine's code of the MODIS grid, which PROJ does not know.
    modis = read_points({"type": "Point", "coordinates": [-1_111_950.52, 0.0], "crs": "SR-ORG:6974"})
    assert modis.geometry.x[0] == pytest.approx(-10, abs=1e-5)


@pytest.mark.parametrize(
    ("index", "columns"),
    [
        (pd.Index(["k1", "k2"]), {"index": ["k1", "k2"], "id": ["a", "b"]}),
        (pd.Index([7, 8], name="id"), {"id": [7, 8], "id_given": ["a", "b"]}),
        (pd.Index([7, 8]), {"id": ["a", "b"]}),
        (pd.MultiIndex.from_tuples([(1, "x"), (2, "x")], names=["k", None]), {"k": [1, 2], "level_1": ["x", "x"]}),
    ],
)
def test_the_index_of_a_parquet_file_is_kept_for_points_and_regions(
    tmp_path: Path, index: pd.Index, columns: dict[str, list[object]]
) -> None:
    columns = {"id": ["a", "b"]} | columns
    for shapes in (shapely.points([0, 5], 0), shapely.box([0, 5], 0, [1, 6], 1)):
        table = geopandas.GeoDataFrame({"id": ["a", "b"]}, geometry=shapes, crs=4326, index=index)
        table.to_parquet(tmp_path / "p.parquet")
        if shapes[0].area:
            found = [area.properties for area in read_region(tmp_path / "p.parquet").areas]
            assert found == [{name: str(values[row]) for name, values in columns.items()} for row in (0, 1)]
        else:
            points = read_points(tmp_path / "p.parquet").drop(columns="geometry")
            assert points.to_dict("list") == columns


def test_an_index_with_a_name_is_a_property(tmp_path: Path, frame: geopandas.GeoDataFrame) -> None:
    frame.rename_axis("site").to_parquet(tmp_path / "sites.parquet")
    assert read_points(tmp_path / "sites.parquet")["site"].tolist() == [7, 5, 9]


def test_a_geometry_of_any_name_is_named_geometry(tmp_path: Path, frame: geopandas.GeoDataFrame) -> None:
    frame.rename_geometry("file").assign(geometry="flat").to_parquet(tmp_path / "named.parquet")
    points = read_points(tmp_path / "named.parquet")
    check(points)
    assert points.geometry.name == "geometry"
    assert points["geometry_given"].tolist() == ["flat"] * 3


def test_a_csv_may_have_a_column_named_geometry(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lon,geometry,lat,geometry_given\n11,pointed,46,b\n")
    points = read_points(tmp_path / "p.csv")
    assert points.geometry[0] == shapely.Point(11, 46)
    assert points.drop(columns="geometry").iloc[0].to_dict() == {"geometry_given_2": "pointed", "geometry_given": "b"}


@pytest.mark.parametrize(
    ("given", "dtype", "kept"),
    [
        ([1, "forest", None], "object", ["1", '"forest"', None]),
        ([{}, {"b": [1]}, None], "object", ["{}", '{"b": [1]}', None]),
        ([[1, 2], [], "x"], "object", ["[1, 2]", "[]", '"x"']),
        ([True, 1, 0], "object", ["true", "1", "0"]),
        ([1, 2.5, None], "float64", [1.0, 2.5, math.nan]),
        ([1, 2**53 + 1, 0.5], "object", ["1", "9007199254740993", "0.5"]),
        ([2**53 + 1, None, 3], "Int64", [2**53 + 1, pd.NA, 3]),
        ([2**63, 1, 2], "object", ["9223372036854775808", "1", "2"]),
        ([True, None, False], "boolean", [True, pd.NA, False]),
        (["a", None, "1"], "object", ["a", None, "1"]),
        (["\ud800", None, "é"], "object", ['"\\ud800"', None, '"\\u00e9"']),
        ([None, None, None], "object", [None, None, None]),
        ([3, 1, 2], "int64", [3, 1, 2]),
    ],
)
def test_properties_of_one_kind_stay_and_others_are_json(given: list[object], dtype: str, kept: list[object]) -> None:
    features = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [n, 2 * n]}, "properties": {"p": value}}
        for n, value in enumerate(given)
    ]
    column = read_points({"type": "FeatureCollection", "features": features})["p"]
    assert column.dtype == dtype
    assert [None if pd.isna(v) else v for v in column] == [None if pd.isna(v) else v for v in kept]  # type: ignore[call-overload]  # scalars


def test_lists_of_a_parquet_file_are_json(tmp_path: Path, frame: geopandas.GeoDataFrame) -> None:
    frame.assign(tags=[[1, 2], [], [3]], when=pd.Timestamp("2020-05-01T10:00:00Z")).to_parquet(tmp_path / "p.parquet")
    points = read_points(tmp_path / "p.parquet")
    assert points["tags"].tolist() == ["[1, 2]", "[]", "[3]"]
    assert points["when"].tolist() == [pd.Timestamp("2020-05-01T10:00:00Z")] * 3


def test_tables_without_geometry_or_crs_are_refused(tmp_path: Path, frame: geopandas.GeoDataFrame) -> None:
    pd.DataFrame({"lon": [1.0]}).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(ValueError, match=r"table\.parquet"):
        read_points(tmp_path / "table.parquet")
    frame.set_crs(None, allow_override=True).to_parquet(tmp_path / "bare.parquet")
    with pytest.raises(ValueError, match=r"bare\.parquet': it has no CRS"):
        read_points(tmp_path / "bare.parquet")

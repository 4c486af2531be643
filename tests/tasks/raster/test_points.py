"""Laws of points."""

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from tasks.raster.points import read_points

XY = [(11.25, 46.5), (-70.125, -33.75), (179.5, 0.0)]


@pytest.fixture
def frame() -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(
        {"label": ["a", "b", "c"], "count": [3, 1, 2]},
        geometry=geopandas.points_from_xy(*zip(*XY, strict=True)),
        crs="EPSG:4326",
        index=[7, 5, 9],
    )


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
        ("lon,lat\n1,2\n3,\n", r"row 1 of points .*lat=nan.*\(1 such rows\)"),
        ("lon,lat\n1,2\n3,4\nx,5\n", r"row 2 of points .*lon=x"),
        ("lon,lat\n1,2\n3,inf\n", "row 1 of points .*finite"),
        ("lon,lat\n1,2\n181,4\n", r"row 1 of points .*outside the world \(longitude 181"),
        ("lon,lat\n1,-90.5\n", "row 0 of points .*outside the world"),
        ("easting,northing\n1,2\n", "columns 'easting', 'northing'.*'lon' and 'lat'"),
        ("lon,lat\n", "no feature: give at least one point"),
        ("", "cannot be read as CSV"),
    ],
)
def test_a_csv_that_holds_no_points_is_refused(tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(table)
    with pytest.raises(ValueError, match=message) as refused:
        read_points(path)
    assert "points.csv" in str(refused.value)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"type": "FeatureCollection", "features": []}, "no feature"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}, "row 0 .*is a Polygon.*centroids"),
        ({"type": "Point", "coordinates": [200, 0]}, "row 0 .*outside the world"),
        ({"type": "Point", "coordinates": []}, "row 0 .*no geometry"),
        ({"type": "Feature", "geometry": None, "properties": {}}, "row 0 .*no geometry"),
        ({"type": "Point"}, "no GeoJSON geometry"),
        ("missing.parquet", "'missing.parquet' is not there"),
        ("missing.csv", "'missing.csv' is not there"),
    ],
)
def test_what_is_no_points_is_refused(points: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_points(points)  # type: ignore[arg-type]  # what users may give


def test_tables_without_geometry_or_crs_are_refused(tmp_path: Path, frame: geopandas.GeoDataFrame) -> None:
    pd.DataFrame({"lon": [1.0]}).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(ValueError, match=r"table\.parquet"):
        read_points(tmp_path / "table.parquet")
    frame.set_crs(None, allow_override=True).to_parquet(tmp_path / "bare.parquet")
    with pytest.raises(ValueError, match=r"bare\.parquet' does not say its CRS"):
        read_points(tmp_path / "bare.parquet")

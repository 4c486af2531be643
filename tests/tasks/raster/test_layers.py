"""Layers and parts of vector files: every feature that fits is read, or the layers are listed."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors.input import InputError
from tasks.raster.points import read_points
from tasks.raster.region import read_region
from tasks.raster.vector import read_frame

KML = '<?xml version="1.0" encoding="UTF-8"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document>{}</Document></kml>'
GPX = '<?xml version="1.0"?><gpx version="1.1" creator="a" xmlns="http://www.topografix.com/GPX/1/1">{}</gpx>'
WAYPOINTS = '<wpt lat="2" lon="1"><name>007</name></wpt><wpt lat="4" lon="3"><name>b</name></wpt>'
TRACK = '<trk><trkseg><trkpt lat="6" lon="5"/><trkpt lat="7" lon="5"/></trkseg></trk>'


def folder(name: str, *places: tuple[str, float, float]) -> str:
    return f"<Folder><name>{name}</name>{''.join(map(placemark, places))}</Folder>"


def placemark(place: tuple[str, float, float]) -> str:
    name, x, y = place
    data = f'<ExtendedData><Data name="code"><value>00{name}</value></Data></ExtendedData>'
    return f"<Placemark><name>{name}</name>{data}<Point><coordinates>{x},{y},9</coordinates></Point></Placemark>"


def points_of(*xy: tuple[float, float], **properties: object) -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(properties, geometry=[shapely.Point(*each) for each in xy], crs="EPSG:4326")


def areas_of(*boxes: tuple[float, float, float, float]) -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(
        {"n": range(len(boxes))}, geometry=[shapely.box(*each) for each in boxes], crs="EPSG:4326"
    )


def xy(points: geopandas.GeoDataFrame) -> list[tuple[float, float]]:
    return list(zip(points.geometry.x, points.geometry.y, strict=True))


def refused(read: object, *arguments: object, **more: object) -> str:
    with pytest.raises(InputError) as caught:
        read(*arguments, **more)  # type: ignore[operator]  # a function
    message = str(caught.value)
    assert re.fullmatch(r"(points|region|layer) = .+: .+\. [A-Z].*[.?]", message, re.DOTALL), message
    return message


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A GeoPackage with two layers of points, one of areas, one without a feature, and a table."""
    path = tmp_path / "two.gpkg"
    points_of((1, 2), (3, 4), id=["a", "b"]).to_file(path, layer="wells")
    points_of((5, 6), id=["c"]).to_file(path, layer="springs")
    areas_of((0, 0, 1, 1), (2, 0, 3, 1)).to_file(path, layer="fields")
    points_of((1, 1)).iloc[:0].to_file(path, layer="nothing")
    pyogrio.write_dataframe(pd.DataFrame({"a": [1]}), path, layer="notes")
    return path


@pytest.mark.parametrize("kind", [".kml", ".kmz"])
def test_the_folders_of_a_kml_are_read_as_one(tmp_path: Path, kind: str) -> None:
    folders = [folder("north", ("a", 1, 2), ("b", 3, 4)), folder("south", ("c", 5, 6)), folder("none")]
    text = KML.format("".join(folders) + folder("north", ("d", 7, 8)))
    path = tmp_path / f"three{kind}"
    if kind == ".kml":
        path.write_text(text)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("doc.kml", text)
    notes: list[str] = []
    points = read_points(path, note=notes.append)
    assert xy(points) == [(1, 2), (3, 4), (5, 6), (7, 8)]
    assert points["layer"].tolist() == ["north", "north", "south", "north (#2)"]
    assert points["code"].tolist() == ["00a", "00b", "00c", "00d"]
    # Without what GDAL adds to every KML: tessellate = -1, visibility = -1, ...
    assert list(points.columns) == ["Name", "code", "layer", "geometry"]
    assert len(notes) == 1
    assert "'north' (2 features), 'south' (1 feature)" in notes[0]
    assert xy(read_points(path, "south")) == [(5, 6)]


def test_what_a_kml_states_is_kept(tmp_path: Path) -> None:
    place = placemark(("a", 1, 2)).replace("<name>a</name>", "<name>a</name><visibility>0</visibility><description/>")
    (tmp_path / "a.kml").write_text(KML.format(place.replace("<Placemark", '<Placemark id="q7"')))
    read = read_points(tmp_path / "a.kml").iloc[0].drop("geometry").dropna().to_dict()
    assert {name: read[name] for name in ("id", "Name", "visibility", "code")} == {
        "id": "q7",
        "Name": "a",
        "visibility": 0,
        "code": "00a",
    }


def test_areas_of_all_folders_are_a_region(tmp_path: Path) -> None:
    ring = (
        "<Polygon><outerBoundaryIs><LinearRing><coordinates>{}</coordinates></LinearRing></outerBoundaryIs></Polygon>"
    )
    squares = [ring.format(f"{x},0 {x + 1},0 {x + 1},1 {x},1 {x},0") for x in (0, 2, 4)]
    folders = [f"<Folder><name>{n}</name><Placemark>{s}</Placemark></Folder>" for n, s in enumerate(squares)]
    (tmp_path / "three.kml").write_text(KML.format("".join(folders) + folder("points", ("a", 50, 50))))
    region = read_region(tmp_path / "three.kml")
    assert region.geometry.area == pytest.approx(3)
    assert region.geometry.bounds == (0, 0, 5, 1)
    assert read_region(tmp_path / "three.kml", layer="1").geometry.bounds == (2, 0, 3, 1)
    notes: list[str] = []
    read_region(tmp_path / "three.kml", note=notes.append)
    assert "Others hold nothing that can be used: points." in notes[0]


def test_several_layers_are_refused_by_name(package: Path) -> None:
    message = refused(read_points, package)
    assert message.startswith(f"points = {str(package)!r}: it has several layers: 'wells' (2 features), 'springs' (1 ")
    assert "layer = 'wells', or give layer = '*' for all" in message
    assert "fields" not in message
    assert "nothing" not in message


def test_one_layer_is_named_and_all_are_joined(package: Path) -> None:
    assert xy(read_points(package, "springs")) == [(5, 6)]
    every = read_points(package, "*")
    assert xy(every) == [(1, 2), (3, 4), (5, 6)]
    assert every["layer"].tolist() == ["wells", "wells", "springs"]
    assert every["id"].tolist() == ["a", "b", "c"]
    message = refused(read_points, package, "well")
    assert message.startswith("layer = 'well'")
    assert "'wells', 'springs', 'fields', 'nothing'" in message
    assert "row 0 is a Polygon" in refused(read_points, package, "fields")


def test_the_only_layer_of_areas_is_the_region(package: Path) -> None:
    assert read_region(package).geometry.area == pytest.approx(2)
    assert read_region(package, layer="fields").geometry.bounds == (0, 0, 3, 1)
    assert "no area" in refused(read_region, package, layer="wells")
    areas_of((8, 8, 9, 9)).to_file(package, layer="more")
    assert "'fields' (2 features), 'more' (1 feature)" in refused(read_region, package)
    assert read_region(package, layer="*").geometry.area == pytest.approx(3)


def test_of_a_gpx_the_layers_with_points_count(tmp_path: Path) -> None:
    """It always has five layers, and the points of a track are a layer, too."""
    path = tmp_path / "a.gpx"
    path.write_text(GPX.format(WAYPOINTS))
    assert xy(read_points(path)) == [(1, 2), (3, 4)]
    assert read_points(path)["name"].tolist() == ["007", "b"]
    path.write_text(GPX.format(TRACK))
    notes: list[str] = []
    assert xy(read_points(path, note=notes.append)) == [(5, 6), (5, 7)]
    assert "read layer 'track_points'. Others hold nothing that can be used: tracks." in notes[0]
    path.write_text(GPX.format(WAYPOINTS + TRACK))
    assert "'waypoints' (2 features), 'track_points' (2 features)" in refused(read_points, path)
    assert len(read_points(path, "waypoints")) == 2


def zipped(path: Path, *members: str, folders: bool = False) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            for part in sorted(path.parent.glob(f"{member}.*")):
                archive.write(part, f"{member}/{part.name}" if folders else part.name)
        archive.writestr("readme.md", "x")
    return path


@pytest.mark.parametrize("folders", [False, True])
def test_a_zip_of_two_shapefiles_is_refused_by_name(tmp_path: Path, *, folders: bool) -> None:
    points_of((1, 2), n=[1]).to_file(tmp_path / "a.shp")
    points_of((3, 4), (5, 6), n=[1, 2]).to_file(tmp_path / "b.shp")
    path = zipped(tmp_path / "two.zip", "a", "b", folders=folders)
    names = ("a/a.shp", "b/b.shp") if folders else ("a.shp", "b.shp")
    assert f"'{names[0]}' (1 feature), '{names[1]}' (2 features)" in refused(read_points, path)
    assert xy(read_points(path, names[1])) == [(3, 4), (5, 6)]
    assert xy(read_points(path, "*")) == [(1, 2), (3, 4), (5, 6)]
    one = zipped(tmp_path / "one.zip", "b", folders=folders)
    assert xy(read_points(one)) == [(3, 4), (5, 6)]


def test_a_zip_of_a_package_a_folder_and_a_geodatabase_are_files_with_layers(tmp_path: Path, package: Path) -> None:
    assert "'wells' (2 features)" in refused(read_points, zipped(tmp_path / "p.zip", "two"))
    (tmp_path / "shapes").mkdir()
    points_of((1, 2), n=[1]).to_file(tmp_path / "shapes" / "a.shp")
    points_of((3, 4), n=[1]).to_file(tmp_path / "shapes" / "b.shp")
    assert "'a' (1 feature), 'b' (1 feature)" in refused(read_points, tmp_path / "shapes")
    points_of((1, 2), n=["a"]).to_file(tmp_path / "x.gdb", driver="OpenFileGDB", layer="one")
    assert xy(read_points(tmp_path / "x.gdb")) == [(1, 2)]
    points_of((3, 4), n=["a"]).to_file(tmp_path / "x.gdb", driver="OpenFileGDB", layer="two")
    assert "'one' (1 feature), 'two' (1 feature)" in refused(read_points, tmp_path / "x.gdb")
    (tmp_path / "empty.zip").write_bytes(b"PK\5\6" + b"\0" * 18)
    assert "cannot be read as a vector file" in refused(read_points, tmp_path / "empty.zip")


def test_layers_in_different_crs_are_not_joined(tmp_path: Path) -> None:
    points_of((1, 2), n=[1]).to_file(tmp_path / "a.gpkg", layer="a")
    points_of((3, 4), n=[1]).to_crs("EPSG:32631").to_file(tmp_path / "a.gpkg", layer="b")
    assert "'a' and 'b' are in different CRS" in refused(read_points, tmp_path / "a.gpkg", "*")
    assert len(read_points(tmp_path / "a.gpkg", "b")) == 1


@pytest.mark.parametrize("value", [{"type": "Point", "coordinates": [1, 2]}, "p.csv", "p.geojson", "p.parquet"])
def test_what_has_no_layers_takes_none(tmp_path: Path, value: object) -> None:
    path = tmp_path / str(value) if isinstance(value, str) else value
    if value == "p.csv":
        (tmp_path / "p.csv").write_text("lon,lat\n1,2\n")
    elif value == "p.geojson":
        points_of((1, 2)).to_file(tmp_path / "p.geojson")
    elif value == "p.parquet":
        points_of((1, 2)).to_parquet(tmp_path / "p.parquet")
    assert refused(read_points, path, "a").startswith("layer = 'a'")
    assert "layer = 'a'" in refused(read_region, [0, 0, 1, 1], layer="a")


# Parts of features ---------------------------------------------------------------------------------------------


def feature(geometry: object, **properties: object) -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def collection(*features: object) -> dict[str, object]:
    return {"type": "FeatureCollection", "features": list(features)}


ONE, OTHER = {"type": "Point", "coordinates": [9, 8]}, {"type": "Point", "coordinates": [7, 6]}
MANY = {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4], [1, 2]]}


@pytest.mark.parametrize("suffix", [None, ".geojson", ".gpkg", ".shp", ".parquet", ".fgb", ".kml"])
def test_multipoints_become_rows_with_the_numbers_of_their_parts(tmp_path: Path, suffix: str | None) -> None:
    value = collection(
        feature(MANY, id="a", n=1), feature({"type": "MultiPoint", "coordinates": [[5, 6]]}, id="b", n=2)
    )
    points = value
    if suffix:
        frame = geopandas.GeoDataFrame.from_features(value, crs="EPSG:4326")
        points = tmp_path / f"p{suffix}"
        if suffix == ".parquet":
            frame.to_parquet(points)
        else:
            frame.to_file(points, **({"SPATIAL_INDEX": "NO"} if suffix == ".fgb" else {}))
    read = read_points(points)
    assert xy(read) == [(1, 2), (3, 4), (1, 2), (5, 6)]
    assert read["id"].tolist() == ["a", "a", "a", "b"]
    assert read["n"].tolist() == [1, 1, 1, 2]
    assert read["part"].tolist() == [0, 1, 2, 0]
    assert list(read.index) == [0, 1, 2, 3]


def test_points_beside_multipoints_and_collections_of_points_are_all_read() -> None:
    nested = {"type": "GeometryCollection", "geometries": [OTHER, {"type": "GeometryCollection", "geometries": [MANY]}]}
    read = read_points(collection(feature(ONE, n=1), feature(nested, n=2), feature(OTHER, n=3)))
    assert xy(read) == [(9, 8), (7, 6), (1, 2), (3, 4), (1, 2), (7, 6)]
    assert read["n"].tolist() == [1, 2, 2, 2, 2, 3]
    assert read["part"].tolist() == [0, 0, 1, 2, 3, 0]


POINT = st.tuples(st.integers(-179, 179), st.integers(-89, 89)).map(
    lambda at: {"type": "Point", "coordinates": list(at)}
)
GEOMETRY = st.recursive(
    POINT
    | st.lists(POINT, min_size=1, max_size=4).map(
        lambda all_of: {"type": "MultiPoint", "coordinates": [each["coordinates"] for each in all_of]}
    ),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(
        lambda all_of: {"type": "GeometryCollection", "geometries": all_of}
    ),
    max_leaves=6,
)


def flat(geometry: Any) -> list[tuple[float, float]]:
    """The points of a geometry, in their order."""
    if geometry["type"] == "GeometryCollection":
        return [each for part in geometry["geometries"] for each in flat(part)]
    return [tuple(each) for each in shapely.get_coordinates(shapely.geometry.shape(geometry)).tolist()]


@given(st.lists(GEOMETRY, min_size=1, max_size=5))
@settings(deadline=None, max_examples=40)
def test_every_point_of_every_feature_is_one_row(geometries: list[Any]) -> None:
    read = read_points(collection(*(feature(each, n=number) for number, each in enumerate(geometries))))
    expected = [(number, part, at) for number, each in enumerate(geometries) for part, at in enumerate(flat(each))]
    parts = read["part"].tolist() if "part" in read else [0] * len(read)
    assert list(zip(read["n"], parts, xy(read), strict=True)) == expected
    assert ("part" in read) == any(part for _, part, _ in expected)


def test_multipoints_of_one_have_no_parts() -> None:
    read = read_points(collection(feature(ONE), feature({"type": "MultiPoint", "coordinates": [[5, 6]]})))
    assert xy(read) == [(9, 8), (5, 6)]
    assert list(read.columns) == ["geometry"]


def test_a_property_named_part_or_layer_is_kept(package: Path) -> None:
    read = read_points(collection(feature(MANY, part="leaf", part_given="x")))
    assert read["part"].tolist() == [0, 1, 2]
    assert read["part_given_2"].tolist() == ["leaf"] * 3
    assert read["part_given"].tolist() == ["x"] * 3
    assert read_points(collection(feature(ONE, part="leaf")))["part"].tolist() == ["leaf"]
    points_of((5, 6), layer=["mine"]).to_file(package, layer="springs")
    every = read_points(package, "*")
    assert every["layer"].tolist() == ["wells", "wells", "springs"]
    assert every["layer_given"].tolist() == [None, None, "mine"]


def test_a_row_that_is_refused_is_counted_before_its_parts() -> None:
    far = {"type": "MultiPoint", "coordinates": [[1, 2], [3, 95], [3, 96]]}
    message = refused(read_points, collection(feature(MANY), feature(far)))
    assert "row 1 lies outside the world" in message
    assert "such rows: 1)" in message


# Properties of files -------------------------------------------------------------------------------------------

HUGE = 2**60 + 1
TYPED = {
    "whole": pd.array([HUGE, None], dtype="Int64"),
    "flag": pd.array([True, None], dtype="boolean"),
    "text": ["00123", "NA"],
    "day": ["2020-05-01", "x"],
}


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".geojsonl", ".shp", ".fgb", ".gml", ".sqlite", ".parquet"])
def test_values_beside_missing_ones_keep_their_type(tmp_path: Path, suffix: str) -> None:
    frame = points_of((1, 2), (3, 4), **TYPED)
    path = tmp_path / f"p{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".geojsonl":
        frame.to_file(path, driver="GeoJSONSeq")
    else:
        frame.to_file(path, **({"SPATIAL_INDEX": "NO"} if suffix == ".fgb" else {}))
    read = read_points(path)
    assert (str(read["whole"].dtype), read["whole"][0], pd.isna(read["whole"][1])) == ("Int64", HUGE, True)
    assert read["text"].tolist() == ["00123", "NA"]
    assert read["day"].tolist() == ["2020-05-01", "x"]
    flags = read["flag"].tolist()
    assert (flags[0], pd.isna(flags[1])) == (True, True)


def test_integers_of_a_plain_parquet_column_keep_their_digits(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    points_of((1, 2), (3, 4), whole=[HUGE, 3]).to_parquet(tmp_path / "p.parquet")
    table = pq.read_table(tmp_path / "p.parquet")
    table = table.set_column(0, "whole", pa.array([HUGE, None], pa.int64()))
    geo = {b"geo": table.schema.metadata[b"geo"]}
    pq.write_table(table.replace_schema_metadata(geo), tmp_path / "q.parquet")
    assert read_points(tmp_path / "q.parquet")["whole"].tolist() == [HUGE, pd.NA]


@pytest.mark.parametrize("encoding", ["UTF-8", "ISO-8859-1"])
@pytest.mark.parametrize("declared", [True, False])
def test_text_of_a_shapefile_is_read_in_its_encoding(tmp_path: Path, encoding: str, *, declared: bool) -> None:
    """Without a .cpg GDAL takes Latin-1, and UTF-8 would be read as other characters."""
    path = tmp_path / "p.shp"
    points_of((1, 2), name=["São Tomé"]).to_file(path, encoding=encoding)
    if not declared:
        path.with_suffix(".cpg").unlink()
    assert read_points(path)["name"].tolist() == ["São Tomé"]


def test_geojson_is_the_same_as_a_file_and_as_a_value(tmp_path: Path) -> None:
    """GDAL would read the day as a date, the mixed column as text, and leave out the number of a feature."""
    value = collection(
        {**feature(ONE, day="2020-05-01", mixed=1, when="2020-05-01T10:00:00+02:00", big=2**63), "id": 17},
        {**feature(OTHER, day="2020-05-02", mixed="a", when="2020-05-01T10:00:00Z", big=1, list=[1, {}]), "id": 18},
    )
    expected = read_points(value)
    assert expected["id"].tolist() == [17, 18]
    assert expected["day"].tolist() == ["2020-05-01", "2020-05-02"]
    assert expected["mixed"].tolist() == ["1", '"a"']
    assert expected["when"].tolist() == ["2020-05-01T10:00:00+02:00", "2020-05-01T10:00:00Z"]
    assert expected["big"].tolist() == [str(2**63), "1"]
    assert expected["list"].tolist() == [None, "[1, {}]"]
    lines = [json.dumps(each) for each in value["features"]]  # type: ignore[attr-defined]  # a list
    for name, text in {
        "p.geojson": json.dumps(value, indent=1),
        "p.json": "\ufeff" + json.dumps(value),
        "p.ndjson": "\n".join(lines) + "\n",
        "p.geojsonl": "\r\n".join(lines),
        "p.geojsonseq": "".join(f"\x1e{line}\n" for line in lines),
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        pd.testing.assert_frame_equal(pd.DataFrame(read_points(tmp_path / name)), pd.DataFrame(expected))


def test_an_id_beside_a_property_of_that_name_is_kept() -> None:
    same = read_points(collection({**feature(ONE, id="a"), "id": "a"}))
    assert list(same.columns) == ["id", "geometry"]
    other = read_points(collection({**feature(ONE, id="a", x=1), "id": 5}))
    assert other.iloc[0].drop("geometry").to_dict() == {"id": 5, "id_given": "a", "x": 1}


def test_the_primary_key_of_a_package_is_a_property(tmp_path: Path) -> None:
    frame = points_of((1, 2), (3, 4), site_id=[70, 90])
    pyogrio.write_dataframe(frame, tmp_path / "p.gpkg", layer_options={"FID": "site_id"})
    assert sorted(read_points(tmp_path / "p.gpkg").columns) == ["geometry", "site_id"]


@pytest.mark.parametrize(("numbers", "kept"), [([1, 2], False), ([0, 1], False), ([70, 90], True), ([2, 3], True)])
def test_numbers_of_features_are_left_out_where_they_only_count(
    tmp_path: Path, numbers: list[int], *, kept: bool
) -> None:
    points_of((1, 2), (3, 4), fid=numbers).to_file(tmp_path / "p.gpkg")
    read = read_points(tmp_path / "p.gpkg")
    assert (read["fid"].tolist() if kept else "fid" in read) == (numbers if kept else False)


def test_features_of_a_region_are_the_same_from_a_file_and_as_a_value(tmp_path: Path) -> None:
    squares = [shapely.geometry.mapping(shapely.box(n, 0, n + 1, 1)) for n in (0, 5)]
    value = collection(
        *({**feature(each, code="007", day="2020-05-01"), "id": f"f{n}"} for n, each in enumerate(squares))
    )
    (tmp_path / "p.geojson").write_text(json.dumps(value))
    one, other = read_region(value), read_region(tmp_path / "p.geojson", crs="EPSG:3857")
    assert one == other
    assert [area.name for area in one.areas] == ["f0", "f1"]
    assert one.areas[0].properties == {"code": "007", "day": "2020-05-01"}


def test_values_of_a_region_s_file_keep_their_type(tmp_path: Path) -> None:
    frame = areas_of((0, 0, 1, 1), (5, 0, 6, 1)).assign(**TYPED)
    frame.to_file(tmp_path / "p.gpkg")
    assert read_region(tmp_path / "p.gpkg").areas[0].properties == {
        "n": "0",
        "whole": str(HUGE),
        "flag": "true",
        "text": "00123",
        "day": "2020-05-01",
    }


def test_geojson_in_a_zip_is_read_as_a_value(tmp_path: Path) -> None:
    value = collection({**feature(ONE, day="2020-05-01", id="00123"), "id": "q7"})
    with zipfile.ZipFile(tmp_path / "one.ZIP", "w") as archive:
        archive.writestr("sub folder/é.geojson", json.dumps(value))
    read = read_points(tmp_path / "one.ZIP").iloc[0].drop("geometry").to_dict()
    assert read == {"id": "q7", "id_given": "00123", "day": "2020-05-01"}
    with zipfile.ZipFile(tmp_path / "one.ZIP", "a") as archive:
        archive.writestr("b.geojson", json.dumps(ONE))
    assert "'b.geojson' (1 feature), 'sub folder/é.geojson' (1 feature)" in refused(read_points, tmp_path / "one.ZIP")
    assert xy(read_points(tmp_path / "one.ZIP", "*")) == [(9, 8), (9, 8)]


def test_a_property_named_geometry_is_kept(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(
        {"geometry": ["flat", None], "geom": [shapely.Point(1, 2), shapely.Point(3, 4)]}, geometry="geom", crs=4326
    )
    pyogrio.write_dataframe(frame, tmp_path / "p.gpkg")
    read = read_points(tmp_path / "p.gpkg")
    assert xy(read) == [(1, 2), (3, 4)]
    assert read["geometry_given"].tolist() == ["flat", None]


@pytest.mark.parametrize("name", ["p.csv.gz", "p.geojson.gz", "p.tar", "p.7z"])
def test_a_packed_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b")
    assert "it is a packed file, and only zip is read. Unpack it" in refused(read_points, tmp_path / name)


def test_a_table_and_an_address_are_no_files_of_features(tmp_path: Path) -> None:
    pd.DataFrame({"lon": [1], "lat": [2]}).to_parquet(tmp_path / "t.parquet")
    assert "it is a table without geometry" in refused(read_points, tmp_path / "t.parquet")
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    assert "it is a table without geometry" in refused(read_region, tmp_path / "r.csv")
    assert "it is an address, not a file. Download" in refused(read_points, "https://example.org/p.geojson")


def test_json_of_another_kind_is_not_taken_for_geojson(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"type": "Feature", ')
    assert "cannot be read as a vector file" in refused(read_points, tmp_path / "a.json")
    (tmp_path / "b.json").write_text('{"a": 1}')
    assert "cannot be read as a vector file" in refused(read_points, tmp_path / "b.json")
    (tmp_path / "c.geojson").write_bytes('{"type": "Point", "n": "é"}'.encode("latin-1"))
    assert "cannot be read as a vector file" in refused(read_points, tmp_path / "c.geojson")
    topology = {"type": "Topology", "arcs": [], "objects": {"p": {"type": "Point", "coordinates": [1, 2]}}}
    (tmp_path / "t.json").write_text(json.dumps(topology))
    assert read_frame(tmp_path / "t.json", what="points", crs="EPSG:4326").geometry.tolist() == [shapely.Point(1, 2)]


def test_heights_and_several_geometries_are_kept(tmp_path: Path) -> None:
    high = {"type": "Point", "coordinates": [1, 2, 250.5]}
    assert read_points(high).geometry[0].z == 250.5
    frame = points_of((1, 2)).assign(area=geopandas.GeoSeries([shapely.box(0, 0, 1, 1)], crs="EPSG:32621"))
    frame.to_parquet(tmp_path / "p.parquet")
    read = read_points(tmp_path / "p.parquet")
    assert xy(read) == [(1, 2)]
    assert read["area"][0].equals(shapely.box(0, 0, 1, 1))

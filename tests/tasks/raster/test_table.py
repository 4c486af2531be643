"""Tables of points: values are the text of the file, in every dialect, or the table is refused with what to change."""

import csv
import io
import json
import math
import re
import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors.input import InputError
from tasks.raster.points import read_points
from tasks.raster.properties import from_text

XY = [(-54.58, -25.28), (11.25, 46.5)]


def read(tmp_path: Path, data: str | bytes, name: str = "p.csv"):
    """The points of a file, and the lines for the log."""
    (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
    notes: list[str] = []
    return read_points(tmp_path / name, note=notes.append), notes


def refused(tmp_path: Path, data: str | bytes, name: str = "p.csv") -> str:
    with pytest.raises(InputError) as caught:
        read(tmp_path, data, name)
    message = str(caught.value)
    assert re.fullmatch(r"points = .+: .+\. [A-Z].*[.?]", message, re.DOTALL), "field = value: reason. remedy."
    assert len(message) < 600
    return message


@pytest.mark.parametrize(
    ("texts", "dtype", "kept"),
    [
        (["00123", "00007"], "object", ["00123", "00007"]),
        (["NA", "1"], "object", ["NA", "1"]),
        (["1e5", "2e5"], "object", ["1e5", "2e5"]),
        (["12345678901234567", "1"], "int64", [12345678901234567, 1]),
        (["12345678901234567", ""], "Int64", [12345678901234567, None]),
        (["TRUE", "FALSE"], "object", ["TRUE", "FALSE"]),
        (["true", ""], "object", ["true", None]),
        (["1", ""], "Int64", [1, None]),
        (["1", "2"], "int64", [1, 2]),
        (["9223372036854775808", "1"], "object", ["9223372036854775808", "1"]),
        (["-9223372036854775808", "1"], "int64", [-(2**63), 1]),
        (["1", "2.5"], "float64", [1.0, 2.5]),
        (["1.0", "2.5"], "float64", [1.0, 2.5]),
        (["1.0", "2"], "object", ["1.0", "2"]),
        (["1.5", ""], "float64", [1.5, None]),
        (["1.10", "1.2"], "object", ["1.10", "1.2"]),
        (["0.12345678901234567890", "1.5"], "object", ["0.12345678901234567890", "1.5"]),
        (["12345678901234567.5", "1.5"], "object", ["12345678901234567.5", "1.5"]),
        (["+1", "2"], "object", ["+1", "2"]),
        (["-0", "1"], "object", ["-0", "1"]),
        (["-0", "1.5"], "object", ["-0", "1.5"]),
        (["-0.0", "1.5"], "float64", [-0.0, 1.5]),
        ([".5", "1.5"], "object", [".5", "1.5"]),
        (["1.", "2."], "object", ["1.", "2."]),
        ([" 1", "2"], "object", [" 1", "2"]),
        (["1_0", "2"], "object", ["1_0", "2"]),
        (["1\u0661", "2"], "object", ["1\u0661", "2"]),
        (["inf", "nan"], "object", ["inf", "nan"]),
        (["None", "null"], "object", ["None", "null"]),
        (["2020-05-01", "2020-05-02"], "object", ["2020-05-01", "2020-05-02"]),
        (["12:30", "1/2"], "object", ["12:30", "1/2"]),
        (["5%", "$5"], "object", ["5%", "$5"]),
        (["", ""], "object", [None, None]),
    ],
)
def test_values_are_the_text_or_numbers_of_the_same_characters(tmp_path, texts, dtype, kept) -> None:
    rows = "\n".join(f"{x},{y},{text}" for (x, y), text in zip(XY, texts, strict=True))
    points, _ = read(tmp_path, f"lon,lat,v\n{rows}\n")
    assert str(points["v"].dtype) == dtype
    assert [None if pd.isna(value) else value for value in points["v"]] == kept


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6), min_size=1, max_size=5))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
def test_every_text_is_kept(tmp_path, texts) -> None:
    with io.StringIO(newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["lon", "lat", "v"], *([1, 2, text] for text in texts)])
        points, _ = read(tmp_path, file.getvalue())
    if points["v"].dtype == object:
        assert [value or "" for value in points["v"]] == texts
    else:
        written = ["" if pd.isna(v) else str(v) for v in points["v"]]
        assert [w.removesuffix(".0") for w in written] == [text.removesuffix(".0") for text in texts]


VALUES = st.text(st.characters(codec="utf-8", exclude_characters='\0",\n\r'), max_size=4)


@given(st.lists(st.lists(VALUES, min_size=1, max_size=3), min_size=1, max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_quotes_change_nothing(tmp_path, rows) -> None:
    """Tables without quotes are read by Arrow, other ones by the `csv` module. Rows may end early, or be blank."""
    table = [["lon", "lat", "v", "w", ""], *(["1", "2", *row] for row in rows), ["", " "]]
    plain, _ = read(tmp_path, "\n".join(",".join(row) for row in table))
    quoted, _ = read(tmp_path, "\n".join(",".join(f'"{value}"' for value in row) for row in table))
    pd.testing.assert_frame_equal(pd.DataFrame(plain), pd.DataFrame(quoted))


NUMERALS = st.integers(-(2**70), 2**70).map(str) | st.floats(allow_nan=False, allow_infinity=False).map(repr)
NUMERALS |= st.text(string.digits + ".-+e", min_size=1, max_size=5) | st.none()


@given(st.lists(NUMERALS, min_size=1, max_size=4))
@settings(deadline=None, max_examples=200)
def test_a_number_is_written_with_the_characters_that_it_was_read_from(texts) -> None:
    column = from_text(texts)
    if column.dtype == object:
        assert column.tolist() == texts
        return
    for text, value in zip(texts, column, strict=True):
        assert (text is None) == bool(pd.isna(value))
        if text is not None and column.dtype == float:
            assert text in {np.format_float_positional(value, trim=trim) for trim in "0-"}
            assert float(text) == value
        elif text is not None:
            assert str(value) == text


DIALECTS = {
    "semicolons and decimal commas": ("id;lon;lat\n007;-54,58;-25,28\né;11,25;46,5\n", "p.csv"),
    "tabs": ("id\tlon\tlat\n007\t-54.58\t-25.28\né\t11.25\t46.5\n", "p.tsv"),
    "tabs with decimal commas": ("id\tlon\tlat\n007\t-54,58\t-25,28\né\t11,25\t46,5\n", "p.TXT"),
    "Latin-1": ("id,lon,lat\n007,-54.58,-25.28\né,11.25,46.5\n".encode("latin-1"), "p.csv"),
    "UTF-8 with a mark": ("\ufeffid,lon,lat\n007,-54.58,-25.28\né,11.25,46.5\n", "p.csv"),
    "a mark before quotes": ('\ufeff"lon","lat","id"\n-54.58,-25.28,007\n11.25,46.5,é\n', "p.csv"),
    "UTF-16, as Excel writes Unicode text": (
        "id\tlon\tlat\r\n007\t-54,58\t-25,28\r\né\t11,25\t46,5\r\n".encode("utf-16"),
        "p.txt",
    ),
    "UTF-16 without a mark": ("id,lon,lat\n007,-54.58,-25.28\né,11.25,46.5\n".encode("utf-16-le"), "p.csv"),
    "trailing commas": ("id,lon,lat,\n007,-54.58,-25.28,\né,11.25,46.5,\n", "p.csv"),
    "trailing commas of the rows only": ("id,lon,lat\n007,-54.58,-25.28,\né,11.25,46.5,,\n", "p.csv"),
    "Long": ("id,Long,Lat\n007,-54.58,-25.28\né,11.25,46.5\n", "p.csv"),
    "LONGITUDE": ("id,LATITUDE,LONGITUDE\n007,-25.28,-54.58\né,46.5,11.25\n", "P.CSV"),
    "Darwin Core": ("id,decimalLatitude,decimalLongitude\n007,-25.28,-54.58\né,46.5,11.25\n", "p.txt"),
    "units": ("id,Latitude (deg),Longitude (deg)\n007,-25.28,-54.58\né,46.5,11.25\n", "p.csv"),
    "lon_dd": ("id,lat_dd,lon_dd\n007,-25.28,-54.58\né,46.5,11.25\n", "p.csv"),
    "blanks in the header": ("id , lon, lat \n007,-54.58,-25.28\né,11.25,46.5\n", "p.csv"),
    "blanks round numbers": ("id,lon,lat\n007, -54.58 ,-25.28 \né, 11.25 , 46.5\n", "p.csv"),
    "all quoted": ('"id","lon","lat"\n"007","-54.58","-25.28"\n"é","11.25","46.5"\n', "p.csv"),
    "quoted decimal commas": ('id,lon,lat\n007,"-54,58","-25,28"\né,"11,25","46,5"\n', "p.csv"),
    "bars": ("id|lon|lat\n007|-54.58|-25.28\né|11.25|46.5\n", "p.csv"),
    "Excel's line": ("sep=;\r\nid;lon;lat\r\n007;-54,58;-25,28\r\né;11,25;46,5\r\n", "p.csv"),
    "lines of an old Mac": ("id,lon,lat\r007,-54.58,-25.28\ré,11.25,46.5\r", "p.csv"),
    "blank lines": ("\nid,lon,lat\n\n007,-54.58,-25.28\n,,\né,11.25,46.5\n\n", "p.csv"),
    "typographic minus": ("id,lon,lat\n007,\u221254.58,\u221225.28\né,11.25,46.5\n", "p.csv"),
    "no end of the last line": ("id,lon,lat\n007,-54.58,-25.28\né,11.25,46.5", "p.csv"),
    "exponents": ("id,lon,lat\n007,-5.458e1,-2528e-2\né,1125E-2,4.65E+1\n", "p.csv"),
    "lon and lat before others": ("id,x,y,lat,lon\n007,6e5,7e6,-25.28,-54.58\né,6e5,5e6,46.5,11.25\n", "p.csv"),
}
PLAIN = {"UTF-8 with a mark", "a mark before quotes", "trailing commas", "trailing commas of the rows only", "Long"}
PLAIN |= {"LONGITUDE", "Darwin Core", "units", "lon_dd", "blanks in the header", "blanks round numbers", "all quoted"}
PLAIN |= {"lines of an old Mac", "blank lines", "typographic minus", "no end of the last line", "exponents"}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_is_the_same_table(tmp_path, name) -> None:
    points, notes = read(tmp_path, *DIALECTS[name])
    assert list(zip(points.geometry.x, points.geometry.y, strict=True)) == XY
    assert points["id"].tolist() == ["007", "é"]
    assert set(points.columns) - {"x", "y"} == {"id", "geometry"}
    # What could have been read in another way stands in the log.
    kinds = [note for note in notes if "columns are separated" in note]
    assert len(kinds) == (name not in PLAIN and name != "lon and lat before others")
    if "decimal commas" in name:
        assert "decimal commas" in kinds[0]
    if name == "Latin-1":
        assert "Windows-1252" in kinds[0]


def test_text_that_looks_like_numbers_is_logged(tmp_path) -> None:
    _, notes = read(tmp_path, 'lon,lat,id,name,n,high\n1,2,00123,x,7,"12,5"\n')
    assert len(notes) == 2
    assert "'high' stays text as it stands ('12,5', ...)" in notes[1]
    assert "'id' stays text as it stands ('00123', ...)" in notes[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("id,lon,lat\n1,11,5,46,5\n", "row 0 has 5 values, but there are 3 names.*in quotes.*semicolons"),
        ("id;lon;lat\n1;11,5;46.5\n", "row 0 has lon = '11,5', lat = 46.5, but other rows have decimal commas"),
        ("id;lon;lat\n1;1.234,5;2\n", r"row 0 has lon = '1\.234,5', lat = 2, which are not finite numbers"),
        ("id,lon,lat\n1,54°35'W,25°17'S\n", "decimal degrees such as -54.58"),
        ("id,lon,lat\n1,54.58W,25.28S\n", "decimal degrees such as -54.58"),
        ("id,lon,lat\n1,1_0,2\n", "lon = '1_0'"),
        ("Lon,LON,lat\n1,2,3\n", "several columns may hold its coordinates: 'Lon', 'LON', 'lat'.*'lon' and 'lat'"),
        ("lon_dd,lon_deg,lat\n1,2,3\n", "several columns may hold its coordinates"),
        (
            "11.2,46.5\n11.3,46.6\n",
            "columns '11.2', '46.5', but no coordinate columns.*in the first row 'lon' and 'lat'",
        ),
        ("wkt,name\nPOINT (11 46),a\n", "WKT is not accepted. Write its coordinates into columns 'lon' and 'lat'"),
        ("id,lon,lat\n1,2,3\n".replace("1", "\0"), "it is not text|several"),
        ('id,lon,lat\n"1,2,3\n', "cannot be read as CSV .line 2"),
        (
            "id,lon,lat\n\u041a\u0438\u0435\u0432,30.5,50.4\n".encode("cp1251"),
            "encoding is neither UTF-8 nor known.*UTF-8",
        ),
        ("id,lon,lat\nCafé,2,48\n".encode("mac-roman"), "encoding is neither UTF-8 nor known"),
        ("id,lon,lat\nCafé,2,48\n".encode("cp437"), "encoding is neither UTF-8 nor known"),
        ("id,lon,lat\n東京,139,35\n".encode("shift-jis"), "encoding is neither UTF-8 nor known"),
        ("id,lon,lat\nCafé,2,48\n".encode() + b"\xe9,1,2\n", "encoding is neither UTF-8 nor known"),
        ("easting,northing\n600000,5090000\n", "columns 'easting', 'northing', but no coordinate columns"),
        ("X,Y\n600000,5090000\n", "outside the world.*stores its CRS, such as a GeoPackage"),
        ("\n\n", "it is empty"),
    ],
)
def test_other_tables_are_refused_with_what_to_change(tmp_path, data, message) -> None:
    assert re.search(message, refused(tmp_path, data), re.DOTALL)


@pytest.mark.parametrize("name", ["p.xlsx", "p.xls", "p.ods", "p.dbf"])
def test_a_spreadsheet_is_refused(tmp_path, name) -> None:
    assert "save the table as CSV with lon and lat" in refused(tmp_path, b"PK", name)


def test_names_are_kept_apart(tmp_path) -> None:
    points, _ = read(tmp_path, "lon,lat,a,A,a,,geometry, b\n1,2,3,4,5,6,7,8\n")
    assert list(points.columns) == ["a", "A", "a_given", "column_6", "geometry_given", "b", "geometry"]
    assert points.iloc[0, :6].tolist() == [3, 4, 5, 6, 7, 8]


def test_rows_that_are_alike_and_short_ones_are_kept(tmp_path) -> None:
    points, _ = read(tmp_path, "lon,lat,a,b\n1,2,x,y\n1,2,x,y\n3,4\n")
    assert points["a"].tolist() == ["x", "x", None]
    assert points.geometry.tolist() == [shapely.Point(1, 2), shapely.Point(1, 2), shapely.Point(3, 4)]
    assert not any(math.isnan(x) for x in points.geometry.x)


def test_a_value_may_be_long(tmp_path) -> None:
    points, _ = read(tmp_path, f"lon,lat,shape\n1,2,{'x' * 200_000}\n")
    assert len(points["shape"][0]) == 200_000


def test_a_table_of_very_many_columns_is_refused_and_messages_name_a_few(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",".join(["lon", "lat", *["a"] * 1_999]) + "\n" + ",".join(["1", "2", *["x"] * 1_999]) + "\n")
    with pytest.raises(InputError, match=r"it has 2,001 columns, and at most 2,000 are read"):
        read_points(path)
    path.write_text(",".join(["secret"] * 1_000))
    with pytest.raises(InputError, match=r"and 980 more, but no coordinate columns"):
        read_points(path)


def test_a_number_of_very_many_digits_is_refused_at_once(tmp_path):
    """A pattern that tries every way to part the digits needs minutes for these."""
    (tmp_path / "a.csv").write_text(f"lon,lat\n{'9' * 200_000}a,1\n{'9' * 200_000},1\n")
    with pytest.raises(InputError, match=r"row 0 has lon = '9{20,}\.\.\.9+a'"):
        read_points(tmp_path / "a.csv")


# Size -----------------------------------------------------------------------------------------------------------------


def test_a_table_takes_memory_for_what_it_holds_and_not_for_its_gaps(tmp_path):
    """One long row, 2,000 names, or other names in each feature: each table would take gigabytes."""
    points, _ = read(tmp_path, "lon,lat\n1,2" + "," * 400_000 + "\n1,2" * 40_000)
    assert points.shape == (40_001, 1)
    names = ",".join(f"c{number}" for number in range(1_990))
    assert "are missing" in refused(tmp_path, f"lon,lat,{names}" + "\n1,2" * 40_000)
    place = {"type": "Point", "coordinates": [1, 2]}
    features = [{"type": "Feature", "geometry": place, "properties": {f"p{n}": n}} for n in range(20_000)]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    assert "20,000 columns" in refused(tmp_path, text, "p.geojson")

"""Listings: filters mean what AIP-160 says, pages lose nothing, assets look as Google's docs show them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from deployments.sandbox.filters import parse
from deployments.sandbox.listing import LARGEST_PAGE, asset_json, page, query
from deployments.sandbox.raster import UINT16, Asset, Band, Grid, Image, Pixels, Projection
from deployments.sandbox.refusal import Refusal

DAY = datetime(2020, 1, 1, tzinfo=UTC)


def asset(i: int, **properties: object) -> Asset:
    return Asset(
        name=f"projects/p/assets/c/{i}",
        id=f"projects/p/assets/c/{i}",
        type="IMAGE",
        update_time=DAY,
        start_time=DAY + timedelta(days=i),
        properties={"n": i, "half": i / 2, "name": f"a{i}", "a:b": i} | properties,
        geometry=shapely.box(i, 0, i + 1.5, 1),
    )


ASSETS = [asset(i) for i in range(10)]


def passing(text: str) -> list[int]:
    test = parse(text)
    return [i for i, held in enumerate(ASSETS) if test(held)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", range(10)),
        ("properties.n < 3", [0, 1, 2]),
        ("properties.n<=3 properties.n>1.5", [2, 3]),  # side by side is AND
        ("properties.half = 2", [4]),
        ("properties.n != 4 AND properties.n >= 3 AND properties.n<6", [3, 5]),
        ("properties.n > -1 AND properties.n < 1e0", [0]),
        ('properties.name = "a7"', [7]),
        ("properties.name = 'a7'", [7]),
        ("properties.name=a7", [7]),
        ('properties.name > "a7"', [8, 9]),
        ("properties.a:b = 6", [6]),
        # OR binds tighter than AND (AIP-160), unlike in most languages.
        ("properties.n = 1 OR properties.n = 2 AND properties.n = 2", [2]),
        ("properties.n=1 OR (properties.n=2 AND properties.n=3)", [1]),
        ("NOT properties.n > 1", [0, 1]),
        ("-properties.n > 1 AND NOT (properties.n = 0 OR properties.n = 5)", [1]),
        # Of what is not there, nothing holds, but its negation does.
        ("properties.none != 1", []),
        ("NOT properties.none = 1", range(10)),
        ("properties.name > 3", []),
        ('properties.n = "3"', []),
        ('startTime >= "2020-01-03T00:00:00Z" AND endTime < "2020-01-05"', [2, 3]),
        ("startTime > 2020-01-08T23:00:00Z", [8, 9]),
        ('startTime >= "2020-01-08T22:00:00-03:00"', [9]),
        ("intersects(\"{'type': 'Point', 'coordinates': [3.25, 0.5]}\")", [2, 3]),
        ('intersects("POINT (3.25 0.5)")', [2, 3]),
        (
            "intersects(\"{'type':'Polygon','coordinates':[[[7.6,0],[9,0],[9,1],[7.6,0]]]}\") AND properties.n>7",
            [8, 9],
        ),
    ],
)
def test_filters(text: str, expected: list[int]) -> None:
    assert passing(text) == list(expected)


@pytest.mark.parametrize(
    "text",
    [
        "properties.n >",
        "properties.n",
        "n > 3",
        "(properties.n > 3",
        "properties.n > 3)",
        "properties.n > 3 AND",
        "OR properties.n > 3",
        "AND properties.n > 3",
        'intersects("somewhere")',
        "intersects(properties.n)",
        'startTime > "yesterday"',
        'properties.n = "open',
        "properties.n ~ 3",
        "NOT",
        "()",
    ],
)
def test_filters_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(Refusal, match="Invalid filter: ") as refused:
        passing(text)
    assert refused.value.status == 400


TERMS = st.tuples(
    st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.integers(-1, 10) | st.floats(-1, 10).map(float)
)


@given(st.recursive(TERMS, lambda inner: st.tuples(st.sampled_from(["AND", "OR", "NOT"]), inner, inner)))
def test_filters_mean_what_python_means(tree: tuple[object, ...]) -> None:
    """An oracle: the same tree, fully in parentheses, evaluated by Python."""

    def text(node: tuple[object, ...]) -> str:
        if len(node) == 2:
            return f"(properties.n {node[0]} {node[1]})"
        left, right = text(node[1]), text(node[2])  # type: ignore[arg-type] # a tree of tuples
        return f"(NOT {left})" if node[0] == "NOT" else f"({left} {node[0]} {right})"

    shown = text(tree)
    code = re.sub(r"AND|OR|NOT", lambda m: m[0].lower(), shown.replace("properties.n", "n"))
    code = re.sub(r" = ", " == ", code)
    assert passing(shown) == [n for n in range(10) if eval(code, {"n": n})]


@given(st.integers(1, 12), st.sampled_from(["", "properties.n != 4", "properties.n > 100"]))
def test_pages_joined_are_the_whole(size: int, text: str) -> None:
    whole = page(ASSETS, query({"filter": text}), "assets")
    assert "nextPageToken" not in whole
    joined: list[object] = []
    token = ""
    while True:
        part = page(ASSETS, query({"filter": text, "pageSize": str(size), "pageToken": token}), "assets")
        assert len(part.get("assets", [])) <= size
        joined += part.get("assets", [])
        token = part.get("nextPageToken", "")
        if not token:
            break
    assert joined == whole.get("assets", [])


def test_pages_are_capped_as_documented() -> None:
    many = [asset(i) for i in range(LARGEST_PAGE["BASIC"] + 7)]
    for view, cap in {"FULL": 1_000, "BASIC": 10_000}.items():
        for size in ("0", "999999"):
            first = page(many, query({"view": view, "pageSize": size}), "assets")
            assert len(first["assets"]) == cap
    last = page(many, query({"view": "BASIC", "pageToken": first["nextPageToken"]}), "assets")
    assert len(last["assets"]) == 7
    assert "nextPageToken" not in last


@pytest.mark.parametrize(
    "parameters",
    [
        {"pageSize": "-1"},
        {"pageSize": "some"},
        {"pageToken": "?"},
        {"pageToken": "MTI6YWI="},
        {"view": "FULLER"},
    ],
)
def test_bad_pages_are_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refused:
        page(ASSETS, query(parameters), "assets")
    assert refused.value.status == 400


def test_a_token_of_another_query_is_refused() -> None:
    token = page(ASSETS, query({"pageSize": "3"}), "assets")["nextPageToken"]
    with pytest.raises(Refusal, match="another query"):
        page(ASSETS, query({"pageToken": token, "filter": "properties.n > 1"}), "assets")


def test_list_images_has_parameters_of_its_own() -> None:
    folder = replace(asset(3), type="FOLDER")
    asked = query({"startTime": "2020-01-02T00:00:00Z", "endTime": "2020-01-06T00:00:00Z", "region": "POINT(4.2 1)"})
    found = page([*ASSETS, folder], asked, "images")
    assert [image["properties"]["n"] for image in found["images"]] == [3, 4]


def test_an_asset_looks_as_documented() -> None:
    """The Sentinel-2 example of Google's Quickstart: zeros omitted, 64 bits as text, times in UTC."""

    def read(grid: Grid) -> Pixels:
        raise AssertionError(grid)

    band = Band(
        id="B1",
        type=UINT16,
        projection=Projection(crs="EPSG:32610", transform=Affine(60, 0, 499_980, 0, -60, 4_200_000)),
        read=read,
        dimensions=(1830, 1730),
    )
    held = Asset(
        name="projects/earthengine-public/assets/COPERNICUS/S2/X",
        id="COPERNICUS/S2/X",
        type="IMAGE",
        update_time=datetime(2021, 12, 6, 4, 33, 5, 312_446, tzinfo=UTC),
        start_time=datetime(2017, 4, 30, 21, 3, 51, tzinfo=timezone(timedelta(hours=2))),
        end_time=datetime(2017, 4, 30, 19, 3, 51, 120_000, tzinfo=UTC),
        properties={"CLOUD": 0.0, "system:index": "X", "system:time_start": 5, "rate": 0.5, "nan": float("nan")},
        image=Image(bands=(band,)),
        size_bytes=28_219_636_986,
    )
    world = [["-Infinity", "-Infinity"], ["Infinity", "-Infinity"], ["Infinity", "Infinity"]]
    world += [["-Infinity", "Infinity"], ["-Infinity", "-Infinity"]]
    assert asset_json(held) == {
        "type": "IMAGE",
        "name": "projects/earthengine-public/assets/COPERNICUS/S2/X",
        "id": "COPERNICUS/S2/X",
        "updateTime": "2021-12-06T04:33:05.312446Z",
        "startTime": "2017-04-30T19:03:51Z",
        "endTime": "2017-04-30T19:03:51.120Z",
        "properties": {"CLOUD": 0, "system:index": "X", "rate": 0.5, "nan": "NaN"},
        "geometry": {"type": "Polygon", "coordinates": [world]},
        "bands": [
            {
                "id": "B1",
                "dataType": {"precision": "INT", "range": {"max": 65535}},
                "grid": {
                    "crsCode": "EPSG:32610",
                    "dimensions": {"width": 1830, "height": 1730},
                    "affineTransform": {
                        "scaleX": 60,
                        "scaleY": -60,
                        "translateX": 499980,
                        "translateY": 4200000,
                    },
                },
                "pyramidingPolicy": "MEAN",
            }
        ],
        "sizeBytes": "28219636986",
    }
    assert set(asset_json(held, "BASIC")) == {"type", "name", "id", "updateTime", "startTime", "endTime"}

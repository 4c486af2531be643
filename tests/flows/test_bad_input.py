"""Bad input that only Earth Engine, the disk or a library can tell: one message, before any pixel request.

What a form can tell is in test_parameters.py.
"""

import json
import math

import pytest
import requests
from pydantic import ValidationError

from flows.parameters import PatchesParameters, RegionParameters, TimeseriesParameters
from flows.patches import extract_patches
from flows.region import extract_region
from flows.timeseries import extract_timeseries
from tasks.errors.input import InputError
from tests.given import bare, parameters_of

SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
LAKE = [-54.60, -25.30, -54.55, -25.26]
S2 = {"recipe": "sentinel2_median", "parameters": {"start": "2020-05-01", "end": "2020-06-01"}}
POINT = {"type": "Point", "coordinates": [-54.58, -25.28]}


def feature_collection(*geometries):
    features = [{"type": "Feature", "properties": {}, "geometry": geometry} for geometry in geometries]
    return {"type": "FeatureCollection", "features": features}


def call(name, **arguments):
    invocation = {"functionName": name, "arguments": arguments}
    return {"result": "0", "values": {"0": {"functionInvocationValue": invocation}}}


JOBS = {
    "region": (extract_region, RegionParameters, {"image": {"asset": SCENE}, "scale": 30, "region": LAKE}),
    "timeseries": (
        extract_timeseries,
        TimeseriesParameters,
        {
            "image": {"asset": "MODIS/061/MOD13Q1"},
            "bands": ["NDVI"],
            "scale": 250,
            "region": LAKE,
            "start": "2020-01-01",
            "end": "2020-02-01",
        },
    ),
    "patches": (
        extract_patches,
        PatchesParameters,
        {"image": {"asset": SCENE}, "scale": 30, "points": feature_collection(POINT)},
    ),
}

# What all three flows take: name of the case, what is changed, words that the message must hold.
COMMON = [
    ("no such asset", {"image": {"asset": "projects/sandbox/assets/nope"}}, ["image", "nope", "catalog"]),
    ("no such public asset", {"image": {"asset": "NASA/NOPE"}}, ["image", "NASA/NOPE"]),
    ("no such band", {"bands": ["B4", "B99"]}, ["bands", "B99", "There are"]),
    ("no such recipe", {"image": {"recipe": "composite"}}, ["image", "composite", "sentinel2_median"]),
    ("no such module", {"image": {"recipe": "no_such_module:f"}}, ["image", "no_such_module:f", "module:func"]),
    ("no such function", {"image": {"recipe": "math:f"}}, ["image", "math:f"]),
    ("no function at all", {"image": {"recipe": "math:pi"}}, ["image", "math:pi", "function"]),
    (
        "recipe without parameters",
        {"image": {"recipe": "sentinel2_median"}},
        ["recipe_parameters.start", "takes start"],
    ),
    (
        "recipe parameter of a wrong type",
        {"image": {"recipe": "sentinel2_median", "parameters": {"start": "soon", "end": "2020-01-01"}}},
        ["recipe_parameters.start", "soon"],
    ),
    (
        "recipe parameter out of bounds",
        {"image": {"recipe": "sentinel2_median", "parameters": S2["parameters"] | {"max_cloud": 101}}},
        ["recipe_parameters.max_cloud", "101", "100"],
    ),
    (
        "recipe parameter unknown",
        {"image": {"recipe": "sentinel2_median", "parameters": S2["parameters"] | {"colour": "red"}}},
        ["recipe_parameters.colour", "red"],
    ),
    (
        "recipe dates reversed",
        {"image": {"recipe": "sentinel2_median", "parameters": {"start": "2020-06-01", "end": "2020-05-01"}}},
        ["recipe_parameters.end", "2020-05-01", "start"],
    ),
    ("expression that is none", {"image": {"expression": {"foo": 1}}}, ["image", "foo"]),
    (
        "expression with an unknown function",
        {"image": {"expression": call("Image.nope")}},
        ["image", "Image.nope"],
    ),
    (
        "expression of another kind",
        {"image": {"expression": call("Number.add", left={"constantValue": 1}, right={"constantValue": 2})}},
        ["image", "not"],
    ),
    (
        "expression that refers to itself",
        {"image": {"expression": {"result": "0", "values": {"0": {"valueReference": "0"}}}}},
        ["image", "itself"],
    ),
    (
        "as of a day without growth",
        {"image": {"recipe": "elevation", "as_of": "2020-01-01"}},
        ["as_of", "elevation"],
    ),
    ("as of before the start", {"image": S2 | {"as_of": "2020-01-01"}}, ["as_of", "2020-01-01", "start"]),
    ("a recipe that is no recipe", {"image": {"recipe": "os:getcwd"}}, ["image", "os:getcwd", "returns str"]),
    ("a recipe without names", {"image": {"recipe": "os:path.join"}}, ["image", "os:path.join"]),
    ("no such CRS", {"crs": "EPSG:99999999"}, ["crs", "EPSG:99999999", "EPSG:32633"]),
    ("CRS of nonsense", {"crs": "round the corner"}, ["crs", "round the corner", "Give"]),
    ("CRS in three dimensions", {"crs": "EPSG:4978"}, ["crs", "EPSG:4978", "horizontal"]),
    ("project of nonsense", {"project": "My Project!"}, ["project", "My Project!", "EARTHENGINE_PROJECT"]),
    ("endpoint of nonsense", {"endpoint": "earthengine"}, ["endpoint", "earthengine", "https"]),
    ("endpoint with a password", {"endpoint": "http://me:secret@127.0.0.1"}, ["endpoint", "(not shown)", "password"]),
    ("endpoint with only a password", {"endpoint": "https://:secret@example.com"}, ["endpoint", "(not shown)"]),
    ("endpoint with a key", {"endpoint": "http://127.0.0.1:1?key=secret"}, ["endpoint", "(not shown)"]),
    ("endpoint of half an address", {"endpoint": "http://[::1"}, ["endpoint", "https"]),
    ("endpoint of no port", {"endpoint": "http://127.0.0.1:99999999"}, ["endpoint", "https"]),
    ("clear text to elsewhere", {"endpoint": "http://192.0.2.1:9080"}, ["endpoint", "192.0.2.1", "https"]),
    ("a key for its file", {"credentials_file": '{"key": "secret"}' * 50}, ["credentials_file", "(not shown)"]),
    ("no such key file", {"credentials_file": "/nowhere/key.json"}, ["credentials_file", "/nowhere/key.json"]),
    ("output is a file", {"output": "{tmp}/text.txt"}, ["output", "text.txt", "folder"]),
    ("output below a file", {"output": "{tmp}/text.txt/x"}, ["output", "text.txt", "folder"]),
]
REGION = [
    ("more than allowed", {"max_requests": 1, "tile_size": 16}, ["max_requests", "on purpose"]),
    ("outside UTM", {"image": {"recipe": "elevation"}, "bands": None, "region": [1, -89.9, 2, -89.8]}, ["utm", "84"]),
    ("reversed box", {"region": [305.5, -25.3, 305.4, -25.2]}, ["region", "305.5", "west"]),
    ("south above north", {"region": [-54.6, -25.2, -54.5, -25.3]}, ["region", "-25.2", "south"]),
    ("no area", {"region": [-54.6, -25.3, -54.6, -25.3]}, ["region", "area"]),
    ("three numbers", {"region": [1, 2, 3]}, ["region", "four"]),
    ("outside the world", {"region": [-54.6, -25.3, 541, -25.2]}, ["region", "541", "180"]),
    ("not GeoJSON", {"region": {"type": "Circle"}}, ["region", "GeoJSON"]),
    ("a point", {"region": POINT}, ["region", "area"]),
    ("no such file", {"region": "{tmp}/nope.geojson"}, ["region", "nope.geojson"]),
    ("text of another kind", {"region": "POLYGON ((" + "1 2, " * 99 + "1 2))"}, ["region", "POLYGON", "GeoJSON"]),
    ("nobody's home", {"region": "~no-such-user/x.gpkg"}, ["region", "~no-such-user"]),
    ("unreadable file", {"region": "{tmp}/text.txt"}, ["region", "text.txt"]),
    ("too large a tile", {"tile_size": 32768, "region": [-60, -30, -50, -20]}, ["tile_size", "50331648", "at most"]),
    ("nowhere near", {"region": [10, 50, 10.1, 50.1]}, ["region", "10", "Give a place on the image"]),
    ("too coarse", {"scale": 30, "crs": "EPSG:4326"}, ["scale", "30", "degree"]),
]
OWN = {
    "region": [
        *REGION,
        ("a collection", {"image": {"asset": "MODIS/061/MOD13Q1"}}, ["image", "IMAGE_COLLECTION", "time series"]),
        (
            "a recipe of a collection",
            {"image": {"recipe": "modis_ndvi"}},
            ["image", "modis_ndvi", "time series"],
        ),
        ("native grid of a composite", {"image": S2, "crs": "native", "scale": None}, ["crs", "native", "scale"]),
        ("native grid elsewhere", {"region": [1, 1, 2, 2], "crs": "native", "scale": None}, ["region", "touch"]),
        ("no end", {"image": {"recipe": "elevation"}, "region": None}, ["region", "None", "Give a region"]),
        (
            "two bands in a picture",
            {"bands": ["B2", "B3"], "file_format": "PNG"},
            ["bands", "B2", "PNG", "1 band or 3"],
        ),
    ],
    "timeseries": [
        *(case for case in REGION if case[0] not in {"outside UTM", "nowhere near"}),
        ("an image", {"image": {"asset": "USGS/SRTMGL1_003"}, "bands": None}, ["image", "IMAGE", "collection"]),
        ("a recipe of an image", {"image": S2, "bands": None}, ["image", "sentinel2_median", "collection"]),
        ("nothing then", {"start": "1970-01-01", "end": "1971-01-01"}, ["start", "1970-01-01", "Widen"]),
        (
            "nothing there",
            {"image": {"asset": "COPERNICUS/S2_SR_HARMONIZED"}, "bands": ["B4"], "region": [1, 1, 2, 2]},
            ["start", "no image", "Widen"],
        ),
    ],
    "patches": [
        ("no such file", {"points": "{tmp}/nope.csv"}, ["points", "nope.csv"]),
        ("unreadable file", {"points": "{tmp}/text.txt"}, ["points", "text.txt"]),
        ("no columns", {"points": "{tmp}/text.csv"}, ["points", "text.csv", "lon"]),
        ("not a number", {"points": "{tmp}/nan.csv"}, ["points", "nan.csv", "1"]),
        ("outside the world", {"points": feature_collection(POINT | {"coordinates": [200, 0]})}, ["points", "200"]),
        ("no point", {"points": feature_collection()}, ["points", "at least one"]),
        (
            "a polygon",
            {"points": feature_collection({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]})},
            ["points", "0"],
        ),
        ("too large a patch", {"size": 32768}, ["size", "32768", "50331648", "at most"]),
        (
            "nowhere near",
            {"points": feature_collection(POINT | {"coordinates": [-25.2, -54.6]})},
            ["points", "Give longitude first"],
        ),
        (
            "outside UTM",
            {"image": {"recipe": "elevation"}, "points": feature_collection(POINT | {"coordinates": [0, 89]})},
            ["utm", "84"],
        ),
        ("a collection", {"image": {"asset": "MODIS/061/MOD13Q1"}}, ["image", "IMAGE_COLLECTION"]),
    ],
}


def cases():
    for name, (flow, model, good) in JOBS.items():
        for title, change, words in [*COMMON, *OWN[name]]:
            yield pytest.param(flow, model, good | change, words, id=f"{name}-{title}")


def filled(value, folder):
    """The same with the folder of this test in its paths."""
    return json.loads(json.dumps(value).replace("{tmp}", str(folder)))


def pixel_requests(url):
    return requests.get(f"{url}/sandbox/statistics", timeout=10).json()["pixel_requests"]


@pytest.mark.parametrize(("flow", "model", "given", "words"), list(cases()))
def test_it_is_refused_before_any_pixel_request(*, flow, model, given, words, place, sandbox_url, tmp_path):
    (tmp_path / "text.txt").write_text("just text")
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    (tmp_path / "nan.csv").write_text("lon,lat\n1,2\n,3\n")
    before = pixel_requests(sandbox_url)
    try:
        parameters = parameters_of(model, **place | filled(given, tmp_path))
    except ValidationError as error:  # what may be a secret is refused before Prefect could store it
        message = error.errors()[0]["msg"]
    else:
        state = flow.fn(**parameters.given())
        assert state.is_failed()
        assert isinstance(state.data, InputError)
        message = str(state.data)
    for word in words:
        assert word in message, message
    assert "secret" not in message
    assert "\n" not in message
    assert pixel_requests(sandbox_url) == before


def test_without_a_project_the_message_says_where_to_put_one(sandbox_url, tmp_path, monkeypatch):
    monkeypatch.delenv("EARTHENGINE_PROJECT", raising=False)
    state = bare(extract_region, image=SCENE, scale=30, endpoint=sandbox_url)
    assert "EARTHENGINE_PROJECT" in state.message


def test_without_credentials_nothing_is_sent_to_the_real_service(tmp_path, monkeypatch):
    """No file of `earthengine authenticate`, no Application Default Credentials, no network: a message, not a hang."""
    for name in ("HOME", "CLOUDSDK_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    state = bare(extract_region, image=SCENE, scale=30, project="my-project", output=str(tmp_path / "out"))
    assert "credentials" in state.message
    assert "earthengine authenticate" in state.message


def test_a_key_file_that_is_none_is_refused_without_its_text(tmp_path):
    key = tmp_path / "key.json"
    key.write_text('{"private_key": "very-secret"}')
    state = bare(
        extract_region,
        image=SCENE,
        scale=30,
        project="my-project",
        credentials_file=str(key),
        output=str(tmp_path / "out"),
    )
    assert "credentials_file" in state.message
    assert "very-secret" not in state.message


def test_more_bands_than_a_request_may_have_are_refused(place):
    constant = {"functionName": "Image.constant", "arguments": {"value": {"constantValue": [0] * 1024}}}
    expression = {"result": "0", "values": {"0": {"functionInvocationValue": constant}}}
    state = bare(extract_region, image={"expression": expression}, scale=30, region=LAKE, tile_size=16, **place)
    assert "bands = 1152: more than 1024 in one request, mask bands counted" in state.message


def test_the_largest_tile_that_is_named_fits(place):
    """The remedy is true: with the size that the message names, the plan is made."""
    given = {"image": {"asset": SCENE}, "scale": 1.0, "region": [-54.7, -25.4, -54.5, -25.2], "masks": "unknown"}
    refused = bare(extract_region, **given, tile_size=32768, **place)
    fits = int(refused.message.split("at most ")[1].split(",")[0])
    assert fits == math.isqrt(50_331_648 // 9)

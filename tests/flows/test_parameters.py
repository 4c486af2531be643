"""Bad input: every field of every flow x {missing, wrong type, out of bounds, wrong in meaning}.

Each gives one message that names field, value and remedy. What only Earth Engine or the disk can tell is in
test_bad_input.py.
"""

import json
import math
import re
from pathlib import PurePath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.command_line import run
from flows.image_parameters import ExpressionImage, RecipeImage, StoredImage
from flows.parameters import PatchesParameters, RegionParameters, TimeseriesParameters
from flows.region import extract_region
from flows.written_value import pairs
from tasks.errors.input import InputError
from tests.given import parameters_of

GOOD = {
    RegionParameters: {"image": {"asset": "a/b"}, "scale": 30, "region": [1, 2, 3, 4]},
    TimeseriesParameters: {
        "image": {"asset": "a/b"},
        "scale": 30,
        "region": [1, 2, 3, 4],
        "start": "2020-01-01",
        "end": "2020-02-01",
    },
    PatchesParameters: {"image": {"asset": "a/b"}, "scale": 30, "points": "points.csv"},
}
# field: {kind of wrong: value}; what Extraction has is tried in all three flows.
WRONG = {
    "image": {
        "missing": None,
        "type": 3,
        "no id": "elevations",
        "no JSON": "{",
        "empty": {"asset": ""},
        "two": {"asset": "a", "recipe": "b"},
        "none": {},
        "unknown": {"asset": "a", "foo": 1},
        "parameters": {"recipe": "r", "parameters": "x"},
        "as_of": {"recipe": "r", "as_of": "yesterday"},
        "expression": {"expression": "text"},
        "name": {"expression": {"result": "0", "values": {}}, "name": "../x"},
    },
    "recipe_parameters": {"type": 3, "list": [1], "no pair": "start", "twice": "a=1, a=2", "of an asset": {"start": 3}},
    "label": {"type": 3, "path": "a/b", "long": "a" * 41, "lines": "a\nb"},
    "as_of": {"type": "soon", "of an asset": "2020-01-01"},
    "bands": {
        "type": 7,
        "twice": ["B1", "B1"],
        "inner type": [1.5],
        "many": [str(i) for i in range(1025)],
    },
    "crs": {"type": 4326, "empty": ""},
    "scale": {
        "missing": None,
        "type": "wide",
        "zero": 0,
        "negative": -30,
        "infinite": math.inf,
        "nan": math.nan,
        "with native": {"crs": "native", "scale": 30},
    },
    "anchor": {"type": "corner", "one": [15], "three": [1, 2, 3], "infinite": [math.inf, 0]},
    "file_format": {"type": 3, "meaning": "TF_RECORD_IMAGE"},
    "codec": {"type": 3, "meaning": "lzma"},
    "masks": {"type": 3, "meaning": "maybe"},
    "visualization": {
        "type": "bright",
        "without picture": {"min": 0, "max": 1},
        "unknown": {"brightness": 3},
        "reversed": {"min": 3, "max": 1},
        "gamma": {"gamma": 0},
        "colour": {"palette": ["00ff00", "12345"]},
    },
    "output": {
        "type": 3,
        "empty": "",
        "scheme": "s3://bucket/x",
        "bucket": "gs://Bucket/x",
        "up": "gs://bucket/../x",
        "gap": "gs://bucket/a//b",
    },
    "verify": {"other": "slow"},
    "run_retries": {"negative": -1, "many": 101},
    "run_retry_delay": {"negative": -1, "long": 100_000},
    "connection": {"type": 3, "name alone": "pixel-quarry", "another type": "gcs-bucket/pixels"},
    "project": {
        "type": 3,
        "beside a connection": {"project": "my-project", "connection": "earth-engine-connection/pixel-quarry"},
    },
    "endpoint": {
        "type": 3,
        "beside a connection": {"endpoint": "https://a.example", "connection": "earth-engine-connection/pixel-quarry"},
    },
    "credentials_file": {
        "type": 3,
        "beside a connection": {"credentials_file": "/key", "connection": "earth-engine-connection/pixel-quarry"},
    },
    "requests_in_flight": {"type": "many", "zero": 0, "large": 1001, "fraction": 1.5},
    "read_deadline": {"type": "long", "zero": 0, "negative": -1, "large": 1e9, "nan": math.nan},
    "computation_limit": {"type": "long", "negative": -1, "large": 1e9, "nan": math.nan},
    "hedged_share": {"type": "few", "negative": -0.01, "large": 0.02, "nan": math.nan},
    "requests_per_second": {"type": "many", "zero": 0, "negative": -1, "large": 1e9, "nan": math.nan},
    "workload_tag": {"type": 3, "capitals": "Run 7", "end": "run-", "long": "a" * 64, "lines": "run\n"},
    "plan_only": {"type": "perhaps"},
    "layer": {"type": 3},
    "max_requests": {"type": "all", "zero": 0},
    "allow_failures": {"type": "perhaps"},
}
OWN = {
    RegionParameters: {
        "region": {"type": 3, "letters": [1, 2, "a", 4]},
        "tile_size": {"type": "x", "small": 15, "large": 32769, "fraction": 20.5},
        "layer": {"type": 3, "of a box": "wells", "of no region": {"layer": "wells", "region": None}},
        "clip": {"type": "perhaps", "of a picture": {"clip": True, "file_format": "PNG"}},
    },
    TimeseriesParameters: {
        "start": {"missing": None, "type": "soon", "no such day": "2020-02-30"},
        "end": {"type": "soon", "same": "2020-01-01", "reversed": "2019-01-01"},
        "region": {"missing": None, "type": 3},
        "tile_size": {"small": 15},
        "clip": {"of unknown masks": {"clip": True, "masks": "unknown"}},
        "per_feature": {"type": "each", "files of NPY": {"per_feature": "files", "file_format": "NPY"}},
        "group_by": {"unknown": "orbit", "type": 3},
        "missing_bands": {
            "unknown": "ignore",
            "type": 3,
            "of unknown masks": {"missing_bands": "mask", "masks": "unknown"},
        },
    },
    PatchesParameters: {
        "points": {"missing": None, "type": 3, "list": [1, 2]},
        "size": {"type": "x", "zero": 0, "large": 32769},
    },
}


# Parts of an image that are parameters of their own.
NAMED = {"image": ["image", "recipe_parameters", "as_of"]}


def matrix():
    for model, good in GOOD.items():
        for field, wrongs in {**WRONG, **OWN[model]}.items():
            for kind, value in wrongs.items():
                # Where two fields contradict each other, both are given.
                together = isinstance(value, dict) and field in value
                given = good | (value if together else {field: value})
                yield pytest.param(model, given, field, id=f"{model.__name__}-{field}-{kind}")
        for field, info in model.model_fields.items():
            if info.is_required():
                given = {key: value for key, value in good.items() if key != field}
                yield pytest.param(model, given, field, id=f"{model.__name__}-{field}-absent")
        yield pytest.param(model, good | {"colour": "red"}, "colour", id=f"{model.__name__}-unknown")


@pytest.mark.parametrize(("model", "given", "field"), list(matrix()))
def test_bad_input_is_named_with_its_value_and_a_remedy(model, given, field):
    with pytest.raises(ValidationError) as caught:
        parameters_of(model, **given)
    (error,) = caught.value.errors()
    message = error["msg"]
    assert message.startswith(tuple(f"{name}{end}" for name in NAMED.get(field, [field]) for end in (" = ", "."))), (
        message
    )
    reason, _, remedy = message.partition(": ")[2].partition(". ")
    assert reason
    assert len(remedy) > 10
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"scale": -20}, "--scale=-20"),
        ({"scale": "wide"}, "--scale=wide"),
        ({"image": "elevations"}, "--image=elevations"),
        ({"region": "1,2,3"}, "--region=1,2,3"),
        ({"masks": "maybe"}, "--masks=maybe"),
        ({"recipe_parameters": "start"}, "--recipe-parameters=start"),
        ({"label": "a/b"}, "--label=a/b"),
        ({"connection": "pixel-quarry"}, "--connection=pixel-quarry"),
        ({"output": "s3://bucket/x"}, "--output=s3://bucket/x"),
        ({"advanced": {"tile_size": 3}}, "--tile-size=3"),
    ],
)
def test_a_fault_has_the_same_words_from_python_a_deployment_and_a_command_line(wrong, option, capsys):
    """A form and `prefect deployment run -p` send what a deployment's run gets."""
    given = {"image": "a/b", "scale": 30, "region": [1, 2, 3, 4], **wrong}
    with pytest.raises(InputError) as raised:
        extract_region(**given)
    assert extract_region.fn(**given).message == f"InputError: {raised.value}"
    name = next(iter(wrong))
    words = [
        f"--{key}={value}" for key, value in {"image": "a/b", "scale": 30, "region": "1,2,3,4"}.items() if key != name
    ]
    with pytest.raises(SystemExit):
        run(["region", *words, option])
    assert capsys.readouterr().err.strip() == str(raised.value)


def test_the_matrix_covers_every_field():
    for model in GOOD:
        fields = {*model.model_fields, *type(model.model_fields["advanced"].default).model_fields} - {"advanced"}
        assert fields == {*WRONG, *OWN[model]}


@pytest.mark.parametrize("model", list(GOOD), ids=lambda model: model.__name__)
def test_every_field_says_what_it_is(model):
    for name, schema in model.model_json_schema()["properties"].items():
        description = schema.get("description") or model.model_fields[name].description
        assert len(description) > 15, name


@pytest.mark.parametrize(("model", "good"), list(GOOD.items()), ids=lambda value: getattr(value, "__name__", ""))
def test_good_input_survives_the_api(model, good):
    """What a form or a schedule sends (JSON) is what Python gives."""
    parameters = parameters_of(model, **good)
    assert model.model_validate_json(parameters.model_dump_json()) == parameters


def test_several_errors_are_told_at_once():
    with pytest.raises(ValidationError) as caught:
        parameters_of(RegionParameters, image={"asset": ""}, scale=-1)
    assert caught.value.errors()[0]["msg"].count("\n") == 1


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ({"asset": "a"}, StoredImage),
        ("a/b", StoredImage),
        ("ndvi", RecipeImage),
        ("my.module:function", RecipeImage),
        ('{"asset": "a"}', StoredImage),
        ('{"result": "0", "values": {}}', ExpressionImage),
        ({"result": "0", "values": {}}, ExpressionImage),
        ({"recipe": "r", "parameters": {"a": 1}, "as_of": "2020-01-01"}, RecipeImage),
        ({"expression": {"result": "0", "values": {}}}, ExpressionImage),
        (StoredImage(asset="a"), StoredImage),
    ],
)
def test_an_image_is_of_the_kind_that_was_given(image, kind):
    assert isinstance(parameters_of(RegionParameters, image=image, scale=30).image, kind)


LISTED = st.text() | st.lists(st.text() | st.integers()) | st.dictionaries(st.text(), st.text())
"""What JSON writes with commas or equals signs in it."""
BOX = [-54.6, -25.3, -54.55, -25.26]
GIVEN = {"image": "a/b", "region": BOX, "scale": 30}


@pytest.mark.parametrize(
    ("given", "like"),
    [
        ({"region": np.array(BOX)}, {"region": BOX}),
        ({"region": PurePath("{x}, 1.geojson")}, {"region": "./{x}, 1.geojson"}),
        ({"output": PurePath("/data/output")}, {"output": "/data/output"}),
        ({"scale": np.float32(30), "bands": np.array(["B4"])}, {"bands": ["B4"]}),
        ({"advanced": {"tile_size": np.int64(256)}}, {"advanced": {"tile_size": 256}}),
        ({"advanced": '{"tile_size": 256}'}, {"advanced": {"tile_size": 256}}),
        ({"advanced": "tile_size=256"}, {"advanced": {"tile_size": 256}}),
        ({"advanced": {"tile_size": None}}, {}),
        (dict.fromkeys(("advanced", "output", "bands", "crs", "file_format", "masks", "plan_only", "label")), {}),
    ],
    ids=["array", "path", "folder", "numbers", "number", "json", "pairs", "null within", "null"],
)
def test_what_python_has_is_what_json_has(given, like):
    read = RegionParameters.read(GIVEN | given)
    assert read == RegionParameters.read(GIVEN | like)
    assert RegionParameters.read(read.given()) == read


@pytest.mark.parametrize("advanced", [None, "", {}, "tile_size=256", '{"tile_size": 256}'])
def test_no_value_beside_advanced_is_lost(advanced):
    read = RegionParameters.read(RegionParameters.nested(GIVEN | {"advanced": advanced, "clip": "yes"}))
    assert (read.advanced.clip, read.advanced.tile_size) == ("yes", 256 if advanced else 512)


@pytest.mark.parametrize("advanced", ["x", [1], 5], ids=repr)
def test_an_advanced_value_that_is_none_is_named(advanced):
    with pytest.raises(InputError, match=re.escape(f"advanced = {advanced!r}: should be ")):
        RegionParameters.read(GIVEN | {"advanced": advanced})


@given(values=st.dictionaries(st.from_regex(r"[a-z]\w{0,5}", fullmatch=True), LISTED, min_size=1))
def test_lists_and_quoted_text_of_a_pair_are_whole(values):
    assert pairs(", ".join(f"{name}={json.dumps(value)}" for name, value in values.items())) == values

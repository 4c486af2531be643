"""Laws of what a Prefect server stores: what our models accept, it can send again; the rest is refused in our words."""

import importlib
import json
import math
import pkgutil
import sqlite3
from collections import deque
from typing import Annotated, get_args

import orjson
import pytest
from fastapi.encoders import jsonable_encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.blocks.core import Block
from pydantic import BaseModel, TypeAdapter, ValidationError

from deployments.provision.declaration import _File
from flows.command_line import COMMANDS
from flows.image_parameters import RecipeImage
from flows.parameters import PatchesParameters, RegionParameters
from flows.run_options import RunOptions
from flows.stored_value import LEVELS, check_storable, storable
from tasks import prefect_io
from tasks.errors.input import BadInputError
from tests.flows.conftest import deep
from tests.given import parameters_of

OURS = ("flows.", "tasks.", "deployments.")
GOOD = {"image": {"asset": "a/b"}, "scale": 30, "region": [1, 2, 3, 4]}


# Numbers --------------------------------------------------------------------------------------------------------------


def models():
    """The models of all flows, of all saved blocks that we define, and of the declaration."""
    yield from (model for command in COMMANDS.values() if issubclass(model := command.model(), RunOptions))
    for name in (each.name for each in pkgutil.iter_modules(prefect_io.__path__) if each.name.endswith("_block")):
        module = importlib.import_module(f"tasks.prefect_io.{name}")
        yield from (
            each
            for each in vars(module).values()
            if isinstance(each, type) and issubclass(each, Block) and each.__module__ == module.__name__
        )
    yield _File


def inner(annotation):
    """A model and all models in its fields."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from inner(field.annotation)
    for part in get_args(annotation):
        yield from inner(part)


def numbers(schema, path=""):
    """The places of a schema, with all definitions, that take a number."""
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield path, schema
        for key, part in schema.items():
            yield from numbers(part, f"{path}.{key}")
    elif isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from numbers(part, f"{path}.{number}")


@pytest.mark.parametrize("model", list(models()), ids=lambda model: model.__name__)
def test_every_number_has_bounds_of_64_bits(model):
    """The schema is what a server checks before it stores a deployment's run."""
    found = dict(numbers(model.model_json_schema()))
    assert found
    for path, schema in found.items():
        least = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf))
        most = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
        assert -(2**63) <= least < most < 2**63, path


@pytest.mark.parametrize(
    "model",
    dict.fromkeys(each for model in models() for each in inner(model) if each.__module__.startswith(OURS)),
    ids=lambda model: model.__name__,
)
@pytest.mark.parametrize(
    "number",
    [math.nan, math.inf, -math.inf, 2**70, -(2**70), 10**400, 10**5000],
    ids=["nan", "inf", "-inf", "2**70", "-2**70", "10**400", "10**5000"],
)
def test_no_field_takes_a_number_that_is_none(model, number):
    schemas = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if any(numbers(schemas[name])):
            adapter = TypeAdapter(Annotated[field.annotation, field], config=model.model_config)
            for value in (number, [number] * 2, [number] * 4):
                with pytest.raises(ValidationError):
                    adapter.validate_python(value)


# JSON -----------------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=()), max_size=4) | st.sampled_from(["a\0", "\ud800", "x"])
LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


def check_kept(checked):
    """A server reads what Prefect sends with `json`, stores it as text in SQLite, and sends it with orjson."""
    sent = jsonable_encoder(checked)
    text = json.dumps(sent, allow_nan=False, ensure_ascii=False).encode().decode()
    (stored,) = sqlite3.connect(":memory:").execute("select json(?)", (text,)).fetchone()
    assert orjson.loads(orjson.dumps(json.loads(stored))) == sent
    assert "\\u0000" not in text  # PostgreSQL does not store it


@settings(max_examples=50)
@given(value=JSON)
@pytest.mark.parametrize(
    "place",
    [
        lambda value: {"image": {"recipe": "m:f", "parameters": {"given": value}}},
        lambda value: {"image": {"expression": {"result": "0", "values": {"0": {"constantValue": value}}}}},
        lambda value: {"region": {"type": "Feature", "geometry": None, "properties": {"given": value}, "id": value}},
        lambda value: {"image": RecipeImage(recipe="m:f", parameters={"given": value})},
    ],
    ids=["recipe", "expression", "region", "model"],
)
def test_what_is_accepted_can_be_sent_again(place, value):
    try:
        checked = parameters_of(RegionParameters, **GOOD | place(value))
    except ValidationError as error:
        (wrong,) = error.errors()
        assert wrong["msg"].startswith(("image.", "region."))
        assert not {"\0", "\ud800"} & set(wrong["msg"])
    else:
        check_kept(checked)


@given(value=JSON)
def test_what_stands_in_for_a_value_can_be_sent_again(value):
    kept = storable(value)
    check_storable(kept)
    check_kept(kept)
    try:
        check_storable(value)
    except BadInputError:
        return
    assert repr(kept) == repr(value)


@pytest.mark.parametrize("levels", [LEVELS - 10, LEVELS + 1, 900, 2000, 100_000])
def test_levels_have_a_bound(levels):
    given = GOOD | {"image": {"recipe": "m:f", "parameters": {"a": deep(levels)}}}
    if levels < LEVELS:
        orjson.dumps([{"parameters": {"parameters": jsonable_encoder(parameters_of(RegionParameters, **given))}}])
        return
    with pytest.raises(ValidationError, match=f"nested in more than {LEVELS} levels"):
        parameters_of(RegionParameters, **given)
    check_storable(storable(deep(min(levels, 2000))))


def test_wide_ids_and_numbers_of_features_are_kept_as_text():
    """With all integers of the same property, so that the column is one of texts, as it is from a file."""
    rows = [{"big": 2**64, "n": 1, "m": math.nan}, {"big": 7, "n": 2, "m": 1.5}]
    features = [{"type": "Feature", "geometry": None, "properties": row, "id": 2**63 + i} for i, row in enumerate(rows)]
    given = {"type": "FeatureCollection", "features": features}
    for points in (given, json.dumps(given)):
        kept = parameters_of(PatchesParameters, image={"asset": "a/b"}, scale=30, points=points).points["features"]
        assert [each["id"] for each in kept] == [str(2**63), str(2**63 + 1)]
        assert [each["properties"] for each in kept] == [
            {"big": str(2**64), "n": 1, "m": None},
            {"big": "7", "n": 2, "m": 1.5},
        ]
    assert rows[0]["big"] == 2**64  # what the user holds is not changed


def test_features_that_can_be_stored_are_left_as_they_are():
    given = {"type": "Feature", "geometry": None, "properties": {"a": 2**63 - 1, "b": [1, {"c": None}]}, "id": -(2**63)}
    assert parameters_of(PatchesParameters, image={"asset": "a/b"}, scale=30, points=given).points == given


# Secrets --------------------------------------------------------------------------------------------------------------

SECRET = "S3CRET-abcdef"


@pytest.mark.parametrize(
    ("field", "given"),
    [
        *(
            ("image", {"image": {"asset": asset}})
            for asset in (
                f"projects/x/assets/y?access_token={SECRET}",
                f"projects/x/assets/y?key={SECRET}",
                f"projects/x/assets/y&key={SECRET}",
                f"projects/x/assets/y#{SECRET}",
                f"projects/x/assets/y {SECRET}",
                f"projects/x/assets/y\n{SECRET}",
                f"projects/x/assets/y%3Fkey={SECRET}",
                f"user:{SECRET}@projects/x/assets/y",
                f"https://user:{SECRET}@earthengine.googleapis.com/v1/projects/x/assets/y",
                f"ya29.{SECRET}",
            )
        ),
        ("image", {"image": {"recipe": f"module:f?token={SECRET}"}}),
        ("recipe_parameters", {"image": {"recipe": "m:f", "parameters": {"access_token": SECRET}}}),
        (
            "image",
            {"image": {"expression": {"values": {"0": {"constantValue": f"a?access_token={SECRET}"}}}}},
        ),
        ("output", {"output": f"gs://bucket/x?access_token={SECRET}"}),
        ("output", {"output": f"gs://user:{SECRET}@bucket/x"}),
        ("output", {"output": f"ftp://user:{SECRET}@host/x"}),
        ("endpoint", {"endpoint": f"https://user:{SECRET}@host"}),
        ("endpoint", {"endpoint": f"https://earthengine.googleapis.com?key={SECRET}"}),
        ("credentials_file", {"credentials_file": json.dumps({"private_key": SECRET})}),
        ("project", {"project": f"AIza{SECRET}"}),
        ("region", {"region": f"https://user:{SECRET}@host/x.geojson"}),
        ("region", {"region": f"s3://user:{SECRET}@host/x.geojson"}),
        ("region", {"region": f"/vsicurl/https://host/x.geojson?sig={SECRET}"}),
        ("layer", {"region": "x.gpkg", "layer": f"bearer {SECRET}{SECRET}"}),
    ],
    ids=str,
)
def test_a_secret_is_refused_and_not_shown(field, given):
    with pytest.raises(ValidationError) as caught:
        parameters_of(RegionParameters, **GOOD | given)
    assert SECRET not in str(caught.value)
    assert SECRET not in json.dumps(caught.value.errors(include_context=False, include_input=False))
    assert caught.value.errors()[0]["msg"].startswith(f"{field} = ")


@pytest.mark.parametrize(
    "given",
    [
        {"region": "eyjafjallajokull.gpkg"},
        {"region": "what?.geojson"},
        {"region": "/data/a@b/x.geojson"},
        {"image": {"asset": "projects/example.com:my-project/assets/a.b/c-d_e"}},
        {"image": {"asset": "MODIS/061/MOD13Q1"}},
        {"image": {"recipe": "m:f", "parameters": {"url": "https://host/x?y=1", "token": 3}}},
        {"crs": "+proj=laea +lat_0=-25 +lon_0=-54 +datum=WGS84"},
    ],
    ids=str,
)
def test_what_only_looks_like_one_is_accepted(given):
    parameters = parameters_of(RegionParameters, **GOOD | given)
    check_storable(parameters.model_dump(mode="json"))


@pytest.mark.parametrize("asset", ["a/../b", "..", "a/.", "a\\b", "a b", "a'b", '"', "a\u202eb", "a\0"])
def test_an_asset_id_has_plain_characters(asset):
    with pytest.raises(ValidationError, match=r"image = "):
        parameters_of(RegionParameters, **GOOD | {"image": {"asset": asset}})


# Secrets, and values that are JSON only when they are stored --------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        {"bands": ["ya29.abcdefghijklmnopqrstuvwxyz"]},
        {"region": {"type": "Feature", "geometry": None, "properties": {"a": ["ya29.abcdefghijklmnopqrstuvwxyz"]}}},
        {"region": {"type": "Feature", "geometry": None, "properties": {"ya29.abcdefghijklmnopqrstuvwxyz": 1}}},
    ],
)
def test_no_part_of_a_parameter_is_a_token(part):
    with pytest.raises(ValidationError, match="looks like a password") as caught:
        RegionParameters.model_validate(GOOD | part)
    assert "ya29" not in str(caught.value)


def test_the_number_of_a_parcel_is_no_token():
    parcel = {"type": "Feature", "geometry": None, "properties": {"lotidstring": "1//DP755113"}}
    assert RegionParameters.model_validate(GOOD | {"region": parcel}).region == parcel


@pytest.mark.parametrize("value", [deque([2**70]), deque([deque([math.nan])]), iter([1])])
def test_what_becomes_json_when_it_is_stored_is_checked_too(value):
    with pytest.raises(BadInputError, match=r"^a(\[0\])* = "):
        check_storable({"a": value})

"""Expressions as JSON: kinds of nodes, refusals; and those written as text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.sandbox.interpreter import evaluate
from deployments.sandbox.interpreter.registry import FUNCTIONS, signatures
from deployments.sandbox.raster import INT16, Pixels
from deployments.sandbox.refusal import Refusal

LAWS = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}


def constant(value: Any) -> dict[str, Any]:
    return {"constantValue": value}


def test_every_kind_of_node(bench: Any) -> None:
    values = {
        "0": {
            "dictionaryValue": {
                "values": {
                    "int": {"integerValue": "9007199254740993"},
                    "bytes": {"bytesValue": "aGk="},
                    "list": {"arrayValue": {"values": [constant(1), {"valueReference": "1"}]}},
                    "applied": {"functionInvocationValue": {"functionReference": "2", "arguments": {"x": constant(5)}}},
                    "empty": {"arrayValue": {}},
                }
            }
        },
        "1": constant("shared"),
        "2": {"functionDefinitionValue": {"argumentNames": ["x"], "body": "3"}},
        "3": call("Number.add", left={"argumentReference": "x"}, right=constant(1)),
    }
    assert evaluate({"result": "0", "values": values}, bench.shelf) == {
        "int": 2**53 + 1,
        "bytes": b"hi",
        "list": [1, "shared"],
        "applied": 6,
        "empty": [],
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"0": {"valueReference": "9"}}, "no value of key '9'"),
        ({"0": {"valueReference": "1"}, "1": {"valueReference": "0"}}, "refers to itself"),
        ({"0": {"argumentReference": "x"}}, "'x' is not bound"),
        ({"0": {"nonsense": 1}}, "unknown kind of value 'nonsense'"),
        ({"0": {"constantValue": 1, "valueReference": "0"}}, "exactly one kind"),
        ({"0": 5}, "exactly one kind"),
        ({"0": {"integerValue": "x"}}, "no integer"),
        ({"0": {"bytesValue": "%"}}, "base64"),
        ({"0": {"arrayValue": {"values": 5}}}, "'values' is missing"),
        ({"0": call("No.such")}, "Unknown function: 'No.such'"),
        ({"0": call("Image.load")}, "Image.load: Parameter 'id' is required and may not be null"),
        ({"0": call("Image.load", id=constant("a"), nope=constant(1))}, "Unrecognized argument 'nope'"),
        ({"0": call("Image.load", id=constant(["a"]))}, "Expected type: String.\nActual type: List"),
        ({"0": call("Date.millis", date=call("Reducer.mean"))}, "Expected type: Date.\nActual type: Reducer"),
        (
            {"0": call("Geometry.area", geometry=constant(1), proj=constant("EPSG:4326"))},
            "Expected type: Geometry",
        ),
    ],
)
def test_bad_expressions(bench: Any, values: Any, text: str) -> None:
    with pytest.raises(Refusal) as caught:
        evaluate({"result": "0", "values": values}, bench.shelf)
    assert text in caught.value.message
    assert caught.value.status == 400


@pytest.mark.parametrize("expression", [{}, {"result": "0"}, {"values": {}}, {"result": 0, "values": []}])
def test_what_is_no_expression(bench: Any, expression: Any) -> None:
    with pytest.raises(Refusal):
        evaluate(expression, bench.shelf)


def test_deep_expressions_are_refused(bench: Any) -> None:
    node = constant(1)
    for _ in range(5000):
        node = call("Number.add", left=node, right=constant(1))
    with pytest.raises(Refusal, match="too deeply nested"):
        evaluate({"result": "0", "values": {"0": node}}, bench.shelf)
    deep = ee.Number(1)
    for _ in range(40):
        deep = deep.add(1)
    assert bench.value(deep) == 41


def test_towers_of_images_are_refused_when_they_are_read(bench: Any, make_grid: Any) -> None:
    """A short expression can pile up any number of images: 60 can be read, 5000 cannot."""

    def tower(height: int) -> Any:
        return ee.List.sequence(1, height).iterate(lambda _i, image: ee.Image(image).add(1), ee.Image(0))

    assert bench.pixels(tower(60), make_grid(1, 1)) == {"constant": [[60]]}
    image = bench.value(tower(5000))
    with pytest.raises(Refusal, match="too deeply nested"):
        image.bands[0].read(make_grid(1, 1))


def test_every_row_has_the_signature_of_earth_engine() -> None:
    for name, row in FUNCTIONS.items():
        assert row.taken <= len(row.arguments), name
        assert row.arguments == signatures()[name]
    assert len(FUNCTIONS) > 400


def test_a_band_used_twice_is_read_once(bench: Any, make_band: Any, make_grid: Any) -> None:
    """One mask for three bands, and a node that is referred to from two places."""
    reads: list[str] = []

    def counted(band: Any) -> Any:
        def read(grid: Any) -> Pixels:
            reads.append(band.id)
            found: Pixels = band.read(grid)
            return found

        return replace(band, read=read)

    bands = [counted(make_band(name, [[1, 2]])) for name in ("B4", "B3", "B2", "SCL")]
    image = bench.put("a", *bands)
    built = image.select(["B4", "B3", "B2"]).updateMask(image.select("SCL").neq(2))
    found = bench.value(built)
    grid = make_grid(2, 1)
    pixels = {band.id: band.read(grid) for band in found.bands}
    assert {n: p.values[0][p.mask[0] > 0].tolist() for n, p in pixels.items()} == {"B4": [1], "B3": [1], "B2": [1]}
    assert sorted(reads) == ["B2", "B3", "B4", "SCL"]
    found.bands[0].read(grid)
    assert len(reads) == 4
    found.bands[0].read(make_grid(1, 1))
    assert sorted(reads[4:]) == ["B4", "SCL"]


# Expressions as text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(b('N') - b(1)) / (b(0) + other)", 0.5),
        ("1 + 2 * 3 - 4 / 2", 5.0),
        ("-2 ** 2", -4.0),
        ("2 ** 3 ** 2", 512.0),
        ("7 % 4 << 2 | 1", 13),
        ("b('N') > b('R') ? b('N') : 0", 3),
        ("!(1 < 2) || 3 >= 3 && 1", 1),
        ("0x0F & ~2", 13),
        ("max(other, 2, 1.5)", 2.0),
        ("sqrt(i.N + 6) + i[1]", 4.0),
        ("i['R'] == 1", 1),
        ("PI > 3 ? 1e3 : .5", 1000.0),
        ("sum = b('N') + other", 4),
    ],
)
def test_text(bench: Any, make_band: Any, make_grid: Any, text: str, expected: float) -> None:
    image = bench.put("n", make_band("N", [[3]], kind=INT16), make_band("R", [[1]], kind=INT16))
    built = image.expression(text, {"other": image.select("R"), "i": image})
    found = bench.pixels(built, make_grid(1, 1))
    assert list(found.values()) == [[[pytest.approx(expected)]]]
    assert list(found) == ["sum"] or not text.startswith("sum")


@LAWS
@given(data=st.data())
def test_precedence_is_that_of_c(bench: Any, data: Any) -> None:
    """Integers without division: Python binds these operators alike, but for comparisons and bits."""
    numbers = data.draw(st.lists(st.integers(0, 9), min_size=2, max_size=6))
    signs = data.draw(st.lists(st.sampled_from(["+", "-", "*"]), min_size=5, max_size=5))
    text = str(numbers[0]) + "".join(f" {s} {n}" for s, n in zip(signs, numbers[1:], strict=False))
    grid_value = bench.value(ee.Image(0).expression(text)).bands[0].type
    expected = eval(text)
    assert (grid_value.min, grid_value.max) == (expected, expected)


@pytest.mark.parametrize("text", ["b(0) +", "b(", "1 $ 2", "nope(1)", "unknown + 1", "b('Z')", "(1", "a = b(0) = 1"])
def test_bad_text(bench: Any, make_band: Any, text: str) -> None:
    image = bench.put("n", make_band("N", [[3]]))
    with pytest.raises(Refusal, match=r"Image\.(parseExpression|select|expression)"):
        bench.value(image.expression(text))

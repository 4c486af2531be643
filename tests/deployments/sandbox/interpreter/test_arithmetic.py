"""Operators against Python's own numbers, types against ranges worked out by hand."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.sandbox.raster import DOUBLE, FLOAT, INT16, INT64, UINT16, integer
from deployments.sandbox.refusal import Refusal

SMALL = st.integers(-300, 300)
LAWS = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def java_mod(a: int, b: int) -> int:
    return 0 if b == 0 else int(math.copysign(abs(a) % abs(b), a))


EXACT: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "mod": java_mod,
    "max": max,
    "min": min,
    "eq": lambda a, b: int(a == b),
    "neq": lambda a, b: int(a != b),
    "lt": lambda a, b: int(a < b),
    "lte": lambda a, b: int(a <= b),
    "gt": lambda a, b: int(a > b),
    "gte": lambda a, b: int(a >= b),
    "And": lambda a, b: int(bool(a) and bool(b)),
    "Or": lambda a, b: int(bool(a) or bool(b)),
    "bitwiseAnd": operator.and_,
    "bitwiseOr": operator.or_,
    "bitwiseXor": operator.xor,
}


@pytest.mark.parametrize("name", EXACT)
@LAWS
@given(pairs=st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=6))
def test_integers_as_python_computes_them(
    bench: Any, make_band: Any, make_grid: Any, name: str, pairs: list[tuple[int, int]]
) -> None:
    left = bench.put("a", make_band("B1", [[a for a, _ in pairs]], kind=INT16))
    right = bench.put("b", make_band("B1", [[b for _, b in pairs]], kind=INT16))
    built = getattr(left, name)(right)
    expected = [EXACT[name](a, b) for a, b in pairs]
    assert bench.pixels(built, make_grid(len(pairs), 1)) == {"B1": [expected]}
    numbers = [bench.value(getattr(ee.Number(a), name)(ee.Number(b))) for a, b in pairs]
    assert numbers == expected


@LAWS
@given(pairs=st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=6))
def test_division_is_fractional_and_by_zero_is_zero(
    bench: Any, make_band: Any, make_grid: Any, pairs: list[tuple[int, int]]
) -> None:
    left = bench.put("a", make_band("B1", [[a for a, _ in pairs]], kind=INT16))
    right = bench.put("b", make_band("B1", [[b for _, b in pairs]], kind=INT16))
    (row,) = bench.pixels(left.divide(right), make_grid(len(pairs), 1))["B1"]
    for found, (a, b) in zip(row, pairs, strict=True):
        exact = Fraction(a, b) if b else Fraction(0)
        assert abs(Fraction(found) - exact) <= abs(exact) * Fraction(1, 2**24)


@LAWS
@given(value=st.integers(0, 2**16 - 1), places=st.integers(0, 15))
def test_shifts_are_products_and_quotients_of_powers_of_two(
    bench: Any, make_band: Any, make_grid: Any, value: int, places: int
) -> None:
    image = bench.put("a", make_band("QA", [[value]], kind=UINT16))
    up, down = image.leftShift(places), image.rightShift(places)
    assert bench.pixels(up, make_grid(1, 1)) == {"QA": [[value * 2**places]]}
    assert bench.pixels(down, make_grid(1, 1)) == {"QA": [[value // 2**places]]}
    assert bench.value(up).bands[0].type == integer(0, (2**16 - 1) * 2**places)


def test_the_left_value_of_atan2_is_x(bench: Any, make_grid: Any) -> None:
    """The examples of developers.google.com/earth-engine/apidocs/ee-number-atan2."""
    for x, y, angle in ((0, 0, 0), (1, 0, 0), (0, 1, math.pi / 2), (-1, 0, math.pi), (0, -1, -math.pi / 2)):
        assert bench.value(ee.Number(x).atan2(y)) == pytest.approx(angle)
        image = bench.pixels(ee.Image(x).atan2(ee.Image(y)), make_grid(1, 1))
        assert image["constant"][0][0] == pytest.approx(angle)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("abs", abs),
        ("sqrt", math.sqrt),
        ("exp", math.exp),
        ("log", math.log),
        ("log10", math.log10),
        ("sin", math.sin),
        ("cos", math.cos),
        ("tan", math.tan),
        ("atan", math.atan),
        ("floor", math.floor),
        ("ceil", math.ceil),
    ],
)
def test_functions_of_one_value(
    bench: Any, make_band: Any, make_grid: Any, name: str, oracle: Callable[[float], float]
) -> None:
    given_values = [0.25, 1.5, 2.75]
    image = bench.put("a", make_band("x", [given_values], kind=DOUBLE))
    (row,) = bench.pixels(getattr(image, name)(), make_grid(3, 1))["x"]
    assert row == pytest.approx([oracle(v) for v in given_values])


def test_halves_round_up(bench: Any) -> None:
    assert [bench.value(ee.Number(v).round()) for v in (0.5, 1.5, 2.5, -0.5, -1.5)] == [1, 2, 3, 0, -1]


def test_undefined_results_are_masked(bench: Any, make_band: Any, make_grid: Any) -> None:
    image = bench.put("a", make_band("x", [[-4, 9, 16]], kind=INT16))
    assert bench.pixels(image.sqrt(), make_grid(3, 1)) == {"x": [[None, 3.0, 4.0]]}


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda a, _b: a.add(a), ("INT", 0, 510)),
        (lambda a, b: a.subtract(b), ("INT", -65535, 255)),
        (lambda a, b: a.multiply(b), ("INT", 0, 255 * 65535)),
        (lambda a, _b: a.add(1), ("INT", 1, 256)),
        (lambda a, _b: a.multiply(-2), ("INT", -510, 0)),
        (lambda a, _b: a.divide(10), ("FLOAT", 0, 25.5)),
        (lambda a, b: a.divide(b), ("FLOAT", None, None)),
        (lambda a, _b: a.multiply(0.5), ("DOUBLE", 0, 127.5)),
        (lambda a, b: a.gt(b), ("INT", 0, 1)),
        (lambda a, b: a.max(b), ("INT", 0, 65535)),
        (lambda a, b: a.min(b), ("INT", 0, 255)),
        (lambda a, _b: a.bitwiseAnd(1 << 3), ("INT", 0, 255)),
        (lambda a, _b: a.toInt16(), ("INT", -32768, 32767)),
        (lambda a, _b: a.toFloat(), ("FLOAT", None, None)),
        (lambda a, _b: a.mask(), ("FLOAT", 0, 1)),
        (lambda a, _b: a.sqrt(), ("FLOAT", None, None)),
        (lambda a, _b: a.toInt64().multiply(a.toInt64()), ("DOUBLE", None, None)),
        (lambda _a, _b: ee.Image(3), ("INT", 3, 3)),
        (lambda _a, _b: ee.Image(0.5), ("DOUBLE", 0.5, 0.5)),
        (lambda a, _b: a.clamp(10, 20), ("INT", 10, 20)),
        (lambda a, _b: a.unitScale(0, 10), ("FLOAT", None, None)),
    ],
)
def test_types(bench: Any, make_band: Any, build: Any, expected: tuple[Any, ...]) -> None:
    """Ranges worked out by hand from a byte and an unsigned 16-bit band."""
    a = bench.put("a", make_band("B1", [[1]]))
    b = bench.put("b", make_band("B1", [[1]], kind=UINT16))
    found = bench.value(build(a, b)).bands[0].type
    assert (found.precision, found.min, found.max) == expected


def test_products_of_large_integers_do_not_wrap(bench: Any, make_band: Any, make_grid: Any) -> None:
    image = bench.put("a", make_band("B1", [[2e18, 3]], kind=INT64))
    (row,) = bench.pixels(image.multiply(image), make_grid(2, 1))["B1"]
    assert row == [pytest.approx(4e36), 9.0]


def test_casts_cut_and_saturate(bench: Any, make_band: Any, make_grid: Any) -> None:
    """Source: developers.google.com/earth-engine/apidocs/ee-number-touint8."""
    image = bench.put("a", make_band("x", [[1.7, -1.7, 300.2, -5e9, 5e9]], kind=DOUBLE))
    grid = make_grid(5, 1)
    assert bench.pixels(image.toUint8(), grid)["x"] == [[1, 0, 255, 0, 255]]
    assert bench.pixels(image.toInt8(), grid)["x"] == [[1, -1, 127, -128, 127]]
    assert bench.pixels(image.toInt32(), grid)["x"] == [[1, -1, 300, -(2**31), 2**31 - 1]]
    assert bench.pixels(image.toInt64(), grid)["x"] == [[1, -1, 300, -5 * 10**9, 5 * 10**9]]
    assert bench.pixels(image.cast({"x": "short"}), grid)["x"] == [[1, -1, 300, -32768, 32767]]
    assert bench.value(image.toUint8()).bands[0].read(grid).values.dtype == "u1"
    assert bench.value(ee.Number(12345).toUint8()) == 255
    assert bench.value(ee.Number(2**70 * 1.0).toLong()) == 2**63 - 1


def test_a_single_band_goes_with_all_and_names_come_first(bench: Any, make_band: Any, make_grid: Any) -> None:
    two = bench.put("two", make_band("B4", [[1, 2]]), make_band("B3", [[30, 40]]))
    swapped = bench.put("swapped", make_band("B3", [[5, 6]]), make_band("B4", [[7, 8]]))
    other = bench.put("other", make_band("x", [[5, 6]]), make_band("y", [[7, 8]]))
    one = bench.put("one", make_band("m", [[100, 200]]))
    grid = make_grid(2, 1)
    assert bench.pixels(two.add(one), grid) == {"B4": [[101, 202]], "B3": [[130, 240]]}
    assert bench.pixels(one.add(two), grid) == {"B4": [[101, 202]], "B3": [[130, 240]]}
    assert bench.pixels(two.add(swapped), grid) == {"B4": [[8, 10]], "B3": [[35, 46]]}
    assert bench.pixels(two.add(other), grid) == {"B4": [[6, 8]], "B3": [[37, 48]]}
    three = two.addBands(one)
    with pytest.raises(Refusal, match="Got 3 and 2"):
        bench.value(three.add(two))


def test_bits_of_fractions_are_refused(bench: Any, make_band: Any) -> None:
    image = bench.put("a", make_band("x", [[1]], kind=FLOAT))
    with pytest.raises(Refusal, match="Bitwise operands must be integer only"):
        bench.value(image.bitwiseAnd(1))


def test_masks_meet(bench: Any, make_band: Any, make_grid: Any) -> None:
    a = bench.put("a", make_band("x", [[1, 2, 3]], mask=[[1, 0.5, 0]]))
    b = bench.put("b", make_band("x", [[1, 2, 3]], mask=[[0.25, 1, 1]]))
    found = bench.value(a.add(b)).bands[0].read(make_grid(3, 1))
    assert found.mask.tolist() == [[0.25, 0.5, 0.0]]

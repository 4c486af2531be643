"""Small requests that ask for too much are refused, and refused soon."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from deployments.sandbox.interpreter import evaluate, to_json
from deployments.sandbox.interpreter.patterns import pattern
from deployments.sandbox.raster import Grid, Image
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.scenes import open_catalogue

ROOT = Path(__file__).parents[3]


def call(name: str, /, **arguments: Any) -> dict[str, Any]:
    return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}


def constant(value: Any) -> dict[str, Any]:
    return {"constantValue": value}


def value(node: dict[str, Any], **others: dict[str, Any]) -> Any:
    return to_json(evaluate({"result": "0", "values": {"0": node, **others}}, open_catalogue()))


def tower(base: dict[str, Any], height: int, level: Any) -> dict[str, Any]:
    """An expression of so many levels, each made by ``level`` of a reference to the one below, used twice."""
    values = {"0": base}
    for i in range(height):
        values[str(i + 1)] = level({"valueReference": str(i)})
    return {"result": str(height), "values": values}


TOWERS = {
    "text": (constant("ab"), lambda ref: call("String.cat", string1=ref, string2=ref)),
    "list": (constant([1]), lambda ref: call("List.cat", list=ref, other=ref)),
    "nested": (constant(1), lambda ref: {"arrayValue": {"values": [ref, ref]}}),
    "dictionary": (constant(1), lambda ref: {"dictionaryValue": {"values": {"a": ref, "b": ref}}}),
    "bands": (constant(1), lambda ref: call("Image.addBands", dstImg=ref, srcImg=ref)),
    "collection": (
        call("ImageCollection.fromImages", images=constant([1])),
        lambda ref: call("ImageCollection.merge", collection1=ref, collection2=ref),
    ),
}


@pytest.mark.parametrize("kind", TOWERS)
def test_doubling_is_refused_where_it_grows_too_large(kind: str) -> None:
    base, level = TOWERS[kind]
    to_json(evaluate(tower(base, 5, level), open_catalogue()))
    for height in (39, 59):
        with pytest.raises(Refusal, match="Computed value is too large") as caught:
            evaluate(tower(base, height, level), open_catalogue())
        assert caught.value.status == 400


def test_what_is_sent_is_weighed_whole() -> None:
    """Ten thousand references to one collection of 30 images with their properties weigh little until they are sent."""
    loaded = call("ImageCollection.load", id=constant("COPERNICUS/S2_SR_HARMONIZED"))
    with pytest.raises(Refusal, match="Computed value is too large"):
        value(call("List.repeat", value={"valueReference": "1"}, count=constant(10_000)), **{"1": loaded})


def test_loops_in_loops_have_an_end() -> None:
    numbers = call("List.sequence", start=constant(1), end=constant(3_000))

    def mapped(name: str, body: str) -> dict[str, Any]:
        definition = {"functionDefinitionValue": {"argumentNames": [name], "body": body}}
        return call("List.map", list=numbers, baseAlgorithm=definition)

    inner, outer = mapped("y", "2"), mapped("x", "1")
    with pytest.raises(Refusal, match=r"Computation timed out|Computed value is too large"):
        value(outer, **{"1": inner, "2": {"argumentReference": "x"}})


def test_lists_are_not_compared_for_ever() -> None:
    numbers = call("List.sequence", start=constant(1), end=constant(90_000))
    assert value(call("List.size", list=call("List.distinct", list=numbers))) == 90_000
    with pytest.raises(Refusal, match="Computation timed out"):
        value(call("List.removeAll", list=numbers, other=numbers))


NEVER_ENDING = [
    "(a+)+$",
    "(a|aa)+$",
    "(a|b?)*c",
    "(?:a*)*b",
    "((a+)?)+",
    "([a-z]+)*!",
    "(a+){2,9}$",
    r"(a+)\1+",
    "(?=(a+))a",
]


@pytest.mark.parametrize("regex", NEVER_ENDING)
def test_patterns_that_may_never_end_are_refused_by_name(regex: str) -> None:
    """By the three ways to a regular expression: strings, bands, properties."""
    ways = [
        call("String.match", input=constant("a" * 40 + "!"), regex=constant(regex)),
        call("Image.select", input=constant([1, 2]), bandSelectors=constant([regex])),
        call("Element.toDictionary", element=call("Image.constant", value=constant(1)), properties=constant([regex])),
    ]
    for node in ways:
        with pytest.raises(Refusal, match=r"sandbox supports no") as caught:
            value(node)
        assert caught.value.status == 400
        assert regex in caught.value.message


@pytest.mark.parametrize("regex", [".*.*.*.*.*.*.*x$", "a?" * 12 + "a*a*a*b", "a*" * 9 + "b"])
def test_patterns_of_too_many_ways_are_refused_on_long_texts_only(regex: str) -> None:
    assert pattern(regex).on("aabx").search("aabx") is not None
    with pytest.raises(Refusal, match="too many repeats or alternatives"):
        pattern(regex).on("a" * 200)


def test_long_patterns_texts_and_formats_are_refused() -> None:
    for node in (
        call("String.match", input=constant("a"), regex=constant("a" * 1001)),
        call("String.match", input=constant("a" * 10_001), regex=constant("b")),
        call("String.replace", input=constant("a"), regex=constant("a"), replacement=constant("b" * 1001)),
        call("Number.format", number=constant(1), pattern=constant("%999999999d")),
        call("Number.format", number=constant(1), pattern=constant("%.999999999f")),
    ):
        with pytest.raises(Refusal):
            value(node)


@pytest.mark.parametrize(
    ("regex", "text"),
    [
        (r"([A-Z]+)_([A-Z0-9]+)_([0-9]+)_(.*)", "LC08_L2SP_224078_20200518_20200820_02_T1"),
        (r"\d{8}T\d+", "20200518T134211_20200518T134209_T21JYM"),
        (r"(B2|B3|B4)(_\d+)?$", "B3_1"),
        (r"sur_refl_b0[1-7]", "sur_refl_b02"),
        (r"(?:ab){3}c?", "xxabababab"),
    ],
)
def test_patterns_that_scripts_use_match_as_ever(regex: str, text: str) -> None:
    found = re.search(regex, text)
    assert found is not None
    expected = [found.group(0), *(group or "" for group in found.groups())]
    assert value(call("String.match", input=constant(text), regex=constant(regex))) == expected


@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")  # "[[": a set to Python, a union of sets to Java
@given(st.text("ab(|)*+?{}[]^$.\\1,2", max_size=14))
def test_any_pattern_is_matched_or_refused(regex: str) -> None:
    """What is let through ends: this test would, too."""
    text = "ab" * 12 + "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"
    try:
        compiled = pattern(regex).on(text)
    except Refusal as refusal:
        assert refusal.status == 400  # noqa: PT017 - either outcome is right
        return
    compiled.search(text)


BAD = {
    "null corner": call("GeometryConstructors.Rectangle", coordinates=constant([None, 0, 1, 1])),
    "text corner": call("GeometryConstructors.Rectangle", coordinates=constant([["x", 0], [1, 1]])),
    "bands that are an image": call("Image.visualize", image=constant([1, 2]), bands=call("Image.pixelLonLat")),
    "bands that are a reducer": call("Image.visualize", image=constant([1, 2]), bands=call("Reducer.mean")),
    "a minimum of text": call("Image.visualize", image=constant(1), min=constant("low")),
    "a date of the far future": call("Date.format", date=constant(10**18)),
    "a null among images": call("ImageCollection.fromImages", images=constant([1, None])),
    "a number beyond doubles": call("Number.add", left=constant(10**400), right=constant(1)),
    "an integer beyond 64 bits": {"integerValue": str(2**63)},
}


@pytest.mark.parametrize("name", BAD)
def test_arguments_of_wrong_kinds_are_refused(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        value(BAD[name])
    assert caught.value.status == 400


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64 + 1, 10**30])
def test_integers_beyond_64_bits_are_the_doubles_of_json(number: int) -> None:
    doubled = call("Number.multiply", left=constant(number), right=constant(2))
    assert value(doubled) == float(number) * 2
    image = evaluate({"result": "0", "values": {"0": call("Image.constant", value=constant(number))}}, open_catalogue())
    assert isinstance(image, Image)
    pixels = image.bands[0].read(Grid(crs="EPSG:4326", transform=Affine(1, 0, 3, 0, -1, 7), width=3, height=2))
    np.testing.assert_array_equal(pixels.values, np.full((2, 3), float(number)))


FROZEN = """
import re
from deployments.sandbox.watchdog import watch
watch(0.5)
re.match("(a+)+$", "a" * 40 + "!")
"""
BUSY = """
from deployments.sandbox.watchdog import watch
import time
watch(0.5)
while time.process_time() < 1.5:
    sum(range(1000))
print("done")
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the kernel's timers are POSIX's")
def test_a_frozen_process_ends_and_a_busy_one_does_not() -> None:
    frozen, busy = (
        subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)
        for text in (FROZEN, BUSY)
    )
    assert frozen.returncode == -signal.SIGPROF, frozen.stderr
    assert (busy.returncode, busy.stdout) == (0, "done\n"), busy.stderr

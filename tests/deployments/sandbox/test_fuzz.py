"""Whatever is asked, the sandbox answers or refuses: no request is answered with 500."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from deployments.sandbox.app import Sandbox
from deployments.sandbox.interpreter.registry import FUNCTIONS, Argument
from deployments.sandbox.scenes import open_catalogue

COLLECTION = "COPERNICUS/S2_SR_HARMONIZED"
IMAGE = "projects/sandbox/assets/landsat7_nc_2000"

CONSTANTS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 7.5, -2.5, 1e308, -1e-308, 2**31, 2**63, -(2**63), 2**64, 10**30,
    "", "B1", "B.*", "(", "a+", "%d", "%5.2f", "EPSG:32617", "EPSG:4326", "2020-05-18", "9999-12-31", "day", "month",
    "system:index", "system:time_start", "float", "int8", "b('B1') / 2", "x ? y : z", "red", "bicubic", "[1, {}]",
    IMAGE, COLLECTION, "é\u0000\ud7ff", "NaN",
    [], [0], [1, 2, 3], [3.5, None], ["B1", "B2"], [[0, 0], [1, 1], [1, 0]], [0, 0, 1, 1], [None, "x", 1, 2],
    [[[0, 0], [3, 0], [3, 3], [0, 3]]], [1, 0, 0, 0, -1, 0], [[]], [1e308, -1e308, 1e308, 0],
    {}, {"a": 1}, {"B1": "int8"}, {"crs": "EPSG:4326"}, {"precision": "int", "min": 5, "max": 1},
    {"type": "Point", "coordinates": [0, 0]},
)  # fmt: skip

REGIONS = (
    *CONSTANTS,
    {"type": "Polygon", "coordinates": [[[-78.7, 35.7], [-78.6, 35.7], [-78.6, 35.8], [-78.7, 35.7]]]},
)


def call(name: str, /, **arguments: Any) -> dict[str, Any]:
    return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}


def constant(value: Any) -> dict[str, Any]:
    return {"constantValue": value}


class Fuzz:
    """Random expressions: often of the kinds that a signature asks for, or little would be computed, and often not."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.names = sorted(FUNCTIONS)

    def made(self, kind: str, depth: int) -> Any:
        """An expression of a kind of value, as a rule."""
        dice = self.dice
        if dice.random() < 0.12:
            return self.anything(depth)
        if kind.startswith("Image") and "Collection" not in kind:
            parts = dice.choice([["B1"], ["B1", "B2"], ["B4", "B2", "B1"]])
            return dice.choice(
                [
                    constant(dice.choice([0, 1, 2.5, 7, [1, 2], -(2**63)])),
                    call("Image.load", id=constant(IMAGE)),
                    call("Image.select", input=call("Image.load", id=constant(IMAGE)), bandSelectors=constant(parts)),
                    call("Image.pixelLonLat"),
                    self.invocation(dice.choice([n for n in self.names if n.startswith("Image.")]), depth),
                ]
            )
        samples: dict[str, list[Any]] = {
            "ImageCollection": [
                call("ImageCollection.load", id=constant(COLLECTION)),
                call("ImageCollection.fromImages", images={"arrayValue": {"values": [self.made("Image", depth)]}}),
            ],
            "Geometry": [call("GeometryConstructors.Point", coordinates=constant([-78.6, 35.7]))],
            "Filter": [call("Filter.lessThan", leftField=constant("system:index"), rightValue=self.anything(0))],
            "Reducer": [call("Reducer.median"), call("Reducer.minMax")],
            "Date": [call("Date", value=constant(dice.choice(["2020-05-18", 0, 1e12, -(10**15), 10**18])))],
            "Algorithm": [{"functionDefinitionValue": {"argumentNames": ["x"], "body": "body"}}],
            "Projection": [constant("EPSG:32617"), call("Projection", crs=constant("EPSG:4326"))],
            "Number": [constant(dice.choice([0, 1, -3, 2.5, 10**6, 2**63, 1e300]))],
            "Integer": [constant(dice.choice([0, 1, 2, -3, 2**63, 70]))],
            "String": [constant(dice.choice([c for c in CONSTANTS if isinstance(c, str)]))],
            "List": [constant(dice.choice([c for c in CONSTANTS if isinstance(c, list)]))],
            "Dictionary": [constant(dice.choice([c for c in CONSTANTS if isinstance(c, dict)]))],
        }
        samples["FeatureCollection"] = samples["ImageCollection"]
        samples["Element"] = samples["Feature"] = [self.made("Image", depth - 1) if depth > 0 else constant(1)]
        found = samples.get(kind.partition("<")[0])
        return dice.choice(found) if found else self.anything(depth)

    def anything(self, depth: int) -> Any:
        dice = self.dice
        if depth <= 0 or dice.random() < 0.5:
            return constant(dice.choice(CONSTANTS))
        if dice.random() < 0.2:
            return {"arrayValue": {"values": [self.anything(depth - 1) for _ in range(dice.randrange(4))]}}
        return self.invocation(dice.choice(self.names), depth)

    def invocation(self, name: str, depth: int) -> dict[str, Any]:
        if depth <= 0:
            return constant(self.dice.choice(CONSTANTS))

        def given(argument: Argument) -> bool:
            return self.dice.random() < (0.4 if argument.optional else 0.97)

        return call(name, **{a.name: self.made(a.type, depth - 1) for a in FUNCTIONS[name].arguments if given(a)})

    def body(self, name: str) -> dict[str, Any]:
        node = {"argumentReference": "x"} if self.dice.random() < 0.5 else self.anything(2)
        return {"result": "0", "values": {"0": self.invocation(name, 3), "body": node}}

    def grid(self) -> Any:
        dice = self.dice
        numbers = (0, 1, -1, 30, -30, 285, 1e-9, 1e300, "7", "x", None, True)
        found: dict[str, Any] = {}
        if dice.random() < 0.9:
            found["dimensions"] = {
                "width": dice.choice([1, 5, 9, 9, 12, "3", 0, 40_000, 2.5]),
                "height": dice.choice([3, 7]),
            }
        if dice.random() < 0.8:
            names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
            plain = dict(zip(names, (285, 3, 630_534, -2, -285, 228_500), strict=True))
            found["affineTransform"] = plain | (
                {dice.choice(names): dice.choice(numbers)} if dice.random() < 0.3 else {}
            )
        if dice.random() < 0.6:
            found["crsCode"] = dice.choice(
                [*["EPSG:32617"] * 6, "EPSG:4326", "EPSG:3857", "SR-ORG:6974", "EPSG:0", "", "EPSG:4978"]
            )
        return found

    def request(self) -> dict[str, Any]:
        dice = self.dice
        body: dict[str, Any] = {
            "fileFormat": dice.choice(
                ["NPY", "NPY", "GEO_TIFF", "PNG", "JPEG", "AUTO_JPEG_PNG", "TF_RECORD_IMAGE", None, 3]
            ),
            "grid": self.grid() if dice.random() < 0.95 else dice.choice(CONSTANTS),
        }
        if dice.random() < 0.8:
            body["bandIds"] = dice.choice([*[["B1"], ["B3", "B2", "B1"]] * 3, ["B1", "B1"], "B1", [1], ["\u0000"], []])
        if dice.random() < 0.5:
            body["visualizationOptions"] = dice.choice(
                [
                    {"ranges": [{"min": 1, "max": 200}]},
                    {"ranges": [{"min": 1e308, "max": -1e308}], "gamma": 1e-300},
                    {"ranges": [{"max": 9}], "paletteColors": ["red", "0f0"]},
                    {"paletteColors": [""]},
                    {"opacity": 2},
                    {"gamma": {"value": 0}},
                ]
            )
        return body


@dataclass
class Client:
    """A client of a sandbox in this process, without sockets."""

    runner: asyncio.Runner
    http: httpx.AsyncClient

    def post(self, path: str, content: bytes) -> httpx.Response:
        return self.runner.run(self.http.post(path, content=content))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    transport = httpx.ASGITransport(Sandbox(open_catalogue(), workers=1).application())
    with asyncio.Runner() as runner:
        http = httpx.AsyncClient(transport=transport, base_url="http://sandbox")
        yield Client(runner, http)
        runner.run(http.aclose())


def post(client: Client, path: str, body: Any) -> None:
    content = json.dumps(body)
    answer = client.post(path, content=content.encode())
    assert answer.status_code in {200, 400, 404}, f"{answer.text}\n{path}\n{content}"


SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_expression_is_answered_with_500(client: Client, seed: int) -> None:
    """Every function of the table, with arguments of fit and of unfit kinds."""
    fuzz = Fuzz(seed)
    plain = {"dimensions": {"width": 5, "height": 3}, "crsCode": "EPSG:32617"}
    plain["affineTransform"] = {"scaleX": 285, "scaleY": -285, "translateX": 630_534, "translateY": 228_500}
    for name in fuzz.names:
        expression = fuzz.body(name)
        post(client, "/v1/projects/p/value:compute", {"expression": expression})
        body = {"expression": expression, "fileFormat": fuzz.dice.choice(["NPY", "GEO_TIFF", "PNG"]), "grid": plain}
        post(client, "/v1/projects/p/image:computePixels", body)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_request_for_pixels_is_answered_with_500(client: Client, seed: int) -> None:
    fuzz = Fuzz(1000 + seed)
    for _ in range(60):
        region = {"region": fuzz.dice.choice(REGIONS)} if fuzz.dice.random() < 0.2 else {}
        post(client, f"/v1/{IMAGE}:getPixels", fuzz.request() | region)
        image = call("Image.load", id=constant(IMAGE))
        body = fuzz.request() | {"expression": {"result": "0", "values": {"0": image}}}
        post(client, "/v1/projects/p/image:computePixels", body)

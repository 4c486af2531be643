"""Every function that the client has: it works, or it is refused by name, in the sandbox's own words.

Nothing may fail as Python fails, and nothing that the sandbox lacks may look like the user's mistake.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from typing import Any

import ee
import pytest

from deployments.sandbox.interpreter import evaluate, to_json
from deployments.sandbox.interpreter.registry import FUNCTIONS, signatures
from deployments.sandbox.raster import UINT16
from deployments.sandbox.refusal import Refusal

# Words of messages by Python, NumPy, shapely and PROJ.
LEAKS = re.compile(
    r"has no attribute|NoneType|\w+Error\b|index out of range|list index|not subscriptable|not supported between|"
    r"unsupported operand|unhashable|positional argument|argument must be|<class|<function|object at 0x|lambda|"
    r"dtype\(|TopologyException|Traceback|millis="
)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
LACKS = re.compile(r"\bthe sandbox\b")


def outcome(bench: Any, built: Any) -> str:
    """``ok``, or the text of the refusal; anything else that is raised is a failure of the test."""
    try:
        shown = json.dumps(to_json(evaluate(built, bench.shelf)), allow_nan=False)
    except Refusal as refusal:
        shown, status = refusal.message, refusal.status
    else:
        status = 200
    assert status in {200, 400, 404}, shown
    assert not LEAKS.search(shown), shown
    return "ok" if status == 200 else shown


@pytest.fixture
def filled(bench: Any, make_band: Any) -> Any:
    """A shelf with an image and a collection of two."""
    bands = [make_band(name, [[1, 2], [3, 4]], kind=UINT16) for name in ("a", "b", "c")]
    box = (-57.1, 63.9, -56.9, 64.1)
    bench.shelf.put("i", bands, start="2020-03-05", properties={"a": 1, "n": "x"}, footprint=box)
    bench.shelf.put_collection("many")
    for index, day in (("p", "2020-01-05"), ("q", "2020-02-07")):
        bench.shelf.put(f"many/{index}", bands, start=day, properties={"a": 1, "n": index}, footprint=box)
    return bench


# Algorithms, as REST has them ----------------------------------------------------------------------------------------


def value(type_text: str, name: str) -> Any:
    """An expression of a type of the list of algorithms."""
    kind, _, inner = type_text.partition("<")
    point = ee.Geometry.BBox(-57, 63.95, -56.95, 64.05)
    feature = ee.Feature(point, {"a": 1, "n": "x", "system:index": "0"})
    plain: dict[str, Callable[[], Any]] = {
        "Number": lambda: 2,
        "Float": lambda: 1.5,
        "Integer": lambda: 1,
        "Long": lambda: 1,
        "String": lambda: {"crs": "EPSG:4326", "unit": "day", "inUnit": "month", "id": "i"}.get(name, "a"),
        "Boolean": lambda: True,
        "Image": lambda: ee.Image("i"),
        "ImageCollection": lambda: ee.ImageCollection("many"),
        "FeatureCollection": lambda: ee.FeatureCollection([feature, feature]),
        "Feature": lambda: feature,
        "Element": lambda: feature,
        "Geometry": lambda: point,
        "List": lambda: [value(inner.removesuffix(">"), name)] * 2 if inner else [1, 2],
        "Dictionary": lambda: {"a": 1},
        "Date": lambda: ee.Date("2020-03-05"),
        "DateRange": lambda: ee.DateRange("2020-01-01", "2021-01-01"),
        "Projection": lambda: ee.Projection("EPSG:4326"),
        "Filter": lambda: ee.Filter.eq("a", 1),
        "Reducer": ee.Reducer.mean,
        "ErrorMargin": lambda: ee.ErrorMargin(1),
        "PixelType": lambda: ee.PixelType("int8"),
        "Algorithm": lambda: ee.CustomFunction.create(lambda x: x, "Object", ["Object"]),
    }
    return plain.get(kind, lambda: "a")()


@pytest.mark.parametrize("everything", [False, True], ids=["required", "all"])
def test_every_algorithm_works_or_is_refused_by_name(filled: Any, everything: bool) -> None:
    answered = 0
    for name, arguments in sorted(signatures().items()):
        given = {
            argument.name: {"valueReference": str(i)}
            for i, argument in enumerate(arguments)
            if everything or not argument.optional
        }
        values: dict[str, Any] = {"z": {"functionInvocationValue": {"functionName": name, "arguments": given}}}
        for i, argument in enumerate(arguments):
            encoded = ee.serializer.encode(value(argument.type, argument.name))
            # One table of values for all: their keys get the number of the argument before them.
            text = json.dumps(encoded["values"])
            text = re.sub(r'("(?:valueReference|functionReference|body)": ")', rf"\g<1>{i}_", text)
            values |= {f"{i}_{key}": part for key, part in json.loads(text).items()}
            values[str(i)] = {"valueReference": f"{i}_{encoded['result']}"}
        found = outcome(filled, {"result": "z", "values": values})
        answered += found == "ok"
        if name not in FUNCTIONS and name != "If":
            assert found.startswith(f"{name}: the sandbox does not support this function"), (name, found)
    assert answered > (250 if everything else 350)


# Methods, as Python has them -----------------------------------------------------------------------------------------

PLACE = [-57.0, 63.95, -56.95, 64.05]
CLASSES: dict[str, list[Callable[[], Any]]] = {
    "Image": [lambda: ee.Image("i")],
    "ImageCollection": [lambda: ee.ImageCollection("many")],
    "Feature": [lambda: ee.Feature(ee.Geometry.BBox(*PLACE), {"a": 1, "n": "x"})],
    "FeatureCollection": [lambda: things("FeatureCollection")],
    "Geometry": [
        lambda: ee.Geometry.BBox(*PLACE),
        lambda: ee.Geometry.Point([1, 2]),
        lambda: ee.Geometry.LineString([[0, 0], [1, 1], [2, 0]]),
        lambda: ee.Geometry.MultiPolygon([[[[0, 0], [1, 0], [1, 1]]], [[[5, 5], [6, 5], [6, 6]]]]),
        lambda: ee.Geometry.Rectangle([500_000, 7_000_000, 501_000, 7_001_000], "EPSG:32621", False),
    ],
    "List": [lambda: ee.List([3, 1, 2])],
    "Dictionary": [lambda: ee.Dictionary({"a": 1, "b": 2})],
    "Date": [lambda: ee.Date("2020-03-05T10:20:30")],
    "DateRange": [lambda: ee.DateRange("2020-01-01", "2020-02-01")],
    "String": [lambda: ee.String("abcab")],
    "Number": [lambda: ee.Number(7)],
    "Array": [lambda: ee.Array([[1, 2], [3, 4]])],
    "Filter": [lambda: ee.Filter.eq("a", 1)],
    "Reducer": [ee.Reducer.mean],
    "Projection": [lambda: ee.Projection("EPSG:32621")],
    "Kernel": [lambda: ee.Kernel.square(1)],
    "Join": [ee.Join.simple],
    "Terrain": [],
    "ErrorMargin": [lambda: ee.ErrorMargin(1)],
    "PixelType": [lambda: ee.PixelType("int8")],
    "Blob": [lambda: ee.Blob("gs://a/b")],
    "Classifier": [ee.Classifier.smileCart],
    "Clusterer": [lambda: ee.Clusterer.wekaKMeans(3)],
    "ConfusionMatrix": [lambda: ee.ConfusionMatrix(ee.Array([[1, 2], [3, 4]]))],
    "Model": [],
}
# Methods of the client that ask nothing of the expression language: they send requests of other kinds, or none.
ELSEWHERE = frozenset(
    {
        *(
            "aside",
            "args",
            "elementType",
            "encode",
            "encode_cloud_value",
            "evaluate",
            "freeze",
            "func",
            "getArrowTable",
        ),
        *(
            "getDownloadURL",
            "getDownloadUrl",
            "getFilmstripThumbURL",
            "getInfo",
            "getMapId",
            "getThumbId",
            "getThumbURL",
        ),
        *("getThumbUrl", "getVideoThumbURL", "initialize", "isVariable", "name", "prefetch", "prepare_for_export"),
        *("reset", "serialize", "toGeoJSON", "toGeoJSONString", "varName"),
    }
)


def things(kind: str) -> Any:
    box = ee.Geometry.BBox(*PLACE)
    made: dict[str, Callable[[], Any]] = {
        "FeatureCollection": lambda: ee.FeatureCollection(
            [ee.Feature(box, {"a": 1, "n": "x"}), ee.Feature(ee.Geometry.Point([1, 2]), {"a": 2, "n": "y"})]
        ),
        "Algorithm": lambda: None,
    }
    return made[kind]()


NAMED: dict[str, Callable[[], Any]] = {
    "crs": lambda: "EPSG:4326",
    "proj": lambda: "EPSG:4326",
    "projection": lambda: "EPSG:4326",
    "unit": lambda: "day",
    "inUnit": lambda: "month",
    "units": lambda: "meters",
    "numerator": lambda: "day",
    "denominator": lambda: "hour",
    "id": lambda: "i",
    "index": lambda: 0,
    "start": lambda: 0,
    "expression": lambda: "b(0) + 1",
    "filter": lambda: ee.Filter.gt("a", 0),
    "operator": lambda: "equals",
    "mode": lambda: "bilinear",
    "behavior": lambda: "clamp",
    "reducer2": ee.Reducer.max,
    "names": lambda: ["x", "y", "z"],
    "bandTypes": lambda: {"a": "int8"},
    "regex": lambda: "a",
    "date": lambda: "2020-03-05",
    "from": lambda: ["a"],
    "to": lambda: ["z"],
    "property": lambda: "a",
    "properties": lambda: {"a": 1},
    "qualityBand": lambda: "a",
}
TYPED: dict[str, Callable[[], Any]] = {
    "Image": lambda: ee.Image("i"),
    "ImageCollection": lambda: ee.ImageCollection("many"),
    "FeatureCollection": lambda: things("FeatureCollection"),
    "Feature": lambda: ee.Feature(ee.Geometry.BBox(*PLACE), {"a": 1}),
    "Element": lambda: ee.Feature(ee.Geometry.BBox(*PLACE), {"a": 1}),
    "Geometry": lambda: ee.Geometry.BBox(*PLACE),
    "Number": lambda: 2,
    "Float": lambda: 2,
    "Integer": lambda: 1,
    "Long": lambda: 1,
    "String": lambda: "a",
    "Bool": lambda: True,
    "List": lambda: ["a"],
    "Dictionary": lambda: {"a": 1},
    "Date": lambda: "2020-03-05",
    "DateRange": lambda: ee.DateRange("2020-01-01", "2020-03-01"),
    "Projection": lambda: "EPSG:4326",
    "Reducer": ee.Reducer.mean,
    "Filter": lambda: ee.Filter.eq("a", 1),
    "Kernel": lambda: ee.Kernel.square(1),
    "ErrorMargin": lambda: 1,
    "Array": lambda: ee.Array([[1, 2], [3, 4]]),
    "Join": ee.Join.simple,
    "Classifier": ee.Classifier.smileCart,
    "Clusterer": lambda: ee.Clusterer.wekaKMeans(3),
    "ConfusionMatrix": lambda: ee.ConfusionMatrix(ee.Array([[1, 2], [3, 4]])),
    "PixelType": lambda: "int8",
    "Any": lambda: 1,
}


COMPARED = ("equals", "notEquals", "lessThan", "lessThanOrEquals", "greaterThan", "greaterThanOrEquals", "listContains")
TEXTS = ("stringContains", "stringStartsWith", "stringEndsWith")
SHAPES = ("contains", "disjoint", "intersects", "isContained")
BITS = ("bitwise_and", "bitwise_or", "bitwise_xor", "first_nonzero", "left_shift", "right_shift")
PAIRS = ("containedIn", "contains", "difference", "disjoint", "distance", "intersection", "intersects", "union")
# Arguments that the names and types of a signature do not give.
GIVEN: dict[str, Callable[[], tuple[Any, ...]]] = {
    "Image.arrayProject": lambda: ([0],),
    "Image.arrayReduce": lambda: (ee.Reducer.mean(), [0]),
    "Image.cat": lambda: (ee.Image("i"), ee.Image(1)),
    "Image.clip": lambda: (ee.Geometry.BBox(*PLACE),),
    "Image.combine_": lambda: ([ee.Image("i"), ee.Image(1)],),
    "Image.getString": lambda: ("n",),
    "Image.interpolate": lambda: ([0, 1], [1, 2], "clamp"),
    "Image.loadMosaic": lambda: ("gs://a/b",),
    "Image.parseExpression": lambda: ("b(0)", "DEFAULT", ["DEFAULT"]),
    "Image.remap": lambda: ([1, 2], [3, 4]),
    "Image.retile": lambda: (8,),
    "Image.unitScale": lambda: (0, 10),
    "List.getGeometry": lambda: (0,),
    "List.iterate": lambda: (lambda x, n: ee.Number(x).add(n), 0),
    "List.map": lambda: (lambda x: ee.Number(x).add(1),),
    "List.sequence": lambda: (0, 5),
    "Dictionary.map": lambda: (lambda _key, number: ee.Number(number).add(1),),
    "Dictionary.remove": lambda: (["a"],),
    "Dictionary.rename": lambda: (["a"], ["z"]),
    "Dictionary.select": lambda: (["a"],),
    "Dictionary.set": lambda: ("c", 1),
    "String.decodeJSON": tuple,
    "Number.parse": lambda: ("7",),
    "Number.unitScale": lambda: (0, 10),
    "Array.get": lambda: ([0, 0],),
    "Array.pad": lambda: ([3, 3],),
    "Array.project": lambda: ([0],),
    "Array.reduce": lambda: (ee.Reducer.mean(), [0]),
    "Filter.dateRangeContains": lambda: ("a", "2020-01-01"),
    "Filter.inList": lambda: ("a", [1]),
    "Filter.metadata_": lambda: ("a", "equals", 1),
    "Filter.notNull": lambda: (["a"],),
    "Reducer.percentile": lambda: ([10, 50],),
    "Kernel.fixed": lambda: (1, 1, [[1]], 0, 0),
    "Classifier.TrainingContainer": lambda: (True,),
    "Classifier.pegasos": lambda: ("linear", "hinge", 1, 1, 1, 1, 1),
    "Geometry.LineString": lambda: ([[0, 0], [1, 1]],),
    "Geometry.LinearRing": lambda: ([[0, 0], [1, 1], [1, 0]],),
    "Geometry.Point": lambda: ([0, 0],),
    "Geometry.Polygon": lambda: ([[[0, 0], [1, 0], [1, 1]]],),
    "Geometry.Rectangle": lambda: ([0, 0, 1, 1],),
    "Feature.getString": lambda: ("n",),
    "Feature.toArray": lambda: (["a"],),
    "Feature.withinDistance": lambda: (TYPED["Feature"](), 10),
    "Feature.symmetricDifference": lambda: (TYPED["Feature"](),),
    "FeatureCollection.makeArray": lambda: (["a"],),
    "FeatureCollection.map": lambda: (lambda feature: feature.set("z", 1),),
    "FeatureCollection.randomPoints": lambda: (ee.Geometry.BBox(*PLACE),),
    "FeatureCollection.select": lambda: (["a"],),
    "ImageCollection.fromImages": lambda: ([ee.Image("i")],),
    "ImageCollection.linkCollection": lambda: (ee.ImageCollection("many"), ["a"]),
    "ImageCollection.load": lambda: ("many",),
    "ImageCollection.map": lambda: (lambda image: image.multiply(2),),
    **{
        f"{kind}.setMulti": lambda: ({"q": 1},) for kind in ("Image", "Feature", "ImageCollection", "FeatureCollection")
    },
    **{f"Feature.{name}": lambda: (TYPED["Feature"](),) for name in PAIRS},
    **{f"Filter.{name}": lambda: ("a", 1) for name in COMPARED},
    **{f"Filter.{name}": lambda: ("n", "x") for name in TEXTS},
    **{f"Filter.{name}": lambda: (".geo", ee.Geometry.BBox(*PLACE)) for name in SHAPES},
    **{f"Image.{name}": lambda: (ee.Image("i"),) for name in BITS},
    **{f"{kind}.{name}": lambda: (1,) for kind in ("Number", "Array") for name in BITS},
}
for _kind in ("ImageCollection", "FeatureCollection"):
    GIVEN |= {
        f"{_kind}.distinct": lambda: (["a"],),
        f"{_kind}.filter": lambda: (ee.Filter.eq("a", 1),),
        f"{_kind}.filterBounds": lambda: (ee.Geometry.BBox(*PLACE),),
        f"{_kind}.filterMetadata": lambda: ("a", "equals", 1),
        f"{_kind}.fromColumns": lambda: ([[1]], ["a"]),
        f"{_kind}.setMulti": lambda: ({"q": 1},),
        f"{_kind}.iterate": lambda: (lambda _element, n: ee.Number(n).add(1), 0),
        f"{_kind}.reduceToImage": lambda: (["a"], ee.Reducer.mean()),
        f"{_kind}.sort": lambda: ("a",),
    }
for _name in ("get", "getNumber", "getString", "getGeometry"):
    GIVEN[f"Dictionary.{_name}"] = lambda: ("a",)

# What is no mistake of the sandbox: the element that is asked for is of another type.
OF_ANOTHER_TYPE = ("List.getGeometry", "List.getString", "Dictionary.getString", "Dictionary.getGeometry")


def argument(parameter: inspect.Parameter) -> Any:
    name = parameter.name.strip("_")
    if name in NAMED:
        return NAMED[name]()
    found = re.search(r"_arg_types\.(\w+)", str(parameter.annotation))
    return TYPED.get(found[1] if found else "Any", TYPED["Any"])()


def call(name: str, method: Callable[..., Any]) -> Any:
    if name in GIVEN:
        return method(*GIVEN[name]())
    return method(
        **{
            p.name: argument(p)
            for p in inspect.signature(method).parameters.values()
            if p.kind not in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
            and p.default is inspect.Parameter.empty
        }
    )


def methods(kind: str) -> list[str]:
    holder = getattr(ee, kind)
    public = (name for name in sorted(dir(holder)) if not name.startswith("_") and name not in ELSEWHERE)
    return [name for name in public if callable(getattr(holder, name))]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_method_of_the_client_works_or_is_refused_by_name(filled: Any, kind: str) -> None:
    wrong = {}
    for method in methods(kind):
        name, holder = f"{kind}.{method}", getattr(ee, kind)
        static = isinstance(inspect.getattr_static(holder, method), staticmethod | classmethod)
        makers: list[Any] = [lambda: holder] if static else CLASSES[kind]  # noqa: B023 - called in this turn
        for maker in makers:
            subject = ee.String('{"a": 1}') if method == "decodeJSON" else maker()
            found = outcome(filled, ee.serializer.encode(call(name, getattr(subject, method))))
            if found != "ok" and not LACKS.search(found):
                wrong[name] = found
    for name in OF_ANOTHER_TYPE:
        assert "Invalid type" in wrong.pop(name, "Invalid type")
    assert wrong == {}

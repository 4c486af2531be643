"""Bands: choosing, naming, combining, metadata."""

from __future__ import annotations

from typing import Any

import ee
import pytest

from deployments.sandbox.raster import DOUBLE, INT16
from deployments.sandbox.refusal import Refusal


@pytest.fixture
def scene(bench: Any, make_band: Any) -> ee.Image:
    found: ee.Image = bench.put(
        "A/B/scene",
        make_band("B4", [[1, 2], [3, 4], [5, 6]]),
        make_band("B3", [[10, 20], [30, 40], [50, 60]]),
        make_band("QA", [[7, 7], [7, 7], [7, 7]], kind=INT16),
        start="2023-04-05T06:07:08",
        properties={"CLOUD": 12.5, "NAME": "x"},
        footprint=(-57.1, 63.5, -56.5, 64.5),
    )
    return found


@pytest.mark.parametrize(
    ("selectors", "names", "expected"),
    [
        (["B3", "B4"], None, ["B3", "B4"]),
        (["B.*"], None, ["B4", "B3"]),
        ([-1, 0], None, ["QA", "B4"]),
        (["QA", 1], ["q", "g"], ["q", "g"]),
        (["B4", "B4"], None, ["B4", "B4_1"]),
        ([], None, []),
    ],
)
def test_select(
    bench: Any, scene: ee.Image, selectors: list[Any], names: list[str] | None, expected: list[str]
) -> None:
    built = scene.select(selectors, names) if names else scene.select(selectors)
    assert bench.info(built.bandNames()) == expected


def test_texts_of_refusals(bench: Any, scene: ee.Image) -> None:
    cases = {
        "Image.select: Band pattern 'B9' did not match any bands. Available bands: [B4, B3, QA]": scene.select("B9"),
        "Image.load: Image asset 'no/such' not found (does not exist or caller does not have access).": (
            ee.Image("no/such")
        ),
        "Can't add a band named 'a' to image because a band with this name already exists.": scene.select(
            [0, 1]
        ).rename(["a", "a"]),
        "Number of new names (1) must match the number of bands (3)": scene.rename(["a"]),
        "Image.normalizedDifference: Band pattern 'X' did not match any bands.": scene.normalizedDifference(
            ["B4", "X"]
        ),
        "Image.convolve: the sandbox does not support this function. Supported ones: "
        "deployments/sandbox/interpreter": scene.convolve(ee.Kernel.square(1)),
        "Image.remap: Lists 'from' (2) and 'to' (1)": scene.remap([1, 2], [3]),
    }
    for text, built in cases.items():
        with pytest.raises(Refusal) as caught:
            bench.value(built)
        assert text in caught.value.message
        assert caught.value.status == 400


def test_add_bands(bench: Any, scene: ee.Image, make_grid: Any) -> None:
    other = ee.Image([100, 200]).rename(["B3", "new"])
    grid = make_grid(1, 1)
    assert bench.pixels(scene.addBands(other), grid) == {
        "B4": [[1]], "B3": [[10]], "QA": [[7]], "B3_1": [[100]], "new": [[200]],
    }  # fmt: skip
    assert bench.pixels(scene.addBands(other, None, True), grid) == {
        "B4": [[1]], "B3": [[100]], "QA": [[7]], "new": [[200]],
    }  # fmt: skip
    assert bench.info(scene.addBands(other, ["new"]).bandNames()) == ["B4", "B3", "QA", "new"]


def test_remap(bench: Any, scene: ee.Image, make_grid: Any) -> None:
    grid = make_grid(2, 3)
    assert bench.pixels(scene.remap([4, 1, 6], [-1, 10, 3]), grid) == {"remapped": [[10, None], [None, -1], [None, 3]]}
    assert bench.pixels(scene.remap([30], [1], 0, "B3"), grid) == {"remapped": [[0, 0], [1, 0], [0, 0]]}


def test_normalized_difference_by_hand(bench: Any, make_band: Any, make_grid: Any) -> None:
    image = bench.put(
        "n",
        make_band("n", [[3, -1, 0, 5]], kind=INT16),
        make_band("r", [[1, 2, 0, 5]], kind=INT16, mask=[[1, 1, 1, 0]]),
        properties={"CLOUD": 1},
    )
    built = image.normalizedDifference(["n", "r"])
    assert bench.pixels(built, make_grid(4, 1)) == {"nd": [[0.5, None, 0.0, None]]}
    assert bench.info(built.propertyNames()).count("CLOUD") == 0


def test_clamp_unit_scale_interpolate(bench: Any, make_band: Any, make_grid: Any) -> None:
    image = bench.put("n", make_band("x", [[-5, 0, 15, 40]], kind=INT16))
    grid = make_grid(4, 1)
    assert bench.pixels(image.clamp(0, 20), grid) == {"x": [[0, 0, 15, 20]]}
    assert bench.pixels(image.unitScale(0, 20), grid) == {"x": [[-0.25, 0, 0.75, 2]]}
    line = image.interpolate([0, 10, 20], [0, 1, 3], "mask")
    assert bench.pixels(line, grid) == {"x": [[None, 0, 2, None]]}
    assert bench.pixels(image.interpolate([0, 10, 20], [0, 1, 3]), grid) == {"x": [[-0.5, 0, 2, 7]]}


def test_reduce_bands(bench: Any, make_band: Any, make_grid: Any) -> None:
    image = bench.put(
        "n",
        make_band("a", [[1, 2, 3]], mask=[[1, 1, 0]]),
        make_band("b", [[5, 5, 5]], mask=[[1, 0, 0]]),
        make_band("c", [[9, 2, 1]], kind=DOUBLE, mask=[[1, 1, 0]]),
    )
    both = ee.Reducer.mean().combine(ee.Reducer.max(), "", True).combine(ee.Reducer.count(), "n_", True)
    assert bench.pixels(image.reduce(both), make_grid(3, 1)) == {
        "mean": [[5.0, 2.0, None]],
        "max": [[9.0, 2.0, None]],
        "n_count": [[3, 2, None]],
    }


def test_properties(bench: Any, scene: ee.Image) -> None:
    changed = scene.set({"CLOUD": 3, "NEW": "y"}).set("NAME", None)
    assert bench.info(changed.toDictionary()) == {"CLOUD": 3, "NEW": "y"}
    assert bench.info(scene.get("missing")) is None
    assert bench.info(scene.date().format("YYYY-MM-dd HH:mm")) == "2023-04-05 06:07"
    assert bench.info(scene.id()) == "scene"
    product = scene.multiply(2)
    assert bench.info(product.get("CLOUD")) is None
    copied = product.copyProperties(scene, ["system:time_start"]).copyProperties(scene, exclude=["NAME"])
    assert bench.info(copied.toDictionary()) == {"CLOUD": 12.5}
    assert bench.info(ee.Image(copied).date()) == {"type": "Date", "value": 1680674828000}


def test_info_of_an_image(bench: Any, scene: ee.Image) -> None:
    found = bench.info(scene.select("QA"))
    assert found["type"] == "Image"
    assert found["id"] == "A/B/scene"
    assert found["version"] == 1714953600000000
    assert found["bands"] == [
        {
            "id": "QA",
            "data_type": {"type": "PixelType", "precision": "int", "min": -32768, "max": 32767},
            "dimensions": [2, 3],
            "crs": "EPSG:32621",
            "crs_transform": [30.0, 4.0, 500017.0, -3.0, -20.0, 7100009.0],
        }
    ]
    properties = found["properties"]
    assert properties["system:index"] == "scene"
    assert properties["system:time_start"] == 1680674828000
    assert properties["system:footprint"]["type"] == "LinearRing"
    assert len(properties["system:footprint"]["coordinates"]) == 5


def test_constants(bench: Any, make_grid: Any) -> None:
    grid = make_grid(2, 1)
    assert bench.pixels(ee.Image.constant([1, 2.5]), grid) == {
        "constant": [[1, 1]],
        "constant_1": [[2.5, 2.5]],
    }
    assert bench.pixels(ee.Image(7).toDouble().rename("seven"), grid) == {"seven": [[7.0, 7.0]]}
    info = bench.info(ee.Image(7))
    assert info["bands"][0]["crs"] == "EPSG:4326"
    assert info["bands"][0]["crs_transform"] == [1, 0, 0, 0, 1, 0]
    with pytest.raises(Refusal, match="number"):
        bench.value(ee.Image.constant(ee.String("a")))


def test_visualize(bench: Any, make_band: Any, make_grid: Any) -> None:
    """40 of 100 is 102 of 255, and four fifths of the way to the second of three colours."""
    image = bench.put("n", make_band("x", [[0, 40, 100, 200]], mask=[[1, 1, 1, 0]]))
    grid = make_grid(4, 1)
    grey = [[0, 102, 255, None]]
    assert bench.pixels(image.visualize(min=0, max=100), grid) == dict.fromkeys(
        ("vis-red", "vis-green", "vis-blue"), grey
    )
    painted = image.visualize(min=0, max=100, palette=["000000", "lime", "#F0F"])
    assert bench.pixels(painted, grid) == {
        "vis-red": [[0, 0, 255, None]],
        "vis-green": [[0, 204, 0, None]],
        "vis-blue": [[0, 0, 255, None]],
    }

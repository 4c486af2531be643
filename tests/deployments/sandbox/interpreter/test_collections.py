"""Collections: filters, functions as values, composites by hand and against Python's statistics."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import ee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.sandbox.raster import DOUBLE, UINT16
from deployments.sandbox.refusal import Refusal

LAWS = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def series(bench: Any, make_band: Any) -> ee.ImageCollection:
    """Three dates; where and what is valid differs from band to band and date to date."""
    bench.shelf.put_collection("C")
    layers = [
        # date, B1, its mask, B2, properties, footprint
        ("a", "2023-01-10", [[1, 4, 7]], [[1, 0, 1]], [[9, 9, 9]], {"n": 3, "s": "x"}, (0, 0, 1, 1)),
        ("b", "2023-06-20", [[5, 5, 5]], [[1, 1, 0]], [[1, 2, 3]], {"n": 1, "s": "xy"}, (2, 2, 3, 3)),
        ("c", "2023-12-30", [[3, 6, 2]], [[1, 0, 0]], [[4, 4, 4]], {"n": 2}, (0, 0, 9, 9)),
    ]
    for name, start, one, mask, two, properties, footprint in layers:
        bench.put(
            f"C/{name}",
            make_band("B1", one, mask=mask),
            make_band("B2", two),
            start=start,
            properties=properties,
            footprint=footprint,
        )
    return ee.ImageCollection("C")


def names(bench: Any, collection: Any) -> list[str]:
    found: list[str] = bench.info(collection.aggregate_array("system:index"))
    return found


def test_composites_by_hand(bench: Any, series: Any, make_grid: Any) -> None:
    grid = make_grid(3, 1)
    expected = {
        "median": [[3.0, 5.0, 7.0]],
        "mean": [[3.0, 5.0, 7.0]],
        "sum": [[9.0, 5.0, 7.0]],
        "min": [[1, 5, 7]],
        "max": [[5, 5, 7]],
        "count": [[3, 1, 1]],
        "product": [[15.0, 5.0, 7.0]],
        "mosaic": [[3, 5, 7]],
        "mode": [[1, 5, 7]],
    }
    for name, rows in expected.items():
        assert bench.pixels(getattr(series, name)(), grid)["B1"] == rows, name
    assert bench.pixels(series.median(), make_grid(5, 1))["B1"][0][3:] == [None, None]
    reduced = series.select("B1").reduce(ee.Reducer.first().combine(ee.Reducer.last(), "", True))
    assert bench.pixels(reduced, grid) == {"B1_first": [[1, 5, 7]], "B1_last": [[3, 5, 7]]}


def test_quality_mosaic_takes_all_bands_of_one_date(bench: Any, series: Any, make_grid: Any) -> None:
    found = bench.pixels(series.qualityMosaic("B1"), make_grid(3, 1))
    assert found == {"B1": [[5, 5, 7]], "B2": [[1, 2, 9]]}


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("mean", statistics.fmean),
        ("median", statistics.median),
        ("stdDev", statistics.pstdev),
        ("variance", statistics.pvariance),
        ("sum", sum),
        ("min", min),
        ("max", max),
        ("mode", lambda v: min(statistics.multimode(v))),
        ("count", len),
    ],
)
@LAWS
@given(
    layers=st.lists(
        st.lists(st.one_of(st.none(), st.integers(0, 60_000)), min_size=4, max_size=4), min_size=1, max_size=6
    )
)
def test_reducers_as_python_computes_them(
    bench: Any, make_band: Any, make_grid: Any, name: str, oracle: Any, layers: list[list[int | None]]
) -> None:
    images = [
        bench.put(
            f"L{i}",
            make_band("x", [[v or 0 for v in layer]], mask=[[v is not None for v in layer]], kind=UINT16),
        )
        for i, layer in enumerate(layers)
    ]
    built = ee.ImageCollection(images).reduce(getattr(ee.Reducer, name)())
    (row,) = bench.pixels(built, make_grid(4, 1))[f"x_{name}"]
    for found, values in zip(row, zip(*layers, strict=True), strict=True):
        valid = [value for value in values if value is not None]
        assert found == (pytest.approx(oracle(valid), rel=1e-9, abs=1e-6) if valid else None)


def test_partial_pixels_weigh_less(bench: Any, make_band: Any, make_grid: Any) -> None:
    a = bench.put("a", make_band("x", [[10]], mask=[[0.25]]))
    b = bench.put("b", make_band("x", [[20]], mask=[[0.75]]))
    mean = bench.value(ee.ImageCollection([a, b]).mean()).bands[0].read(make_grid(1, 1))
    assert mean.values.tolist() == [[17.5]]
    assert mean.mask.tolist() == [[0.75]]


def test_percentiles_lie_between_ranks(bench: Any, make_band: Any, make_grid: Any) -> None:
    images = [bench.put(f"p{v}", make_band("x", [[v, v]], mask=[[1, v != 40]])) for v in (40, 10, 30, 20)]
    built = ee.ImageCollection(images).reduce(ee.Reducer.percentile([0, 25, 50, 100]))
    assert bench.pixels(built, make_grid(2, 1)) == {
        "x_p0": [[10, 10]],
        "x_p25": [[17.5, 15]],
        "x_p50": [[25, 20]],
        "x_p100": [[40, 30]],
    }


def test_types_of_composites(bench: Any, series: Any) -> None:
    one = series.select("B1")
    assert bench.value(one.median()).bands[0].type == replace(DOUBLE, min=0, max=255)
    assert bench.value(one.max()).bands[0].type.numpy == "u1"
    assert bench.value(one.count()).bands[0].type.numpy == "u4"
    projection = bench.info(one.median().projection())
    assert projection == {"type": "Projection", "crs": "EPSG:4326", "transform": [1, 0, 0, 0, 1, 0]}
    assert bench.info(one.median().projection().nominalScale()) == pytest.approx(111319.49079327358)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda c: c.filterDate("2023-01-10", "2023-06-20"), ["a"]),
        (lambda c: c.filterDate("2023-06-20"), ["b"]),
        (lambda c: c.filterBounds(ee.Geometry.Point([2.5, 2.5])), ["b", "c"]),
        (lambda c: c.filterBounds(ee.Geometry.BBox(0.5, 0.5, 0.6, 0.6)), ["a", "c"]),
        (lambda c: c.filter(ee.Filter.eq("n", 1)), ["b"]),
        (lambda c: c.filter(ee.Filter.neq("n", 1)), ["a", "c"]),
        (lambda c: c.filter(ee.Filter.gte("n", 2)), ["a", "c"]),
        (lambda c: c.filter(ee.Filter.lt("n", 2)), ["b"]),
        (lambda c: c.filter(ee.Filter.eq("s", "x")), ["a"]),
        (lambda c: c.filter(ee.Filter.stringContains("s", "y")), ["b"]),
        (lambda c: c.filter(ee.Filter.stringStartsWith("s", "x")), ["a", "b"]),
        (lambda c: c.filter(ee.Filter.notNull(["s"])), ["a", "b"]),
        (lambda c: c.filter(ee.Filter.inList("n", [3, 2])), ["a", "c"]),
        (lambda c: c.filter(ee.Filter.inList("n", [3, 2]).Not()), ["b"]),
        (lambda c: c.filter(ee.Filter.And(ee.Filter.gt("n", 1), ee.Filter.eq("s", "x"))), ["a"]),
        (lambda c: c.filter(ee.Filter.Or(ee.Filter.eq("n", 2), ee.Filter.eq("n", 1))), ["b", "c"]),
        (lambda c: c.filter(ee.Filter.calendarRange(12, 1, "month")), ["a", "c"]),
        (lambda c: c.filter(ee.Filter.calendarRange(2023, None, "year")), ["a", "b", "c"]),
        (lambda c: c.sort("n"), ["b", "c", "a"]),
        (lambda c: c.sort("n", False), ["a", "c", "b"]),
        (lambda c: c.limit(2, "system:time_start", False), ["c", "b"]),
        (lambda c: c.merge(c.limit(1)), ["1_a", "1_b", "1_c", "2_a"]),
        (lambda c: c.map(lambda i: i.set("odd", ee.Number(i.get("n")).mod(2))).distinct("odd"), ["a", "c"]),
    ],
)
def test_choosing(bench: Any, series: Any, build: Any, expected: list[str]) -> None:
    assert names(bench, build(series)) == expected
    assert bench.info(build(series).size()) == len(expected)


def test_nested_functions_see_the_arguments_around_them(bench: Any, series: Any, make_grid: Any) -> None:
    """For each image, how many have a smaller n: the inner function uses the outer one's argument."""

    def rank(image: ee.Image) -> ee.Image:
        smaller = series.map(lambda other: other.set("less", ee.Number(other.get("n")).lt(image.get("n"))))
        return image.set("rank", smaller.aggregate_sum("less"))

    assert bench.info(series.map(rank).aggregate_array("rank")) == [2, 0, 1]
    doubled = series.map(lambda i: i.multiply(ee.Number(i.get("n"))))
    assert bench.pixels(doubled.select("B2").sum(), make_grid(3, 1)) == {"B2": [[36.0, 37.0, 38.0]]}
    total = series.iterate(lambda image, n: ee.Number(n).add(image.get("n")), 100)
    assert bench.info(total) == 106


def test_to_bands_and_lists(bench: Any, series: Any, make_grid: Any) -> None:
    assert bench.info(series.toBands().bandNames()) == ["a_B1", "a_B2", "b_B1", "b_B2", "c_B1", "c_B2"]
    second = ee.Image(series.toList(2, 1).get(0))
    assert bench.info(second.get("system:index")) == "b"
    assert bench.pixels(series.first().select(1), make_grid(1, 1)) == {"B2": [[9]]}
    made = ee.ImageCollection.fromImages([ee.Image(1), ee.Image(5)])
    assert bench.pixels(made.mean(), make_grid(1, 1)) == {"constant": [[3.0]]}
    assert names(bench, made) == ["0", "1"]


def test_aggregates(bench: Any, series: Any) -> None:
    found = {
        name: bench.info(getattr(series, f"aggregate_{name}")("n"))
        for name in ("array", "min", "max", "sum", "mean", "first", "count", "total_sd", "histogram")
    }
    assert found.pop("total_sd") == pytest.approx(statistics.pstdev([3, 1, 2]))
    assert found == {
        "array": [3, 1, 2],
        "min": 1,
        "max": 3,
        "sum": 6,
        "mean": 2,
        "first": 3,
        "count": 3,
        "histogram": {"1": 1, "2": 1, "3": 1},
    }


def test_empty_collections(bench: Any, series: Any) -> None:
    empty = series.filterDate("1999-01-01", "1999-02-01")
    assert bench.info(empty.size()) == 0
    assert bench.info(empty.first()) is None
    with pytest.raises(Refusal, match=r"Available bands: \[\]"):
        bench.value(empty.median().select("B1"))


def test_mosaics_need_the_same_bands(bench: Any, series: Any) -> None:
    mixed = series.map(lambda i: ee.Image(ee.Algorithms.If(ee.Number(i.get("n")).eq(2), i.select("B1"), i)))
    with pytest.raises(Refusal, match="Expected a homogeneous image collection"):
        bench.value(mixed.mosaic())


def test_info_of_a_collection(bench: Any, series: Any) -> None:
    found = bench.info(series)
    assert (found["type"], found["id"], found["bands"]) == ("ImageCollection", "C", [])
    assert [feature["id"] for feature in found["features"]] == ["C/a", "C/b", "C/c"]


def test_what_is_no_collection(bench: Any, series: Any) -> None:
    with pytest.raises(Refusal, match=r"ImageCollection\.load: ImageCollection asset 'x' not found"):
        bench.value(ee.ImageCollection("x").size())
    with pytest.raises(Refusal, match="is not an ImageCollection"):
        bench.value(ee.ImageCollection("C/a").size())
    with pytest.raises(Refusal, match="is not an Image"):
        bench.value(ee.Image("C"))
    with pytest.raises(Refusal, match="must return a Feature or Image"):
        bench.value(series.map(lambda _i: ee.Number(1)))


def test_collections_of_collections_are_flattened(bench: Any) -> None:
    def group(*values: int) -> Any:
        return ee.FeatureCollection([ee.Feature(ee.Geometry.Point([v, v]), {"v": v}) for v in values])

    nested = ee.FeatureCollection([group(1, 2), group(3)])
    assert bench.info(nested.size()) == 2
    assert [len(inner["features"]) for inner in bench.info(nested)["features"]] == [2, 1]
    flat = nested.flatten()
    assert bench.info(flat.aggregate_array("v")) == [1, 2, 3]
    assert [feature["id"] for feature in bench.info(flat)["features"]] == ["0_0", "0_1", "1_0"]
    assert bench.info(nested.geometry().coordinates()) == [[1, 1], [2, 2], [3, 3]]
    assert bench.info(ee.FeatureCollection(nested.first()).size()) == 2
    assert bench.info(nested.filterBounds(ee.Geometry.Point([3, 3])).size()) == 1


def test_a_map_may_give_collections(bench: Any, make_band: Any) -> None:
    bench.shelf.put_collection("many")
    for index in ("a", "b"):
        bench.shelf.put(f"many/{index}", (make_band("x", [[1]]),), start="2020-01-01", properties={"name": index})

    def points(image: Any) -> Any:
        image = ee.Image(image)
        return ee.FeatureCollection([ee.Feature(ee.Geometry.Point([i, 0]), {"of": image.get("name")}) for i in (0, 1)])

    flat = ee.ImageCollection("many").map(points).flatten()
    assert bench.info(flat.aggregate_array("of")) == ["a", "a", "b", "b"]
    assert [feature["id"] for feature in bench.info(flat)["features"]] == ["a_0", "a_1", "b_0", "b_1"]
    assert bench.info(flat)["type"] == "FeatureCollection"
    # Images in collections in a collection are images again.
    doubled = ee.FeatureCollection([ee.ImageCollection("many"), ee.ImageCollection("many")]).flatten()
    assert bench.info(doubled)["type"] == "ImageCollection"
    assert bench.info(doubled.size()) == 4


def test_properties_of_features_are_chosen_and_renamed(bench: Any) -> None:
    many = ee.FeatureCollection([ee.Feature(ee.Geometry.Point([1, 2]), {"ab": 1, "ac": 2, "d": 3})])
    kept = bench.info(many.select(["a.*"], ["x", "y"]))["features"][0]
    assert kept["properties"] == {"x": 1, "y": 2}
    assert kept["geometry"]["coordinates"] == [1, 2]
    assert bench.info(many.select(["d"], None, False))["features"][0]["geometry"] is None
    with pytest.raises(Refusal, match="2 properties"):
        bench.info(many.select(["a.*"], ["x"]))


def test_a_filter_as_text_is_what_the_sandbox_lacks(bench: Any) -> None:
    with pytest.raises(Refusal, match="the sandbox does not support filters that are written as text"):
        bench.info(ee.FeatureCollection([]).filter("a > 1"))

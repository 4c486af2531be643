"""Geometries as scripts of Earth Engine take them, against shapely and pyproj."""

from __future__ import annotations

from typing import Any

import ee
import pytest
from pyproj import Geod

GEOD = Geod(ellps="WGS84")
RING = [[10.0, 44.0], [12.0, 44.0], [12.0, 45.0], [10.0, 45.0], [10.0, 44.0]]
"""Lower left, lower right, upper right, upper left, and closed: `bl, br, tr, tl, _` as scripts unpack it."""


@pytest.mark.parametrize(
    "build",
    [
        lambda: ee.Geometry.LineString([[12, 45], [10, 44]]).bounds(),
        lambda: ee.Geometry.Polygon([[[11, 45], [10, 44.5], [12, 44]]]).bounds(),
        lambda: ee.Geometry.MultiPoint([[12, 44], [10, 45]]).bounds(1),
        lambda: ee.Geometry.MultiPoint([[12, 44], [10, 45]]).bounds(ee.ErrorMargin(1), "EPSG:4326"),
        lambda: ee.Feature(ee.Geometry.LineString([[10, 45], [12, 44]])).bounds(1).geometry(),
        lambda: ee.FeatureCollection([ee.Geometry.Point([12, 45]), ee.Geometry.Point([10, 44])]).geometry().bounds(),
        lambda: ee.Geometry(
            ee.Algorithms.GeometryConstructors.Rectangle([ee.Number(10), ee.Number(44), ee.Number(12), ee.Number(45)])
        ),
        lambda: ee.Geometry.BBox(ee.Number(10), ee.Number(44), ee.Number(12), ee.Number(45)),
    ],
)
def test_bounds_begin_at_the_lower_left(bench: Any, build: Any) -> None:
    assert bench.info(build().coordinates()) == [RING]


def test_bounds_of_a_collection_and_of_an_image(bench: Any, make_band: Any) -> None:
    points = ee.FeatureCollection([ee.Geometry.Point([12, 45]), ee.Geometry.Point([10, 44])])
    assert bench.info(points.bounds().coordinates()) == [RING]
    bench.put("a", make_band("x", [[1]]), footprint=(10, 44, 12, 45))
    assert bench.info(ee.Image("a").geometry().bounds().coordinates()) == [RING]
    assert bench.info(ee.Image(1).geometry().isUnbounded()) is True
    assert bench.info(ee.Image("a").geometry().isUnbounded()) is False


def test_bounds_in_metres_begin_at_the_lower_left(bench: Any) -> None:
    ring = bench.info(ee.Geometry.Point([15, 45]).buffer(100).bounds(1, "EPSG:32633").coordinates())[0]
    assert ring[0] == [min(x for x, _ in ring), min(y for _, y in ring)]
    assert ring[2] == [max(x for x, _ in ring), max(y for _, y in ring)]


BOX = [10, 45, 10.5, 45.25]


def _box() -> Any:
    return ee.Geometry.BBox(*BOX)


@pytest.mark.parametrize(
    "build",
    [
        lambda error: _box().area(error),
        lambda error: _box().area(maxError=error),
        lambda error: _box().perimeter(error),
        lambda error: _box().buffer(640, error).type(),
        lambda error: _box().buffer(distance=640, maxError=error).type(),
        lambda error: _box().intersection(ee.Geometry.BBox(10.2, 45, 11, 46), error).area(error),
        lambda error: _box().union(ee.Geometry.BBox(10.2, 45, 11, 46), error).type(),
        lambda error: _box().difference(ee.Geometry.BBox(10.2, 45, 11, 46), error).type(),
        lambda error: _box().centroid(error).coordinates(),
        lambda error: _box().convexHull(error).type(),
        lambda error: _box().dissolve(error).type(),
        lambda error: _box().contains(ee.Geometry.Point([10.1, 45.1]), error),
        lambda error: _box().intersects(ee.Geometry.Point([10.1, 45.1]), error),
        lambda error: _box().distance(ee.Geometry.Point([11, 45]), error),
        lambda error: _box().transform("EPSG:32632", error).type(),
        lambda error: ee.Feature(_box()).area(error),
        lambda error: ee.Feature(_box()).buffer(10, error).geometry(error).type(),
        lambda error: ee.Feature(_box()).intersects(ee.Feature(_box()), error),
        lambda error: ee.FeatureCollection([_box()]).geometry(error).type(),
        lambda error: ee.FeatureCollection([_box()]).bounds(error).type(),
        lambda error: (
            ee.FeatureCollection([_box()]).filter(ee.Filter.intersects(".geo", _box(), maxError=error)).size()
        ),
    ],
)
def test_every_literal_margin_is_taken_and_changes_nothing(bench: Any, build: Any) -> None:
    expected = bench.info(build(None))
    for error in (1, 0.5, ee.ErrorMargin(1), ee.ErrorMargin(1, "projected"), ee.ErrorMargin(None, "infinite")):
        assert bench.info(build(error)) == expected


def test_geometries_are_a_property_too(bench: Any) -> None:
    points = [[1, 2], [3, 4], [1, 2]]
    many = ee.FeatureCollection([ee.Feature(ee.Geometry.Point(p), {"a": p[0]}) for p in points])
    found = bench.info(many.aggregate_array(".geo"))
    assert found == [{"type": "Point", "coordinates": p} for p in points]
    assert bench.info(many.aggregate_count(".geo")) == 3
    assert bench.info(many.aggregate_count_distinct(".geo")) == 2
    assert bench.info(many.aggregate_first(".geo"))["coordinates"] == [1, 2]
    assert bench.info(many.distinct([".geo"]).aggregate_array("a")) == [1, 3]
    # Geometries that differ behind the first eighty characters of their text.
    long = [[[i, 0] for i in range(30)] + [[0, end]] for end in (1, 2)]
    lines = ee.FeatureCollection([ee.Geometry.LineString(line) for line in long])
    assert bench.info(lines.aggregate_count_distinct(".geo")) == 2
    assert bench.info(lines.distinct(".geo").size()) == 2

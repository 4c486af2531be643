"""Geometries as scripts of Earth Engine take them, against shapely and pyproj."""

from __future__ import annotations

from typing import Any

import ee
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Geod, Proj, Transformer

from deployments.sandbox.interpreter.edges import meant
from deployments.sandbox.raster import Projection
from deployments.sandbox.refusal import Refusal

LAWS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

GEOD = Geod(ellps="WGS84")
RING = [[10.0, 44.0], [12.0, 44.0], [12.0, 45.0], [10.0, 45.0], [10.0, 44.0]]
"""Lower left, lower right, upper right, upper left, and closed: `bl, br, tr, tl, _` as scripts unpack it."""


@pytest.mark.parametrize(
    "build",
    [
        lambda: ee.Geometry.LineString([[12, 45], [10, 44]], None, False).bounds(),
        lambda: ee.Geometry.Polygon([[[11, 45], [10, 44.5], [12, 44]]], None, False).bounds(),
        lambda: ee.Geometry.MultiPoint([[12, 44], [10, 45]]).bounds(1),
        lambda: ee.Geometry.MultiPoint([[12, 44], [10, 45]]).bounds(ee.ErrorMargin(1), "EPSG:4326"),
        lambda: ee.Feature(ee.Geometry.LineString([[10, 45], [12, 44]], None, False)).bounds(1).geometry(),
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
    bench.put("a", make_band("x", [[1]]), footprint=(10, -0.5, 12, 0.5))
    (ring,) = bench.info(ee.Image("a").geometry().bounds().coordinates())
    expected = [[10, -0.5], [12, -0.5], [12, 0.5], [10, 0.5], [10, -0.5]]
    assert ring == [pytest.approx(corner, abs=1e-4) for corner in expected]
    assert bench.info(ee.Geometry(ee.Image("a").get("system:footprint")).type()) == "LinearRing"
    assert bench.info(ee.Image(1).geometry().isUnbounded()) is True
    assert bench.info(ee.Image("a").geometry().isUnbounded()) is False


def test_what_is_empty_has_no_bounds(bench: Any) -> None:
    apart = ee.Geometry.BBox(0, 0, 1, 1).intersection(ee.Geometry.BBox(2, 2, 3, 3), 1)
    for crs in ("EPSG:4326", "EPSG:32633"):
        with pytest.raises(Refusal, match=r"Geometry\.bounds: The geometry is empty"):
            bench.info(apart.bounds(1, crs))


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
    assert bench.info(ee.Feature(many.first()).get(".geo")) == {"type": "Point", "coordinates": [1, 2]}
    assert bench.info(many.reduceColumns(ee.Reducer.count(), [".geo"])) == {"count": 3}
    # Geometries that differ behind the first eighty characters of their text.
    long = [[[i, 0] for i in range(30)] + [[0, end]] for end in (1, 2)]
    lines = ee.FeatureCollection([ee.Geometry.LineString(line) for line in long])
    assert bench.info(lines.aggregate_count_distinct(".geo")) == 2
    assert bench.info(lines.distinct(".geo").size()) == 2


# Against pyproj and shapely ----------------------------------------------------------------------------------------


def _dense(shape: Any) -> Any:
    return shapely.segmentize(shape, 0.01)


def _geodesic_area(shape: Any) -> float:
    return abs(float(GEOD.geometry_area_perimeter(shapely.orient_polygons(shape))[0]))


CORNERS = st.tuples(st.floats(-175, 150), st.floats(-80, 70), st.floats(0.01, 25), st.floats(0.01, 9))


@LAWS
@given(place=CORNERS)
def test_areas_and_lengths_follow_the_edges_that_are_meant(bench: Any, place: tuple[float, ...]) -> None:
    west, south, width, height = place
    box = shapely.box(west, south, west + width, south + height)
    ring = [list(corner) for corner in box.exterior.coords]
    straight, geodesic = ee.Geometry.Polygon([ring], None, False), ee.Geometry.Polygon([ring], None, True)
    step = max(width, height) / 400
    dense = shapely.segmentize(box, step)
    assert bench.info(straight.area(1)) == pytest.approx(_geodesic_area(dense), rel=1e-4)
    assert bench.info(straight.perimeter(1)) == pytest.approx(GEOD.geometry_length(dense.exterior), rel=1e-5)
    assert bench.info(geodesic.area(1)) == pytest.approx(_geodesic_area(box), rel=1e-9)
    assert bench.info(geodesic.perimeter(1)) == pytest.approx(GEOD.geometry_length(box.exterior), rel=1e-9)
    line = ee.Geometry.LineString(ring[:2], None, False)
    assert bench.info(line.length(1)) == pytest.approx(
        GEOD.geometry_length(shapely.LineString(shapely.segmentize(shapely.LineString(ring[:2]), step))), rel=1e-5
    )


POINTS = st.tuples(st.floats(-180, 180), st.floats(-90, 90))


@LAWS
@given(one=POINTS, other=POINTS)
def test_distances_of_points_are_those_of_the_ellipsoid(
    bench: Any, one: tuple[float, float], other: tuple[float, float]
) -> None:
    found = bench.info(ee.Geometry.Point(one).distance(ee.Geometry.Point(other), 1))
    assert found == pytest.approx(GEOD.inv(*one, *other)[2], rel=1e-9, abs=1e-3)


@LAWS
@given(place=POINTS, metres=st.floats(10, 300_000))
def test_a_buffer_is_as_far_from_its_point_everywhere(bench: Any, place: tuple[float, float], metres: float) -> None:
    """Also over the antimeridian and round the poles: every corner is on the circle, and the area is the circle's."""
    built = ee.Geometry.Point(place).buffer(metres)
    ring = shapely.get_coordinates(meant(bench.value(built)))
    beside = ring[np.abs(ring[:, 1]) < 90 - 1e-9]
    away = GEOD.inv(np.full(len(beside), place[0]), np.full(len(beside), place[1]), *beside.T)[2]
    assert np.min(away) >= metres * 0.99
    assert np.max(away) <= metres * 1.001
    radius = 6_371_008.8
    cap = 2 * np.pi * radius**2 * (1 - np.cos(metres / radius))
    assert bench.info(built.area()) == pytest.approx(cap, rel=1e-2)
    assert bench.info(built.contains(ee.Geometry.Point(place))) is True


def test_over_the_antimeridian(bench: Any) -> None:
    box = ee.Geometry.BBox(170, -10, -170, 10)  # the client makes it 170 to 190
    for lon, inside in ((175, True), (-175, True), (180, True), (165, False), (-165, False), (0, False)):
        point = ee.Geometry.Point([lon, 0])
        assert bench.info(box.contains(point)) is inside
        assert bench.info(box.intersects(point)) is inside
        assert bench.info(box.disjoint(point)) is not inside
    assert bench.info(ee.Geometry.Point([179.5, 0]).distance(ee.Geometry.Point([-179.5, 0]))) == pytest.approx(
        GEOD.inv(179.5, 0, 180.5, 0)[2]
    )
    # A geodesic edge from 179 to -179 goes the short way.
    narrow = ee.Geometry.Polygon([[[179, -1], [-179, -1], [-179, 1], [179, 1]]])
    assert bench.info(narrow.contains(ee.Geometry.Point([180, 0]))) is True
    assert bench.info(narrow.contains(ee.Geometry.Point([0, 0]))) is False
    assert bench.info(narrow.bounds().coordinates())[0][:3] == [
        pytest.approx(corner, abs=1e-3) for corner in ([179, -1], [181, -1], [181, 1])
    ]
    assert bench.info(narrow.centroid().coordinates())[0] % 360 == pytest.approx(180)


def test_geodesic_edges_bend_towards_the_poles(bench: Any) -> None:
    """The geodesic from (0, 60) to (90, 60) passes (45, 67.8): the parallel does not."""
    geodesic = ee.Geometry.Polygon([[[0, 60], [90, 60], [90, 75], [0, 75]]])
    straight = ee.Geometry.Polygon([[[0, 60], [90, 60], [90, 75], [0, 75]]], None, False)
    (top,) = GEOD.npts(0, 60, 90, 60, 1)
    low = ee.Geometry.Point([45, 62])
    assert bench.info(straight.contains(low)) is True
    assert bench.info(geodesic.contains(low)) is False
    line = ee.Geometry.LineString([[0, 60], [90, 60]])
    assert bench.info(line.bounds().coordinates())[0][2] == [pytest.approx(90), pytest.approx(top[1], abs=1e-3)]


def test_round_a_pole(bench: Any) -> None:
    ring = ee.Geometry.Polygon([[[lon, 80] for lon in range(-180, 180, 30)]])
    assert bench.info(ring.contains(ee.Geometry.Point([12, 89]))) is True
    assert bench.info(ring.contains(ee.Geometry.Point([12, 90]))) is True
    assert bench.info(ring.contains(ee.Geometry.Point([12, 79]))) is False
    world = ee.Geometry.BBox(-180, -90, 180, 90)
    assert bench.info(world.area()) == pytest.approx(5.10065621724e14, rel=1e-9)  # of the WGS 84 ellipsoid


@pytest.mark.parametrize(
    ("build", "square_degrees"),
    [
        (lambda: ee.Geometry.MultiPolygon([[[[0, 0], [1, 0], [1, 1], [0, 1]]], [[[0, 0], [2, 0], [2, 2], [0, 2]]]]), 5),
        (lambda: ee.Geometry.Polygon([[[0, 0], [3, 0], [3, 3], [0, 3]], [[1, 1], [2, 1], [2, 2], [1, 2]]]), 8),
        (lambda: ee.Geometry.Polygon([[[0, 0], [1, 1], [1, 0], [0, 1]]]), 0.5),  # it crosses itself
        (lambda: ee.Geometry.LineString([[0, 0], [1, 1]]), 0),
        (lambda: ee.Geometry.Point([0, 0]), 0),
        (lambda: ee.Geometry.BBox(0, 0, 1, 1).difference(ee.Geometry.BBox(0, 0, 1, 1)), 0),
    ],
)
def test_parts_of_an_area_add_up(bench: Any, build: Any, square_degrees: float) -> None:
    """About the equator, a square degree has 1.2309e10 square metres."""
    assert bench.info(build().area()) == pytest.approx(square_degrees * 1.2309e10, rel=2e-3)


def test_lines_have_lengths_and_areas_have_perimeters(bench: Any) -> None:
    box, line = ee.Geometry.BBox(0, 0, 1, 1), ee.Geometry.LineString([[0, 0], [1, 0]])
    degree = GEOD.inv(0, 0, 1, 0)[2]
    assert bench.info(line.length()) == bench.info(ee.Feature(line).length()) == pytest.approx(degree)
    assert bench.info(box.length()) == bench.info(line.perimeter()) == 0
    both = ee.Algorithms.GeometryConstructors.MultiGeometry([box, line])
    assert bench.info(ee.Geometry(both).length()) == pytest.approx(degree)
    assert bench.info(ee.Geometry(both).perimeter()) == pytest.approx(bench.info(ee.Feature(box).perimeter()))
    near = ee.Geometry.Point([2, 0.5])
    side = np.linspace(0.4, 0.6, 2001)
    expected = float(min(GEOD.inv(np.full(2001, 1.0), side, np.full(2001, 2.0), np.full(2001, 0.5))[2]))
    assert bench.info(box.distance(near)) == pytest.approx(expected, rel=1e-7)
    assert bench.info(ee.Feature(box).distance(ee.Feature(near))) == pytest.approx(expected, rel=1e-7)
    assert bench.info(box.withinDistance(near, expected + 10)) is True
    assert bench.info(box.withinDistance(near, expected - 10)) is False


def test_what_is_made_of_straight_edges_keeps_them_straight(bench: Any) -> None:
    """A box of 40 degrees at 60 degrees north has another area than the geodesic polygon of its corners."""
    box, point = ee.Geometry.BBox(0, 60, 40, 65), ee.Geometry.Point([1, 61])
    expected = bench.info(box.area())
    dense = _geodesic_area(shapely.segmentize(shapely.box(0, 60, 40, 65), 0.05))
    assert expected == pytest.approx(dense, rel=1e-5)
    halves = ee.FeatureCollection([ee.Geometry.BBox(0, 60, 20, 65), ee.Geometry.BBox(20, 60, 40, 65)])
    for built in (
        box.union(point),
        box.intersection(ee.Geometry.BBox(-9, 50, 49, 89)),
        box.convexHull(),
        box.dissolve(),
        halves.geometry(),
        ee.Geometry(ee.Algorithms.GeometryConstructors.MultiGeometry([box])),
        ee.Feature(box).geometry(),
        ee.Image(1).clip(box).geometry().intersection(box),
    ):
        assert bench.info(built.area()) == pytest.approx(expected, rel=1e-6)
    assert bench.info(halves.bounds().coordinates())[0][2] == [40, 65]


def test_clips_follow_the_edges_that_are_meant(bench: Any, make_grid: Any) -> None:
    """(20, 61) lies above the parallel of 60 degrees and below the geodesic from (0, 60) to (40, 60)."""
    ring = [[[0, 60], [40, 60], [40, 65], [0, 65]]]
    grid = make_grid(1, 1, Projection(crs="EPSG:4326", transform=Affine(0.1, 0, 20, 0, -0.1, 61)))
    straight = ee.Image(1).clip(ee.Geometry.Polygon(ring, None, False))
    geodesic = ee.Image(1).clip(ee.Geometry.Polygon(ring))
    assert bench.pixels(straight, grid) == {"constant": [[1]]}
    assert bench.pixels(geodesic, grid) == {"constant": [[None]]}


def test_clips_over_the_antimeridian(bench: Any, make_grid: Any) -> None:
    clipped = ee.Image(1).clip(ee.Geometry.BBox(170, -10, -170, 10))
    for lon, inside in ((175, 1), (-175, 1), (165, None), (-165, None), (0, None)):
        grid = make_grid(1, 1, Projection(crs="EPSG:4326", transform=Affine(0.1, 0, lon, 0, -0.1, 1)))
        assert bench.pixels(clipped, grid) == {"constant": [[inside]]}


@pytest.mark.parametrize(
    ("crs", "box", "inside", "outside"),
    [
        ("EPSG:3413", [-2e6, -2e6, 2e6, 2e6], [(10, 89), (-170, 80), (0, 90)], [(10, 60), (0, -90)]),
        ("EPSG:3031", [-1e6, -1e6, 1e6, 1e6], [(10, -89), (-170, -85), (0, -90)], [(10, -60), (0, 90)]),
        (
            "EPSG:32760",
            [804_000, 8_170_000, 844_000, 8_179_000],
            [(180, -16.5), (-179.9, -16.5)],
            [(179, -16.5), (0, 0)],
        ),
        ("EPSG:32601", [166_000, 5_000_000, 400_000, 5_200_000], [(-179.5, 46), (180, 46)], [(178, 46), (0, 46)]),
        ("EPSG:3832", [0, -1e4, 4e6, 1e4], [(170, 0), (-175, 0)], [(140, 0), (-170, 0)]),
    ],
)
def test_projected_boxes_over_the_antimeridian_and_the_poles(
    bench: Any, crs: str, box: list[float], inside: list[Any], outside: list[Any]
) -> None:
    place = ee.Geometry.Rectangle(box, crs, False)
    for point in inside:
        assert bench.info(place.contains(ee.Geometry.Point(point))) is True, point
    for point in outside:
        assert bench.info(place.contains(ee.Geometry.Point(point))) is False, point
    # The area by the scale of the map at each point of a lattice.
    x, y = np.meshgrid(*(np.linspace(box[i], box[i + 2], 402)[:-1] + (box[i + 2] - box[i]) / 802 for i in (0, 1)))
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    scale = Proj(crs).get_factors(lon, lat).areal_scale
    expected = float((1 / scale).mean()) * (box[2] - box[0]) * (box[3] - box[1])
    assert bench.info(place.area()) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    "build",
    [
        lambda: ee.Image(1).geometry().centroid(),
        lambda: ee.Geometry.BBox(-180, -90, 180, 90).buffer(10),
        lambda: ee.Geometry.Point([0, 0]).buffer(3e7),
    ],
)
def test_what_is_as_wide_as_the_globe_is_what_the_sandbox_lacks(bench: Any, build: Any) -> None:
    with pytest.raises(Refusal, match="the sandbox does not support"):
        bench.info(build())

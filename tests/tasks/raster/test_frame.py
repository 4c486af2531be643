"""Laws of maps in degrees: neighbours leave no gap, the worse is on top, nothing is torn at the antimeridian."""

import itertools

import numpy as np
import pytest
import shapely

from tasks.raster.frame import Frame, framed, joined, outlines, painted

FRAME = Frame(0.0, 0.0, 1.0, 1.0, 40, 30)


def test_boxes_that_touch_are_painted_without_a_gap_and_once():
    edges = np.linspace(1.3, 38.6, 12)
    boxes = np.array([[left, 2.4, right, 7.7] for left, right in itertools.pairwise(edges)])
    kinds = np.arange(len(boxes), dtype=np.uint8) % 3
    picture = painted(boxes, kinds, [1, 1, 1], FRAME)
    assert (picture[2:8, 1:39] >= 0).all()
    assert np.count_nonzero(picture >= 0) == 6 * 38


@pytest.mark.parametrize("flip", [1, -1])
def test_the_greater_kind_covers_the_lesser_in_any_order(flip):
    boxes = np.array([[0.0, 0.0, 40.0, 30.0], [10.2, 10.2, 10.4, 10.4], [39.9, 29.9, 40.0, 30.0]])[::flip]
    picture = painted(boxes, np.array([0, 1, 2], np.uint8)[::flip], [1, 5, 3], FRAME)
    assert [np.count_nonzero(picture == kind) for kind in (-1, 0, 1)] == [0, 1200 - 25 - 4, 25]
    assert picture[-1, -1] == 2  # cut at the edge, and not lost


def test_points_fit_into_the_frame_that_is_made_for_them():
    points = np.random.default_rng(0).uniform((-3, 60), (4, 61), (50, 2))
    frame = framed(points, width=400, height=300)
    pixels = frame.pixels(points)
    assert ((pixels > 0) & (pixels < (400, 300))).all()
    assert frame.pixels(np.array([frame.east, frame.north])) == pytest.approx([400, 300])
    assert frame.down / frame.across == pytest.approx(2, rel=0.03)


def ring(west, east, south=0.0, north=1.0):
    return [(west, north), (east, north), (east, south), (west, south)]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([ring(179, -179)], [ring(179, 181)]),
        ([ring(178, 179), ring(-179, -178)], [ring(178, 179), ring(181, 182)]),
        ([ring(-180, 180)], [ring(-180, 180)]),
        ([ring(-180, -90), ring(-90, 0), ring(0, 90), ring(90, 180)],) * 2,
        ([ring(-10, 10)],) * 2,
    ],
    ids=["torn", "apart", "world", "grid of the world", "elsewhere"],
)
def test_longitudes_run_on_where_that_makes_the_map_whole(given, wanted):
    assert joined(np.array(given, float)).tolist() == np.array(wanted, float).tolist()


def test_outlines_lie_on_the_side_of_the_tiles_holes_included():
    shape = shapely.MultiPolygon([shapely.box(178, 0, 180, 2), shapely.box(-180, 0, -178, 2)])
    assert [(r[:, 0].min(), r[:, 0].max()) for r in outlines(shape, 181)] == [(178, 182)]
    assert [(r[:, 0].min(), r[:, 0].max()) for r in outlines(shape, -181)] == [(-182, -178)]
    assert len(outlines(shapely.box(0, 0, 3, 3) - shapely.box(1, 1, 2, 2), 0)) == 2
    assert outlines(None, 0) == []

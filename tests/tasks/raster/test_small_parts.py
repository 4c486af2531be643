"""A polygon that covers no pixel centre keeps the pixels it touches: no part of a region is lost."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from tasks.raster.clip import inside, touching
from tasks.raster.small_parts import with_touched_pixels as each_with_touched_pixels
from tasks.raster.tiling import Tiling

# Sheared, not square, off any round origin; and south-up in degrees.
AFFINES = [Affine(30, 0, 17, 0, -30, 911), Affine(7, 2, -13, 1, -5, 3), Affine(0.25, 0, -180, 0, 0.25, -90)]
HEIGHT, WIDTH = 23, 41


def grid(affine=AFFINES[0]):
    return GeoBox((HEIGHT, WIDTH), affine, "EPSG:32633")


def with_touched_pixels(geometry, geobox):
    return each_with_touched_pixels([geometry], geobox)[0]


def kept(*boxes, affine=AFFINES[0]):
    """Rows and columns that are kept of boxes (left, top, right, bottom) in pixels."""
    parts = [shapely.transform(shapely.box(*box), lambda xy: np.column_stack(affine @ xy.T)) for box in boxes]
    region = with_touched_pixels(shapely.union_all(parts), grid(affine))
    return [(int(row), int(column)) for row, column in np.argwhere(inside(region, grid(affine)))]


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize(
    ("boxes", "pixels"),
    [
        ([(2.1, 0.8, 2.4, 1.3)], [(0, 2), (1, 2)]),  # smaller than a pixel, over an edge
        ([(2.6, 0.6, 2.9, 0.9)], [(0, 2)]),  # in a corner of one pixel
        ([(1.9, 1.9, 2.1, 2.1)], [(1, 1), (1, 2), (2, 1), (2, 2)]),  # round a corner of four
        ([(3.6, 2.0, 4.4, 5.0)], [(2, 3), (2, 4), (3, 3), (3, 4), (4, 3), (4, 4)]),  # thin, between the centres
        ([(0.5, 3.6, 6.5, 3.9)], [(3, column) for column in range(7)]),  # a line
        ([(2.5, 2.5, 3.5, 3.5)], [(2, 2), (2, 3), (3, 2), (3, 3)]),  # four centres lie on its edge, none inside
        ([(2.1, 2.1, 3.6, 3.6)], [(2, 2), (2, 3), (3, 2), (3, 3)]),  # covers centres: nothing is added
        ([(2.1, 2.1, 3.4, 3.4)], [(2, 2)]),
        ([(0.1, 0.1, 0.2, 0.2), (9.1, 9.1, 10.9, 10.9)], [(0, 0), (9, 9), (9, 10), (10, 9), (10, 10)]),  # each part
        ([(9.1, 9.1, 10.9, 10.9), (11.1, 9.2, 11.2, 9.3)], [(9, 9), (9, 10), (9, 11), (10, 9), (10, 10)]),
        ([(-5, 4.2, 0.3, 5.9)], [(4, 0), (5, 0)]),  # only the edge of the grid lies on it
        ([(40.9, 22.8, 60, 60)], [(22, 40)]),  # only its corner
        ([(-5, 0, 0, 23)], []),  # beside the grid
        ([(41, 0, 50, 23)], []),
        ([(2, 2, 4, 3)], [(2, 2), (2, 3)]),  # on pixel edges
        ([(2 - 1e-8, 2.1, 2.4, 2.4)], [(2, 2)]),  # a rounding error beyond an edge is none
    ],
)
def test_the_pixels_of_small_parts_are_those_they_touch(affine, boxes, pixels):
    assert kept(*boxes, affine=affine) == pixels


place = st.integers(-300, 900).map(lambda hundredths: hundredths / 100)
corners = st.lists(st.tuples(place, place), min_size=3, max_size=5)


@pytest.mark.parametrize("affine", AFFINES)
@given(parts=st.lists(corners, min_size=1, max_size=4), size=st.integers(1, 7))
def test_each_part_keeps_the_centres_it_covers_or_else_the_pixels_it_touches(affine, parts, size):
    region = shapely.union_all([shapely.MultiPoint(part).convex_hull.buffer(0.05) for part in parts])
    box = grid(affine)
    cells = shapely.box(
        *np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)),
        *np.meshgrid(np.arange(1, WIDTH + 1), np.arange(1, HEIGHT + 1)),
    )
    expected = np.zeros(box.shape, bool)
    for part in shapely.get_parts(region):
        columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
        centres = shapely.contains_xy(part, columns, rows)
        expected |= centres if centres.any() else shapely.area(shapely.intersection(cells, part)) > 0
    geometry = shapely.transform(region, lambda xy: np.column_stack(affine @ xy.T))
    found = with_touched_pixels(geometry, box)
    # Where an edge passes through a centre or along a pixel's edge, rounding decides.
    unsure = shapely.distance(region.boundary, shapely.points(columns, rows)) < 1e-6
    mask = inside(found, box)
    if not unsure.any():
        slight = shapely.area(shapely.intersection(cells, region)) < 1e-4
        assert ((mask == expected) | slight).all()
    tiling = Tiling(box, size)
    touched = set(touching(found, tiling).tolist())
    assert all(tile in touched or not tiling.window(tile).of_array(mask).any() for tile in range(len(tiling)))


def test_a_region_of_large_parts_is_the_same_object():
    region = shapely.box(100, 400, 400, 700)
    assert with_touched_pixels(region, grid()) is region


def test_a_kept_pixel_touches_no_tile_beside_its_own():
    region = with_touched_pixels(shapely.box(17 + 235, 905, 17 + 240, 909), grid())
    assert touching(region, Tiling(grid(), 8)).tolist() == [0]


def test_a_long_sliver_and_many_small_fields_are_quick():
    """Rows are looked at one by one until a centre is found, and most fields at once."""
    big = GeoBox((20_000, 20_000), Affine(30, 0, 0, 0, -30, 0), "EPSG:32633")
    sliver = shapely.Polygon([(-0.5, 0), (0.5, 0), (600_000.5, -600_000), (599_999.5, -600_000)])
    assert with_touched_pixels(sliver, big) is sliver
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 19_999, 5_000) * 30.0, -rng.integers(1, 20_000, 5_000) * 30.0
    fields = shapely.union_all(shapely.box(x + 2, y + 2, x + 10, y + 10))
    assert len(shapely.get_parts(with_touched_pixels(fields, big))) == len(shapely.get_parts(fields))


def test_a_ring_round_a_centre_keeps_the_pixels_it_touches():
    affine = AFFINES[0]
    for outer, inner, pixels in (
        ((2.1, 2.1, 2.9, 2.9), (2.2, 2.2, 2.8, 2.8), {(2, 2)}),  # round the centre of one
        ((3.9, 3.9, 6.1, 6.1), (4.1, 4.1, 5.9, 5.9), {(r, c) for r in (3, 4, 5, 6) for c in (3, 4, 5, 6)}),
        (
            (9.8, 9.8, 13.2, 13.2),
            (10.2, 10.2, 12.8, 12.8),
            {(r, c) for r in range(9, 14) for c in range(9, 14) if not r == c == 11},
        ),
    ):
        ring = shapely.box(*outer) - shapely.box(*inner)
        region = with_touched_pixels(shapely.transform(ring, lambda xy: np.column_stack(affine @ xy.T)), grid())
        assert {(int(r), int(c)) for r, c in np.argwhere(inside(region, grid()))} == pixels

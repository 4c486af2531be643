"""Clipping: a pixel stays if its centre is inside; a tile is asked for if the region touches it."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from tasks.raster.clip import clipped, inside, touching
from tasks.raster.raster import Raster
from tasks.raster.tiling import Tiling

# Sheared, not square, off any round origin.
AFFINES = [Affine(30, 0, 17, 0, -30, 911), Affine(7, 2, -13, 1, -5, 3)]


def polygon(affine, corners):
    """A polygon through places in pixels."""
    return shapely.Polygon([affine @ corner for corner in corners])


corners = st.lists(st.tuples(st.floats(-10, 60), st.floats(-10, 40)), min_size=3, max_size=7)


@pytest.mark.parametrize("affine", AFFINES)
@given(corners=corners)
def test_a_pixel_is_inside_if_its_centre_is(affine, corners):
    region = shapely.make_valid(polygon(affine, corners).buffer(1.0))
    box = GeoBox((23, 41), affine, "EPSG:32633")
    xs, ys = affine @ (np.arange(41)[None, :] + 0.5, np.arange(23)[:, None] + 0.5)
    expected = shapely.contains_xy(region, *np.broadcast_arrays(xs, ys))
    boundary = shapely.distance(region.boundary, shapely.points(*np.broadcast_arrays(xs, ys))) < 1e-6
    assert ((inside(region, box) == expected) | boundary).all()


@pytest.mark.parametrize("affine", AFFINES)
@given(corners=corners, size=st.integers(1, 17))
def test_every_pixel_inside_is_in_a_tile_that_is_touched(affine, corners, size):
    region = shapely.make_valid(polygon(affine, corners).buffer(1.0))
    tiling = Tiling(GeoBox((23, 41), affine, "EPSG:32633"), size)
    touched = set(touching(region, tiling).tolist())
    whole = inside(region, tiling.geobox)
    for tile in range(len(tiling)):
        part = tiling.window(tile).of_array(whole)
        assert tile in touched or not part.any()
        if tile in touched:
            assert shapely.intersects(region, tiling.tile(tile).extent.geom.buffer(1e-6))


def test_what_is_outside_is_masked_and_zeroed():
    raster = Raster(
        values=np.arange(1, 7, dtype="u2").reshape(1, 2, 3),
        valid=np.array([[[1, 1, 1], [0, 1, 1]]], bool),
        bands=("a",),
        geobox=GeoBox((2, 3), AFFINES[0], "EPSG:32633"),
    )
    cut = clipped(raster, np.array([[True, False, True], [True, True, False]]))
    assert cut.valid.tolist() == [[[True, False, True], [False, True, False]]]
    assert cut.values.tolist() == [[[1, 0, 3], [0, 5, 0]]]


def test_polygons_at_both_ends_of_a_grid_of_a_trillion_tiles_touch_two():
    """Found from the polygons: a list of all tiles would take terabytes."""
    tiling = Tiling(GeoBox((16_000_000, 16_000_000), Affine(1, 0, 0, 0, -1, 16_000_000), "EPSG:3857"), 16)
    ends = shapely.MultiPolygon([shapely.box(1, 1, 3, 3), shapely.box(15_999_990, 15_999_990, 15_999_995, 15_999_995)])
    last_row = 999_999 * 1_000_000
    assert touching(ends, tiling).tolist() == [999_999, last_row]

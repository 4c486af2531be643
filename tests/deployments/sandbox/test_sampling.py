"""Laws of where pixels fall and what is found there."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

from deployments.sandbox.raster import SINUSOIDAL, Grid, Pixels, Projection
from deployments.sandbox.sampling import from_coordinates, pixel_coordinates, sample

UTM, LONLAT = "EPSG:32621", "EPSG:4326"
# Off-origin, not square, rotated and sheared.
SHEARED = Affine(28.5, 3.25, 731205.0, -1.75, -31.0, -2775615.0)


def pixels(values: object, mask: object = None) -> Pixels:
    array = np.asarray(values)
    return Pixels(array, np.ones(array.shape, np.float32) if mask is None else np.asarray(mask, np.float32))


def test_the_corner_of_the_first_pixel_is_zero_and_axes_are_not_swapped() -> None:
    target = Projection(crs=UTM, transform=Affine(30, 0, 700000, 0, -20, -2800000))
    grid = Grid(crs=UTM, transform=Affine(15, 0, 700060, 0, -40, -2799940), width=3, height=2)
    cols, rows = pixel_coordinates(grid, target)
    # x = 700060 + 7.5, 22.5, 37.5; y = -2799940 - 20, -60.
    assert cols.tolist() == [[2.25, 2.75, 3.25]] * 2
    assert rows.tolist() == [[-2.0] * 3, [0.0] * 3]


@given(
    size=st.tuples(st.floats(0.5, 90), st.floats(-90, -0.5)),
    shear=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)),
    corner=st.tuples(st.floats(-2e7, 2e7), st.floats(-1e7, 1e7)),
)
def test_a_grid_in_itself_has_its_centres_at_half_pixels(
    size: tuple[float, float], shear: tuple[float, float], corner: tuple[float, float]
) -> None:
    (a, e), (left, top) = size, corner
    transform = Affine(a, shear[0] * a, left, shear[1] * e, e, top)
    grid = Grid(crs=UTM, transform=transform, width=5, height=3)
    cols, rows = pixel_coordinates(grid, grid)
    np.testing.assert_allclose(cols, np.tile(np.arange(5) + 0.5, (3, 1)), atol=1e-9)
    np.testing.assert_allclose(rows, np.tile(np.arange(3)[:, None] + 0.5, (1, 5)), atol=1e-9)


def test_the_way_through_another_crs_is_that_of_pyproj_point_by_point() -> None:
    target = Projection(crs=UTM, transform=SHEARED)
    grid = Grid(crs=LONLAT, transform=Affine(0.001, 0.0002, -54.7, 0.0001, -0.0015, -25.1), width=4, height=3)
    cols, rows = pixel_coordinates(grid, target)
    transformer = Transformer.from_crs(LONLAT, UTM, always_xy=True)
    for j in range(3):
        for i in range(4):
            lon = -54.7 + 0.001 * (i + 0.5) + 0.0002 * (j + 0.5)
            lat = -25.1 + 0.0001 * (i + 0.5) - 0.0015 * (j + 0.5)
            x, y = transformer.transform(lon, lat)
            col, row = ~SHEARED @ (x, y)
            assert cols[j, i] == pytest.approx(col, abs=1e-7)
            assert rows[j, i] == pytest.approx(row, abs=1e-7)


def test_the_same_crs_by_another_text_takes_the_slow_way_to_the_same_place() -> None:
    grid = Grid(crs=UTM, transform=SHEARED, width=4, height=3)
    fast = pixel_coordinates(grid, Projection(crs=UTM, transform=Affine(30, 0, 731000, 0, -30, -2775000)))
    slow = pixel_coordinates(
        grid,
        Projection(
            crs="+proj=utm +zone=21 +datum=WGS84 +units=m",
            transform=Affine(30, 0, 731000, 0, -30, -2775000),
        ),
    )
    np.testing.assert_allclose(fast, slow, atol=1e-6)


def test_what_cannot_be_projected_is_infinitely_far() -> None:
    globe = Projection(crs="+proj=ortho +lat_0=0 +lon_0=0 +R=6371000", transform=Affine(9, 1, 0, 2, -9, 0))
    grid = Grid(crs=LONLAT, transform=Affine(60, 0, -150, 0, -10, 10), width=5, height=2)
    cols, rows = pixel_coordinates(grid, globe)  # -120, -60, 0, 60 and 120 degrees: the first and last are behind
    assert np.isfinite(cols).tolist() == [[False, True, True, True, False]] * 2
    assert np.isposinf(cols[:, [0, 4]]).all()
    assert np.isposinf(rows[:, [0, 4]]).all()


def test_the_corners_of_the_sinusoidal_grid_are_off_the_world() -> None:
    """At 80.9 degrees north the world is 6.3 million metres wide; PROJ would wrap what is beyond."""
    world = Projection(crs=LONLAT, transform=Affine(1, 0, -180, 0, -1, 90))
    xs, ys = np.array([-2e7, -3.0e6, 3.0e6, 3.3e6]), np.full(4, 9e6)
    cols, _ = from_coordinates(xs, ys, SINUSOIDAL, world)
    assert np.isfinite(cols).tolist() == [False, True, True, False]


def test_nearest_reads_the_pixel_below_the_point_and_masks_outside() -> None:
    stored = pixels([[1, 2, 3], [4, 5, 6]], [[1, 0, 0.5], [1, 1, 1]])
    cols = np.array([0.0, 0.999, 1.0, 2.5, 3.0, -0.001, np.inf, 0.5])
    rows = np.array([0.0, 1.999, 0.5, 0.2, 0.5, 0.5, np.inf, 2.0])
    found = sample(stored, cols, rows)
    assert found.mask.tolist() == [1, 1, 0, 0.5, 0, 0, 0, 0]
    assert found.values[[0, 1, 3]].tolist() == [1, 4, 3]
    assert found.values.dtype == stored.values.dtype


@given(st.integers(0, 40), st.integers(0, 30), st.booleans())
def test_views_of_separable_grids_read_as_full_arrays_do(left: int, top: int, far: bool) -> None:
    """The fast way by a row and a column is an optimisation and nothing else."""
    stored = pixels(np.arange(20 * 30).reshape(20, 30), np.arange(20 * 30).reshape(20, 30) % 3 > 0)
    step = 7.3 if far else 0.4
    grid = Grid(crs=UTM, transform=Affine(step, 0, left - 5, 0, step, top - 5), width=9, height=6)
    cols, rows = pixel_coordinates(grid, Projection(crs=UTM, transform=Affine.identity()))
    assert cols.strides[0] == 0
    fast, slow = sample(stored, cols, rows), sample(stored, cols.copy(), rows.copy())
    np.testing.assert_array_equal(fast.mask, slow.mask)
    np.testing.assert_array_equal(fast.values[fast.mask > 0], slow.values[fast.mask > 0])


def test_bilinear_by_hand() -> None:
    stored = pixels([[10, 20], [30, 60]])
    found = sample(stored, np.array([1.25]), np.array([0.75]), "bilinear")
    # 3/4 to the right, 1/4 down: .25*.75*10 + .75*.75*20 + .25*.25*30 + .75*.25*60
    assert found.values.tolist() == [pytest.approx(1.875 + 11.25 + 1.875 + 11.25)]
    assert found.mask.tolist() == [1]


def test_what_is_masked_does_not_bleed_into_what_is_valid() -> None:
    stored = pixels([[10.0, np.nan], [30.0, 60.0]], [[1, 0], [0.5, 1]])
    found = sample(stored, np.array([1.25]), np.array([0.75]), "bilinear")
    weights = np.array([0.1875, 0.0625 * 0.5, 0.1875])
    assert found.values[0] == pytest.approx((weights @ [10, 30, 60]) / weights.sum())
    assert found.mask[0] == pytest.approx(weights.sum())


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
@given(
    slope=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    at=st.lists(st.tuples(st.floats(2, 8), st.floats(2, 5)), min_size=1),
)
def test_a_plane_stays_a_plane(resampling: str, slope: tuple[float, float], at: list[tuple[float, float]]) -> None:
    j, i = np.indices((7, 10))
    plane = pixels(3 + slope[0] * (i + 0.5) + slope[1] * (j + 0.5))
    cols, rows = np.array(at).T
    found = sample(plane, cols, rows, resampling)  # type: ignore[arg-type] # parametrised with both
    np.testing.assert_allclose(found.values, 3 + slope[0] * cols + slope[1] * rows, atol=1e-9)
    assert (found.mask == 1).all()


def test_bicubic_is_catmull_rom_and_falls_back_where_a_neighbour_is_masked() -> None:
    line = np.tile(np.array([0.0, 0, 1, 0, 0, 0]), (4, 1))
    found = sample(pixels(line), np.array([2.0]), np.array([2.0]), "bicubic")
    assert found.values[0] == pytest.approx(0.5625)  # halfway, a neighbour of the peak: 9/16
    mask = np.ones((4, 6))
    mask[0, 0] = 0
    masked = sample(pixels(line, mask), np.array([2.0]), np.array([2.0]), "bicubic")
    assert masked.values[0] == pytest.approx(0.5)
    assert masked.mask[0] == 1

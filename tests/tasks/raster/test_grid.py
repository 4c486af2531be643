"""Laws of grids: they cover, they are no larger than needed, they line up."""

import math

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo import wh_, xy_
from rasterio.warp import transform_bounds

from tasks.raster.crs import SINUSOIDAL
from tasks.raster.grid import TOLERANCE, covering_geobox, native_geobox, patch_corners
from tasks.raster.region import Region, read_region

scales = st.sampled_from([0.1, 0.3, 1.0, 10.0, 28.5, 30.0, 231.65635826395825])


def box(*sides: float, crs: str = "EPSG:32633") -> Region:
    return read_region(list(sides), crs)


@given(st.floats(1e5, 9e5), st.floats(1e6, 9e6), st.floats(0.01, 4e3), st.floats(0.01, 4e3), scales)
def test_a_covering_grid_covers_and_no_pixel_could_be_spared(
    west: float, south: float, width: float, height: float, scale: float
) -> None:
    region = box(west, south, west + width, south + height)
    grid = covering_geobox(region, "EPSG:32633", scale)
    left, bottom, right, top = grid.boundingbox
    west, south, east, north = region.geometry.bounds
    slack = 2 * TOLERANCE * scale
    assert left <= west + slack
    assert bottom <= south + slack
    assert right >= east - slack
    assert top >= north - slack
    assert left + scale > west
    assert top - scale < north
    assert right - scale < east
    assert bottom + scale > south
    for side in (left, bottom, right, top):
        assert side / scale == pytest.approx(round(side / scale), abs=1e-6)


@given(st.integers(-30_000, 30_000), st.integers(1, 50), scales)
def test_bounds_on_the_grid_cost_no_pixel_more(first: int, count: int, scale: float) -> None:
    """0.1 * 3 is not 0.3, but it is meant."""
    wide, high = count + 3, count
    region = box(first * scale, 7 * scale, (first + wide) * scale, (7 + high) * scale, crs="EPSG:3857")
    grid = covering_geobox(region, "EPSG:3857", scale)
    assert grid.shape == (high, wide)
    assert grid.affine.c == pytest.approx(first * scale, abs=1e-9 * abs(first * scale) + 1e-12)


@given(st.floats(0, 5e4), st.floats(0, 5e4), scales)
def test_neighbouring_runs_share_their_corners_to_the_bit(dx: float, dy: float, scale: float) -> None:
    one = covering_geobox(box(4e5, 5e6, 4e5 + 900, 5e6 + 700), "EPSG:32633", scale, anchor=xy_(5.0, 2.5))
    two = covering_geobox(
        box(4e5 + dx, 5e6 + dy, 4e5 + dx + 300, 5e6 + dy + 200), "EPSG:32633", scale, anchor=xy_(5.0, 2.5)
    )
    column, row = ~one.affine @ (two.affine.c, two.affine.f)
    assert column == pytest.approx(round(column), abs=1e-5)
    assert row == pytest.approx(round(row), abs=1e-5)
    assert two.affine.c == 5.0 + scale * round((two.affine.c - 5.0) / scale)


def test_a_reprojected_region_is_covered_as_gdal_says() -> None:
    sides = (10.93, 45.87, 12.46, 47.01)
    grid = covering_geobox(read_region(list(sides)), "EPSG:32632", 10.0)
    oracle = transform_bounds("EPSG:4326", "EPSG:32632", *sides, densify_pts=2000)
    west, south, east, north = (
        math.floor(oracle[0] / 10),
        math.floor(oracle[1] / 10),
        math.ceil(oracle[2] / 10),
        math.ceil(oracle[3] / 10),
    )
    assert grid.boundingbox.bbox == (west * 10, south * 10, east * 10, north * 10)


def test_the_modis_grid_is_met_to_the_pixel() -> None:
    size = 231.65635826395825
    affine = Affine(size, 0, -20015109.353988, 0, -size, 10007554.676994)
    grid = native_geobox(read_region([11.0, 46.0, 11.2, 46.1]), SINUSOIDAL, affine, shape=wh_(172800, 86400))
    column, row = ~affine @ (grid.affine.c, grid.affine.f)
    assert (column, row) == pytest.approx((round(column), round(row)), abs=1e-6)
    # By hand: the sinusoidal x is R * longitude * cos(latitude), y is R * latitude.
    radius = 6371007.181
    x = radius * math.radians(11.0) * math.cos(math.radians(46.1))
    y = radius * math.radians(46.1)
    assert round(column) == math.floor((x + 20015109.353988) / size)
    assert round(row) == math.floor((10007554.676994 - y) / size)


def test_a_sheared_oblong_grid_covers_every_corner() -> None:
    affine = Affine(20.0, 6.0, 500_100.0, -4.0, -35.0, 5_000_300.0)
    region = Region(
        geometry=shapely.Polygon([(5e5, 5e6), (500_700, 5_000_100), (500_200, 4_999_300)]), crs="EPSG:32633"
    )
    grid = native_geobox(region, "EPSG:32633", affine)
    height, width = grid.shape
    columns, rows = ~grid.affine @ shapely.get_coordinates(region.geometry).T
    assert 0 <= columns.min() < 1
    assert width - 1 < columns.max() <= width
    assert 0 <= rows.min() < 1
    assert height - 1 < rows.max() <= height
    offset = ~affine @ (grid.affine.c, grid.affine.f)
    assert offset == pytest.approx(np.round(offset), abs=1e-9)
    assert tuple(grid.affine)[:2] == (20.0, 6.0)


def test_a_native_grid_is_cut_to_the_image() -> None:
    affine = Affine(30, 0, 694_005, 0, -30, 7_233_385)
    region = box(693_000, 7_233_000, 694_100, 7_234_000, crs="EPSG:32721")
    grid = native_geobox(region, "EPSG:32721", affine, shape=wh_(200, 100))
    assert grid.shape == (13, 4)  # 385 m and 95 m of the region lie on the image
    assert grid.affine == affine
    with pytest.raises(ValueError, match="does not touch the image"):
        native_geobox(box(0, 0, 100, 100, crs="EPSG:32721"), "EPSG:32721", affine, shape=wh_(200, 100))
    with pytest.raises(ValueError, match="degenerate"):
        native_geobox(region, "EPSG:32721", Affine(30, 60, 0, 10, 20, 0))


@pytest.mark.parametrize("scale", [0.0, -10.0, math.nan, math.inf])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match=r"scale = .* positive"):
        covering_geobox(box(0, 0, 1, 1), "EPSG:32633", scale)
    with pytest.raises(ValueError, match=r"scale = .* positive"):
        patch_corners([15.0], [45.0], "EPSG:32633", scale, 8)


@given(st.floats(12, 18), st.floats(-60, 70), st.integers(1, 65), scales)
def test_a_point_lies_within_half_a_pixel_of_its_patch_centre(lon: float, lat: float, size: int, scale: float) -> None:
    corner = patch_corners([lon], [lat], "EPSG:32633", scale, size)
    left, top = float(corner.left[0]), float(corner.top[0])
    x, y = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(lon, lat)
    column, row = (x - left) / scale, (top - y) / scale
    assert abs(column - size / 2) <= 0.5 + 1e-5
    assert abs(row - size / 2) <= 0.5 + 1e-5
    for side in (left, top):
        assert side / scale == pytest.approx(round(side / scale), abs=1e-5)
    if size % 2:
        assert size // 2 - 1e-5 <= column <= size // 2 + 1 + 1e-5, "the middle pixel holds the point"


def test_patches_by_hand() -> None:
    x, y = 500_003.0, 5_000_008.0
    lon, lat = pyproj.Transformer.from_crs(32633, 4326, always_xy=True).transform(x, y)
    for size, left, top in ((5, 499_980, 5_000_030), (4, 499_980, 5_000_030), (2, 499_990, 5_000_020)):
        corner = patch_corners([lon], [lat], "EPSG:32633", 10, size)
        assert (corner.left.tolist(), corner.top.tolist()) == ([left], [top])


def test_100_000_patches_are_arrays_and_each_is_the_one_of_its_point() -> None:
    random = np.random.default_rng(5)
    lon, lat = random.uniform(9, 21, 100_000), random.uniform(-70, 80, 100_000)
    patches = patch_corners(lon, lat, "EPSG:32633", 0.3, 33)
    assert patches.left.shape == patches.top.shape == (100_000,)
    for i in (0, 4711, 99_999):
        one = patch_corners([lon[i]], [lat[i]], "EPSG:32633", 0.3, 33)
        assert (patches.left[i], patches.top[i]) == (one.left[0], one.top[0])


def test_patches_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="size = 0"):
        patch_corners([15.0], [45.0], "EPSG:32633", 10, 0)
    with pytest.raises(ValueError, match=r"point 1 \(longitude 15.0, latitude nan\).*'utm'"):
        patch_corners([15.0, 15.0], [45.0, math.nan], "EPSG:32633", 10, 8)

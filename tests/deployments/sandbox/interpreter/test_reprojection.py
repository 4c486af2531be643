"""Projections and resampling, by hand and against rasterio's warper."""

from __future__ import annotations

from typing import Any

import ee
import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer
from rasterio.warp import Resampling, reproject

from deployments.sandbox.raster import DOUBLE, UINT8, Grid, Projection
from deployments.sandbox.refusal import Refusal

NORTH_UP = Projection(crs="EPSG:32621", transform=Affine(10, 0, 500_003, 0, -10, 7_000_007))


def read(bench: Any, built: Any, grid: Grid) -> Any:
    return bench.value(built).bands[0].read(grid)


def test_reproject_computes_on_its_own_pixels(bench: Any, make_band: Any) -> None:
    """Pixels of 20 m see the value at their centre, whatever finer grid they are then read on.

    Centres of the 20 m pixels from x = 500003 lie on the edge of two 10 m pixels, which belongs to the right
    and lower one: columns 1 and 3, rows 1.
    """
    values = [[1, 2, 3, 4], [5, 6, 7, 8]]
    image = bench.put("a", make_band("x", values, projection=NORTH_UP))
    coarse = image.reproject("EPSG:32621", [20, 0, 500_003, 0, -20, 7_000_007])
    grid = Grid(crs="EPSG:32621", transform=NORTH_UP.transform, width=5, height=2)
    found = read(bench, coarse, grid)
    assert found.values[:, :4].tolist() == [[6, 6, 8, 8], [6, 6, 8, 8]]
    assert found.mask.tolist() == [[1, 1, 1, 1, 0]] * 2
    same = image.add(0).reproject(ee.Projection("EPSG:32621", [20, 0, 500_003, 0, -20, 7_000_007]))
    assert read(bench, same, grid).values[:, :4].tolist() == [[6, 6, 8, 8], [6, 6, 8, 8]]
    assert bench.info(coarse.projection())["transform"] == [20, 0, 500_003, 0, -20, 7_000_007]


def test_a_scale_puts_the_origin_at_the_origin_of_the_crs(bench: Any, make_band: Any) -> None:
    image = bench.put("a", make_band("x", [[1]], projection=NORTH_UP))
    info = bench.info(image.reproject("EPSG:32621", None, 30).projection())
    assert info["transform"] == [30, 0, 0, 0, -30, 0]
    degrees = bench.info(image.reproject("EPSG:4326", None, 111319.49079327358).projection())
    assert degrees["transform"] == pytest.approx([1, 0, 0, 0, -1, 0])
    assert bench.info(image.projection().nominalScale()) == pytest.approx(10)
    with pytest.raises(Refusal, match="both"):
        bench.value(image.reproject("EPSG:32621", [1, 0, 0, 0, -1, 0], 30))
    with pytest.raises(Refusal, match="could not be parsed"):
        bench.value(image.reproject("EPSG:999999"))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_computed_images_are_interpolated_between_their_own_pixels(bench: Any, make_band: Any, mode: str) -> None:
    """A plane x + 2y, made of a stored one, keeps its value at any point between pixel centres."""
    cols, rows = np.meshgrid(np.arange(12) + 0.5, np.arange(9) + 0.5)
    image = bench.put("a", make_band("x", cols + 2 * rows, kind=DOUBLE, projection=NORTH_UP))
    finer = NORTH_UP.transform @ Affine.translation(3.3, 2.9) @ Affine.rotation(20) @ Affine.scale(0.31, 0.47)
    grid = Grid(crs="EPSG:32621", transform=finer, width=7, height=5)
    x, y = np.meshgrid(np.arange(7) + 0.5, np.arange(5) + 0.5)
    at = ~NORTH_UP.transform @ finer
    expected = (at.a * x + at.b * y + at.c) + 2 * (at.d * x + at.e * y + at.f)
    for built in (image.multiply(10).resample(mode), image.resample(mode).multiply(10)):
        found = read(bench, built, grid)
        assert found.mask.min() == 1
        np.testing.assert_allclose(found.values, expected * 10, rtol=1e-9)


def test_resampling_a_composite_is_refused_by_name(bench: Any, make_band: Any) -> None:
    image = bench.put("a", make_band("x", [[1]], projection=NORTH_UP))
    with pytest.raises(Refusal, match=r"Image\.resample: band 'x'"):
        bench.value(ee.ImageCollection([image, image]).median().resample("bilinear"))
    with pytest.raises(Refusal, match="Invalid mode 'cubic'"):
        bench.value(image.resample("cubic"))


def test_reproject_to_another_crs_agrees_with_the_warper(bench: Any, make_band: Any) -> None:
    """Nearest in sheared UTM from a masked source, then read in EPSG:4326: two warps in a row."""
    rng = np.random.default_rng(3)
    values = rng.integers(1, 255, (40, 60))
    values[5:12, 20:31] = 0
    image = bench.put("a", make_band("x", values, mask=values > 0, projection=NORTH_UP))
    middle = Affine(13, 3, 499_950, -2, -17, 7_000_100)
    back = Transformer.from_crs("EPSG:32621", "EPSG:4326", always_xy=True)
    left, top = back.transform(500_040, 6_999_960)
    grid = Grid(crs="EPSG:4326", transform=Affine(0.0002, 0, left, 0, -0.0001, top), width=31, height=23)
    found = read(bench, image.reproject("EPSG:32621", list(middle)[:6]), grid)
    held = np.zeros((80, 90), np.uint8)
    options = {"src_nodata": 0, "dst_nodata": 0, "resampling": Resampling.nearest, "tolerance": 0}
    reproject(
        values.astype(np.uint8), held, src_transform=NORTH_UP.transform, src_crs="EPSG:32621",
        dst_transform=middle, dst_crs="EPSG:32621", **options,
    )  # fmt: skip
    expected = np.zeros(grid.shape, np.uint8)
    reproject(
        held, expected, src_transform=middle, src_crs="EPSG:32621",
        dst_transform=grid.transform, dst_crs="EPSG:4326", **options,
    )  # fmt: skip
    differ = np.where(found.mask > 0, found.values, 0) != expected
    assert expected.any()
    assert (expected == 0).any()
    assert differ.mean() <= 0.002


def test_too_large_reprojections_are_refused(bench: Any, make_band: Any) -> None:
    image = bench.put("a", make_band("x", [[1]], projection=NORTH_UP)).reproject("EPSG:32621", None, 0.001)
    grid = Grid(crs="EPSG:32621", transform=NORTH_UP.transform, width=50, height=50)
    with pytest.raises(Refusal, match="Reprojection output too large"):
        read(bench, image, grid)


def test_pixel_lon_lat_is_where_the_centres_are(bench: Any) -> None:
    grid = Grid(crs="EPSG:32621", transform=Affine(30, 4, 500_017, -3, -20, 7_100_009), width=3, height=2)
    found = bench.pixels(ee.Image.pixelLonLat(), grid)
    back = Transformer.from_crs("EPSG:32621", "EPSG:4326", always_xy=True)
    for row in range(2):
        for col in range(3):
            lon, lat = back.transform(*(grid.transform @ (col + 0.5, row + 0.5)))
            assert found["longitude"][row][col] == pytest.approx(lon, abs=1e-12)
            assert found["latitude"][row][col] == pytest.approx(lat, abs=1e-12)


def test_areas_of_pixels_add_up_to_the_sphere(bench: Any) -> None:
    grid = Grid(crs="EPSG:4326", transform=Affine(10, 0, -180, 0, -10, 90), width=36, height=18)
    found = bench.value(ee.Image.pixelArea()).bands[0].read(grid)
    assert found.values.sum() == pytest.approx(4 * np.pi * 6378137**2, rel=1e-9)


def test_bands_of_several_projections(bench: Any, make_band: Any) -> None:
    other = Projection(crs="EPSG:32621", transform=Affine(20, 0, 500_003, 0, -20, 7_000_007))
    image = bench.put("a", make_band("x", [[1]], projection=NORTH_UP), make_band("y", [[1]], projection=other))
    with pytest.raises(Refusal, match="different projections"):
        bench.value(image.projection())
    assert bench.info(image.select("y").projection().nominalScale()) == pytest.approx(20)
    assert bench.value(image.select("y")).bands[0].type == UINT8

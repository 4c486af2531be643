"""Stored bands against rasterio, and pyramids against block means written out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT

from deployments.sandbox.pyramid import StoredBand
from deployments.sandbox.raster import FLOAT, INT16, UINT8, Band, Grid, Pixels, Projection, integer
from deployments.sandbox.scenes import SAMPLES
from deployments.sandbox.stored import exact_crs, file_bands

EDGE = SAMPLES / "landsat8_224078_20200518.tif"
NORTH_CAROLINA = SAMPLES / "landsat7_nc_2000.tif"


def on(band: Band, affine: Affine, width: int, height: int) -> Pixels:
    """Read in the band's own CRS, on a grid whose pixels are given in the band's pixels."""
    native = band.projection
    return band.read(Grid(crs=native.crs, transform=native.transform @ affine, width=width, height=height))


def memory_band(values: NDArray[np.generic], mask: NDArray[np.generic], **kwargs: object) -> Band:
    def load(window: tuple[int, int, int, int]) -> Pixels:
        left, top, right, bottom = window
        return Pixels(values[top:bottom, left:right], mask[top:bottom, left:right].astype(np.float32))

    fields = {
        "id": "b",
        "type": integer(-32768, 32767) if values.dtype.kind == "i" else FLOAT,
        "projection": Projection(crs="EPSG:32621", transform=Affine(30, 0, 7e5, 0, -30, -2.8e6)),
        "dimensions": (values.shape[1], values.shape[0]),
        "load": load,
    }
    return StoredBand(**(fields | kwargs)).band()  # type: ignore[arg-type] # a test's shorthand


@settings(max_examples=40, deadline=None)
@given(
    left=st.integers(-70, 540),
    top=st.integers(-70, 1010),
    width=st.integers(1, 120),
    height=st.integers(1, 150),
    index=st.integers(1, 3),
)
def test_a_native_window_is_what_rasterio_reads(left: int, top: int, width: int, height: int, index: int) -> None:
    """Windows beyond the edges too: there, rasterio's boundless reading is masked and so is ours."""
    band = file_bands(EDGE, EDGE.stat().st_mtime_ns)[index - 1].band()
    found = on(band, Affine.translation(left, top), width, height)
    expected = np.zeros((height, width), np.uint16)
    valid = np.zeros((height, width), bool)
    with rasterio.open(EDGE) as dataset:
        inside = np.s_[max(0, -top) : max(0, 990 - top), max(0, -left) : max(0, 520 - left)]
        window = ((max(0, top), min(990, top + height)), (max(0, left), min(520, left + width)))
        if window[0][0] < window[0][1] and window[1][0] < window[1][1]:
            expected[inside] = dataset.read(index, window=window)
            valid[inside] = dataset.read_masks(index, window=window) > 0
    assert found.values.dtype == np.uint16
    np.testing.assert_array_equal(found.mask, valid.astype(np.float32))
    np.testing.assert_array_equal(np.where(valid, found.values, 0), expected * valid)


@pytest.mark.parametrize("path", [EDGE, NORTH_CAROLINA], ids=lambda path: path.stem)
def test_a_whole_file_is_what_rasterio_reads(path: Path) -> None:
    with rasterio.open(path) as dataset:
        names, shape = list(dataset.descriptions), dataset.shape
        values, masks = dataset.read(), dataset.read_masks()
    bands = [stored.band() for stored in file_bands(path, 1)]
    assert [band.id for band in bands] == names
    for band, expected, mask in zip(bands, values, masks, strict=True):
        found = on(band, Affine.identity(), shape[1], shape[0])
        np.testing.assert_array_equal(found.values, expected)
        np.testing.assert_array_equal(found.mask, mask / 255)
        assert 0 < found.mask.mean() < 1


CASES = {
    "lonlat": ("EPSG:4326", Affine(0.00031, 0, -54.68, 0, -0.00027, -25.15), 560, 1010),
    "mercator": ("EPSG:3857", Affine(33, 0, -6086000, 0, -33, -2895000), 560, 1010),
    "rotated": ("EPSG:32621", Affine(27, 9, 734000, 8, -26, -2786000), 600, 900),
}


@pytest.mark.parametrize("case", CASES)
def test_another_grid_agrees_with_gdal_but_for_points_on_a_boundary(case: str) -> None:
    crs, affine, width, height = CASES[case]
    stored = file_bands(EDGE, 1)[1]
    found = stored.band().read(Grid(crs=crs, transform=affine, width=width, height=height))
    with (
        rasterio.open(EDGE) as dataset,
        WarpedVRT(
            dataset,
            crs=crs,
            transform=affine,
            width=width,
            height=height,
            resampling=Resampling.nearest,
            tolerance=1e-9,
            nodata=0,
        ) as warped,
    ):
        expected = warped.read(2)
    ours = np.where(found.mask > 0, found.values, 0)
    assert 0.3 < (ours > 0).mean() < 1
    differs = np.argwhere(ours != expected)
    assert len(differs) <= 0.001 * ours.size
    to_native = Transformer.from_crs(crs, "EPSG:32621", always_xy=True)
    for row, col in differs:
        point = ~stored.projection.transform @ to_native.transform(*(affine @ (col + 0.5, row + 0.5)))
        assert min(abs(p - round(p)) for p in point) < 0.01


def test_turned_and_sheared_grids_by_hand() -> None:
    values = np.arange(3 * 5, dtype=np.int16).reshape(3, 5)
    mask = values != 7
    band = memory_band(values, mask)
    turned = on(band, Affine(0, 1, 0, -1, 0, 3), 3, 5)  # column = row', row = 3 - column'
    np.testing.assert_array_equal(turned.values, [[10, 5, 0], [11, 6, 1], [12, 7, 2], [13, 8, 3], [14, 9, 4]])
    np.testing.assert_array_equal(turned.mask, turned.values != 7)
    # column = column' + row' / 2: centres at 0.75, 1.25 and 1.75 behind the first
    sheared = on(band, Affine(1, 0.5, 0, 0, 1, 0), 5, 3)
    np.testing.assert_array_equal(sheared.values[0], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(sheared.values[1, :4], [6, 7, 8, 9])
    np.testing.assert_array_equal(sheared.values[2, :4], [11, 12, 13, 14])
    np.testing.assert_array_equal(sheared.mask, [[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [1, 1, 1, 1, 0]])


def block_means(
    values: NDArray[np.generic], mask: NDArray[np.generic], k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every block written out: the mean of its valid pixels, and the share of it that is valid."""
    size = 2**k
    shape = (-(-values.shape[0] // size), -(-values.shape[1] // size))
    means, shares = np.zeros(shape), np.zeros(shape)
    for j in range(shape[0]):
        for i in range(shape[1]):
            block = np.s_[j * size : (j + 1) * size, i * size : (i + 1) * size]
            weight = mask[block].astype(float)
            shares[j, i] = weight.sum() / size**2
            if weight.sum():
                means[j, i] = (values[block] * weight).sum() / weight.sum()
    return means, shares


@pytest.fixture(scope="module")
def uneven() -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Odd dimensions, values that go up and down, a slanted edge."""
    random = np.random.default_rng(5)
    j, i = np.indices((531, 1029))
    return random.integers(-900, 900, (531, 1029)).astype(np.int16), (i + 2 * j > 300) & (i % 7 > 0)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_level_of_the_pyramid_is_the_mean_of_blocks(
    k: int, uneven: tuple[NDArray[np.int16], NDArray[np.bool_]]
) -> None:
    values, mask = uneven
    means, shares = block_means(values, mask, k)
    found = on(memory_band(values, mask), Affine.scale(2**k), means.shape[1], means.shape[0])
    np.testing.assert_array_equal(found.mask, shares.astype(np.float32))
    assert found.values.dtype == np.int16
    np.testing.assert_array_equal(found.values[shares > 0], np.rint(means[shares > 0]))
    assert len(np.unique(shares)) > 2


def test_the_level_is_the_closest_that_is_not_coarser(
    uneven: tuple[NDArray[np.int16], NDArray[np.bool_]],
) -> None:
    values, mask = uneven
    band = memory_band(values, mask)
    means, shares = block_means(values, mask, 1)
    found = on(band, Affine.translation(100, 80) @ Affine.scale(3), 200, 100)
    where = (100 + 3 * np.arange(200) + 1.5) // 2, (80 + 3 * np.arange(100) + 1.5) // 2
    there = np.ix_(where[1].astype(int), where[0].astype(int))
    np.testing.assert_array_equal(found.mask, shares[there].astype(np.float32))
    np.testing.assert_array_equal(found.values[found.mask > 0], np.rint(means[there][found.mask > 0]))
    # It ends where the image fits into 256 pixels: 1029 / 8 = 129, so level 3.
    top, _ = block_means(values, mask, 3)
    coarse = on(band, Affine.scale(40), 5, 3)
    assert coarse.values[2, 4] == np.rint(top[int(2.5 * 5), int(4.5 * 5)])


def test_sample_keeps_the_upper_left(uneven: tuple[NDArray[np.int16], NDArray[np.bool_]]) -> None:
    values, mask = uneven
    found = on(memory_band(values, mask, pyramiding="SAMPLE"), Affine.scale(4), 250, 130)
    np.testing.assert_array_equal(found.values, values[::4, ::4][:130, :250])
    np.testing.assert_array_equal(found.mask, mask[::4, ::4][:130, :250])


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.3, 9), split=st.integers(1, 59))
def test_tiles_of_a_grid_are_the_grid(
    scale: float, split: int, uneven: tuple[NDArray[np.int16], NDArray[np.bool_]]
) -> None:
    band = memory_band(*uneven)
    # Chosen off the boundaries of pixels: there, the last bit of the transform would decide.
    affine = Affine.translation(11.0371, -5.0193) @ Affine(scale, 0.013, 0, -0.017, scale, 0)
    whole = on(band, affine, 90, 60)
    upper = on(band, affine, 90, split)
    lower = on(band, affine @ Affine.translation(0, split), 90, 60 - split)
    same = np.concatenate([upper.mask, lower.mask]) == whole.mask
    same &= (np.concatenate([upper.values, lower.values]) == whole.values) | (whole.mask == 0)
    assert same.mean() > 0.999


def test_a_large_request_in_strips_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    band = file_bands(EDGE, 1)[0].band()
    affine = Affine.translation(-3, 100) @ Affine(0.7, 0.1, 0, 0.05, 0.8, 0)
    whole = on(band, affine, 300, 400)
    monkeypatch.setattr("deployments.sandbox.pyramid.STRIP", 300 * 37)
    strips = on(band, affine, 300, 400)
    np.testing.assert_array_equal(strips.values, whole.values)
    np.testing.assert_array_equal(strips.mask, whole.mask)


def test_an_interpolated_band_is_floating_point_and_smooth() -> None:
    values = np.array([[10, 20], [30, 60]], np.int16)
    band = memory_band(values, np.ones((2, 2)))
    assert band.type == INT16
    assert band.resampled is not None
    smooth = band.resampled("bilinear")
    assert smooth.type == FLOAT
    found = on(smooth, Affine(1, 0, 0.75, 0, 1, 0.25), 1, 1)  # its centre is (1.25, 0.75)
    assert found.values.dtype == np.float32
    assert found.values[0, 0] == 26.25
    assert smooth.resampled is not None
    assert on(smooth.resampled("nearest"), Affine(1, 0, 0.75, 0, 1, 0.25), 1, 1).values[0, 0] == 20


def test_threads_read_what_one_reads() -> None:
    bands = [stored.band() for stored in file_bands(EDGE, 77)]  # a stamp of its own: nothing is held yet
    with rasterio.open(EDGE) as dataset:
        expected = dataset.read()
    corners = [(n % 3, 13 * n % 450, 41 * n % 900) for n in range(120)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: on(bands[at[0]], Affine.translation(at[1], at[2]), 70, 90).values, corners))
    for (index, left, top), values in zip(corners, found, strict=True):
        np.testing.assert_array_equal(values, expected[index, top : top + 90, left : left + 70])


def test_internal_masks_alpha_and_nan_are_masks(tmp_path: Path) -> None:
    values = np.arange(6 * 7, dtype=np.float32).reshape(6, 7)
    masked = (values % 5 != 0) & (values != 41)
    profile = {
        "driver": "GTiff",
        "width": 7,
        "height": 6,
        "crs": "EPSG:32633",
        "transform": Affine(10, 0, 5e5, 0, -10, 4e6),
    }
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(tmp_path / "internal.tif", "w", count=1, dtype="float32", **profile) as out,
    ):
        out.write(values, 1)
        out.write_mask(masked)
    with rasterio.open(tmp_path / "alpha.tif", "w", count=2, dtype="uint8", **profile) as out:
        out.write(values.astype(np.uint8), 1)
        out.write((masked * 255).astype(np.uint8), 2)
        out.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
    with rasterio.open(tmp_path / "nan.tif", "w", count=1, dtype="float32", nodata=np.nan, **profile) as out:
        out.write(np.where(masked, values, np.nan).astype(np.float32), 1)
    with rasterio.open(tmp_path / "none.tif", "w", count=2, dtype="uint8", **profile) as out:
        out.write(np.stack([values, values + 1]).astype(np.uint8))
    for name, kind in (("internal", FLOAT), ("alpha", UINT8), ("nan", FLOAT)):
        (stored,) = file_bands(tmp_path / f"{name}.tif", 1)
        assert (stored.id, stored.type, stored.projection.crs) == ("B1", kind, "EPSG:32633")
        found = on(stored.band(), Affine.identity(), 7, 6)
        np.testing.assert_array_equal(found.mask, masked, err_msg=name)
        np.testing.assert_array_equal(found.values[masked], values[masked], err_msg=name)
    bands = file_bands(tmp_path / "none.tif", 1)
    assert [band.id for band in bands] == ["B1", "B2"]
    assert (on(bands[1].band(), Affine.identity(), 7, 6).mask == 1).all()


def test_only_an_exact_crs_is_given_as_a_code() -> None:
    with rasterio.open(EDGE) as dataset:
        assert exact_crs(dataset.crs.to_wkt()) == "EPSG:32621"
    with rasterio.open(NORTH_CAROLINA) as dataset:
        text = exact_crs(dataset.crs.to_wkt())
        assert dataset.crs.to_epsg() == 32119  # GDAL's guess, which it is not
    assert text.startswith("PROJCS[")
    to_degrees = Transformer.from_crs(CRS.from_wkt(text), "EPSG:4326", always_xy=True)
    assert to_degrees.transform(609601.22, 0) == pytest.approx((-79, 33.75), abs=1e-9)


@pytest.mark.parametrize(
    ("crs", "dtype", "text"), [(None, "uint8", "no coordinate"), ("EPSG:4326", "complex64", "complex")]
)
def test_what_cannot_be_served_says_why(tmp_path: Path, crs: str | None, dtype: str, text: str) -> None:
    path = tmp_path / "a.tif"
    transform = Affine(1, 0, 5, 0, -1, 9)
    with rasterio.open(
        path, "w", driver="GTiff", width=2, height=3, count=1, dtype=dtype, crs=crs, transform=transform
    ) as out:
        out.write(np.ones((1, 3, 2), dtype))
    with pytest.raises(ValueError, match=text):
        file_bands(path, 1)

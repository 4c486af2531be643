"""Laws of band statistics."""

import numpy as np
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox

from tasks.raster.raster import DTYPES, Raster
from tasks.raster.statistics import BandStatistics, band_statistics

GRID = GeoBox((2, 3), Affine(7.0, 0.0, 100.0, 0.0, -7.0, 900.0), "EPSG:32633")


def test_by_hand() -> None:
    values = np.array([[[1, 2, 3], [4, 5, 60_000]], [[9, 9, 9], [9, 9, 9]], [[7, 0, 1], [1, 1, 1]]], dtype=np.uint16)
    valid = np.array([[[1, 1, 0], [1, 1, 1]], [[0, 0, 0], [0, 0, 0]], [[1, 1, 1], [1, 1, 1]]], dtype=bool)
    assert band_statistics(Raster(values=values, valid=valid, bands=("a", "b", "c"), geobox=GRID)) == (
        BandStatistics(name="a", valid=5, counted=5, sums=(60_012, 0), min=1, max=60_000),
        BandStatistics(name="b", valid=0, counted=0, sums=(), min=None, max=None),
        BandStatistics(name="c", valid=6, counted=6, sums=(11, 0), min=0, max=7),
    )


@given(st.data(), st.sampled_from([name for name in DTYPES if "int" in name]))
def test_the_numbers_of_integers_are_those_of_the_valid_pixels_alone(data: st.DataObject, dtype: str) -> None:
    info = np.iinfo(dtype)
    ends = st.sampled_from([info.min, max(info.min, -1), 0, 1, info.max])
    values = data.draw(hnp.arrays(dtype, (2, 2, 3), elements=ends))
    valid = data.draw(hnp.arrays(bool, values.shape))
    for band, pixels, mask in zip(
        band_statistics(Raster(values=values, valid=valid, bands=("a", "b"), geobox=GRID)), values, valid, strict=True
    ):
        picked = [int(value) for value in pixels[mask]]
        assert band.counted == len(picked)
        assert band.valid == len(picked)
        if picked:
            assert (band.min, band.max, band.mean) == (min(picked), max(picked), sum(picked) / len(picked))


def test_nan_and_an_unknown_mask() -> None:
    values = np.array([[[np.nan, 2, -3], [4, np.nan, 6]], [[np.nan] * 3] * 2], dtype=np.float32)
    assert band_statistics(Raster(values=values, valid=None, bands=("a", "b"), geobox=GRID)) == (
        BandStatistics(name="a", valid=None, counted=4, sums=(9,), min=-3, max=6),
        BandStatistics(name="b", valid=None, counted=0, sums=(), min=None, max=None),
    )


def test_the_mean_of_float32_does_not_drift() -> None:
    grid = GeoBox((1000, 2000), GRID.affine, "EPSG:32633")
    values = np.full((1, 1000, 2000), 16_777_217 / 3, dtype=np.float32)
    valid = np.ones(values.shape, dtype=bool)
    (band,) = band_statistics(Raster(values=values, valid=valid, bands=("a",), geobox=grid))
    assert band.mean == band.min == band.max == float(values[0, 0, 0])

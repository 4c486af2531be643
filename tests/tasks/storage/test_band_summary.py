"""Laws of band summaries: together they are the statistics of all pixels, however the pixels are cut into tiles."""

import json
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import orjson
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox

from tasks.raster.raster import DTYPES, Raster
from tasks.raster.statistics import band_statistics
from tasks.storage.band_summary import Bands, BandSummary, combined, summarized


def of_tile(values, valid):
    """Return the summary of one band, as it comes back from a receipt."""
    geobox = GeoBox(values.shape, Affine(30, 0, 600_000, 0, -30, 7_200_000), "EPSG:32621")
    raster = Raster(values=values[None], valid=None if valid is None else valid[None], bands=("a",), geobox=geobox)
    (band,) = band_statistics(raster)
    bands = Bands([summarized(valid=band.valid, counted=band.counted, sums=band.sums, low=band.min, high=band.max)])
    (read,) = Bands.from_json(json.loads(json.dumps(orjson.loads(orjson.dumps(bands, default=Bands.json)))))
    return read


def cut(draw, values, valid):
    """Return the summaries of random tiles, which cover all pixels."""
    rows, columns = (
        [0, *sorted(draw(st.sets(st.integers(1, side - 1), max_size=4))), side] for side in map(int, values.shape)
    )
    tiles = [
        (slice(top, bottom), slice(left, right)) for top, bottom in pairwise(rows) for left, right in pairwise(columns)
    ]
    return [of_tile(values[tile], None if valid is None else valid[tile]) for tile in draw(st.permutations(tiles))]


def pixels(dtype, special):
    """Return a strategy of pixels that make sums hard: both ends of integers, numbers that cancel, NaN, infinities."""
    if np.dtype(dtype).kind != "f":
        info = np.iinfo(dtype)
        return st.sampled_from([info.min, 0, 1, info.max - 1, info.max]) | st.integers(info.min, info.max)
    width = 8 * np.dtype(dtype).itemsize
    hard = st.sampled_from([0.0, 1.0, 0.1, 1e16, -1e16, 1e-20, 3e37, -3e37]).map(
        lambda v: float(np.dtype(dtype).type(v))
    )
    finite = hard | st.floats(-(2.0**100), 2.0**100, width=width)
    return finite | st.sampled_from([math.nan, math.inf, -math.inf]) if special else finite


@given(st.data(), st.sampled_from(DTYPES), st.booleans())
def test_summaries_of_any_tiles_are_those_of_numpy_over_the_whole(data, dtype, special):
    shape = data.draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    values = data.draw(hnp.arrays(dtype, shape, elements=pixels(dtype, special)))
    valid = data.draw(st.none() | hnp.arrays(bool, shape))
    whole = combined(cut(data.draw, values, valid))
    picked = values.ravel() if valid is None else values[valid]
    assert whole.valid == (None if valid is None else picked.size)
    picked = picked[~np.isnan(picked)].astype(float)
    assert whole.counted == picked.size
    if not picked.size:
        assert (whole.mean, whole.min, whole.max) == (None, None, None)
        return
    assert (whole.min, whole.max) == (picked.min(), picked.max())
    assert whole.mean is not None
    if not np.isfinite(picked).all():
        with np.errstate(invalid="ignore"):
            assert np.array_equal(whole.mean, picked.mean(), equal_nan=True)
        return
    exact = sum(map(Fraction, picked.tolist())) / picked.size
    assert whole.mean == pytest.approx(float(exact), rel=1e-9, abs=0)
    # NumPy's own sum rounds, in relation to the largest magnitudes that it adds.
    assert whole.mean == pytest.approx(picked.mean(), rel=1e-9, abs=1e-14 * float(np.abs(picked).sum()))


@given(st.lists(st.tuples(st.floats(-(2.0**200), 2.0**200), st.integers(1, 2**30)), min_size=1))
def test_summaries_can_be_combined_in_two_steps(given_means):
    every = [BandSummary(valid=n, counted=n, mean=mean, min=mean, max=mean) for mean, n in given_means]
    twice = combined([combined(every[: len(every) // 2]), combined(every[len(every) // 2 :])])
    exact = sum(Fraction(mean) * n for mean, n in given_means) / sum(n for _, n in given_means)
    assert combined(every).mean == float(exact)
    scale = max(abs(mean) for mean, _ in given_means)
    assert twice.mean == pytest.approx(float(exact), rel=1e-12, abs=1e-28 * scale)


def test_a_sum_beyond_float64_is_infinite_as_in_numpy():
    values = np.full((4, 4), 1.7e308)
    with np.errstate(over="ignore"):
        assert values.mean() == math.inf
    assert of_tile(values, None).mean == math.inf
    assert combined([of_tile(values[:, n : n + 1], None) for n in range(4)]).mean == math.inf


@pytest.mark.parametrize("dtype", ["int32", "uint32"])
def test_sums_of_integers_beyond_the_digits_of_a_float_are_exact(dtype):
    """12 million pixels of the largest value, less one: 2.6e16 for int32, and float64 holds every fourth integer."""
    values = np.full((3000, 4096), np.iinfo(dtype).max, dtype)
    values[0, 0] -= 1
    summary = of_tile(values, np.ones(values.shape, bool))
    assert Fraction(summary.mean) * summary.counted + Fraction(summary.rest) == values.size * int(values[0, 1]) - 1


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ({"counted": 4, "mean": 1.5, "min": 0.0, "max": 3.0}, (1.5, 0.0, 3.0)),
        ({"counted": 0, "mean": None, "min": None, "max": None}, (None, None, None)),
        ({"counted": 4, "mean": None, "min": 0.0, "max": None}, (math.inf, 0.0, math.inf)),
        ({"counted": 4, "mean": None, "min": None, "max": 3.0}, (-math.inf, -math.inf, 3.0)),
        ({"counted": 4, "mean": None, "min": None, "max": None}, (math.nan, math.nan, math.nan)),
    ],
)
def test_summaries_of_older_versions_are_read_and_their_infinities_found(stored, read):
    (summary,) = Bands.from_json([{"valid": 4, **stored}])
    assert [summary.mean, summary.min, summary.max] == pytest.approx(list(read), nan_ok=True)
    whole = combined([summary, BandSummary(valid=4, counted=4, mean=2.0, min=1.0, max=3.0)])
    if stored["counted"]:
        assert whole.counted == 8
        assert math.isfinite(whole.mean) == math.isfinite(read[0])


@pytest.mark.parametrize(
    "bad",
    [
        {"valid": 1, "counted": 1, "mean": "infinite", "min": 0, "max": 1, "rest": 0},
        {"valid": 1, "counted": 1, "mean": 1, "min": 0, "max": 1, "other": 0},
        {"valid": 1, "counted": 1, "mean": 1, "min": 0, "rest": 1},
        {"valid": 1, "counted": 1, "mean": [1], "min": 0, "max": 1, "rest": 0},
    ],
)
def test_what_is_no_summary_is_refused(bad):
    with pytest.raises((ValueError, KeyError, TypeError)):
        Bands.from_json([bad])

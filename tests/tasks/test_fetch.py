"""Batches cover a plan once; a run is held against its plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.fetch import LANES, LARGEST_BATCH, batches
from tasks.report import ExtractionFailedError, check_complete
from tasks.storage.receipt import TileReceipt


@given(st.integers(1, 50_000))
def test_batches_partition_the_plan(count):
    ranges = list(batches(count))
    assert [index for start, stop in ranges for index in range(start, stop)] == list(range(count))
    assert all(0 < stop - start <= LARGEST_BATCH for start, stop in ranges)


@given(st.integers(1, LANES * LARGEST_BATCH))
def test_a_small_job_is_at_most_one_batch_a_lane(count):
    assert len(list(batches(count))) <= LANES


def receipt(index, status="stored", reason=None):
    return TileReceipt(index=index, fingerprint="f", status=status, reason=reason)


def check(tiles, *, expected, allow_failures=False):
    check_complete(tiles, expected=expected, output="out", allow_failures=allow_failures)


def test_stored_and_empty_tiles_complete_a_plan():
    check([receipt(0), receipt(1, "empty")], expected=2)


def test_a_failed_tile_fails_the_run_unless_it_is_allowed():
    tiles = [receipt(0), receipt(1, "failed", "Rejected: no such band")]
    with pytest.raises(ExtractionFailedError, match=r"1 of 2 tiles failed(.|\n)*1 x Rejected: no such band(.|\n)*out"):
        check(tiles, expected=2)
    check(tiles, expected=2, allow_failures=True)


@pytest.mark.parametrize("tiles", [[receipt(0)], [receipt(0), receipt(2)], [receipt(0), receipt(0)]])
def test_a_missing_tile_fails_the_run_even_if_failures_are_allowed(tiles):
    with pytest.raises(ExtractionFailedError, match="missing"):
        check(tiles, expected=2, allow_failures=True)

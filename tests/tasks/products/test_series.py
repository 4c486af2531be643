"""The products of a series look at each tile a few times, however many dates there are."""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from tasks.extraction.checkpoint import Checkpoint, Span
from tasks.products.mosaic import find_mosaics, make_mosaic, of_source
from tasks.products.series import series_points
from tasks.storage.band_summary import Bands, BandSummary
from tasks.storage.receipt import TileReceipt
from tests.tasks.extraction.test_checkpoint import extract, folder, series

DATES = 40


class Counted(Sequence):
    """Counts the items that are handed out."""

    def __init__(self, items):
        self.items, self.seen = items, 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        found = self.items[place]
        self.seen += len(found) if isinstance(place, slice) else 1
        return found


def long_series():
    """Forty images of six tiles each."""
    plan = series(1)
    return replace(plan, sources=tuple(replace(plan.sources[0], name=f"image/{n:03d}") for n in range(DATES)))


def empty(plan):
    summary = BandSummary(valid=1, counted=1, mean=2.0, min=2.0, max=2.0)
    return [
        TileReceipt(index=index, fingerprint=f"f{index}", status="empty", pixels=4, bands=Bands([summary] * 2))
        for index in range(len(plan))
    ]


@given(st.sets(st.integers(0, 17)), st.integers(0, 2))
def test_the_tiles_of_a_source_are_those_with_its_numbers(kept, source):
    plan = series(1, 2, 3)
    tiles = [TileReceipt(index=index, fingerprint="f", status="empty") for index in sorted(kept)]
    assert [tile.index for tile in of_source(plan, tiles, source)] == [n for n in sorted(kept) if n // 6 == source]


def test_no_product_of_one_date_looks_at_the_tiles_of_all_others(tmp_path):
    plan = long_series()
    few = len(plan) + DATES * 2 * 10  # a search takes 8 steps
    tiles = Counted(empty(plan))
    points = series_points(plan, tiles)
    assert (len(points), {point.mean for point in points}, {point.valid_share for point in points}) == (
        80,
        {2.0},
        {0.25},
    )
    assert tiles.seen <= few
    tiles = Counted(empty(plan))
    for number, source in enumerate(plan.sources):
        make_mosaic(folder(tmp_path), plan, tiles, source=number, name=source.label)
    assert tiles.seen <= few
    tiles = Counted(empty(plan))
    assert set(find_mosaics(folder(tmp_path), plan, tiles)) == {source.label for source in plan.sources}
    assert tiles.seen <= few


def test_each_date_has_the_mosaic_of_its_own_tiles(tmp_path):
    plan, store = series(1, 2), folder(tmp_path)
    (receipt,), _ = extract(plan, store)
    for number, source in enumerate(plan.sources):
        key = make_mosaic(folder(tmp_path), plan, receipt.tiles, source=number, name=source.label)
        with rasterio.open(tmp_path / key) as file:
            whole, valid = file.read(), file.read_masks(1)
        for tile in receipt.tiles[6 * number : 6 * number + 6]:
            window = plan.tiles.tiling.window(tile.index % 6)
            if tile.key is None:
                assert not window.of_array(valid).any()
                continue
            with rasterio.open(tmp_path / tile.key) as file:
                seen = file.read_masks(1) > 0
                assert np.array_equal(window.of_array(whole)[:, seen], file.read()[:, seen])


def test_a_mosaic_with_a_byte_that_was_flipped_in_silence_is_made_again(tmp_path):
    plan, store = series(1), folder(tmp_path)
    (receipt,), _ = extract(plan, store)
    name = plan.sources[0].label
    path = tmp_path / make_mosaic(folder(tmp_path), plan, receipt.tiles, source=0, name=name)
    made, facts = path.read_bytes(), path.stat()
    flipped = bytearray(made)
    flipped[len(made) // 2] ^= 1
    path.write_bytes(flipped)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert find_mosaics(folder(tmp_path), plan, receipt.tiles) == {}
    make_mosaic(folder(tmp_path), plan, receipt.tiles, source=0, name=name)
    assert path.read_bytes() == made
    assert set(find_mosaics(folder(tmp_path), plan, receipt.tiles)) == {name}


@pytest.mark.parametrize(
    ("start", "stop", "found"), [(0, 3, "a"), (3, 5, None), (3, 4, "b"), (1, 3, None), (9, 12, "c")]
)
def test_a_batch_is_found_among_spans_by_both_of_its_ends(start, stop, found):
    spans = (Span(start=0, stop=3, key="a"), Span(start=3, stop=4, key="b"), Span(start=9, stop=12, key="c"))
    span = Checkpoint(spans=spans).span(start, stop)
    assert (span and span.key) == found
    assert Checkpoint(spans=spans).span(12, 13) is None

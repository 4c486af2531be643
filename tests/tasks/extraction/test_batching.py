"""Laws of batches: they hold what is not verified, each tile once; receipts of one that goes on only grow."""

import itertools
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.earthengine.errors import Stopped
from tasks.extraction import batching, tile_queue
from tasks.extraction.batching import Remainder
from tasks.extraction.checkpoint import Checkpoint, Span, gaps, read_checkpoint
from tasks.extraction.stop_event import StopEvent
from tasks.extraction.tile_queue import TileQueue
from tasks.storage.receipt import Receipt, TileReceipt, receipt_key
from tasks.storage.store import OutputFull
from tests.tasks.extraction.test_checkpoint import folder, series

SHORT = 8
"""Tiles in a batch at the most, here."""


def empty(index):
    return TileReceipt(index=index, fingerprint="f", status="empty")


@st.composite
def checkpoints(draw):
    """The size of a plan, and what is known of it: some spans, and some tiles beside them."""
    count = draw(st.integers(0, 60))
    ends = sorted(draw(st.sets(st.integers(0, count))))
    pairs = list(zip(ends[::2], ends[1::2], strict=False))
    if draw(st.booleans()):  # spans that follow one another without a gap
        pairs = list(itertools.pairwise(ends))
    spans = tuple(Span(start=start, stop=stop, key=f"{start}") for start, stop in pairs)
    known = {index for span in spans for index in range(span.start, span.stop)}
    known |= draw(st.sets(st.integers(0, count - 1))) if count else set()
    return count, Checkpoint(tiles={index: empty(index) for index in known}, spans=spans)


@given(checkpoints())
def test_spans_and_the_gaps_between_them_are_the_whole_plan(given):
    count, checkpoint = given
    stretches = [*gaps(checkpoint.spans, count), *((span.start, span.stop) for span in checkpoint.spans)]
    assert all(start < stop for start, stop in stretches)
    assert [index for stretch in sorted(stretches) for index in range(*stretch)] == list(range(count))
    between = list(gaps(checkpoint.spans, count))
    assert all(one[1] < other[0] for one, other in itertools.pairwise(between))


batches = st.tuples(st.integers(0, 11), st.integers(1, 12), st.sets(st.integers(0, 11), max_size=2))


@settings(max_examples=60, deadline=None)
@given(st.lists(batches, max_size=6))
def test_spans_are_whole_batches_none_over_another_and_none_is_left_out(tmp_path_factory, given):
    plan, store = series(1, 2), folder(tmp_path_factory.mktemp("spans"))
    told, complete = set(), []
    for number, (start, length, holes) in enumerate(given):
        stop = min(start + length, 12)
        tiles = [index for index in range(start, stop) if index not in holes]
        receipt = Receipt(
            plan=plan.fingerprint,
            start=start,
            stop=stop,
            tiles=tuple(replace(empty(index), fingerprint=plan.tile_fingerprint(index)) for index in tiles),
        )
        store.put(receipt_key(plan.folder, start, stop, f"run-{number:04d}"), receipt.encode())
        told.update(tiles)
        complete += [(start, stop)] if len(tiles) == stop - start else []
    checkpoint = read_checkpoint(plan, store)
    assert checkpoint.tiles.keys() == told
    spans = [(span.start, span.stop) for span in checkpoint.spans]
    assert spans == sorted(spans)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
    assert set(spans) <= set(complete)
    for start, stop in complete:  # all of its tiles are verified, so only another span can be in its place
        assert any(one < stop and start < other for one, other in spans)
    for span in checkpoint.spans:
        assert f"/{span.start:09d}-{span.stop:09d}-" in span.key
        assert checkpoint.span(span.start, span.stop) == span


@settings(max_examples=300)
@given(checkpoints(), st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(1, SHORT))
def test_stretches_hold_each_tile_of_the_gaps_once_and_no_more_missing_ones_than_asked_for(given, sizes, largest):
    count, checkpoint = given
    between = list(gaps(checkpoint.spans, count))
    taken = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "LARGEST_BATCH", largest)
        left = Remainder(count, checkpoint)
        assert left.missing == count - len(checkpoint.tiles)
        while left:
            before, size = left.missing, sizes[len(taken) % len(sizes)]
            start, stop, missing = left.take(size)
            assert missing == sum(index not in checkpoint.tiles for index in range(start, stop)) <= size
            assert left.missing == before - missing >= 0
            assert 0 < stop - start <= 2 * largest
            assert any(begin <= start and stop <= end for begin, end in between)
            taken += range(start, stop)
    assert taken == [index for stretch in between for index in range(*stretch)]
    assert left.missing == 0


def test_a_plan_of_which_nothing_is_known_is_cut_into_batches_of_the_size_asked_for():
    left, taken = Remainder(25, Checkpoint()), []
    while left:
        taken.append(left.take(10))
    assert taken == [(0, 10, 10), (10, 20, 10), (20, 25, 5)]


@pytest.fixture
def quick(monkeypatch):
    """Receipts are kept, and stops are seen, a thousand times as often."""
    monkeypatch.setattr(tile_queue, "KEEP_S", 0.02)
    monkeypatch.setattr(tile_queue, "LOOK_S", 0.005)


def working(batch, threads=2):
    workers = [threading.Thread(target=batch.work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    return workers


def slowly(index):
    time.sleep(0.01)
    return empty(index)


def test_receipts_of_a_batch_that_goes_on_grow_and_hold_what_the_last_one_held(quick):
    batch, kept = TileQueue(range(40), fetch=slowly, over=StopEvent()), []
    workers = working(batch)
    tiles, error = batch.wait(lambda tiles: kept.append(list(tiles)))
    assert error is None
    assert sorted(tile.index for tile in tiles) == list(range(40))
    assert len(kept) >= 3
    for before, after in zip(kept, [*kept[1:], list(tiles)], strict=True):
        assert len(before) <= len(after)
        assert after[: len(before)] == before
    assert [len(one) for one in kept] == sorted({len(one) for one in kept})  # none twice: what is not new is not kept
    count = len(kept)
    time.sleep(0.05)
    assert len(kept) == count
    assert not any(worker.is_alive() for worker in workers)


def test_nothing_is_kept_of_a_batch_in_which_no_tile_ends(quick):
    go, kept = threading.Event(), []

    def fetch(index):
        assert go.wait(10)
        return empty(index)

    batch, before = TileQueue(range(2), fetch=fetch, over=StopEvent()), []
    working(batch)

    def let_go():
        before.append(len(kept))
        go.set()

    threading.Timer(0.1, let_go).start()
    tiles, error = batch.wait(kept.append)
    assert (len(tiles), error, before) == (2, None, [0])


def test_the_first_receipts_come_early_and_later_ones_seldom(quick, monkeypatch):
    monkeypatch.setattr(tile_queue, "KEEP_S", 10.0)
    batch, kept = TileQueue(range(60), fetch=slowly, over=StopEvent()), []
    working(batch)
    batch.wait(lambda tiles: kept.append(len(tiles)))
    assert 1 <= len(kept) <= 15
    assert kept[0] <= 30


def test_a_short_batch_is_kept_by_its_end_alone():
    """Of less than a second."""
    batch, kept = TileQueue(range(8), fetch=slowly, over=StopEvent()), []
    working(batch)
    assert len(batch.wait(kept.append)[0]) == 8
    assert kept == []


def test_a_receipt_that_cannot_be_kept_ends_the_run_with_that_error_and_what_ended_is_told(quick):
    over, calls, cause = StopEvent(), [], OutputFull("The disk is full.")
    batch = TileQueue(range(1000), fetch=slowly, over=over)
    workers = working(batch)

    def keep(tiles):
        calls.append(list(tiles))
        raise cause

    begun = time.monotonic()
    tiles, error = batch.wait(keep)
    assert time.monotonic() - begun < 2
    assert error is cause
    assert over.is_set()
    assert len(calls) == 1
    assert list(tiles[: len(calls[0])]) == calls[0]
    for worker in workers:
        worker.join(5)
        assert not worker.is_alive()


def test_a_fault_in_what_keeps_receipts_is_raised(quick):
    over = StopEvent()
    batch = TileQueue(range(1000), fetch=slowly, over=over)
    working(batch)
    with pytest.raises(ZeroDivisionError):
        batch.wait(lambda _: 1 // 0)
    over.set()


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_what_ended_before_a_stop_is_told_with_its_cause(quick, where):
    over, cause = StopEvent(), OutputFull("The disk is full.")

    def fetch(index):
        if index == 9 and where == "here":
            raise cause
        if index == 9:
            over.set()
        return slowly(index)

    batch = TileQueue(range(1000), fetch=fetch, over=over)
    working(batch)
    kept = []
    tiles, error = batch.wait(lambda tiles: kept.append(len(tiles)))
    assert error is cause if where == "here" else isinstance(error, Stopped)
    assert 8 <= len(tiles) <= 12
    assert {tile.index for tile in tiles} >= set(range(9))
    assert all(number <= len(tiles) for number in kept)

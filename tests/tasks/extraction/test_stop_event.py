"""The stop of a session: one time for all that is in flight, which can only become shorter."""

import threading
from types import SimpleNamespace

import pytest

from tasks.earthengine.errors import Stopped
from tasks.extraction import stop_event
from tasks.extraction.stop_event import GRACE_S, StopEvent
from tasks.extraction.tile_queue import TileQueue


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr(stop_event, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def test_the_time_counts_from_the_first_stop(clock):
    stop = StopEvent()
    assert (stop.is_set(), stop.left_s) == (False, float("inf"))
    stop.set()
    clock.s += 7
    stop.set()
    assert (stop.is_set(), stop.left_s) == (True, GRACE_S - 7)
    clock.s += GRACE_S
    assert stop.left_s == 0


@pytest.mark.parametrize("was_set", [False, True])
def test_a_cut_is_a_stop_without_time(clock, was_set):
    stop = StopEvent()
    if was_set:
        stop.set()
    stop.cut()
    stop.set()
    assert (stop.is_set(), stop.left_s) == (True, 0)


def test_a_batch_waits_for_no_tile_in_work_after_a_cut():
    taken, go, stop = threading.Event(), threading.Event(), StopEvent()

    def fetch(index):
        taken.set()
        assert go.wait(60)

    batch = TileQueue(range(3), fetch=fetch, over=stop)
    worker = threading.Thread(target=batch.work)
    worker.start()
    assert taken.wait(60)
    stop.cut()
    tiles, error = batch.wait(lambda _: None)
    assert (len(tiles), isinstance(error, Stopped), worker.is_alive()) == (0, True, True)
    go.set()
    worker.join(60)

"""Laws of a fetch session: one a run and process, its share of the quota, and how it is left."""

import contextlib
import itertools
import multiprocessing
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from tasks.earthengine.deadlines import Deadlines
from tasks.earthengine.errors import Stopped
from tasks.errors.input import BadInputError
from tasks.extraction.batch import run_batch
from tasks.extraction.checkpoint import read_checkpoint
from tasks.extraction.permits import Pace
from tasks.extraction.quota import FixedShare
from tasks.extraction.session import FetchSession
from tasks.extraction.tile_queue import TileQueue
from tasks.storage.address import open_store
from tests.tasks.extraction.batches import IN_FLIGHT, SHARE, batch_of, statistics, stored


def test_a_run_has_one_session_in_a_process():
    with (
        FetchSession("a-job", SHARE, Pace(in_flight=IN_FLIGHT)),
        pytest.raises(RuntimeError, match="already"),
        FetchSession("a-job", SHARE, Pace(in_flight=IN_FLIGHT)),
    ):
        pass


def test_two_batches_of_one_run_in_two_threads_share_a_session_and_neither_ends_the_other(plan, sandbox, tmp_path):
    """As in a Dask worker with threads: the first that is done leaves the rest to go on."""
    address = str(tmp_path)
    stored(plan, address)
    done, ends = {}, (0, 2, len(plan))
    batches = [batch_of(plan, address, sandbox, start=start, stop=stop) for start, stop in itertools.pairwise(ends)]
    threads = [
        threading.Thread(target=lambda batch=batch: done.setdefault(batch.start, run_batch(batch, SHARE)))
        for batch in batches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {start: summary["stored"] for start, summary in done.items()} == {0: 2, 2: len(plan) - 2}
    assert FetchSession.of("a-job") is None


@pytest.mark.parametrize(("in_flight", "of"), [(0, 40), (41, 40), (-1, 40)])
def test_a_share_is_a_part_of_the_quota(in_flight, of):
    with pytest.raises(BadInputError, match=f"in_flight = {in_flight}: a share is at least 1 request"):
        FixedShare(in_flight=in_flight, of=of)


def test_a_share_of_the_slots_is_the_same_share_of_the_rate():
    with FetchSession("a-job", FixedShare(in_flight=5, of=40), Pace(per_second=100)) as session:
        session.hold.begin()
        assert (session.permits.slots, session.permits.quota) == (5, 40)
        assert session.permits.pace.per_second * session.permits.slots / session.permits.quota == 12.5


def test_holds_of_one_share_are_one_share_and_what_is_given_up_is_counted():
    """Whatever session of the process sent it."""
    share = FixedShare(in_flight=4, of=40)
    first, second = (FetchSession(name, share, Pace(in_flight=4)) for name in ("first", "second"))
    first.hold.begin()
    first.permits.prove()
    second.hold.begin()
    assert (first.permits.slots, second.permits.slots) == (4, 0)
    first.permits.linger(1.0)
    first.hold.close()
    end = time.monotonic() + 10
    while second.permits.slots < 4 and time.monotonic() < end:
        assert first.permits.in_flight + second.permits.slots <= 4
        time.sleep(0.01)
    assert second.permits.slots == 4
    second.hold.close()


def test_the_next_run_under_a_share_of_a_process_that_was_forked_has_it(plan, sandbox, tmp_path):
    """A pool of processes forks by default here: the child has none of the parent's threads, and none of its slots."""
    address = str(tmp_path)
    stored(plan, address)
    batches = [batch_of(plan, address, sandbox, stop=2, run_id=run) for run in ("a-job", "another")]
    with FetchSession("a-job", SHARE, Pace(in_flight=IN_FLIGHT)) as session:
        run_batch(batch_of(plan, address, sandbox, start=2), SHARE)
        assert session.permits.slots == IN_FLIGHT
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            summaries = [pool.submit(run_batch, batch, SHARE).result(timeout=60) for batch in batches]
    assert [summary["fetched"] for summary in summaries] == [2, 0]


def test_a_batch_that_starts_after_its_flow_has_left_fetches_nothing(plan, sandbox, tmp_path):
    """As the second of several mapped tasks does, which Prefect starts as the process ends."""
    address = str(tmp_path)
    stored(plan, address)
    batch = batch_of(plan, address, sandbox)
    session = FetchSession("a-job", SHARE, Pace(in_flight=IN_FLIGHT))
    with contextlib.suppress(KeyboardInterrupt), session:
        session.leave()
        raise KeyboardInterrupt
    with pytest.raises(Stopped):
        run_batch(batch, SHARE)
    assert statistics(sandbox)["pixel_requests"] == 0
    with FetchSession("a-job", SHARE, Pace(in_flight=IN_FLIGHT)):  # Prefect retries the flow run in its process
        assert run_batch(batch, SHARE)["stored"] == len(plan)


def test_an_interrupted_batch_keeps_what_it_has_and_ends_at_once(plan, sandbox, tmp_path, monkeypatch):
    address = str(tmp_path)
    stored(plan, address)
    wait, begun = TileQueue.wait, time.monotonic()

    def interrupted(tiles, keep):
        monkeypatch.setattr(TileQueue, "wait", wait)
        while len(tiles._ended()) < 3:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(TileQueue, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_batch(batch_of(plan, address, sandbox), SHARE)
    assert time.monotonic() - begun < 15
    assert FetchSession.of("a-job") is None
    (receipt,) = read_checkpoint(plan, open_store(address)).receipts
    assert 3 <= len(read_checkpoint(plan, open_store(address)).tiles) < len(plan)
    assert receipt.start == 0
    assert run_batch(batch_of(plan, address, sandbox), SHARE)["stored"] == len(plan)  # the same run, once more


def test_a_hold_that_can_t_begin_ends_every_batch_of_its_session():
    class Broken(FixedShare):
        def hold(self, *args, **more):
            hold = super().hold(*args, **more)
            hold.begin = broken
            return hold

    def broken(_send):
        raise RuntimeError("no slots")

    with FetchSession("a-job", Broken(in_flight=4, of=4), Pace()) as session:
        with pytest.raises(RuntimeError, match="no slots"):
            session.begin(range(2), fetch=None)
        _, error = session.begin(range(2), fetch=None).wait(lambda _: None)
        assert isinstance(error, Stopped)


@pytest.mark.parametrize(
    ("quota", "more"),
    [
        (FixedShare(in_flight=IN_FLIGHT, of=40), {}),
        (SHARE, {"pace": Pace(in_flight=IN_FLIGHT, per_second=1.0)}),
        (SHARE, {"deadlines": Deadlines(read_s=7.0)}),
    ],
)
def test_a_run_has_one_quota_pace_and_deadlines_in_a_process(plan, sandbox, tmp_path, quota, more):
    stored(plan, str(tmp_path))
    batch = batch_of(plan, str(tmp_path), sandbox).model_copy(update=more)
    with (
        FetchSession("a-job", SHARE, Pace(in_flight=IN_FLIGHT)),
        pytest.raises(BadInputError, match=r"run_id = 'a-job': .+ an id of its own"),
    ):
        run_batch(batch, quota)
    assert statistics(sandbox)["pixel_requests"] == 0

"""Laws of races: the first whole answer is stored, once; the quota holds; a run does not wait for what hangs."""

import itertools
import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tasks.earthengine.deadlines import Deadlines
from tasks.earthengine.errors import Denied, Rejected, Stopped, Transient
from tasks.earthengine.transport import Answer
from tasks.extraction import stop_event
from tasks.extraction.batch import run_batch
from tasks.extraction.checkpoint import read_checkpoint
from tasks.extraction.hedge import HedgePolicy
from tasks.extraction.permits import Pace
from tasks.extraction.quota import FixedShare
from tasks.extraction.race import Race, Races
from tasks.extraction.session import FetchSession
from tasks.extraction.tally import Tally
from tasks.storage.address import open_store
from tests.tasks.extraction.batches import IN_FLIGHT, batch_of, statistics, stored

SOON = HedgePolicy(least_s=0.2, least_answers=3)
OFF = HedgePolicy(share=0.0)
# Long enough that a test which waits for it has failed: then the tile has two attempts.
LONG = Deadlines(read_s=40.0)
SHARES = itertools.count(1_000)
FIRST, SECOND = Answer(b"first", restricted=False), Answer(b"second", restricted=False)


def turn(url, **knobs):
    body = json.dumps({"seed": -1}).encode(), json.dumps({"seed": 0, "hang_at": None, **knobs}).encode()
    for each in body:  # another seed counts from the beginning
        urllib.request.urlopen(urllib.request.Request(f"{url}/sandbox/knobs", data=each, method="PATCH")).close()


@pytest.fixture
def hanging(sandbox):
    """The sandbox, with requests that can be made to hang."""
    yield sandbox
    turn(sandbox, p_hanging=0.0)


def opened(hedge, *, in_flight=IN_FLIGHT, deadlines=LONG):
    """A session with a share that no other test uses, since what is given up keeps its slot in it."""
    share = FixedShare(in_flight=in_flight, of=next(SHARES))
    return FetchSession("a-job", share, Pace(in_flight=in_flight, per_second=1e6), deadlines, hedge)


def batch_in(session, plan, address, url):
    """The whole plan, stored, as a batch of the session."""
    stored(plan, address)
    batch = batch_of(plan, address, url, hedge=session.races.policy, deadlines=session.deadlines)
    return batch.model_copy(update={"pace": session.permits.pace})


def fetched(plan, address, url, hedge, **more):
    """Run the whole plan, and return its tiles and its session."""
    with opened(hedge, **more) as session:
        run_batch(batch_in(session, plan, address, url), session.quota)
    return read_checkpoint(plan, open_store(address)).tiles, session


def test_a_run_does_not_wait_for_a_request_that_hangs_and_stores_the_same(plan, hanging, tmp_path):
    """Not even if it is the last."""
    tiles, _ = fetched(plan, str(tmp_path / "calm"), hanging, SOON)
    for hang_at in (2, len(plan)):
        address = str(tmp_path / f"hang-{hang_at}")
        turn(hanging, hang_at=hang_at)
        before = statistics(hanging)["pixel_requests"]
        found, session = fetched(plan, address, hanging, SOON)
        counts = statistics(hanging)
        assert counts["pixel_requests"] - before == len(plan) + 1
        assert (session.tally.hedged, session.tally.done) == (1, len(plan))
        assert {tile.attempts for tile in found.values()} == {1}
        assert counts["peak_in_flight"] <= IN_FLIGHT
        # The first keeps its permit for as long as it may be computed.
        assert (session.permits.in_flight, session.permits.lingering) == (1, 1)
        assert LONG.computing_s - 40 < session.permits.lingering_s <= LONG.computing_s
        assert {index: tile.crc32c for index, tile in found.items()} == {i: tile.crc32c for i, tile in tiles.items()}


def test_if_it_is_switched_off_the_deadline_decides(plan, hanging, tmp_path):
    turn(hanging, hang_at=len(plan))
    found, session = fetched(plan, str(tmp_path), hanging, OFF, deadlines=Deadlines(read_s=1.0, computing_s=0.0))
    assert sorted(tile.attempts for tile in found.values()) == [1] * (len(plan) - 1) + [2]
    assert session.tally.hedged == 0


def test_nothing_is_sent_beyond_the_quota(plan, hanging, tmp_path):
    """With one slot, the first must end before the second could be sent: then it is the usual repetition."""
    turn(hanging, hang_at=len(plan))
    deadlines = Deadlines(read_s=2.0, computing_s=0.0)
    found, session = fetched(plan, str(tmp_path), hanging, SOON, in_flight=1, deadlines=deadlines)
    counts = statistics(hanging)
    assert (counts["pixel_requests"], counts["peak_in_flight"]) == (len(plan) + 1, 1)
    assert sum(tile.attempts for tile in found.values()) == len(plan) + 1
    assert session.tally.hedged == 0


def test_a_run_that_is_left_while_both_hang_ends_and_keeps_their_permits(plan, hanging, tmp_path, monkeypatch):
    monkeypatch.setattr(stop_event, "GRACE_S", 0.5)
    address = str(tmp_path)
    turn(hanging, hang_at=2)
    with opened(replace(SOON, least_s=3600.0)) as session, ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_batch, batch_in(session, plan, address, hanging), session.quota)
        while session.tally.done < len(plan) - 1:
            assert not running.done()
        turn(hanging, p_hanging=1.0)
        session.races.policy = SOON
        while session.tally.hedged == 0 or statistics(hanging)["in_flight"] < 2:
            assert not running.done()
        session.leave()
        assert isinstance(running.exception(timeout=30), Stopped)
        assert session.permits.in_flight == 2
    assert len(read_checkpoint(plan, open_store(address)).tiles) == len(plan) - 1


# Without a server: who comes first -------------------------------------------------------------------------------


class Script:
    """Both sendings of one request: each begins, waits for a word, and then answers or fails."""

    def __init__(self, first, second):
        self.outcomes = [first, second]
        self.begun = [threading.Event(), threading.Event()]
        self.goes_on = [threading.Event(), threading.Event()]
        self.lines = []

    def __call__(self, line):
        number = len(self.lines)
        self.lines.append(line)
        with line.used():
            self.begun[number].set()
            assert self.goes_on[number].wait(30)
        if isinstance(self.outcomes[number], Exception):
            raise self.outcomes[number]
        return self.outcomes[number]


def raced(script, *order):
    """Send a request twice, let both go on in some order, and return the outcome."""
    race, tally = Race(script), Tally()
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(race.run)
        assert script.begun[0].wait(30)
        race.double(tally)
        assert script.begun[1].wait(30)
        for number in order:
            script.goes_on[number].set()
        error = outcome.exception(timeout=30)
    assert tally.hedged == 1
    return error or outcome.result()


def test_answers_that_come_together_are_one_answer():
    script = Script(FIRST, SECOND)
    outcome = raced(script, 0, 1)
    assert outcome in (FIRST, SECOND)
    assert [line.is_set() for line in script.lines] == [outcome is SECOND, outcome is FIRST]


def test_if_the_second_fails_the_first_is_waited_for():
    assert raced(Script(FIRST, Denied("no", 403)), 1, 0) is FIRST


def test_if_the_first_fails_the_second_is_waited_for():
    assert raced(Script(Transient("503", 503), SECOND), 0, 1) is SECOND


def test_if_both_fail_the_error_is_that_of_the_first():
    assert "first" in str(raced(Script(Transient("first", 503), Transient("second", 503)), 0, 1))


def test_if_the_first_is_refused_the_second_is_given_up():
    script = Script(Rejected("no such band", 400), SECOND)
    assert isinstance(raced(script, 0), Rejected)
    assert script.lines[1].is_set()
    script.goes_on[1].set()


def test_nothing_is_doubled_while_the_run_has_more_to_send():
    """Tiles that no thread has taken, requests that wait for a permit, and batches that are not queued yet."""
    with opened(SOON, in_flight=1) as session:
        assert session.unsent == 0
        session.unqueued = 3
        assert session.unsent == 3
        session.unqueued = 0
        session.hold.begin()
        session.permits.prove()
        with session.permits.permit(session.stop):
            waiting = threading.Thread(target=lambda: session.permits.permit(session.stop).__enter__())
            waiting.start()
            while session.unsent == 0:
                assert waiting.is_alive()
            assert session.unsent == 1
        waiting.join(30)
        assert session.unsent == 0


def test_a_slot_is_wanted_before_it_is_needed():
    """The server grants it within seconds."""
    tally, stop = Tally(), threading.Event()
    script, unsent = Script(FIRST, SECOND), [1]
    races = Races(HedgePolicy(least_s=0.002), tally, unsent=lambda: unsent[0], stop=stop)
    for _ in range(30):
        races.latencies.add(1e-6)
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(races.answer, script)
        assert script.begun[0].wait(30)
        races.look()
        assert (races.wanted, tally.hedged) == (0, 0)
        unsent[0] = 0
        while tally.hedged == 0:
            races.look()
        assert races.wanted == 1
        for event in script.goes_on:
            event.set()
        assert outcome.result(timeout=30) in (FIRST, SECOND)
    races.look()
    assert races.wanted == 0

"""Laws of leases, on a real Prefect server: processes together never hold more than the limit, and share it."""

import contextlib
import pickle
import threading
import time
from dataclasses import replace
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from pydantic import TypeAdapter

from tasks.errors.input import BadInputError
from tasks.extraction.permits import Pace, Permits
from tasks.prefect_io import lease_keeper
from tasks.prefect_io.lease_book import Lease, LeaseBook, tag_lease
from tasks.prefect_io.leases import LeaseHold, PrefectLeases
from tasks.prefect_io.quota_limit import share, tag_of
from tasks.prefect_io.server import ServerRefusedError

pytestmark = pytest.mark.usefixtures("prefect_server")
PATIENCE_S = 60


@pytest.fixture
def project():
    """A project of its own, so that no other test's slots are seen."""
    return f"project-{uuid4().hex[:12]}"


@pytest.fixture
def client():
    with get_client(sync_client=True) as client:
        yield client


class Party:
    """A process that shares the quota. One of its slots is left to a task's tag, and none of them starts a task."""

    def __init__(self, project, *, in_flight=40, wanted=40, limit=40, tagged=True, run_id=None):
        self.permits = Permits(Pace(in_flight=in_flight))
        self.quota = PrefectLeases(project=project, limit=limit, tagged=tagged)
        self.wanted, self.run_id = wanted, run_id or str(uuid4())

    def open(self):
        """A hold that has not begun."""
        return self.quota.hold(self.permits, run_id=self.run_id, wanted=lambda: self.wanted, on_cancel=lambda: None)

    def __enter__(self):
        self.hold = self.open()
        self.hold.begin()
        return self

    def __exit__(self, *error):
        self.hold.close()

    @property
    def thread(self):
        return self.hold.keeper._thread


def until(holds):
    """Wait for something to come true, and keep an eye on what must always be true."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def taken(client, project):
    return client.read_global_concurrency_limit_by_name(f"tag:{tag_of(project)}").active_slots


def test_a_missing_limit_is_created_and_its_slots_are_those_that_are_taken(client, project, caplog):
    with Party(project, in_flight=12, limit=30) as party:
        until(lambda: party.permits.slots == 11)
        assert client.read_global_concurrency_limit_by_name(f"tag:{tag_of(project)}").limit == 30  # not what one wants
        assert taken(client, project) == 11
        assert "it was created with 30 slots" in caplog.text
    until(lambda: taken(client, project) == 0)


def test_all_that_is_due_is_held_before_a_task_can_take_the_slot_of_its_tag(project):
    """On SQLite both would wait for each other; the first request need not wait for either."""
    party, sent = Party(project, in_flight=30, wanted=30, limit=40), []
    hold = party.open()
    try:
        hold.begin(lambda: sent.append(party.permits.slots))
        assert (sent, party.permits.slots) == ([1], 29)
    finally:
        hold.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"active": False}, "switched off"), ({"limit": 0}, "zero"), ({"slot_decay_per_second": 0.5}, "decaying")],
)
def test_a_limit_that_counts_nothing_is_refused(client, project, change, words):
    with Party(project):
        pass
    client.update_global_concurrency_limit(f"tag:{tag_of(project)}", GlobalConcurrencyLimitUpdate(**change))
    with pytest.raises(BadInputError, match=words), Party(project):
        pass


def test_a_limit_below_what_the_run_may_use_is_kept_to_and_reported(client, project, caplog):
    with Party(project, limit=5), Party(project, in_flight=40) as party:
        assert "The limit" in caplog.text
        until(lambda: party.permits.slots)
        assert taken(client, project) <= 5


def test_a_second_run_gets_its_share_and_the_first_gets_it_back(client, project):
    with Party(project) as first:
        until(lambda: first.permits.slots == 39)
        with Party(project) as second:
            until(lambda: (first.permits.slots, second.permits.slots) == (19, 19))
            assert taken(client, project) == 38
        until(lambda: first.permits.slots == 39)
        assert taken(client, project) == 39


def test_a_limit_of_zero_pauses_a_run_and_one_that_is_restored_lets_it_go_on(client, project):
    with Party(project) as party:
        until(lambda: party.permits.slots == 39)
        client.update_global_concurrency_limit(f"tag:{tag_of(project)}", GlobalConcurrencyLimitUpdate(limit=0))
        until(lambda: party.permits.slots == 0)
        assert party.permits.quota == 1  # by which the rate is divided
        client.update_global_concurrency_limit(f"tag:{tag_of(project)}", GlobalConcurrencyLimitUpdate(limit=40))
        until(lambda: party.permits.slots == 39)


def test_a_limit_of_zero_pauses_a_run_whose_task_holds_the_slot_of_its_tag(client, project):
    tag = f"tag:{tag_of(project)}"
    with Party(project, in_flight=6) as party:
        answer = client.increment_concurrency_slots_with_lease([tag], 1, "concurrency", 60)
        with party.hold.counting(replace(party.quota, tag_lease=UUID(answer.json()["lease_id"]))):
            until(lambda: party.permits.slots == 6)
            client.update_global_concurrency_limit(tag, GlobalConcurrencyLimitUpdate(limit=0))
            until(lambda: party.permits.slots == 0)
            client.update_global_concurrency_limit(tag, GlobalConcurrencyLimitUpdate(limit=40))
            until(lambda: party.permits.slots == 6)


def test_slots_are_given_up_only_when_their_requests_have_ended(client, project):
    with Party(project) as first:
        until(lambda: first.permits.slots == 39)
        first.permits.prove()
        flying = [first.permits.permit(threading.Event()) for _ in range(30)]
        for permit in flying:
            permit.__enter__()
        with Party(project) as second:
            until(lambda: first.permits.slots == 19)
            for landed in range(30):
                assert first.permits.in_flight + second.permits.slots <= 40
                flying.pop().__exit__(None, None, None)
                time.sleep(0.05)
                del landed
            until(lambda: second.permits.slots == 19)


def test_a_run_that_wants_little_leaves_the_rest(project):
    with Party(project, wanted=5) as small, Party(project) as large:
        until(lambda: large.permits.slots == 34 and small.permits.slots == 3)


def test_a_task_counts_the_slot_of_its_tag_and_its_process_leaves_it_one(client, project):
    with Party(project, in_flight=6) as party:
        until(lambda: party.permits.slots == 5 and taken(client, project) == 5)
        answer = client.increment_concurrency_slots_with_lease([f"tag:{tag_of(project)}"], 1, "concurrency", 60)
        lease = answer.json()["lease_id"]
        with party.hold.counting(replace(party.quota, tag_lease=UUID(lease))):
            until(lambda: party.permits.slots == 6)
            assert taken(client, project) == 6
        assert party.permits.slots == 5
        assert taken(client, project) == 6
        client.release_concurrency_slots_with_lease(lease)
        until(lambda: taken(client, project) == 5)


def test_leases_that_a_server_has_forgotten_are_not_counted_and_taken_anew(client, project, monkeypatch):
    """A reset revokes leases and leaves their count, as a server does that is restarted with leases in memory."""
    monkeypatch.setattr(lease_keeper, "RENEW_S", 0.2)
    with Party(project, in_flight=8) as party:
        until(lambda: party.permits.slots == 7)
        before = set(party.permits._leases)
        client.reset_concurrency_limit_by_tag(tag_of(project))
        until(lambda: party.permits.slots == 7 and not before & set(party.permits._leases))
        assert taken(client, project) == 7


def test_a_limit_that_is_deleted_is_made_again(client, project):
    with Party(project, in_flight=8) as party:
        until(lambda: party.permits.slots == 7)
        client.delete_global_concurrency_limit_by_name(f"tag:{tag_of(project)}:wanted")
        client.delete_global_concurrency_limit_by_name(f"tag:{tag_of(project)}")
        until(lambda: made(client, project) and party.thread.is_alive())


def test_a_limit_that_is_deleted_before_the_first_slot_is_made_again(client, project):
    hold = Party(project).open()
    client.delete_global_concurrency_limit_by_name(f"tag:{tag_of(project)}")
    hold.wait_for_room()
    assert made(client, project)
    hold.close()


def made(client, project):
    return {limit.name for limit in client.read_global_concurrency_limits(limit=200)} >= {
        f"tag:{tag_of(project)}",
        f"tag:{tag_of(project)}:wanted",
    }


def test_slots_that_nobody_holds_are_reported(client, project, caplog):
    with Party(project):
        pass
    until(lambda: taken(client, project) == 0)
    client.increment_concurrency_slots([f"tag:{tag_of(project)}"], 7, "concurrency")
    with Party(project) as party:
        assert "7 of 40 slots" in caplog.text
        assert "taken by runs that died" in caplog.text
        until(lambda: party.permits.slots == 32)


def test_shares_never_add_up_to_more_than_the_limit():
    for limit in (1, 3, 40, 100):
        for wishes in ([40], [40, 40], [40, 5], [7, 7, 7], [40] * 7, [100, 1]):
            shares = [share(limit, wanted=wanted, all_wanted=sum(wishes)) for wanted in wishes]
            assert all(1 <= got <= wanted for got, wanted in zip(shares, wishes, strict=True))
            assert sum(shares) <= max(limit, len(wishes))


def test_two_processes_of_one_run_share_as_two_runs_do(client, project):
    """With one holder for both, the first would keep all slots, and call the second's run dead."""
    run = str(uuid4())
    with Party(project, limit=8, tagged=False, run_id=run) as first:
        until(lambda: first.permits.slots == 8)
        with Party(project, limit=8, tagged=False, run_id=run) as second:
            until(lambda: (first.permits.slots, second.permits.slots) == (4, 4))
            assert taken(client, project) == 8
            assert first.hold.keeper._limit.holder != second.hold.keeper._limit.holder
        until(lambda: first.permits.slots == 8)


def test_slots_held_by_three_processes_never_add_up_to_more_than_the_limit_from_the_first_moment(client, project):
    """Each counts a slot only once the server has given it, and none that another may still count."""
    seen, parties = [], [Party(project, limit=10, tagged=False, run_id="one-job") for _ in range(3)]
    over = threading.Event()

    def watch():
        while not over.is_set():
            seen.append(sum(party.permits.slots for party in parties))
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with contextlib.ExitStack() as stack:
        for party in parties:
            stack.enter_context(party)
        until(lambda: sorted(party.permits.slots for party in parties) in ([3, 3, 3], [3, 3, 4]))
    over.set()
    watcher.join()
    assert 0 < max(seen) <= 10


def test_a_quota_is_a_small_value_without_a_secret(project):
    quota = PrefectLeases(project=project, limit=40, tagged=True, tag_lease=uuid4())
    assert pickle.loads(pickle.dumps(quota)) == quota
    assert len(pickle.dumps(quota)) < 500
    kind = TypeAdapter(PrefectLeases)
    assert kind.validate_json(kind.dump_json(quota)) == quota


def test_a_batch_does_not_wait_for_requests_that_retiring_leases_still_cover():
    """As a run tails off its leases retire, and are held for just those that were given up at Earth Engine."""
    permits = Permits(Pace(in_flight=10))
    book = LeaseBook(permits)
    for slots in (1, 9):
        book.add(Lease(uuid4(), slots, time.monotonic()))
    book.retire(9)
    assert (permits.slots, book.slots) == (1, 10)
    permits.linger(60)
    permits.linger(60)
    assert permits.wait_idle(0.0, beyond=book.slots)
    assert not book.retired()  # one request is in flight that the smaller does not cover


def test_a_request_that_was_given_up_keeps_a_slot_that_does_not_end_with_the_task():
    """Otherwise the task would wait for it, for as long as Earth Engine may compute."""
    permits = Permits(Pace(in_flight=10))
    book = LeaseBook(permits)
    tag, own = tag_lease(uuid4()), Lease(uuid4(), 1, time.monotonic())
    for lease in (tag, own):
        book.add(lease)
    book.renewed(tag, time.monotonic(), 60.0)
    book.retire(1)
    permits.linger(60)
    assert book.retired() == ()
    book.remove(tag)
    assert permits.wait_idle(0.0, beyond=book.slots)


def test_a_process_does_not_stay_for_requests_that_it_has_given_up_and_their_slots_stay_taken(client, project):
    with Party(project, in_flight=6, tagged=False) as party:
        until(lambda: party.permits.slots == 6)
        for _ in range(2):
            party.permits.linger(300)
    party.thread.join(PATIENCE_S)
    assert not party.thread.is_alive()
    assert taken(client, project) == 2


def refuse(hold, status, patch):
    """Let the server of a hold give no lease."""
    request = httpx.Request("POST", "http://server/api/v2/concurrency_limits/increment-with-lease")

    def refused(*_):
        raise httpx.HTTPStatusError("refused", request=request, response=httpx.Response(status, request=request))

    patch.setattr(hold.keeper._client, "increment_concurrency_slots_with_lease", refused)


@pytest.mark.parametrize("status", [401, 403, 404, 405, 422])
@pytest.mark.parametrize("ask", [LeaseHold.wait_for_room, LeaseHold.begin])
def test_a_server_that_refuses_is_not_waited_for(project, monkeypatch, status, ask):
    party = Party(project)
    party.hold = party.open()
    refuse(party.hold, status, monkeypatch)
    with pytest.raises(ServerRefusedError, match=rf"answers {status} to POST .+PREFECT_API_KEY"):
        ask(party.hold)
    assert party.thread is None
    party.hold.close()
    assert party.hold.keeper._client._client.is_closed


@pytest.mark.parametrize("status", [408, 423, 429, 503])
def test_a_server_that_is_busy_is_asked_again(project, monkeypatch, status):
    party = Party(project)
    party.hold = party.open()
    with monkeypatch.context() as patch:
        refuse(party.hold, status, patch)
        party.hold.begin()
        assert party.permits.slots == 0
    until(lambda: party.permits.slots == 39)
    party.hold.close()


def test_a_batch_that_waits_for_its_requests_ends_with_the_process(project):
    """A cancel ends the wait for a request that was given up, which may go on for minutes."""
    with Party(project, in_flight=2, limit=2) as party:
        ended = threading.Event()

        def run():
            with party.hold.counting(party.quota):
                party.permits.linger(300)
                party.permits.linger(300)
                party.permits.linger(300)
            ended.set()

        threading.Thread(target=run).start()
        assert not ended.wait(1.0)
        party.hold.leave(0.0)
        assert ended.wait(5.0)

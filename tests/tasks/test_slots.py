"""Laws of slots, on a real Prefect server: runs together never hold more than the limit, and share it."""

import logging
import time
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

from tasks import slots as slots_module
from tasks.earthengine.errors import BadInputError
from tasks.earthengine.permits import Pace, Permits
from tasks.limit import share, tag_of
from tasks.slots import Slots

pytestmark = pytest.mark.usefixtures("prefect_server")
LOG = logging.getLogger("slots")
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
    """A run that shares the quota. One of its slots is left to the tag of a lane, which none of them starts here."""

    def __init__(self, project, *, in_flight=40, wanted=40):
        self.permits = Permits(Pace(in_flight=in_flight))
        self.slots = Slots(project, self.permits, run_id=uuid4(), log=LOG)
        self.wanted = wanted

    def __enter__(self):
        self.slots.__enter__()
        self.slots.begin()
        self.slots.want(self.wanted)
        return self

    def __exit__(self, *error):
        self.slots.__exit__(*error)


def until(holds):
    """Wait for something to come true, and keep an eye on what must always be true."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def taken(client, project):
    return client.read_global_concurrency_limit_by_name(f"tag:{tag_of(project)}").active_slots


def test_a_missing_limit_is_created_and_its_slots_are_those_that_are_taken(client, project, caplog):
    with Party(project, in_flight=12) as party:
        until(lambda: party.permits.slots == 11)
        assert client.read_global_concurrency_limit_by_name(f"tag:{tag_of(project)}").limit == 12
        assert taken(client, project) == 11
        assert "it was created with 12 slots" in caplog.text
    until(lambda: taken(client, project) == 0)


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
    with Party(project, in_flight=5), Party(project, in_flight=40) as party:
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


def test_slots_are_given_up_only_when_their_requests_have_ended(client, project):
    with Party(project) as first:
        until(lambda: first.permits.slots == 39)
        first.permits.prove()
        flying = [first.permits.permit(first.slots._wake) for _ in range(30)]
        first.slots._wake.clear()
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


def test_a_lane_counts_the_slot_of_its_tag_and_its_run_leaves_it_one(client, project):
    with Party(project, in_flight=6) as party:
        until(lambda: party.permits.slots == 5 and taken(client, project) == 5)
        answer = client.increment_concurrency_slots_with_lease([f"tag:{tag_of(project)}"], 1, "concurrency", 60)
        lease = answer.json()["lease_id"]
        with party.slots.lane(UUID(lease)):
            until(lambda: party.permits.slots == 6)
            assert taken(client, project) == 6
        assert party.permits.slots == 5
        assert taken(client, project) == 6
        client.release_concurrency_slots_with_lease(lease)
        until(lambda: taken(client, project) == 5)


def test_leases_that_a_server_has_forgotten_are_not_counted_and_taken_anew(client, project, monkeypatch):
    """A reset revokes leases and leaves their count, as a server does that is restarted with leases in memory."""
    monkeypatch.setattr(slots_module, "RENEW_S", 0.2)
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
        until(lambda: made(client, project) and party.slots._thread.is_alive())


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

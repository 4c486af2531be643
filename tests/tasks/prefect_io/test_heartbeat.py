"""Laws of runs that die, on a real Prefect server: those that fall silent are marked Crashed, and no others."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.flow_engine import FlowRunEngine
from prefect.runtime import flow_run
from prefect.states import Cancelling, Completed, Running, Suspended

from tasks.prefect_io import heartbeat as crashed
from tasks.prefect_io.heartbeat import FLOWS, HEARTBEAT, NAME, mark_the_silent, watch_for_crashes

pytestmark = pytest.mark.usefixtures("prefect_server")
# The shortest silence that Prefect takes, and the longest until a silence is noticed: it looks every 5 s.
SILENCE_S, NOTICED_S = 10.0, 17.0
PATIENCE_S = 60.0
OURS = FLOWS[0]


@pytest.fixture(scope="module")
def client(prefect_server):
    with get_client(sync_client=True) as client:
        yield client


def remove(client):
    for automation in client.read_automations_by_name(NAME):
        client.delete_automation(automation.id)


@pytest.fixture
def unwatched(client):
    """A server without the automation, before and after: flows of other tests may be silent for longer."""
    remove(client)
    yield
    remove(client)


# The automation ------------------------------------------------------------------------------------------------------


def test_it_is_created_once_as_declared(client, unwatched):
    for _ in range(2):
        assert watch_for_crashes(client, silence_s=90) == 90
    (found,) = client.read_automations_by_name(NAME)
    declared = crashed.automation(90)
    assert declared == found.model_dump(exclude={"id"})
    assert found.trigger.within == timedelta(seconds=90)
    assert found.actions[0].message.startswith("No heartbeat for 90 s: the process of the run was killed")


def test_an_older_one_is_brought_up_to_date_but_stays_off_if_somebody_turned_it_off(client, unwatched):
    watch_for_crashes(client, silence_s=30)
    (older,) = client.read_automations_by_name(NAME)
    client.pause_automation(older.id)
    assert watch_for_crashes(client, silence_s=90) == 90
    (found,) = client.read_automations_by_name(NAME)
    assert found.id == older.id
    assert not found.enabled
    assert crashed.automation(90) == found.model_dump(exclude={"id"}) | {"enabled": True}


def test_a_run_whose_heartbeats_come_more_often_does_not_shorten_the_silence_of_others(client, unwatched):
    """A flow that is called by itself has Prefect's own: one every three minutes."""
    assert watch_for_crashes(client, silence_s=540) == 540
    assert watch_for_crashes(client, silence_s=90) == 540
    (found,) = client.read_automations_by_name(NAME)
    assert found.trigger.within == timedelta(seconds=540)
    assert watch_for_crashes(client, silence_s=600) == 600


def test_of_two_the_younger_is_deleted(client, unwatched):
    first, _, _ = (client.create_automation(crashed.automation(90)) for _ in range(3))
    watch_for_crashes(client)
    assert [found.id for found in client.read_automations_by_name(NAME)] == [first]


def test_runs_that_begin_at_the_same_moment_leave_one(client, unwatched):
    def begin(_):
        with get_client(sync_client=True) as own:
            return watch_for_crashes(own)

    with ThreadPoolExecutor(4) as runs:
        assert list(runs.map(begin, range(4))) == [90.0] * 4
    assert len(client.read_automations_by_name(NAME)) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 405, 422])
def test_a_server_that_refuses_lets_the_run_go_on(status, caplog):
    refusing = httpx.MockTransport(lambda _: httpx.Response(status, json={}))
    with caplog.at_level(logging.DEBUG, "tasks.prefect_io.heartbeat"):
        assert watch_for_crashes(get_client(httpx_settings={"transport": refusing}, sync_client=True)) == 90
    assert str(status) in caplog.text


def test_a_server_that_is_away_or_talks_nonsense_lets_the_run_go_on():
    def away(request):
        raise httpx.ConnectError("away", request=request)

    for answer in (away, lambda _: httpx.Response(200, text="<html>"), lambda _: httpx.Response(200, json=[{"id": 1}])):
        transport = httpx.MockTransport(answer)
        assert watch_for_crashes(get_client(httpx_settings={"transport": transport}, sync_client=True)) == 90


def test_a_silence_shorter_than_prefect_can_notice_is_a_mistake(client):
    with pytest.raises(ValueError, match="10 seconds"):
        watch_for_crashes(client, silence_s=5)


# The runs ------------------------------------------------------------------------------------------------------------


class Run:
    """A run whose process is only told of: its heartbeats are those that Prefect's engine would send.

    They go straight to the server: the engine's thread would add the flow in which it was started, of whatever test.
    """

    def __init__(self, client, name=OURS, *, beats=True, **options):
        process = flow(name=name)(lambda: None)
        self.id = client.create_flow_run(process, state=Running(), **options).id
        self._client = client
        self._engine = FlowRunEngine(flow=process, flow_run=client.read_flow_run(self.id))
        if beats:
            self.beat()

    def beat(self):
        resource, related = self._engine._build_heartbeat_event_template()
        event = Event(event=HEARTBEAT, resource=resource, related=related)
        self._client.request("POST", "/events", json=[event.model_dump(mode="json")])


def heard(client, run):
    """Whether the server has a heartbeat of a run."""
    wanted = {"event": {"name": [HEARTBEAT]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    return client.request("POST", "/events/filter", json={"filter": wanted}).json()["total"] > 0


class Process(threading.Thread):
    """A run of a real flow, in a thread. Between its attempts Prefect sends no heartbeat."""

    def __init__(self, body, **options):
        super().__init__()
        self._flow = flow(name=OURS, **options)(self._noted(body))
        self.id = None
        self.start()

    def _noted(self, body):
        def noted():
            self.id = flow_run.id
            body()

        return noted

    def run(self):
        self._flow(return_state=True)


@pytest.fixture(scope="module")
def names(client):
    """Names of the states of some runs, in their order: all of them live at the same time, until all is decided."""
    remove(client)
    watch_for_crashes(client, silence_s=SILENCE_S)
    attempts = []

    def fail_once():
        attempts.append(1)
        while len(attempts) == 1 and not heard(client, flow_run.id):  # a heartbeat that comes later would count
            time.sleep(0.1)
        assert len(attempts) > 1

    def last_until_taken_for_dead():
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and not client.read_flow_run(flow_run.id).state.is_crashed():
            time.sleep(0.5)

    runs = {
        "retrying": Process(fail_once, retries=1, retry_delay_seconds=NOTICED_S),
        "mistaken": Process(last_until_taken_for_dead),
        "silent": Run(client),
        "unheard": Run(client, beats=False),
        "tagged": Run(client, FLOWS[1], tags=["night"]),
        "cancelling": Run(client),
        "living": Run(client),
        "completed": Run(client),
        "suspended": Run(client),
        "foreign": Run(client, "train-model"),
    }
    time.sleep(1)
    client.set_flow_run_state(runs["cancelling"].id, Cancelling())
    client.set_flow_run_state(runs["completed"].id, Completed())
    client.set_flow_run_state(runs["suspended"].id, Suspended(timeout_seconds=3600), force=True)
    while runs["retrying"].is_alive() or runs["mistaken"].is_alive():
        runs["living"].beat()
        time.sleep(2)
    remove(client)
    return {
        what: [state.name for state in sorted(client.read_flow_run_states(run.id), key=lambda state: state.timestamp)]
        for what, run in runs.items()
    } | {"message": client.read_flow_run(runs["silent"].id).state.message}


def test_a_run_that_fell_silent_is_marked_crashed_and_told_what_to_do(names):
    assert names["silent"] == names["tagged"] == names["unheard"] == ["Running", "Crashed"]
    assert names["message"] == (
        "No heartbeat for 10 s: the process of the run was killed, or cannot reach the Prefect server. "
        "Stored tiles are kept. To resume, run it again with the same parameters."
    )


def test_a_run_that_fell_silent_while_it_was_cancelled_is_left_to_prefect_which_ends_it_after_five_minutes(names):
    assert names["cancelling"] == ["Running", "Cancelling"]


def test_a_run_that_goes_on_sending_is_left(names):
    assert names["living"] == ["Running"]


@pytest.mark.parametrize("end", ["Completed", "Suspended"])
def test_a_run_that_has_ended_or_was_suspended_is_left(names, end):
    assert names[end.lower()] == ["Running", end]


def test_a_run_that_waits_for_its_next_attempt_is_left(names):
    assert names["retrying"] == ["Pending", "Running", "AwaitingRetry", "Running", "Completed"]


def test_a_run_of_somebody_else_is_left(names):
    assert names["foreign"] == ["Running"]


def test_a_living_run_that_was_taken_for_dead_ends_as_if_nothing_had_been(names):
    assert names["mistaken"] == ["Pending", "Running", "Crashed", "Completed"]


def test_a_run_whose_heartbeats_were_lost_with_its_server_is_marked_by_the_next(client):
    """The automation has seen none of it: here, it is not there."""
    remove(client)
    silent, living = (Run(client, name=OURS) for _ in range(2))
    foreign = Run(client, name="train-model")
    end, crashed = time.monotonic() + PATIENCE_S, False
    while not crashed and time.monotonic() < end:
        living.beat()
        time.sleep(1)
        mark_the_silent(client, silence_s=10.0)  # the server keeps events in bundles
        crashed = client.read_flow_run(silent.id).state.is_crashed()
    states = [client.read_flow_run(run.id).state for run in (silent, living, foreign)]
    assert [state.name for state in states] == ["Crashed", "Running", "Running"]
    assert "run it again with the same parameters" in states[0].message

"""A fault of the Prefect server in one call of a run: `make chaos-server`, in short.

The run completes, or ends with one message of ours and can be resumed. It neither hangs nor ends with a raw error.
"""

import signal
from collections import Counter
from functools import partial

import pytest
from prefect.settings import PREFECT_API_URL

from deployments.sandbox.process import running
from tests.chaos.lane import KNOBS, Fault, lanes, on_lanes
from tests.chaos.matrix import Combination, Deployment, judge, undisturbed
from tests.chaos.waits import LEAVES_S, WAITS, leave
from tests.proxy import KINDS

INCREMENT = "POST /v2/concurrency_limits/increment-with-lease"
RENEW = "POST /v2/concurrency_limits/leases/{id}/renew"
LIMIT = "GET /v2/concurrency_limits/{name}"
FAULTS = [
    ("command", "POST /flow_runs/", "start", "503", 1),
    ("adhoc", "POST /flow_runs/", "start", "html", 1),
    ("command", "POST /flow_runs/{id}/set_state RUNNING", "start", "409", 1),
    ("adhoc", "GET /flow_runs/{id}", "start", "shape", 1),
    ("adhoc", LIMIT, "start", "truncated", 1),
    ("command", "POST /v2/concurrency_limits/", "start", "reset-after", 1),
    ("command", INCREMENT, "leases", "503-retry", 3),
    ("command", INCREMENT, "leases", "shape", 1),
    ("adhoc", INCREMENT, "leases", "reset-after", 1),
    ("adhoc", INCREMENT, "tasks", "500", None),
    ("command", RENEW, "tasks", "500", None),
    ("command", RENEW, "tasks", "list", 1),
    ("command", LIMIT, "tasks", "short", 3),
    ("command", "POST /artifacts/", "tasks", "503", None),
    ("adhoc", "PATCH /artifacts/{id}", "tasks", "403", 1),
    ("command", "*", "tasks", "reset", None),
    ("command", "POST /v2/concurrency_limits/decrement-with-lease", "artifacts", "423", 1),
    ("worker", "*", "artifacts", "503", 5),
    ("command", "POST /flow_runs/{id}/set_state COMPLETED", "end", "timeout", 1),
    ("adhoc", "POST /flow_runs/{id}/set_state COMPLETED", "end", "reset", None),
]
SIGNALLED = {"the slot of the task's tag", "the server away while it fetches"}


@pytest.fixture(scope="module")
def lanes_(prefect_server, tmp_path_factory):
    """Two runs at a time, each between proxies of its own."""
    url = str(PREFECT_API_URL.value())
    with (
        running(**KNOBS) as sandbox,
        lanes(tmp_path_factory.mktemp("lanes"), [url] * 3, sandbox=sandbox) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def pixels(lanes_):
    """What an undisturbed run stores."""
    return undisturbed(lanes_[0], "command", Deployment())[1]


@pytest.mark.timeout(900)
def test_a_fault_of_the_server_fails_no_run_in_another_way_than_with_one_message(lanes_, pixels):
    chosen = [
        Combination(how=how, fault=Fault(call=call, phase=phase, kind=kind, times=times))
        for how, call, phase, kind, times in FAULTS
    ]
    deployment = Deployment()
    rows = on_lanes(lanes_, [partial(judge, combination=each, deployment=deployment, pixels=pixels) for each in chosen])
    assert {row.combination.name: f"{row.outcome}: {row.error}\n{row.log}" for row in rows if not row.good} == {}
    # Some calls, such as the renewal of a lease, come only now and then.
    assert len([row.combination.name for row in rows if not row.met]) <= 1
    assert Counter(row.outcome for row in rows)["complete"] >= len(rows) / 2


def test_the_faults_are_of_each_kind_and_phase():
    assert len(FAULTS) == 20
    assert {kind for *_, kind, _ in FAULTS} == set(KINDS)


@pytest.mark.timeout(600)
def test_a_process_leaves_a_wait_for_the_server_soon_after_a_signal(lanes_, pixels):
    chosen = [wait for wait in WAITS if wait.name in SIGNALLED]
    left = on_lanes(
        lanes_,
        [partial(leave, wait=wait, how="command", number=signal.SIGTERM, deployment=Deployment()) for wait in chosen],
    )
    assert {each.wait: each.log for each in left if each.seconds is None or not each.resumed} == {}
    assert max(each.seconds for each in left) <= LEAVES_S

"""Two deployments at the same time for one Earth Engine project: their worker's runs share its quota."""

import time

import pytest

from tests.ui.conftest import ask

pytestmark = [pytest.mark.ui, pytest.mark.timeout(400)]
QUOTA = 6
LATENCY_S = 0.5


def test_the_sandbox_never_sees_more_in_flight_than_the_quota(up):
    """It refuses what is above the quota by 429, and counts that."""
    api = f"{up.url}/api"
    limit = f"{api}/v2/concurrency_limits/tag:earthengine:my-project"
    ask(limit, "PATCH", {"limit": QUOTA})
    ask(f"{up.sandbox}/sandbox/knobs", "PATCH", {"max_concurrent": QUOTA, "latency_median": LATENCY_S})
    ask(f"{up.sandbox}/sandbox/statistics", "DELETE", None)
    jobs = {
        "extract-region/region": {"scale": 25, "advanced": {"tile_size": 128}},
        "extract-timeseries/timeseries": {"advanced": {"tile_size": 64}},
    }
    runs = {}
    for name, changes in jobs.items():
        deployment = ask(f"{api}/deployments/name/{name}", "GET", None)
        parameters = deployment["parameters"] | changes
        started = ask(f"{api}/deployments/{deployment['id']}/create_flow_run", "POST", {"parameters": parameters})
        runs[started["id"]] = None
    end = time.monotonic() + 240
    while None in runs.values() and time.monotonic() < end:
        time.sleep(1)
        for run in runs:
            state = ask(f"{api}/flow_runs/{run}", "GET", None)
            if state["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
                runs[run] = state
    ask(limit, "PATCH", {"limit": 40})
    ask(f"{up.sandbox}/sandbox/knobs", "PATCH", {"max_concurrent": None, "latency_median": 0.0})
    assert [run and run["state_type"] for run in runs.values()] == ["COMPLETED"] * 2
    first, second = ((run["start_time"], run["end_time"]) for run in runs.values())
    assert max(first[0], second[0]) < min(first[1], second[1])  # they did overlap
    seen = ask(f"{up.sandbox}/sandbox/statistics", "GET", None)
    assert seen["throttled"] == 0
    assert QUOTA - 2 <= seen["peak_in_flight"] <= QUOTA
    assert seen["repeated_requests"] == 0

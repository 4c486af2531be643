"""Whether the run was cancelled on the server, asked by the flow itself. While it fetches, the leases ask.

Prefect does not notify a run without a worker.
"""

from __future__ import annotations

import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.errors.run import RunCancelled
from tasks.prefect_io.boundary import KEPT
from tasks.prefect_io.server import FAULTS

# Seconds to wait for the answer, once; seconds between two questions, and after one that the server did not answer.
ANSWER_S, EVERY_S, PAUSE_S = 3.0, 2.0, 60.0
_next: dict[str, float] = {}
"""By run id, the time of the next question."""


def is_cancelled() -> bool:
    """Ask the server whether the run is cancelled. False if it does not answer."""
    if not flow_run.id:
        return False
    once = {PREFECT_API_REQUEST_TIMEOUT: ANSWER_S, PREFECT_CLIENT_MAX_RETRIES: 0}
    pause, now = EVERY_S, time.monotonic()
    try:
        with temporary_settings(once), get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(flow_run.id)).state
    except FAULTS:
        state, pause = None, PAUSE_S
    _next.clear()
    _next[flow_run.id] = now + pause
    return state is not None and (state.is_cancelling() or state.is_cancelled())


def check_goes_on() -> None:
    """Check between two steps of a flow that the run was not cancelled. The server is asked every 2 s at most.

    Raises:
        RunCancelled: The run was cancelled.
    """
    if flow_run.id and time.monotonic() >= _next.get(flow_run.id, 0.0) and is_cancelled():
        raise RunCancelled(f"Cancelled. {KEPT}")

"""Runs that Prefect starts again, after a failure for a reason that passes by itself."""

from __future__ import annotations

import random
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRunPolicy
from prefect.runtime import flow_run

from tasks.earthengine.errors import EarthEngineError
from tasks.errors.run import ExtractionFailedError, RunCancelled
from tasks.prefect_io.progress import duration_text
from tasks.prefect_io.server import ServerAwayError
from tasks.storage.store import StorageError

# A retry is never further away than this.
LONGEST_S = 3600.0


def passes(error: BaseException) -> bool:
    """Return whether the same run may succeed a while later, without anybody's doing."""
    ours = EarthEngineError | StorageError | ExtractionFailedError | ServerAwayError
    return isinstance(error, ours) and error.passing


def retry_run(error: BaseException, *, retries: int, delay_s: float) -> bool:
    """Let Prefect start the flow run again, if its failure passes and it has retries left; return whether it will.

    The policy of the run is set now, and not with the flow: so one that fails for a lasting reason ends at once, and
    runs that failed together do not come back together.
    """
    if not flow_run.id or not passes(error):
        return False
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(flow_run.id)
        if run.run_count > retries:
            return False
        delay = round(delay_before(run.run_count, delay_s))
        policy = run.empirical_policy.model_copy(update={"retries": retries, "retry_delay": delay})
        client.update_flow_run(run.id, empirical_policy=FlowRunPolicy(**policy.model_dump()))
    get_run_logger().warning(
        "%s: %s It may pass: the run is started again in %s (%d of %d), and fetches only what is missing.",
        *(type(error).__name__, error, duration_text(delay), run.run_count, retries),
    )
    return True


def check_not_cancelled() -> None:
    """See that nobody has cancelled the flow run while it waited for its retry: Prefect would start it all the same.

    Raises:
        RunCancelled: somebody has.
    """
    if not flow_run.id:
        return
    with get_client(sync_client=True) as client:
        states = sorted(client.read_flow_run_states(UUID(flow_run.id)), key=lambda state: state.timestamp)
    before = [state for state in states if not state.is_running()][-1:]
    if before and (before[0].is_cancelled() or before[0].is_cancelling()):
        raise RunCancelled("Cancelled while it waited for its retry. What is stored is kept: run the same again.")


def delay_before(retry: int, delay_s: float) -> float:
    """Return the seconds before a retry, counted from 1: doubled each time, half of it by chance.

    >>> 30 <= delay_before(1, 60) <= 60, 120 <= delay_before(3, 60) <= 240, delay_before(50, 60) <= LONGEST_S
    (True, True, True)
    """
    longest: float = min(delay_s * 2 ** min(retry - 1, 20), LONGEST_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

"""Retries of flow runs: Prefect starts a run again if it failed for a reason that may pass, such as an outage."""

from __future__ import annotations

import random
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRunPolicy
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from tasks.errors import may_pass
from tasks.errors.run import RunCancelled
from tasks.prefect_io.progress import duration_text
from tasks.prefect_io.retry_wait import begin_wait, end_wait

# The longest delay before a retry, in seconds.
LONGEST_S = 3600.0
# What a server raises that is away, busy or of another version, or from which the run was deleted.
FAULTS = (httpx.HTTPError, ObjectNotFound, ValueError)


def retry_run(error: BaseException, *, retries: int, delay_s: float) -> bool:
    """Make Prefect retry the flow run if its error may pass and it has retries left; return whether it will.

    If the server fails, there is no retry: the run ends with its own error.

    The retry policy is set on the run after its failure, and not on the flow. So a run that fails for a lasting reason
    ends at once, and runs that failed at the same time are not retried at the same time.

    Args:
        error: The error that ended the run.
        retries: Retries that a run has in total.
        delay_s: Longest delay before the first retry, in seconds: see :func:`delay_before`.
    """
    if not flow_run.id or not may_pass(error):
        return False
    try:
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(UUID(flow_run.id))
            if run.run_count > retries:
                return False
            delay = round(delay_before(run.run_count, delay_s))
            policy = run.empirical_policy.model_copy(update={"retries": retries, "retry_delay": delay})
            client.update_flow_run(run.id, empirical_policy=FlowRunPolicy(**policy.model_dump()))
    except FAULTS as fault:
        get_run_logger().warning("The run is not retried: the Prefect server failed (%s).", type(fault).__name__)
        return False
    retry = f"retry {run.run_count} of {retries}"
    get_run_logger().warning(
        "%s: %s This may be temporary: %s starts in %s and fetches only the missing tiles.",
        *(type(error).__name__, error, retry, duration_text(delay)),
    )
    begin_wait(flow_run.id, retry=retry, delay_s=delay)
    return True


def check_not_cancelled() -> None:
    """Check that the flow run was not cancelled while it waited for its retry: Prefect would start it nevertheless.

    Raises:
        RunCancelled: The run was cancelled.
    """
    if not flow_run.id:
        return
    end_wait(flow_run.id)
    try:
        with get_client(sync_client=True) as client:
            states = sorted(client.read_flow_run_states(UUID(flow_run.id)), key=lambda state: state.timestamp)
    except FAULTS as fault:  # the thread of the leases looks for a cancellation, too
        get_run_logger().debug("The states of the run could not be read: %s", fault)
        return
    before = [state for state in states if not state.is_running()][-1:]
    if before and (before[0].is_cancelled() or before[0].is_cancelling()):
        raise RunCancelled(
            "The run was cancelled while it waited for its retry. Stored tiles are kept. To resume, run it again with "
            "the same parameters."
        )


def delay_before(retry: int, delay_s: float) -> float:
    """Return the delay before a retry in seconds: random, from half of its maximum to all of it.

    The maximum is `delay_s` for the first retry. It doubles with each further retry, up to `LONGEST_S`.

    Args:
        retry: Number of the retry, from 1.
        delay_s: Maximum for the first retry, in seconds.

    >>> 30 <= delay_before(1, 60) <= 60, 120 <= delay_before(3, 60) <= 240, delay_before(50, 60) <= LONGEST_S
    (True, True, True)
    """
    longest: float = min(delay_s * 2 ** min(retry - 1, 20), LONGEST_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

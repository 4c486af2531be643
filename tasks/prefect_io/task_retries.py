"""Retries of the tasks that hold no slot: metadata and products may wait. The fetch repeats requests by itself."""

from __future__ import annotations

from typing import Any, TypedDict

from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from tasks.earthengine.errors import EarthEngineError
from tasks.storage.store import StorageError

# Seconds before the first retry, doubled each time: a store or a back end restarts within a minute.
FIRST_DELAY_S, RETRIES = 2.0, 4


class RetryOptions(TypedDict):
    """Options of a Prefect task."""

    retries: int
    retry_delay_seconds: Any
    retry_jitter_factor: float
    retry_condition_fn: Any


def passes(error: object) -> bool:
    """Return whether the same may succeed a while later, without anybody's doing."""
    return isinstance(error, EarthEngineError | StorageError) and error.passing


def if_it_passes(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Return whether a task that failed is run again: for passing errors only."""
    del task, task_run
    return passes(state.result(raise_on_failure=False))


RETRIED = RetryOptions(
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(FIRST_DELAY_S),
    retry_jitter_factor=1.0,
    retry_condition_fn=if_it_passes,
)
"""What every task takes that holds no slot: `@task(..., **RETRIED)`."""

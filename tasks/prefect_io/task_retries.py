"""Retries of the tasks that hold no slot: metadata and products. The fetch task repeats its requests itself."""

from __future__ import annotations

from typing import Any, TypedDict

from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from tasks.errors import may_pass
from tasks.storage.store import TileLost

# Seconds before the first retry (doubled for each further one), and retries: a store or a back end restarts within a
# minute.
FIRST_DELAY_S, RETRIES = 2.0, 4


class RetryOptions(TypedDict):
    """Options of a Prefect task that set its retries."""

    retries: int
    retry_delay_seconds: Any
    retry_jitter_factor: float
    retry_condition_fn: Any


def if_error_may_pass(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Return whether Prefect retries a failed task: its error may pass, and needs no run that fetches a tile again."""
    del task, task_run
    error = state.result(raise_on_failure=False)
    return may_pass(error) and not isinstance(error, TileLost)


RETRIED = RetryOptions(
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(FIRST_DELAY_S),
    retry_jitter_factor=1.0,
    retry_condition_fn=if_error_may_pass,
)
"""Options for every task that holds no slot: `@task(..., **RETRIED)`."""

"""Prefect tasks made from functions of the core."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, Generic, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.states import Failed
from prefect.utilities.annotations import quote

from tasks.prefect_io.boundary import ours
from tasks.prefect_io.cancellation import check_goes_on
from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.task_retries import RETRIED

P = ParamSpec("P")
R = TypeVar("R")
# Seconds.
PATIENCE_S = 30.0
PLAIN = (str, int, float, bool, type(None))


class CoreTask(Generic[P, R]):
    """A Prefect task made from a function of the core. Call it like the function.

    - It is retried if it fails for a reason that may pass (:mod:`tasks.prefect_io.task_retries`).
    - An error becomes one of this project, and is logged as one message, without the traceback of Prefect's engine.
    - Prefect does not search its arguments for futures, which would take five seconds with 20,000 receipts.
    - Outside of a flow run, the function is simply called.

    Args:
        function: The function of the core.
        task: The task that calls it.
    """

    def __init__(self, function: Callable[P, R], task: Task[..., Any]) -> None:
        self.fn, self.task = function, task
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task, wait for it, and return the result of the function, or raise its error.

        Raises:
            RunCancelled: The run was cancelled. The task is not started.
        """
        if FlowRunContext.get() is None:
            return self.fn(*args, **kwargs)
        check_goes_on()
        state: Any = self.task(*map(_quoted, args), **_quoted_values(kwargs), return_state=True)
        result = state.result(raise_on_failure=False)
        if isinstance(result, BaseException):
            raise result
        return cast("R", result)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> PrefectFuture[R]:
        """Start the task in the task runner of the flow run, and return its future."""
        return cast("PrefectFuture[R]", self.task.submit(*map(_quoted, args), **_quoted_values(kwargs)))

    def with_retries(self, retries: int) -> CoreTask[P, R]:
        """Return the same task with at most `retries` retries."""
        return CoreTask(self.fn, self.task.with_options(retries=min(retries, self.task.retries)))


def result_of(future: PrefectFuture[R]) -> R:
    """Return the result of a submitted task, or raise its error. Every `PATIENCE_S` seconds of waiting are logged."""
    running: Future[Any] = cast("Any", future).wrapped_future  # of a task runner with threads
    begun = time.monotonic()
    while not wait([running], PATIENCE_S).done:
        seconds = time.monotonic() - begun
        run_logger().info("All tiles are stored. A product is being made, or its task waits (%.0f s so far).", seconds)
    return future.result()


def core_task(name: str, *, run_name: str | None = None) -> Callable[[Callable[P, R]], CoreTask[P, R]]:
    """Return a decorator that makes a Prefect task from a function: see :class:`CoreTask`.

    Args:
        name: Name of the task in Prefect.
        run_name: Name of its runs; fields in braces are arguments of the function.
    """

    def decorate(function: Callable[P, R]) -> CoreTask[P, R]:
        task: Task[..., Any] = Task(
            fn=_one_message(function),
            name=name,
            task_run_name=run_name,
            cache_policy=NO_CACHE,
            persist_result=False,
            **RETRIED,
        )
        return CoreTask(function, task)

    return decorate


def _one_message(function: Callable[P, R]) -> Callable[P, Any]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as raised:  # noqa: BLE001 - the flow raises it
            error = ours(raised)
            # Returned as a state: Prefect's engine would log a raised error with a traceback, as if the code were at
            # fault.
            return Failed(message=f"{type(error).__name__}: {error}", data=error)

    return call


def _quoted(value: Any) -> Any:
    return value if isinstance(value, PLAIN) else quote(value)


def _quoted_values(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _quoted(value) for name, value in values.items()}

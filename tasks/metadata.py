"""The metadata task: what Earth Engine is asked before the first pixel request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.states import Failed
from prefect.utilities.annotations import quote

from tasks.errors import QuarryError
from tasks.prefect_io.task_retries import RETRIED, RETRIES

T = TypeVar("T")


@task(name="metadata", cache_policy=NO_CACHE, persist_result=False, **RETRIED)
def read_metadata(make_plan: Callable[[], Any]) -> Any:
    """Ask Earth Engine for what a plan needs, and return the plan."""
    try:
        return make_plan()
    except QuarryError as error:
        # Not raised through the engine, which would log a traceback, as if the code were at fault.
        return Failed(message=f"{type(error).__name__}: {error}", data=error)


def planned(make_plan: Callable[[], T], *, retries: int) -> T:
    """Return a plan, as a task of the flow run; outside of one, by a plain call.

    Args:
        make_plan: Asks for metadata, and plans.
        retries: Of the flow run: with none, the task has none either.

    Raises:
        BadInputError: a parameter can't be.
        EarthEngineError: Earth Engine can't be asked.
    """
    if FlowRunContext.get() is None:
        return make_plan()
    once: Any = read_metadata.with_options(retries=min(RETRIES, retries))
    found = once(quote(make_plan), return_state=True).result(raise_on_failure=False)
    if isinstance(found, BaseException):
        raise found
    return cast("T", found)

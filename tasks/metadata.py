"""The metadata task: reads from Earth Engine what a plan needs, before the first pixel request."""

from __future__ import annotations

from collections.abc import Callable

from tasks.plan.plan import Plan
from tasks.prefect_io.long_wait import reported
from tasks.prefect_io.task import core_task


@core_task("metadata")
def read_metadata(make_plan: Callable[[], Plan]) -> Plan:
    """Read from Earth Engine the metadata that a plan needs, and return the plan.

    Args:
        make_plan: Function that reads the metadata and makes the plan.

    Raises:
        BadInputError: A parameter is refused.
        EarthEngineError: Earth Engine does not answer, or refuses the request.
    """
    with reported("Earth Engine still answers requests for metadata, or has not answered yet"):
        return make_plan()

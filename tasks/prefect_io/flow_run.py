"""The flow run of this thread: its logger, and whether a deployment started it."""

from __future__ import annotations

import logging

from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.exceptions import MissingContextError

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


def run_logger() -> Log:
    """Return the logger of the flow or task run; outside of Prefect's engine, the logger `pixel_quarry`."""
    try:
        return get_run_logger()
    except MissingContextError:  # a flow's function called without Prefect's engine, or a process without Prefect
        return logging.getLogger("pixel_quarry")


def of_deployment() -> bool:
    """Return whether a deployment started the run. If so, a worker or `serve` gave it a process of its own."""
    run = FlowRunContext.get()
    return bool(run and run.flow_run and run.flow_run.deployment_id)

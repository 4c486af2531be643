"""The flow run of this thread: its logger, and whether a deployment started it."""

from __future__ import annotations

import logging

from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.exceptions import MissingContextError

from tasks.errors.shown_text import plain

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


class _Plain(logging.Filter):
    """Writes out what cannot be seen in a record. No line of it but the first begins where a record begins."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = plain(record.getMessage(), lines=True).replace("\n", "\n    "), None
        return True


_PLAIN = _Plain()
logging.getLogger("pixel_quarry").addFilter(_PLAIN)
logging.getLogger("prefect.flow_runs").addFilter(_PLAIN)
logging.getLogger("prefect.task_runs").addFilter(_PLAIN)


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

"""The log of whoever calls: that of the flow or task run, or the module's own where there is none."""

from __future__ import annotations

import logging

from prefect import get_run_logger
from prefect.exceptions import MissingContextError

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


def run_logger() -> Log:
    """Return the logger of the run that this thread works for; a plain one outside of Prefect's engine."""
    try:
        return get_run_logger()
    except MissingContextError:  # a flow's function that is called without Prefect's engine, or another process
        return logging.getLogger("pixel_quarry")

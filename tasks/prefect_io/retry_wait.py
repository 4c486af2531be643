"""The wait of a run for its retry: a line in its log every minute. Prefect's engine sleeps meanwhile."""

from __future__ import annotations

import threading
import time

from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.progress import duration_text

# Seconds between two lines.
LINE_S = 50.0
_waits: dict[str, threading.Event] = {}
"""By the id of a flow run that waits, the event that ends its lines."""


def begin_wait(run_id: str, *, retry: str, delay_s: float) -> None:
    """Log every minute that a flow run waits for its retry, until :func:`end_wait` or the end of the process.

    Args:
        run_id: Id of the flow run.
        retry: The retry, such as `retry 2 of 3`.
        delay_s: Seconds until it starts.
    """
    end_wait(run_id)
    over = _waits[run_id] = threading.Event()
    log, start = run_logger(), time.monotonic() + delay_s

    def lines() -> None:
        while not over.wait(LINE_S):
            left = start - time.monotonic()
            when = f"it starts in {duration_text(left)}" if left > 0 else "it is due, and the Prefect server starts it"
            log.info("The run waits for %s: %s.", retry, when)

    threading.Thread(target=lines, name="retry-wait", daemon=True).start()


def end_wait(run_id: str) -> None:
    """End the lines of a flow run: its retry has started."""
    if over := _waits.pop(run_id, None):
        over.set()

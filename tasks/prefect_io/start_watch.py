"""What Prefect waits for before a worker's run begins, in the log: it may take minutes, without a word."""

from __future__ import annotations

import os
import threading

from prefect.logging import get_logger

from tasks.prefect_io.client_log import log_retries

# Seconds between two lines.
EVERY_S = 45.0
_watched, _begun = threading.Event(), threading.Event()


def watch_start() -> None:
    """In the process that a worker started for a run, log that the run has not begun, until `begun` is called.

    Call it as the flow is imported: Prefect then asks its server for the state of the run, and opens a WebSocket.
    """
    if "PREFECT__FLOW_RUN_ID" in os.environ and not _watched.is_set():
        _watched.set()
        log_retries()
        threading.Thread(target=_watch, name="start-watch", daemon=True).start()


def begun() -> None:
    """Record that the run has begun."""
    _begun.set()


def _watch() -> None:
    words = "The run has not begun: Prefect still waits for its server. Check the server, and proxies in front of it."
    while not _begun.wait(EVERY_S):
        get_logger("engine").warning(words)

"""A wait that takes long, in the log of the run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from tasks.prefect_io.flow_run import run_logger

# Seconds between two lines.
EVERY_S = 45.0


@contextlib.contextmanager
def reported(words: str) -> Iterator[None]:
    """Log every `EVERY_S` seconds that the `with` block has not ended.

    Args:
        words: What the block waits for, as a sentence without its end.
    """
    log, over, begun = run_logger(), threading.Event(), time.monotonic()

    def report() -> None:
        while not over.wait(EVERY_S):
            log.info("%s, for %.0f s so far.", words, time.monotonic() - begun)

    threading.Thread(target=report, name="long-wait", daemon=True).start()
    try:
        yield
    finally:
        over.set()

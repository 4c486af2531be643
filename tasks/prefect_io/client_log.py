"""What Prefect's client waits for, in the log: by default it repeats a request for minutes without a word."""

from __future__ import annotations

import logging
import re
import threading
import time

# Seconds for which Prefect's engine waits for each answer to the state of the run, before its client repeats the
# request in 38 s at the most: so a line of the log comes in less than a minute.
REPORT_S = 20.0
# Seconds between two of these lines, and the longest silence: a line that is followed by one is never left out.
EVERY_S, SILENCE_S = 15.0, 55.0
# Seconds of a pause in whose middle there is another line.
LONG_S = 45.0
# Attempts that fail without a line, if the server answers. SQLite is locked for a moment, and this is no news.
QUIET = 2
# The message of Prefect 3.8 (`prefect.client.base`). Another version logs what it logs by itself.
_RETRY = re.compile(r"attempt will be made in ([\d.]+)s\..*attempt (\d+)/(\d+)", re.DOTALL)


class _Retries(logging.Filter):
    """Makes a warning of the client's message for developers, and drops its other messages below the usual level."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level, self._logged = level, -EVERY_S

    def filter(self, record: logging.LogRecord) -> bool:
        found = _RETRY.search(str(record.msg))
        if not found:
            return record.levelno >= self._level
        error = record.exc_info[1] if record.exc_info else None
        after, now = float(found[1]), time.monotonic()
        since = now - self._logged
        if (error is None and int(found[2]) <= QUIET) or (since < EVERY_S and since + after + REPORT_S < SILENCE_S):
            return record.levelno >= self._level
        self._logged = now
        reason = type(error).__name__ if error else "it is busy or fails"
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info, record.args = None, ()
        # After its last attempt, too, Prefect 3.8 waits: for more than a minute.
        then = "the next is" if found[2] != found[3] else "the request is given up"
        record.msg = (
            f"The Prefect server does not answer ({reason}): attempt {found[2]} of {found[3]} failed, {then} in "
            f"{after:.0f} s."
        )
        if after > LONG_S:
            words = f"The Prefect server did not answer: {then} in {after / 2:.0f} s."
            timer = threading.Timer(after / 2, logging.getLogger(record.name).warning, (words,))
            timer.daemon = True
            timer.start()
        return True


def _without_traceback(record: logging.LogRecord) -> bool:
    """Make one line of a slot that Prefect could not release: as its server is away, or refuses it at a limit of 0."""
    if str(record.msg).startswith("Failed to release concurrency lease"):
        record.exc_info, record.args = None, ()
        record.msg = "The slot of this task could not be released. It is free in about a minute, as its lease ends."
    return True


def log_retries() -> None:
    """Let the log say that Prefect's client waits for its server, for as long as this process lives."""
    for name in ("prefect.task_runs", "prefect.concurrency"):  # a filter is added once, however often this is called
        logging.getLogger(name).addFilter(_without_traceback)
    logger = logging.getLogger("prefect.client")
    if any(isinstance(each, _Retries) for each in logger.filters):
        return
    logger.addFilter(_Retries(logger.getEffectiveLevel()))
    logger.setLevel(logging.DEBUG)

"""What Prefect has not sent yet as a process exits (events, lines of the log), and how long the exit waits for it.

Prefect sends in threads of its own, and Python waits for them at its exit. Prefect tries each event for 7 s while the
server is away, and for two minutes if the server accepts connections and never answers. After an outage of half an hour
there are sixty heartbeats to send. Prefect 3.8 has no public limit for this wait. If a later version differs, the exit
waits as Prefect wants.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import wait

import httpx
from prefect._internal.concurrency import services
from prefect.logging import get_logger

# Seconds to wait at first. Usually a few milliseconds are enough.
PATIENCE_S = 2.0
# Seconds that the server then has to answer whether it is there, and seconds to wait in all if it is.
ANSWER_S, LONGEST_S = 3.0, 30.0


def bound_exit(api_url: str) -> None:
    """Let the process exit within seconds if its Prefect server is away.

    Call it when a run has begun to send: at the exit Python calls first what was registered last.

    Args:
        api_url: Address of the server's API.
    """
    with contextlib.suppress(AttributeError, RuntimeError):  # another Python; or the process exits already
        # Prefect registers its own wait in the same way: `atexit` would come too late.
        threading._register_atexit(give_up, api_url)  # type: ignore[attr-defined]  # noqa: SLF001 - as above


def give_up(api_url: str) -> None:
    """Wait until Prefect has sent everything. If its server does not answer, give it up after `PATIENCE_S` seconds."""
    with contextlib.suppress(AttributeError):  # another version of Prefect
        begun = [service for service in services._active_services if service._started]  # noqa: SLF001 - see above
        ends = {service._drain(at_exit=True): service for service in begun}  # noqa: SLF001 - as above
        late = wait(ends, PATIENCE_S).not_done
        if late and _answers(api_url):
            late = wait(late, LONGEST_S - PATIENCE_S).not_done
        for service in map(ends.__getitem__, late):
            words = "The Prefect server does not answer: %s is given up. Up to %d items were not sent."
            get_logger().warning(words, type(service).__name__, service._queue.qsize())  # noqa: SLF001 - as above
            loop, done = service._loop, service._done_event  # noqa: SLF001 - as above
            if loop is not None and done is not None:
                loop.call_soon_threadsafe(done.set)
        wait(late, ANSWER_S)


def _answers(api_url: str) -> bool:
    try:
        # Nothing is sent or read that a false server could use, so any certificate will do.
        return httpx.get(f"{api_url.rstrip('/')}/health", timeout=ANSWER_S, verify=False).is_success  # noqa: S501 - as above
    except httpx.HTTPError:
        return False

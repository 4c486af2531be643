"""Short tagged task runs: how long a worker thread waits between two of them, which is what a tag's lease costs."""

from __future__ import annotations

import itertools
import logging
import statistics
import threading
import time
from typing import Any

from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.task_runners import ThreadPoolTaskRunner

from tests.bench.server import QUOTA

TAG = "bench"
SECONDS = 0.1
UNAVAILABLE = 503


class Unavailable(logging.Handler):
    """Counts answers 503 of the Prefect server: httpx logs each answer, those that Prefect's client tries again too."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take an answer: method, URL, version, status, reason."""
        if isinstance(record.args, tuple):
            self.count += record.args[3] == UNAVAILABLE

    @classmethod
    def counting(cls) -> Unavailable:
        """Return a counter of all answers from now on."""
        counter, logger = cls(), logging.getLogger("httpx")
        logger.addHandler(counter)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # the root's handler would print each
        return counter


@task(tags=[TAG])
def stay() -> tuple[int, float, float]:
    """Take some time; returns the thread, the beginning and the end."""
    begun = time.monotonic()
    time.sleep(SECONDS)
    return threading.get_ident(), begun, time.monotonic()


@flow(name="tagged")
def many(runs: int) -> list[tuple[int, float, float]]:
    """Make so many runs."""
    futures = [stay.submit() for _ in range(runs)]
    return [future.result() for future in futures]


def dead_times(spans: list[tuple[int, float, float]]) -> list[float]:
    """Return the seconds between the end of a run and the start of the next on the same thread."""
    by_thread = itertools.groupby(sorted(spans), key=lambda span: span[0])
    return [after[1] - before[2] for _, group in by_thread for before, after in itertools.pairwise(list(group))]


def job(spec: dict) -> Any:
    """A flow of so many runs on so many threads; the tag's limit is the quota."""
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(f"tag:{TAG}", QUOTA["max_concurrent"])
    wide = many.with_options(task_runner=ThreadPoolTaskRunner(max_workers=spec["lanes"]))

    def run() -> dict:
        dead = dead_times(wide(spec["runs"]))
        return {"dead_s": statistics.median(dead), "dead_most_s": max(dead)}

    return run

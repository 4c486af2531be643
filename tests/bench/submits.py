"""Ten runs of the deployment `region`, submitted to `make up` as the Prefect UI does: no request is repeated."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from deployments.up.__main__ import start, stop
from deployments.up.service import Place
from tests.bench.bench import Bench
from tests.bench.server import Control, free_port

RUNS = 10
GAP_S = 0.5
PATIENCE_S = 600.0
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
# Each request takes Earth Engine two seconds, so that the runs are at work at the same time.
KNOBS = {"max_concurrent": 40, "qps": 100, "latency_median": 2.0, "latency_sigma": 0.5}


class Browser:
    """What the UI asks of the server. Nothing is asked twice."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api"
        self.refused: Counter[str] = Counter()
        self.seconds: list[float] = []

    def ask(self, kind: str, path: str, body: dict | None = None) -> Any:
        """Return the answer, or None if it is refused or does not come within a minute."""
        began = time.monotonic()
        try:
            with requests.Session() as session:
                session.trust_env = False
                answer = session.request("GET" if body is None else "POST", self._url + path, json=body, timeout=60)
                answer.raise_for_status()
                return answer.json()
        except requests.RequestException:
            self.refused[kind] += 1
            return None
        finally:
            self.seconds.append(time.monotonic() - began)

    def look(self, run: str | None) -> None:
        """Ask once what the dashboard and the page of a run show."""
        self.ask("query", "/flow_runs/filter", {"limit": 50, "sort": "START_TIME_DESC"})
        self.ask("query", "/ui/flow_runs/history", {"limit": 100})
        if run:
            self.ask("query", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 100})
            self.ask("query", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
            self.ask("query", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})


def submits_10(bench: Bench, seed: int) -> dict:
    """Submit the runs, look at them while they work, and count what was refused or lost."""
    folder = Path(tempfile.mkdtemp(prefix="submits-", dir=bench.folder))
    place = Place(folder / "up", free_port(), free_port())
    try:
        start(place, folder / "output")
        Control(place.sandbox).begin(seed=seed, **KNOBS)
        browser = Browser(place.url)
        runs: list[str] = []
        with _looking(browser, runs):
            began = time.monotonic()
            _submit(browser, runs)
            ended = _ended(browser, runs)
        waits = [_time(run["start_time"]) - _time(run["created"]) for run in ended if run["start_time"]]
        return {
            "wall_s": time.monotonic() - began,
            "refused_submits": browser.refused["submit"],
            "refused_queries": browser.refused["query"],
            "lost": RUNS - sum(run["state_type"] == "COMPLETED" for run in ended),
            "start_s": statistics.median(waits) if waits else None,
            "start_most_s": max(waits, default=None),
            "answer_most_s": max(browser.seconds),
        }
    finally:
        stop(place.folder)


def _submit(browser: Browser, runs: list[str]) -> None:
    deployment = browser.ask("query", "/deployments/name/extract-region/region")
    for number in range(RUNS):
        parameters = deployment["parameters"]
        west = -54.66 + 0.012 * number
        parameters["region"] = [west, -25.42, west + 0.1, -25.2]
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}
        body = {"parameters": parameters, "state": state}
        if made := browser.ask("submit", f"/deployments/{deployment['id']}/create_flow_run", body):
            runs.append(made["id"])
        time.sleep(GAP_S)


def _ended(browser: Browser, runs: list[str]) -> list[dict]:
    """Wait until all runs have ended, and return them; after some minutes, return them as they are."""
    end = time.monotonic() + PATIENCE_S
    found: list[dict] = []
    while time.monotonic() < end and not (len(found) == len(runs) and all(it["state_type"] in ENDED for it in found)):
        time.sleep(1)
        found = browser.ask("query", "/flow_runs/filter", {"flow_runs": {"id": {"any_": runs}}}) or []
    return found


@contextlib.contextmanager
def _looking(browser: Browser, runs: list[str]) -> Iterator[None]:
    """Have a browser open on the newest run for as long as the block: the UI asks about once a second."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(1):
            browser.look(runs[-1] if runs else None)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()

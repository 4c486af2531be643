"""A worker's run that does not begin says so, until it does."""

import threading
from types import SimpleNamespace

import pytest

from tasks.prefect_io import start_watch


@pytest.fixture
def lines(monkeypatch):
    """What is logged: an event that is set with each line."""
    line = threading.Event()
    log = SimpleNamespace(warning=lambda _: line.set())
    for name in ("_watched", "_begun"):
        monkeypatch.setattr(start_watch, name, threading.Event())
    monkeypatch.setattr(start_watch, "EVERY_S", 0.01)
    monkeypatch.setattr(start_watch, "get_logger", lambda _: log)
    yield line
    start_watch.begun()


def watching():
    return [each for each in threading.enumerate() if each.name == "start-watch"]


def test_a_run_that_a_worker_started_says_that_it_has_not_begun_until_it_has(lines, monkeypatch):
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "a")
    for _ in range(2):  # it imports several flows
        start_watch.watch_start()
    for _ in range(2):
        assert lines.wait(10)
        lines.clear()
    (thread,) = watching()
    start_watch.begun()
    thread.join(10)
    assert watching() == []


def test_without_a_worker_nothing_is_watched(lines, monkeypatch):
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID", raising=False)
    start_watch.watch_start()
    assert watching() == []

"""A Prefect server that is away is named in the log while Prefect's client repeats a request; a busy moment is not."""

import contextlib
import itertools
import logging
import re
import threading

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from tasks.prefect_io import client_log
from tasks.prefect_io.client_log import log_retries
from tests.hurry import hurry
from tests.proxy import proxied

RUN = "0b5e7a9c-6d0f-4f0e-9d59-0e5f3a0b8a11"


@pytest.fixture
def logged(monkeypatch):
    """What Prefect's client logs."""
    hurry(monkeypatch.setattr, by=1000)
    logger, records = logging.getLogger("prefect.client"), []
    level, filters = logger.level, list(logger.filters)
    logger.filters = []  # that of a run of another test has logged just now, perhaps
    logger.setLevel(logging.NOTSET)
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    log_retries()
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.filters = filters


def ask(*faults):
    """Ask a server that answers each attempt with a fault, the last for ever."""
    given = itertools.chain(faults, itertools.repeat(faults[-1]))
    with proxied("http://127.0.0.1:9/api", lambda _: next(given)) as proxy:
        settings = {PREFECT_API_URL: proxy.url, PREFECT_CLIENT_MAX_RETRIES: 3, PREFECT_API_REQUEST_TIMEOUT: 0.2}
        with temporary_settings(settings), get_client(sync_client=True) as client, contextlib.suppress(httpx.HTTPError):
            client.read_flow_run(RUN)


@pytest.mark.parametrize(
    ("fault", "words"), [("timeout", "(ReadTimeout): attempt 1"), ("503", "busy or fails): attempt 3")]
)
def test_a_server_that_is_away_is_one_warning_with_its_reason(logged, fault, words):
    ask(fault)
    (record,) = logged
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    assert record.getMessage().startswith("The Prefect server does not answer (")
    assert f"{words} of 4 failed, the next is in " in record.getMessage()


class AtOnce(threading.Timer):
    """A timer that waits for nothing."""

    def start(self):
        self.function(*self.args)


def test_a_long_pause_has_a_line_in_its_middle(logged, monkeypatch):
    monkeypatch.setattr(client_log, "LONG_S", 10.0)
    monkeypatch.setattr(client_log, "EVERY_S", 0.0)
    monkeypatch.setattr(threading, "Timer", AtOnce)
    ask("503")
    third, middle, fourth = (record.getMessage() for record in logged)  # the last pause is 16 s, more or less
    assert "attempt 3 of 4 failed, the next is in " in third
    assert middle.startswith("The Prefect server did not answer: the request is given up in ")
    assert "attempt 4 of 4 failed, the request is given up in " in fourth


def test_a_line_before_a_long_pause_is_not_left_out(logged, monkeypatch):
    monkeypatch.setattr(client_log, "SILENCE_S", client_log.REPORT_S + 6.3)
    ask("timeout")  # it waits for about 2, 4 and 8 s
    assert [int(re.search(r"attempt (\d)", record.getMessage())[1]) for record in logged] == [1, 3]


def test_a_server_that_is_busy_for_a_moment_is_none(logged):
    ask("503", "503", "500")
    assert logged == []


def test_a_slot_that_cannot_be_released_is_one_line():
    log_retries()
    error = (ValueError, ValueError("409"), None)
    logger = logging.getLogger("prefect.task_runs")
    record = logger.makeRecord(
        logger.name, logging.WARNING, "", 0, "Failed to release concurrency lease %s during cleanup", ("an id",), error
    )
    assert logger.filter(record)
    assert (record.exc_info, record.getMessage().count("\n")) == (None, 0)
    assert "as its lease ends" in record.getMessage()

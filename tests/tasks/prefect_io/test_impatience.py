"""How long Prefect's client waits: for less than a minute in a flow's own code, and for seconds after a signal."""

import contextlib
import logging
from types import SimpleNamespace

import httpx
import pytest
from prefect.context import SyncClientContext
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.job import job
from flows.parameters import AuditParameters
from tasks.prefect_io import impatience
from tasks.prefect_io.impatience import LEAVING_S, RETRIES, hurry, impatient
from tasks.prefect_io.server import ServerAwayError, ServerGoneError


@pytest.mark.parametrize(
    ("end", "retries"), [(None, 5), (ServerAwayError, 5), (ServerGoneError, 0), (KeyboardInterrupt, 0)]
)
def test_patience_ends_for_the_block_and_for_good_after_a_signal(end, retries):
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 5}):
        with contextlib.suppress(ServerAwayError, KeyboardInterrupt), impatient():
            attempts = 1 + PREFECT_CLIENT_MAX_RETRIES.value()
            pauses = sum(2**attempt for attempt in range(1, attempts))
            assert attempts == 1 + RETRIES
            assert attempts * PREFECT_API_REQUEST_TIMEOUT.value() + pauses < 60
            if end:
                raise end("message")
        assert PREFECT_CLIENT_MAX_RETRIES.value() == retries
    assert PREFECT_CLIENT_MAX_RETRIES.value() == 5  # the default


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_a_signal_has_ended_leaves_the_next_one_its_patience():
    @job("interrupted", AuditParameters, lambda _: "interrupted")
    def interrupted(parameters: AuditParameters):
        with impatient():
            raise KeyboardInterrupt

    before = PREFECT_CLIENT_MAX_RETRIES.value()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert PREFECT_CLIENT_MAX_RETRIES.value() == before > 0


def test_after_a_signal_a_request_that_a_task_repeats_is_sent_once(monkeypatch):
    waits = []

    def answer(request):
        waits.append(request.extensions["timeout"]["read"])
        return httpx.Response(503)

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        engine = SimpleNamespace(client=SimpleNamespace(_client=http))
        monkeypatch.setattr(SyncClientContext, "get", lambda: engine)
        monkeypatch.setattr("tasks.prefect_io.impatience.bound_exit", lambda _: None)
        with impatient():
            request = http.build_request("GET", "http://127.0.0.1:9/api/health")
            http.send(request)
            http.send(request)
            hurry()
            http.send(request)
            with pytest.raises(ServerAwayError):
                http.send(request)
        with impatient():  # the next run of the process
            http.send(request)
    assert waits[2] == LEAVING_S < min(waits[:2])


def test_a_server_that_is_away_is_waited_for_once_for_all_artifacts(monkeypatch):
    monkeypatch.setattr(impatience, "get_run_logger", lambda: logging.getLogger("test"))
    answers, retries = iter([httpx.ConnectError("x"), httpx.ReadTimeout("x"), None, ValueError("x"), None]), []

    def create():
        retries.append(PREFECT_CLIENT_MAX_RETRIES.value())
        if error := next(answers):
            raise error
        return "artifact"

    with impatient():
        made = [impatience._published(create)() for _ in range(4)]
    with impatient():  # the next run of the process
        made.append(impatience._published(create)())
    assert made == [None, None, "artifact", None, "artifact"]
    assert retries == [RETRIES, 0, 0, RETRIES, RETRIES]

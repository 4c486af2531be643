"""Whatever a server does to a call of Prefect's client, the error says that it is the server."""

import json

import pytest
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from tasks.errors.run import UnexpectedError
from tasks.prefect_io.boundary import KEPT, ours
from tasks.prefect_io.server import ServerAwayError, ServerRefusedError, server
from tests.proxy import BODIES, STATUSES, proxied

RUN = "0b5e7a9c-6d0f-4f0e-9d59-0e5f3a0b8a11"


@pytest.fixture
def failing(request, monkeypatch):
    """The address of a server that answers each call with one fault."""
    monkeypatch.setattr("tasks.prefect_io.server.ANSWER_S", 0.2)
    impatient = {PREFECT_API_REQUEST_TIMEOUT: 0.2, PREFECT_CLIENT_MAX_RETRIES: 0}
    with (
        proxied("http://127.0.0.1:9/api", lambda _: request.param) as proxy,
        temporary_settings(impatient | {PREFECT_API_URL: proxy.url}),
    ):
        yield proxy.url


def error_of(call):
    """What a call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("the call succeeded")


def read_run():
    with get_client(sync_client=True) as client:
        client.read_flow_run(RUN)


def take_slot():
    with concurrency("pixels", strict=True):
        pass


def read_run_as_leases_do():
    with server() as client:
        client.read_flow_run(RUN)


@pytest.mark.parametrize("call", [read_run, take_slot, read_run_as_leases_do])
@pytest.mark.parametrize("failing", [*sorted(set(STATUSES) - {"403"}), *BODIES, "timeout", "reset"], indirect=True)
def test_a_fault_of_the_server_is_one_message_that_names_it(failing, call):
    found = ours(error_of(call))
    assert isinstance(found, ServerAwayError)
    assert found.passing
    assert str(found).startswith((f"PREFECT_API_URL = {failing}: the Prefect server", "The Prefect server failed: "))
    assert "\n" not in str(found)
    assert getattr(found, "__notes__", [KEPT]) == [KEPT]


def test_a_refusal_for_good_is_none_that_may_pass():
    with proxied("http://127.0.0.1:9/api", lambda _: "403") as proxy, temporary_settings({PREFECT_API_URL: proxy.url}):
        found = ours(error_of(read_run))
    assert isinstance(found, ServerRefusedError)
    assert "answers 403 to GET" in str(found)


def test_an_error_of_other_code_is_not_that_of_the_server():
    error = error_of(lambda: json.loads("<html>"))
    assert isinstance(ours(error), UnexpectedError)

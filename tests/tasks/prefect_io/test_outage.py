"""A server that is away, refuses, or answers with garbage: each call ends in time with an error of this project."""

import contextlib
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.errors.run import UnexpectedError
from tasks.extraction.permits import Pace, Permits
from tasks.prefect_io import outage
from tasks.prefect_io.boundary import ours
from tasks.prefect_io.complaints import Complaints
from tasks.prefect_io.heartbeat import mark_the_silent
from tasks.prefect_io.leases import LeaseBook, LeaseKeeper
from tasks.prefect_io.outage import Outage
from tasks.prefect_io.quota_limit import QuotaLimit
from tasks.prefect_io.server import ServerAwayError, ServerRefusedError, server

FAULTS = {
    "500": (500, b"{}"),
    "503": (503, b"{}"),
    "409": (409, b"{}"),
    "no JSON": (200, b"<html>login</html>"),
    "another shape": (200, b"[]"),
    "empty": (200, b""),
    "dropped": None,
}


class Server(ThreadingHTTPServer):
    """It answers each request in the same way; None = it closes the connection."""

    def __init__(self):
        self.answer = (200, b"{}")
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/api"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        answer = self.server.answer
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if answer is None:
            self.close_connection = True
            return
        status, body = answer(self) if callable(answer) else answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_DELETE = do_PATCH = do_PUT = do_POST  # noqa: N815 - the names of the library

    def log_message(self, *_):
        pass


@pytest.fixture
def away():
    with Server() as fake:
        thread = threading.Thread(target=fake.serve_forever, args=(0.01,))
        thread.start()
        with temporary_settings({PREFECT_API_URL: fake.url}):
            yield fake
        fake.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(outage, "LONGEST_S", 0.05)


def keeper_of(permits, client):
    return LeaseKeeper(
        QuotaLimit("p", str(uuid4()), holder=uuid4()),
        client,
        permits,
        LeaseBook(permits),
        quota=4,
        tagged=True,
        wanted=lambda: 4,
        on_cancel=lambda: None,
        log=logging.getLogger("test"),
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wait_for_room_ends_with_an_error_of_ours(away, fault):
    away.answer = FAULTS[fault]
    with server() as client, pytest.raises(ServerAwayError, match=r"does not answer as it should|503|Remote"):
        keeper_of(Permits(), client).wait_for_room()


@pytest.mark.parametrize("fault", FAULTS)
def test_requests_that_wait_for_a_slot_end_with_an_error_of_ours(away, fault):
    """Nothing is sent without a slot, and no slot comes from a server that is away."""
    away.answer = FAULTS[fault]
    permits = Permits(Pace(in_flight=4))
    with server() as client:
        keeper = keeper_of(permits, client)
        keeper.begin(contextlib.ExitStack(), lambda: None)
        with pytest.raises(ServerAwayError, match=r"It has been so for 0 minutes"), permits.permit(threading.Event()):
            pytest.fail("a permit without a slot")
        keeper.close()
        keeper._thread.join(30)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_in_mid_run_ends_it_once_no_slot_is_left(status):
    permits = Permits()
    noted = Outage(Complaints(permits, logging.getLogger("test")), permits)
    request = httpx.Request("POST", "http://server/api/x")
    error = httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))
    permits.hold_lease("one", 1)
    noted.note(error)
    with permits.permit(threading.Event()):  # it may be sent, on its slot
        pass
    permits.drop_lease("one")
    noted.note(error)
    with pytest.raises(ServerRefusedError), permits.permit(threading.Event()):
        pytest.fail("a permit without a slot")


def test_an_outage_that_ends_is_forgotten(monkeypatch):
    monkeypatch.setattr(outage, "LONGEST_S", 3600.0)
    permits = Permits()
    noted = Outage(Complaints(permits, logging.getLogger("test")), permits)
    noted.failed(httpx.ConnectError("x"))
    noted.over()
    monkeypatch.setattr(outage, "LONGEST_S", 0.0)
    noted.failed(httpx.ConnectError("x"))  # the first of another outage
    with pytest.raises(ServerAwayError):
        noted.failed(httpx.ConnectError("x"))  # the second, and the outage has lasted longer than it may


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("All connection attempts failed"),
        httpx.ReadTimeout(""),
        RuntimeError("Failed to reach API at x"),
    ],
)
def test_what_prefect_raises_of_its_server_is_not_called_a_bug(error):
    assert isinstance(ours(error), ServerAwayError)
    assert ours(error).passing
    assert isinstance(ours(RuntimeError("x")), UnexpectedError)


def test_all_silent_runs_are_marked_however_many_there_are():
    ids, marked = [str(uuid4()) for _ in range(450)], []

    def request(_, path, json):
        found = [{"id": each} for each in ids[json.get("offset", 0) :][: json["limit"]]]
        return SimpleNamespace(json=lambda: found if path.endswith("history") else {"total": 0})

    client = SimpleNamespace(
        hello=lambda: SimpleNamespace(headers={}),
        request=request,
        set_flow_run_state=lambda run, _: marked.append(run),
    )
    assert mark_the_silent(client, silence_s=90) == 450
    assert marked == ids


def test_a_run_whose_clock_is_ahead_marks_no_others_by_it():
    asked = []

    def request(_, path, json):
        asked.append(json["flow_runs"]["start_time"]["before_"])
        return SimpleNamespace(json=list)

    hello = SimpleNamespace(headers={"Date": "Sat, 01 Jan 2000 12:00:00 GMT"})
    assert mark_the_silent(SimpleNamespace(hello=lambda: hello, request=request), silence_s=90) == 0
    assert asked == ["2000-01-01T11:58:35+00:00"]

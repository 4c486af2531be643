"""At its exit, a process does not wait for a Prefect server that does not answer."""

import asyncio
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import httpx
import pytest
from prefect._internal.concurrency.services import QueueService
from prefect.context import SyncClientContext

from tasks.prefect_io import unsent
from tasks.prefect_io.impatience import impatient


class Sender(QueueService[str]):
    """Sends nothing before it may."""

    def __init__(self, *given: str) -> None:
        super().__init__(*given)
        self.may, self.sent = threading.Event(), []

    async def _handle(self, item: str) -> None:
        await asyncio.to_thread(self.may.wait)
        self.sent.append(item)


@pytest.fixture
def sender(monkeypatch, request):
    """A service of Prefect with two items to send."""
    monkeypatch.setattr(unsent, "PATIENCE_S", 0.05)
    monkeypatch.setattr(unsent, "ANSWER_S", 0.5)
    service = Sender.instance(request.node.name)
    service.send("one")
    service.send("two")
    yield service
    service.may.set()
    service.drain()


def test_what_a_server_that_never_answers_was_not_sent_is_given_up(sender):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        unsent.give_up(f"http://127.0.0.1:{deaf.getsockname()[1]}/api/")
    assert sender.drain() is False  # what Python waits for at its exit: there is nothing to wait for
    assert sender.sent == []


def test_a_slow_server_is_sent_all(sender):
    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/api/health" else 404)
            self.end_headers()
            sender.may.set()

    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever).start()
        unsent.give_up(f"http://127.0.0.1:{server.server_port}/api/")
        server.shutdown()
    assert sender.sent == ["one", "two"]


def test_python_gives_up_before_it_waits_for_prefect(sender, monkeypatch):
    with httpx.Client(base_url="http://127.0.0.1:9/api") as http:
        engine = SimpleNamespace(client=SimpleNamespace(_client=http))
        monkeypatch.setattr(SyncClientContext, "get", lambda: engine)
        with impatient():  # as in a flow
            pass
    assert threading._threading_atexits.pop().func == unsent.give_up
    assert sender._at_exit in [call.func for call in threading._threading_atexits]

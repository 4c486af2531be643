"""A server between a client and the sandbox. It passes everything on, and changes some answers: each is a lie."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import urllib3


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    target: str
    """Path and query."""
    body: bytes

    @property
    def path(self) -> str:
        """The path alone."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query."""
        return dict(parse_qsl(urlsplit(self.target).query))

    def asking(self, **query: str) -> Asked:
        """The same request with other values in its query."""
        return replace(self, target=f"{self.path}?{urlencode(self.query | query)}")

    @property
    def content(self) -> dict[str, Any]:
        """The JSON of the body."""
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Answered:
    """An answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> Any:
        """The JSON of the body."""
        return json.loads(self.body)

    def saying(self, content: Any) -> Answered:
        """The same answer with other JSON."""
        return replace(self, body=json.dumps(content).encode())


Lie = Callable[[Asked, Callable[[Asked], Answered]], Answered]
"""Called with a request and with what asks the sandbox."""


def refusal(status: int, message: str, reason: str = "") -> Answered:
    """An error in Google's JSON."""
    details = [{"reason": reason}] if reason else []
    return Answered(status, json.dumps({"error": {"code": status, "message": message, "details": details}}).encode())


def truth(asked: Asked, ask: Callable[[Asked], Answered]) -> Answered:
    """The sandbox's own answer."""
    return ask(asked)


class Deceit:
    """Where it is served, and the lie that it tells."""

    def __init__(self, sandbox: str) -> None:
        self.lie: Lie = truth
        self.date: str | None = None
        """Its time, in the header Date; None = that of this machine."""
        self.compresses = True
        self._pool = urllib3.PoolManager(maxsize=8)
        self._sandbox = sandbox
        self.url = ""

    def ask(self, asked: Asked) -> Answered:
        """Ask the sandbox."""
        answer = self._pool.request(
            asked.method,
            self._sandbox + asked.target,
            body=asked.body or None,
            headers={"content-type": "application/json"},
            redirect=False,
            retries=False,
        )
        return Answered(answer.status, answer.data, {"content-type": answer.headers.get("content-type", "")})


@contextlib.contextmanager
def deceit(sandbox: str) -> Iterator[Deceit]:
    """Serve by threads of this process, at a free port."""
    made = Deceit(sandbox)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            answer = made.lie(Asked(self.command, self.path, body), made.ask)
            self.send_response(answer.status)
            packed = made.compresses and len(answer.body) > 1024
            sent = gzip.compress(answer.body, 1) if packed else answer.body
            for name, value in (answer.headers | ({"content-encoding": "gzip"} if packed else {})).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client has read enough
                self.wfile.write(sent)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return made.date or super().date_time_string(timestamp)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield made
        finally:
            server.shutdown()
            made._pool.clear()

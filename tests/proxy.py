"""An HTTP proxy between a client and a real server, which answers some requests with a fault of a server or a network.

Every other request is passed on, WebSockets too. Each request is one *call*: its method and the template of its path,
such as ``POST /v2/concurrency_limits/leases/{id}/renew``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

# How a call can fail. None of the answers with a status reaches the server.
STATUSES = {
    "403": (403, ""),
    "409": (409, ""),
    "423": (423, "Retry-After: 1\r\n"),
    "500": (500, ""),
    "503": (503, ""),
    "503-retry": (503, "Retry-After: 1\r\n"),
}
BODIES = {
    "html": ("text/html", b"<html><body><h1>It works!</h1></body></html>"),
    "truncated": ("application/json", b'{"id": "9f'),
    "shape": ("application/json", b'{"unexpected": [null]}'),
    "list": ("application/json", b'[1, "two"]'),
}
NETWORK = ("timeout", "reset", "reset-after", "short")
"""No answer at all, a reset before the server has the request, a reset after it has answered, half of its answer."""
KINDS = (*STATUSES, *NETWORK, *BODIES)

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NAMED = re.compile(r"^(.*/(?:concurrency_limits|concurrency_limits/tag|name|slug|key))/([^/]*:[^/]*|[^/]+)(/.*)?$")
_FIXED = {"increment-with-lease", "decrement-with-lease", "decrement", "increment", "leases", "filter", "tag"}


@dataclass(frozen=True)
class Request:
    """A request, as the proxy has read it."""

    method: str
    path: str
    body: bytes
    websocket: bool

    @property
    def call(self) -> str:
        """The method, and the path without what is of one run: ids and names. A state that is set is part of it."""
        path = unquote(urlsplit(self.path).path).removeprefix("/api")
        path = _UUID.sub("{id}", path)
        if (named := _NAMED.match(path)) and named[2] not in _FIXED:
            path = f"{named[1]}/{{name}}{named[3] or ''}"
        state = ""
        if path.endswith("/set_state"):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                state = f" {json.loads(self.body)['state']['type']}"
        return f"{'WS' if self.websocket else self.method} {path}{state}"


Rule = Callable[[Request], str | None]
"""Returns the fault with which to answer a request, or None to pass it on. Called in the proxy's thread."""


class Proxy:
    """A proxy at a port of its own.

    Args:
        upstream: URL of the server. A path in it is part of :attr:`url`.
        rule: Decides on each request. It may be replaced at any time.
        answered: Called with each request and the status of the server's answer.
    """

    def __init__(self, upstream: str, rule: Rule = lambda _: None) -> None:
        parts = urlsplit(upstream)
        self._upstream = parts.hostname, parts.port
        self._path = parts.path
        self.rule = rule
        self.answered: Callable[[Request, int], object] = lambda *_: None
        self.port = 0

    @property
    def url(self) -> str:
        """URL of what is behind it."""
        return f"http://127.0.0.1:{self.port}{self._path}"

    async def serve(self, begun: Callable[[asyncio.Event], object]) -> None:
        """Serve until the event that `begun` is given is set."""
        stop = asyncio.Event()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        begun(stop)
        await stop.wait()
        server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        opened: list[asyncio.StreamWriter] = []
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request, sent = await _request(head, reader)
                if (fault := self.rule(request)) and fault not in {"reset-after", "short"}:
                    if not await _fail(fault, reader, writer):
                        return
                    continue
                if upstream is None or upstream[0].at_eof():  # a server closes a connection that was idle
                    upstream = await asyncio.open_connection(*self._upstream, limit=2**20)
                    opened.append(upstream[1])
                upstream[1].write(sent)
                await upstream[1].drain()
                answer, status, last = await _answer(request.method, upstream[0])
                self.answered(request, status)
                if fault:
                    if fault == "short":
                        writer.write(answer[: -max(1, len(answer) // 3)])
                        await writer.drain()
                    _reset(writer)
                    return
                writer.write(answer)
                await writer.drain()
                if status == 101:
                    await _both(_pump(reader, upstream[1]), _pump(upstream[0], writer))
                    return
                if last:
                    return
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            for end in (writer, *opened):
                end.close()


async def _request(head: bytes, reader: asyncio.StreamReader) -> tuple[Request, bytes]:
    """Return a request, and its bytes."""
    raw, body = await _body(head, reader)
    method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    return Request(method, path, body, b"upgrade: websocket" in head.lower()), head + raw


async def _answer(method: str, reader: asyncio.StreamReader) -> tuple[bytes, int, bool]:
    """Return the bytes of an answer, its status, and whether the connection ends with it."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    raw = b"" if method == "HEAD" or status in {101, 204, 304} else (await _body(head, reader))[0]
    return head + raw, status, b"\r\nconnection: close" in head.lower()


async def _fail(fault: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer with a fault; return whether the connection goes on."""
    if fault == "timeout":
        while await reader.read(2**16):  # until the client gives up
            pass
        return False
    if fault == "reset":
        _reset(writer)
        return False
    if fault in STATUSES:
        status, headers = STATUSES[fault]
        kind, body = "application/json", b'{"detail": "a fault of the test"}'
    else:
        status, headers = 200, ""
        kind, body = BODIES[fault]
    head = f"HTTP/1.1 {status} Fault\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return True


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection by RST."""
    own = writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _both(*pumps: object) -> None:
    """Run two directions until one ends."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    _, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()


async def _body(head: bytes, reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the bytes after a head, and the body that they carry."""
    if found := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
        body = await reader.readexactly(int(found[1]))
        return body, body
    if not re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        return b"", b""
    raw, body = [], []
    while True:
        size = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(size, 16) + 2)
        raw += [size, chunk]
        body.append(chunk[:-2])
        if int(size, 16) == 0:
            return b"".join(raw), b"".join(body)


@contextlib.contextmanager
def proxied(upstream: str, rule: Rule = lambda _: None) -> Iterator[Proxy]:
    """Run a proxy in a thread for as long as the block."""
    proxy = Proxy(upstream, rule)
    ready: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = queue.SimpleQueue()
    serve = proxy.serve(lambda stop: ready.put((asyncio.get_running_loop(), stop)))
    thread = threading.Thread(target=asyncio.run, args=(serve,), daemon=True)
    thread.start()
    loop, stop = ready.get(timeout=10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


class Outage:
    """A rule that refuses to renew leases for some seconds."""

    def __init__(self) -> None:
        self._until = 0.0
        self.refused = 0

    def begin(self, seconds: float) -> None:
        """Refuse renewals from now on for some seconds."""
        self._until = time.monotonic() + seconds

    def __call__(self, request: Request) -> str | None:
        if time.monotonic() >= self._until or not request.call.endswith("/leases/{id}/renew"):
            return None
        self.refused += 1
        return "503"

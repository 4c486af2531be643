"""A proxy before the Prefect server that can refuse to renew leases, and passes everything else, WebSockets too."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

_RENEWAL = re.compile(rb"POST \S+/leases/[^/ ]+/renew[ ?]")
_REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"


class Proxy:
    """Bytes in both directions; requests are told apart only to find renewals."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = parts.hostname, parts.port
        self._path = parts.path
        self._blocked_until = 0.0
        self.refused = 0
        self.port = 0

    @property
    def url(self) -> str:
        """URL of the API behind it."""
        return f"http://127.0.0.1:{self.port}{self._path}"

    def block(self, seconds: float) -> None:
        """Refuse renewals from now on for some seconds."""
        self._blocked_until = time.monotonic() + seconds

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._upstream, limit=2**20)
        back = asyncio.create_task(_pump(up_reader, writer))
        try:
            while not back.done():
                head = await reader.readuntil(b"\r\n\r\n")
                body = await _body(head, reader)
                if _RENEWAL.match(head) and time.monotonic() < self._blocked_until:
                    # No answer of the server is under way: a client asks again only when it has been answered.
                    self.refused += 1
                    writer.write(_REFUSED)
                    await writer.drain()
                    continue
                up_writer.write(head + body)
                await up_writer.drain()
                if b"upgrade: websocket" in head.lower():
                    await _pump(reader, up_writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for end in (up_writer, writer):
                end.close()
            back.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    if found := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
        return await reader.readexactly(int(found[1]))
    if not re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        return b""
    parts = []
    while True:
        size = await reader.readuntil(b"\r\n")
        parts += [size, await reader.readexactly(int(size, 16) + 2)]
        if int(size, 16) == 0:
            return b"".join(parts)


@contextlib.contextmanager
def proxied(upstream: str) -> Iterator[Proxy]:
    """Run a proxy in a thread for as long as the block."""
    proxy, ready = Proxy(upstream), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(proxy.serve(ready, stop),), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)

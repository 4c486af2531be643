"""Connections of urllib3 that read an answer until a deadline, and only as many bytes as were allowed."""

from __future__ import annotations

import functools
import http.client
import io
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from tasks.earthengine.deadlines import DEADLINES
from tasks.earthengine.errors import Transient
from tasks.earthengine.line import current_line

HEAD = 256 << 10
"""Most bytes before the body: status, headers, and any number of interim answers (1xx)."""


class Call(threading.local):
    """What a connection must know about the current request. A request stays in one thread."""

    read_s: float = DEADLINES.read_s
    """Seconds from sending to the last byte of the answer."""
    reader: _Reader
    """Reads the answer."""
    sent: float | None = None
    """When the request was sent, by the monotonic clock. None = it was not sent yet."""


CALL = Call()


class _Connection:
    """Mixin of urllib3's connections: each request sets the limits of its answer once the connection is open."""

    sock: Any
    timeout: Any
    response_class: Any

    def request(self, *arguments: Any, **more: Any) -> None:
        """Send a request. The time limit starts when the connection is open."""
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]  # a method of the class that this is mixed into
        self._begin()
        super().request(*arguments, **more)  # type: ignore[misc]  # as above

    def _begin(self) -> None:
        raise NotImplementedError


class Bounded(_Connection):
    """One deadline for the whole answer, head and body, even if it arrives slowly."""

    def _begin(self) -> None:
        current_line().hold(self.sock)
        CALL.sent = time.monotonic()
        self.timeout = CALL.read_s  # limits sending, too: urllib3 sets it on the socket
        self.response_class = functools.partial(_response, deadline=CALL.sent + CALL.read_s)


@dataclass
class Limits:
    """Limits of each whole answer that a library reads."""

    largest: int
    """Most bytes of a body, decompressed."""
    seconds: float
    """Seconds from sending a request to the last byte of its answer, however slowly that arrives."""


AS_SENT = 8
"""Most bytes that are received for each byte of a body. A chunk of one byte has six."""


class Timed(_Connection):
    """A deadline and a number of bytes for each whole answer that a library reads."""

    limits: Limits

    def _begin(self) -> None:
        self.timeout = self.limits.seconds
        deadline = time.monotonic() + self.limits.seconds
        self.response_class = functools.partial(_timed, deadline=deadline, largest=AS_SENT * self.limits.largest)


def _timed(sock: socket.socket, *, deadline: float, largest: int, **more: Any) -> http.client.HTTPResponse:
    reader = _Reader(sock, deadline)
    reader.allow(largest)
    return _read_by(reader, sock, **more)


def _response(sock: socket.socket, *, deadline: float, **more: Any) -> http.client.HTTPResponse:
    CALL.reader = _Reader(sock, deadline)
    return _read_by(CALL.reader, sock, **more)


def _read_by(reader: _Reader, sock: socket.socket, **more: Any) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(sock, **more)
    response.fp.close()
    response.fp = io.BufferedReader(reader)
    return response


class _Reader(io.RawIOBase):
    """Reads a socket until a deadline of the monotonic clock, and no more than was allowed so far."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline, self._left = sock, deadline, HEAD
        self._raw = sock.makefile("rb", buffering=0)

    def allow(self, size: int) -> None:
        """Allow this many bytes more."""
        self._left += size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        count = self._raw.readinto(buffer)
        current_line().check()  # otherwise the end could be taken for that of the head, or of the answer
        self._left -= count or 0
        if self._left < 0:
            raise Transient("The answer is no HTTP of this size: too much beside its body. The rest was not read.")
        return count

    def close(self) -> None:
        current_line().let_go(self._sock)  # before the pool gets the connection back
        self._raw.close()
        super().close()

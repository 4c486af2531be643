"""The line of one request: its connection, which another thread can cut while an answer is awaited."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol


class Stop(Protocol):
    """What ends a wait: a `threading.Event`, or a line that was cut."""

    def is_set(self) -> bool:
        """Return whether to wait no longer."""
        ...


class Line:
    """The connection of one request, from its sending to the end of its answer. Thread-safe."""

    def __init__(self) -> None:
        self.begun: float | None = None
        """Monotonic time at which the request was sent; None before that."""
        self._lock = threading.Lock()
        self._sock: Any = None
        self._cut = False

    def is_set(self) -> bool:
        """Return whether the line was cut. By this name, a line ends a wait as a `threading.Event` does."""
        return self._cut

    def cut(self) -> None:
        """Close the connection, so that the thread that reads from it gets an error at once.

        A request that has not been sent is not sent any more. An answer that is complete stays complete.
        """
        with self._lock:
            self._cut = True
            if self._sock is not None:
                # A TLS socket would first forget its TLS state, which the reading thread still uses.
                with contextlib.suppress(OSError):  # the other side has closed it
                    socket.socket.shutdown(getattr(self._sock, "socket", self._sock), socket.SHUT_RDWR)

    def hold(self, sock: Any) -> None:
        """Take the socket on which the request will be sent.

        Raises:
            ConnectionAbortedError: The line was cut before.
        """
        with self._lock:
            self.check()
            self._sock = sock

    def check(self) -> None:
        """Return if the line was not cut.

        Raises:
            ConnectionAbortedError: The line was cut.
        """
        if self._cut:
            raise ConnectionAbortedError

    def let_go(self, sock: Any) -> None:
        """Give up a socket, if it is held: the answer is complete, and the next request may use the connection."""
        with self._lock:
            if self._sock is sock:
                self._sock = None

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Use the line for the requests that this thread sends inside the `with` block."""
        former, _current.line = _current.line, self
        self.begun = time.monotonic()
        try:
            yield
        finally:
            _current.line = former
            self.let_go(self._sock)


class _Current(threading.local):
    def __init__(self) -> None:
        self.line = Line()


_current = _Current()


def current_line() -> Line:
    """Return the line that this thread uses. Outside `Line.used` it is one that no other thread knows."""
    return _current.line

"""A session of `requests` for the libraries that read whole answers: the `ee` client and google.auth."""

from __future__ import annotations

import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ContentDecodingError, Timeout

from tasks.earthengine.bounded_connection import Timed

PIECE = 64 << 10
"""Bytes that are read at a time."""


_AS_SENT = 8
"""Most bytes that are received for each byte of a body. A chunk of one byte has six."""


class _Adapter(HTTPAdapter):
    """Opens connections with a deadline. The timeouts of `requests` start anew with each byte that arrives."""

    def __init__(self, largest: int, seconds: float) -> None:
        self._limits = {"largest": _AS_SENT * largest, "seconds": seconds}
        super().__init__()

    def get_connection_with_tls_context(self, *arguments: Any, **more: Any) -> Any:
        """Return the pool for a request."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **more)
        if not issubclass(pool.ConnectionCls, Timed):
            pool.ConnectionCls = type("TimedConnection", (Timed, pool.ConnectionCls), self._limits)
        return pool


class BoundedSession(requests.Session):
    """A session whose answers have a largest size and a deadline, and which follows no redirect.

    Args:
        largest: Largest number of bytes of a body, decompressed.
        seconds: Seconds from sending a request to the last byte of its answer, however slowly that arrives.
    """

    def __init__(self, largest: int, seconds: float) -> None:
        super().__init__()
        self._largest, self._seconds = largest, seconds
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(largest, seconds))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: a token must not be sent to where an answer points."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request, and read its whole answer.

        Raises:
            requests.RequestException: There is no answer, it is too large, or it takes too long.
            Transient: What stands around its body is too large.
        """
        response = super().send(request, **options | {"stream": True})
        pieces, left, deadline = [], self._largest, time.monotonic() + self._seconds
        try:
            for piece in response.iter_content(PIECE):
                left -= len(piece)
                if left < 0:
                    raise ContentDecodingError(f"the answer has more than {self._largest:,} bytes")
                if time.monotonic() > deadline:
                    raise Timeout(f"the answer was not complete after {self._seconds:.0f} s")
                pieces.append(piece)
        finally:
            response.close()
        response._content = b"".join(pieces)  # noqa: SLF001 - `requests` has no other way to hand a body on
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        return response

"""A session of `requests` for the libraries that read whole answers: the `ee` client and google.auth."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ContentDecodingError

from tasks.earthengine.bounded_connection import Limits, Timed

PIECE = 64 << 10
"""Bytes that are read at a time."""


class _Adapter(HTTPAdapter):
    """Opens connections with a deadline. The timeouts of `requests` begin again with each byte that arrives."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        super().__init__()

    def get_connection_with_tls_context(self, *arguments: Any, **more: Any) -> Any:
        """Return the pool for a request."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **more)
        if not issubclass(pool.ConnectionCls, Timed):
            pool.ConnectionCls = type("TimedConnection", (Timed, pool.ConnectionCls), {"limits": self._limits})
        return pool


class BoundedSession(requests.Session):
    """A session whose answers have a largest size and a deadline, and which follows no redirect.

    Args:
        largest: Largest number of bytes of a body, decompressed.
        seconds: Seconds from sending a request to the last byte of its answer, however slowly that arrives.
    """

    def __init__(self, largest: int, seconds: float) -> None:
        super().__init__()
        self.limits = Limits(largest, seconds)
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(self.limits))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: a token must not be sent to where an answer points."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request, and read its whole answer.

        Raises:
            requests.RequestException: There is no answer, it is too large, or it takes too long.
            Transient: What stands around its body is too large.
        """
        response = super().send(request, **options | {"stream": True})
        pieces, left = [], self.limits.largest
        try:
            for piece in response.iter_content(PIECE):
                left -= len(piece)
                if left < 0:
                    raise ContentDecodingError(f"the answer has more than {self.limits.largest:,} bytes")
                pieces.append(piece)
        finally:
            response.close()
        response._content = b"".join(pieces)  # noqa: SLF001 - `requests` has no other way to hand a body on
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        return response

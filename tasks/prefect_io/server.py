"""The Prefect client that leases use: it reports within seconds that the server does not answer."""

from __future__ import annotations

import random
import ssl
import time
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from tasks.earthengine.base_url import is_loopback
from tasks.errors import QuarryError
from tasks.errors.redaction import redacted

# Seconds to wait for an answer of the server. It usually takes a few milliseconds.
ANSWER_S = 10.0


# What a call of the server raises if the server is away or busy, or answers with garbage: no JSON (ValueError), or JSON
# of another shape (ValidationError, which is a ValueError, and the others).
FAULTS = (httpx.HTTPError, ObjectNotFound, ValueError, KeyError, TypeError, AttributeError)


class ServerAwayError(QuarryError, httpx.HTTPError):
    """The Prefect server did not answer, or was too busy to (503)."""

    passing = True


class ServerGoneError(ServerAwayError):
    """The Prefect server has not answered for minutes. The run ends, and asks it nothing more than once."""

    passing = False


class ServerRefusedError(QuarryError):
    """The Prefect server refuses a request of the run, and would refuse it later, too."""


# Client errors that may pass: timeout, conflict, a lease that is gone, a limit that is full, too many requests.
_PASSING = (408, 409, 410, 423, 429)


def raise_if_refused(error: httpx.HTTPError) -> None:
    """Raise an error if the server refused the request for good; return if its error may pass.

    Raises:
        ServerRefusedError: The server answered with a client error (4xx) that will not pass.
    """
    if not isinstance(error, httpx.HTTPStatusError):
        return
    status = error.response.status_code
    if httpx.codes.is_client_error(status) and status not in _PASSING:
        raise ServerRefusedError(
            f"PREFECT_API_URL = {redacted(str(PREFECT_API_URL.value()))}: the Prefect server answers {status} to "
            f"{error.request.method} {error.request.url.path}. Check the address. Set PREFECT_API_KEY to the key of an "
            "account that may use concurrency limits. The server must have the same Prefect version as this client."
        ) from error


def server_error(error: BaseException) -> ServerAwayError | ServerRefusedError | None:
    """Return the error of this project for what a call of the Prefect server raised; None if it is something else.

    Garbage (no JSON, or JSON of another shape) counts as no answer: it may come from a proxy in front of the server.
    """
    if isinstance(error, (ServerAwayError, ServerRefusedError)):
        return error
    if isinstance(error, QuarryError) or not isinstance(error, FAULTS):
        return None
    if isinstance(error, httpx.HTTPError):
        try:
            raise_if_refused(error)
        except ServerRefusedError as refused:
            return refused
    kind = type(error).__name__
    return _away(f"HTTP {error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else kind)


def _away(reason: str) -> ServerAwayError:
    return ServerAwayError(
        f"PREFECT_API_URL = {redacted(str(PREFECT_API_URL.value()))}: the Prefect server does not answer as it should "
        f"({reason}). Check that it runs, and that nothing else answers at this address."
    )


class ImpatientTransport(httpx.HTTPTransport):
    """Repeats a request at once if SQLite was locked (503), but not if the server does not answer.

    Prefect's own client would wait from two seconds to a minute, and leases would expire meanwhile.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, up to ten times within about a second while SQLite is locked.

        Raises:
            ServerAwayError: SQLite was locked for the whole time, or the server does not answer.
        """
        for _ in range(10):
            try:
                response = super().handle_request(request)
            except httpx.TransportError as error:
                raise _away(type(error).__name__) from error
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return response
            response.close()
            time.sleep(random.uniform(0.02, 0.1))  # noqa: S311 - no secret
        raise _away("HTTP 503")


def server() -> SyncPrefectClient:
    """Return a client of the Prefect server that soon raises `httpx.HTTPError` if the server does not answer."""
    settings: dict[str, Any] = {"timeout": ANSWER_S}
    url = str(PREFECT_API_URL.value() or "")
    if url.startswith("http://") and is_loopback(url):
        # HTTP needs no certificate authority, and to read those of the machine would delay a run's start by 30 ms.
        settings["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # For https, the transport is Prefect's own, with the user's settings: such a server does not use SQLite.
    if url.startswith("http://"):
        settings["transport"] = ImpatientTransport(verify=settings.get("verify", True))
    return get_client(httpx_settings=settings, sync_client=True)

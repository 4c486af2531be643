"""The client of the Prefect server that leases use: it reports quickly when the server is away."""

from __future__ import annotations

import random
import ssl
import time
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL

from tasks.earthengine.connection import is_loopback
from tasks.errors import QuarryError

# Seconds for an answer of the server, which takes some milliseconds.
ANSWER_S = 10.0


class ServerAwayError(QuarryError, httpx.HTTPError):
    """The Prefect server did not answer, or could not."""

    passing = True


class ServerRefusedError(QuarryError):
    """The Prefect server answers, and refuses what a run asks of it: it will not do it later, either."""


# Client errors that pass: timeout, conflict, a lease that is gone, a limit that is full, too many requests.
_PASSING = (408, 409, 410, 423, 429)


def raise_if_refused(error: httpx.HTTPError) -> None:
    """See whether an error of the server may pass.

    Raises:
        ServerRefusedError: it does not.
    """
    if not isinstance(error, httpx.HTTPStatusError):
        return
    status = error.response.status_code
    if httpx.codes.is_client_error(status) and status not in _PASSING:
        raise ServerRefusedError(
            f"PREFECT_API_URL = {PREFECT_API_URL.value()}: the Prefect server answers {status} to "
            f"{error.request.method} {error.request.url.path}. Give its address and the key (PREFECT_API_KEY) of an "
            "account that may use concurrency limits; the server must be of the version of this client."
        ) from error


class Impatient(httpx.HTTPTransport):
    """Asks again at once where SQLite was locked (503), and soon says so where the server is away.

    Prefect's client would wait for two seconds at the least and for a minute at the most, while leases lapse.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request until SQLite is free.

        Raises:
            ServerAwayError: it is not for about a second, or nobody answers.
        """
        for _ in range(10):
            try:
                response = super().handle_request(request)
            except httpx.TransportError as error:
                raise ServerAwayError(f"{type(error).__name__}") from error
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return response
            response.close()
            time.sleep(random.uniform(0.02, 0.1))  # noqa: S311 - no secret
        raise ServerAwayError("503 Service Unavailable")


def server() -> SyncPrefectClient:
    """Return a client of the Prefect server that says soon whether it is away, by `httpx.HTTPError`."""
    settings: dict[str, Any] = {"timeout": ANSWER_S}
    url = str(PREFECT_API_URL.value() or "")
    if url.startswith("http://") and is_loopback(url):
        # Trusts no authority, since none is asked: to read those of the machine costs 30 ms of a run's start.
        settings["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Over TLS the client sets the transport up by the user's settings; such a server does not use SQLite.
    if url.startswith("http://"):
        settings["transport"] = Impatient(verify=settings.get("verify", True))
    return get_client(httpx_settings=settings, sync_client=True)

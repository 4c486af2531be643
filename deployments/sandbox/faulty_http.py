"""A connection that an endpoint can break, as networks do. Uvicorn itself offers no way to."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from deployments.sandbox.traffic import Fault


class FaultyHttp(H11Protocol):
    """Uvicorn's HTTP/1.1 on h11; ``scope["state"]`` has ``close`` (sends what was written) and ``abort`` (does not)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn narrows it
        """Hand the transport's end to the application."""
        super().connection_made(transport)
        # asyncio does this only for sockets that say IPPROTO_TCP, which those of an accepted listener do not;
        # without it, the body waits 40 ms for the client's delayed acknowledgement of the head.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "close": transport.close, "abort": transport.abort}


class Broken(Response):
    """An answer that never comes whole: the connection is closed instead, at once or half-way through."""

    def __init__(self, fault: Fault, whole: Response | None = None) -> None:
        super().__init__()
        self.fault = fault
        self._whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the first half with the length of the whole, and close."""
        if self._whole is not None:
            headers, body = self._whole.raw_headers, bytes(self._whole.body)
            await send({"type": "http.response.start", "status": self._whole.status_code, "headers": headers})
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            scope["state"]["close"]()
        else:
            scope["state"]["abort"]()
        await gone(receive)


async def gone(receive: Receive) -> None:
    """Wait until the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def configuration(application: ASGIApp) -> uvicorn.Config:
    """Return how uvicorn serves the sandbox, given an open socket."""
    return uvicorn.Config(
        application,
        http=FaultyHttp,
        ws="none",
        lifespan="off",
        log_level="critical",  # broken answers are meant, and the application logs its own errors
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )

"""The pixel call: one request to bytes, or one typed error. No retries of its own."""

from __future__ import annotations

from dataclasses import dataclass

import requests

from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import from_exception, from_response

# Earth Engine may compute for 300 s before it answers.
CONNECT_DEADLINE_S, READ_DEADLINE_S = 10.0, 330.0
DEADLINES = (CONNECT_DEADLINE_S, READ_DEADLINE_S)


@dataclass(frozen=True, kw_only=True)
class PixelRequest:
    """One getPixels or computePixels call."""

    asset: str | None
    """Full name of the asset for getPixels; None for computePixels."""
    body: bytes
    """JSON."""

    def path(self, project: str) -> str:
        """Return the REST path below /v1/."""
        return f"{self.asset}:getPixels" if self.asset else f"projects/{project}/image:computePixels"


def fetch(connection: Connection, request: PixelRequest) -> bytes:
    """Send one pixel request and return the bytes of its answer, whole.

    Raises:
        EarthEngineError: of the type that says what to do (tasks/earthengine/errors.py).
    """
    return send(connection, "POST", request.path(connection.project), data=request.body)


def send(
    connection: Connection,
    method: str,
    path: str,
    *,
    data: bytes | None = None,
    params: dict[str, str] | None = None,
) -> bytes:
    """Send any request of the REST API, and return the body of a good answer."""
    try:
        # A body shorter than its Content-Length raises (urllib3 enforces it), so a part is never taken for a whole.
        response = connection.session().request(
            method,
            connection.url(path),
            data=data,
            params=params,
            headers={"Content-Type": "application/json"} if data is not None else None,
            timeout=DEADLINES,
        )
    except Exception as error:
        if isinstance(error, ValueError) and not isinstance(error, requests.RequestException):
            raise  # BadInputError of missing credentials
        raise from_exception(error, connection.endpoint) from error
    if response.status_code != requests.codes.ok:
        raise from_response(response.status_code, response.headers, response.content)
    return response.content

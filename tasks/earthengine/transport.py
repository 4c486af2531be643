"""Send one request: return its bytes, or raise one typed error. Failed requests are not retried here.

Requests are sent with urllib3, because `requests` on top of it takes twice the CPU time. `requests` is only used to
read proxies and CAs from the environment.
"""

from __future__ import annotations

import functools
import http.client
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import google.auth.transport.requests
import requests.utils
import urllib3
from requests.adapters import HTTPAdapter

from tasks.earthengine.answer_body import read_error, read_whole
from tasks.earthengine.asset_name import asset_path
from tasks.earthengine.bounded_connection import CALL, Bounded
from tasks.earthengine.bounded_session import BoundedSession
from tasks.earthengine.connection import USER_AGENT, Connection, check_workload_tag
from tasks.earthengine.deadlines import DEADLINES, Deadlines
from tasks.earthengine.errors import EarthEngineError, TooHeavy, Transient
from tasks.earthengine.line import current_line
from tasks.earthengine.translation import from_exception, from_response

POOL_SIZE = 1_000
"""Maximum number of idle sockets that are kept. They are opened only when requests need them, never in advance."""
TOKEN_DEADLINE_S = 30.0
"""Seconds to wait for Google's token server, which usually answers within 1 s."""
TOKEN_BYTES = 1 << 20
"""Largest answer of Google's token server, which usually has 1 to 3 kB."""
QUOTA_STATUS = "x-earth-engine-quota-status"
"""Header in which Earth Engine reports that a project is in restricted mode (ee/data.py, _handle_response_headers)."""
METADATA_BYTES = 32 << 20
"""Largest answer with metadata. A page of 1,000 images of Sentinel-2 has about 13 MB."""
PIXELS_BYTES = 100 << 20
"""Largest answer with pixels, if its request sets no other limit: twice what Earth Engine allows uncompressed."""
# All that a connection raises if an answer is not complete, or is not HTTP.
BROKEN = (urllib3.exceptions.HTTPError, OSError, http.client.HTTPException, ValueError, OverflowError, MemoryError)
# First bytes of pixels: NPY, TIFF and BigTIFF of either byte order, PNG, JPEG. It is not known which Content-Type they
# have.
_PIXELS = (b"\x93NUMPY", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


@dataclass(frozen=True)
class Answer:
    """An answer with pixels."""

    body: bytes
    """File as Earth Engine sent it, decompressed if it was sent with gzip."""
    restricted: bool
    """Whether Earth Engine restricts the project's requests in flight, by the header of the answer."""


@dataclass(frozen=True, kw_only=True)
class PixelRequest:
    """One request of getPixels or computePixels."""

    asset: str | None
    """Full name of the asset for getPixels. None = computePixels."""
    body: bytes
    """JSON object with at least one member."""
    largest: int = PIXELS_BYTES
    """Largest number of bytes that its answer may hold, decompressed: see :mod:`tasks.plan.answer_size`."""

    def path(self, project: str) -> str:
        """Return the path of the REST method below /v1/.

        Raises:
            BadInputError: The asset has no name that can stand in a path.
        """
        if self.asset is None:
            return f"projects/{project}/image:computePixels"
        return f"{asset_path(self.asset)}:getPixels"


def fetch(
    connection: Connection,
    request: PixelRequest,
    *,
    deadlines: Deadlines = DEADLINES,
    workload_tag: str | None = None,
) -> Answer:
    """Send one pixel request, and return its complete answer.

    Args:
        connection: Connection to Earth Engine.
        request: The pixels to ask for.
        deadlines: Time limits of the request.
        workload_tag: Label of the computation in Cloud Monitoring. It is sent as ``workloadTag`` in the body, as by the
            `ee` client. None = no label.

    Raises:
        EarthEngineError: The request failed. The type decides what to do (tasks/earthengine/errors.py).
        BadInputError: The tag is not valid.
    """
    body = request.body
    if workload_tag is not None:
        check_workload_tag(workload_tag)  # a valid tag needs no escapes in JSON
        body = b'{"workloadTag":"%s",%s' % (workload_tag.encode(), body[1:])
    path = request.path(connection.project)
    headers, data = exchange(
        connection, "POST", path, body, largest=request.largest, beyond=Transient, deadlines=deadlines
    )
    if not data.startswith(_PIXELS):
        error = from_response(200, headers, data[:10_000])
        raise Transient(f"The answer holds no pixels: {error.message}", 200)
    return Answer(data, restricted="parallelism_restricted=true" in headers.get(QUOTA_STATUS, "").lower())


def send(
    connection: Connection,
    method: str,
    path: str,
    *,
    data: bytes | None = None,
    params: dict[str, str] | None = None,
    largest: int = METADATA_BYTES,
) -> bytes:
    """Send any request of the REST API, and return the body of the answer.

    Args:
        connection: Connection to Earth Engine.
        method: HTTP method.
        path: Path below /v1/.
        data: Body of the request. None = it has none.
        params: Query of the URL.
        largest: Largest number of bytes that the answer may hold, decompressed.

    Raises:
        EarthEngineError: See :func:`fetch`. ``TooHeavy``: the answer is larger.
    """
    path = f"{path}?{urlencode(params)}" if params else path
    return exchange(connection, method, path, data, largest=largest, beyond=TooHeavy)[1]


def exchange(
    connection: Connection,
    method: str,
    path: str,
    body: bytes | None,
    *,
    largest: int,
    beyond: type[EarthEngineError],
    deadlines: Deadlines = DEADLINES,
) -> tuple[Mapping[str, str], bytes]:
    """Send a request, and return the headers and the decompressed body of its answer.

    Args:
        connection: Connection to Earth Engine.
        method: HTTP method.
        path: Path below /v1/, with its query.
        body: Body of the request. None = it has none.
        largest: Largest number of bytes that the answer may hold, decompressed.
        beyond: Type of the error if it is larger.
        deadlines: Time limits of the request.

    Raises:
        EarthEngineError: The request failed. It is of the type `beyond` if the body is larger than `largest` bytes.
    """
    session = _session(connection)
    try:
        response = session.request(method, path, body, deadlines)
        if response.status != http.client.OK:
            raise from_response(response.status, response.headers, read_error(response, CALL.reader.allow))
        return response.headers, read_whole(response, largest, beyond, CALL.reader.allow)
    except google.auth.exceptions.GoogleAuthError as error:
        # The answer of the token server may contain tokens, so the cause is not shown, either.
        raise from_exception(error, connection.endpoint) from None
    except BROKEN as error:
        left = 0.0 if CALL.sent is None else max(0.0, deadlines.computing_s - (time.monotonic() - CALL.sent))
        if current_line().is_set():
            raise Transient("The request was given up before its answer was complete.", may_compute_s=left) from error
        raise from_exception(error, connection.endpoint, may_compute_s=left) from error


class _Session:
    """Authorised keep-alive connections to one endpoint, for all threads of a process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._credentials = connection.credentials()
        session = BoundedSession(TOKEN_BYTES, TOKEN_DEADLINE_S)
        self._tokens = functools.partial(google.auth.transport.requests.Request(session), timeout=TOKEN_DEADLINE_S)
        self._refreshing = threading.Lock()
        self._pool = _pool(connection)

    def request(self, method: str, path: str, body: bytes | None, deadlines: Deadlines) -> urllib3.BaseHTTPResponse:
        """Send a request, and return its answer. The body must be read within the same thread."""
        CALL.sent, CALL.read_s = None, deadlines.read_s
        headers = self._headers(method, path, body)
        response = self._send(method, path, body, headers, deadlines)
        if response.status == http.client.UNAUTHORIZED and self._credentials is not None:
            # A token may be revoked before its hour is over. The request is sent once more, with a new token.
            response.close()
            with self._refreshing:
                if headers.get("authorization") == f"Bearer {self._credentials.token}":
                    self._credentials.refresh(self._tokens)
            response = self._send(method, path, body, self._headers(method, path, body), deadlines)
        return response

    def _headers(self, method: str, path: str, body: bytes | None) -> dict[str, str]:
        headers = {"accept-encoding": "gzip", "user-agent": f"{USER_AGENT} (gzip)"}
        if body is not None:
            headers["content-type"] = "application/json"
        if self._credentials is not None:
            with self._refreshing:  # one thread gets a new token, the others wait for it
                self._credentials.before_request(self._tokens, method, self._connection.url(path), headers)
        # Added after the headers of the credentials, which may name another project: the connection's project pays.
        return headers | {"x-goog-user-project": self._connection.project}

    def _send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], deadlines: Deadlines
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.urlopen(
            method,
            f"/v1/{path}",
            body=body,
            headers=headers,
            retries=False,
            redirect=False,
            timeout=urllib3.Timeout(connect=deadlines.connect_s, read=deadlines.read_s),
            preload_content=False,
            decode_content=False,
        )


_opening = threading.Lock()


def _session(connection: Connection) -> _Session:
    with _opening:  # otherwise threads that begin together would each open a session
        return _open(connection)


@functools.lru_cache(maxsize=8)
def _open(connection: Connection) -> _Session:
    return _Session(connection)


def _pool(connection: Connection) -> urllib3.HTTPConnectionPool:
    """Return the connection pool of an endpoint. Proxy and CAs come from the environment."""
    url = urlsplit(connection.endpoint)
    with requests.Session() as environment:
        settings = environment.merge_environment_settings(connection.endpoint, {}, None, None, None)
    # A proxy cannot reach the loopback addresses of this machine.
    proxy = None if connection.is_loopback else requests.utils.select_proxy(connection.endpoint, settings["proxies"])
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=POOL_SIZE, max_retries=0)
    manager = adapter.proxy_manager_for(proxy) if proxy else adapter.poolmanager
    more: dict[str, Any] = {}
    if url.scheme == "https":
        # All sockets share one context: to read the CAs again for each socket would take about 20 ms.
        more["ssl_context"] = _context(settings["verify"])
    pool: urllib3.HTTPConnectionPool = manager.connection_from_host(
        url.hostname, url.port, url.scheme, pool_kwargs=more
    )
    pool.ConnectionCls = type("BoundedConnection", (Bounded, pool.ConnectionCls), {})
    return pool


def _context(verify: str | bool | None) -> ssl.SSLContext:
    authorities = verify if isinstance(verify, str) else requests.utils.DEFAULT_CA_BUNDLE_PATH
    if Path(authorities).is_dir():
        return ssl.create_default_context(capath=authorities)
    return ssl.create_default_context(cafile=authorities)

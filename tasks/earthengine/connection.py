"""How Earth Engine is reached: project, endpoint, credentials."""

from __future__ import annotations

import os
import re
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.earthengine.base_url import is_base_url, is_googles, is_loopback
from tasks.earthengine.errors import Transient
from tasks.errors.input import BadInputError, InputError
from tasks.errors.redaction import HIDDEN

HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/earthengine", "https://www.googleapis.com/auth/cloud-platform")
# Seconds for each request of the `ee` client. Its largest answers (API discovery, list of algorithms) are up to 1 MB.
CLIENT_DEADLINE_S = 60
# While it starts: seconds to wait for an answer, and retries. By default it would be silent for six minutes.
START_S, START_RETRIES = 25, 1
CLIENT_BYTES = 8 << 20
USER_AGENT = "pixel-quarry/0.1"
WORKLOAD_TAG = r"[a-z0-9]([-_a-z0-9]{0,61}[a-z0-9])?"

LEGACY = "earthengine-legacy"
"""What the `ee` client has as its project if it has none."""

_initialising = threading.Lock()
_opened: list[tuple[Connection, str | None, str | None]] = []
"""What :func:`ensure_client` got last, with project and endpoint of the client then."""
_started: list[tuple[str | None, str | None]] = []
"""Project and endpoint of the client that :func:`start_client` initialised last."""


@dataclass(frozen=True, kw_only=True)
class ConnectionReference:
    """A connection without secrets, for another process. That process finds the credentials where it runs."""

    project: str
    """Google Cloud project that is registered for Earth Engine."""
    endpoint: str = HIGH_VOLUME
    """Base URL of the API. If `block` is set, the endpoint of the block is used instead."""
    credentials_file: str | None = None
    """Path of a service-account key on the machine of the other process. None = the sign-in of that machine."""
    block: str | None = None
    """Saved block on the Prefect server, as ``earth-engine-connection/name``. None = the fields above are used."""

    def check(self) -> None:
        """Check that the fields are valid, and that none of them can be a secret.

        Raises:
            BadInputError: The project, the endpoint or the path is not valid.
        """
        Connection(project=self.project, endpoint=self.endpoint)
        if self.credentials_file is not None and not _looks_like_path(self.credentials_file):
            raise BadInputError(
                "credentials_file", HIDDEN, "not a path", "Give the path of a service-account key (JSON)"
            )


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The project that pays, the endpoint, and the way to sign in. Its `repr` shows no secret."""

    project: str
    """Google Cloud project that is registered for Earth Engine. Its quota is used."""
    endpoint: str = HIGH_VOLUME
    """Base URL of the API."""
    credentials_file: str | None = None
    """Path of a service-account key. None = Application Default Credentials, or those of `earthengine authenticate`."""
    block: str | None = None
    """Saved block that the connection was loaded from. Another process loads it again. None = there is no block."""
    key: Any = field(default=None, repr=False)
    """google.auth credentials with :data:`SCOPES`, loaded from the block. None = `credentials_file` decides."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", self.project):
            raise BadInputError(
                "project",
                self.project,
                "not a Google Cloud project id (6 to 30 lower-case letters, digits and dashes, a letter first)",
                "Give the id of a project registered for Earth Engine, such as 'my-project', "
                "or set EARTHENGINE_PROJECT",
            )
        if not is_base_url(self.endpoint):
            # The value is not shown: what is not a plain URL may contain a password or a key.
            raise BadInputError(
                "endpoint",
                HIDDEN,
                "not a plain http(s) URL of a host (without user, password, path or query)",
                f"Give a base URL such as {HIGH_VOLUME}, or set EARTHENGINE_ENDPOINT",
            )
        if self.endpoint.startswith("http:") and not self.is_loopback:
            raise BadInputError(
                "endpoint",
                self.endpoint,
                "credentials are never sent in clear text to another machine",
                "Use https, or a loopback address such as http://127.0.0.1:9080",
            )
        if self.credentials_file is not None and not _is_file(self.credentials_file):
            # The value may be the key itself instead of its path, so it is shown only if it looks like a path.
            raise BadInputError(
                "credentials_file",
                self.credentials_file if _looks_like_path(self.credentials_file) else HIDDEN,
                "no such file",
                "Give the path of a service-account key (JSON), or leave it empty to use "
                "Application Default Credentials",
            )

    @property
    def reference(self) -> ConnectionReference:
        """The connection without its key, for another process.

        Raises:
            ValueError: The connection has a key that is in no saved block.
        """
        if self.key is not None and self.block is None:
            raise ValueError("a connection with a key of its own cannot be sent to another process: save it as a block")
        if self.block is not None:
            return ConnectionReference(project=self.project, block=self.block)
        return ConnectionReference(project=self.project, endpoint=self.endpoint, credentials_file=self.credentials_file)

    @property
    def is_loopback(self) -> bool:
        """Whether the endpoint is on this machine. If so, no credentials are needed."""
        return is_loopback(self.endpoint)

    def url(self, path: str) -> str:
        """Return the full URL of a REST v1 path."""
        return f"{self.endpoint.rstrip('/')}/v1/{path}"

    def credentials(self) -> Any:
        """Return google.auth credentials, or None if the endpoint is on this machine.

        Raises:
            BadInputError: There are no usable credentials. The message explains how to get them.
        """
        if self.is_loopback:
            return None
        if self.key is not None:
            return self.key
        import ee
        import google.auth
        from google.oauth2 import service_account

        try:
            if self.credentials_file:
                return service_account.Credentials.from_service_account_file(self.credentials_file, scopes=SCOPES)
            if "GOOGLE_APPLICATION_CREDENTIALS" in os.environ:
                return google.auth.default(scopes=SCOPES, quota_project_id=self.project)[0]
            # The file of `earthengine authenticate`, or else Application Default Credentials.
            return ee.data.get_persistent_credentials()
        except (ee.EEException, google.auth.exceptions.GoogleAuthError, ValueError, OSError) as error:
            raise BadInputError(
                "credentials_file",
                self.credentials_file,
                f"no usable credentials for {self.endpoint} ({type(error).__name__})",
                "Run `earthengine authenticate` or `gcloud auth application-default login`, set "
                "GOOGLE_APPLICATION_CREDENTIALS, or give a service-account key",
            ) from None


def _looks_like_path(text: str) -> bool:
    return re.fullmatch(r"[\w./~ -]{1,120}", text) is not None


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def check_workload_tag(tag: str) -> None:
    """Check a workload tag, the label of computations, by the rule of the `ee` client (ee/_state.py).

    Raises:
        BadInputError: The tag is not valid.
    """
    if not re.fullmatch(WORKLOAD_TAG, tag):
        raise BadInputError(
            "workload_tag",
            tag,
            "not a valid workload tag",
            "Give 1 to 63 lower-case letters, digits, dashes and underscores, with a letter or digit first and last",
        )


def ensure_client(connection: Connection) -> None:
    """Initialise the `ee` client of a script or a notebook, and use its connection in `flows.adhoc`.

    Raises:
        BadInputError, Transient: See :func:`start_client`.
    """
    start_client(connection)
    _opened[:] = [(connection, *_address_of_client())]


def opened() -> Connection | None:
    """Return the connection that :func:`ensure_client` got last. None = none, or the client was initialised since."""
    for connection, *address in _opened:
        if address == list(_address_of_client()):
            return connection
    return None


def initialised() -> dict[str, str]:
    """Return the project of the `ee` client as `ee.Initialize` has it, and its endpoint if it is on this machine.

    Nothing is returned of a client that a run has started, or that has no project or an endpoint that is not Google's.
    """
    project, endpoint = address = _address_of_client()
    if address in _started or not isinstance(project, str) or project == LEGACY or not is_googles(endpoint or ""):
        return {}
    return {"project": project} | ({"endpoint": endpoint} if endpoint and is_loopback(endpoint) else {})


def _address_of_client() -> tuple[str | None, str | None]:
    """Return project and endpoint of the `ee` client, if it was imported: its import takes a second."""
    ee = sys.modules.get("ee")
    if ee is None or not ee.data.is_initialized():
        return None, None
    state = ee.data._get_state()  # noqa: SLF001 - there is no public way to ask
    return state.cloud_api_user_project, state.cloud_api_base_url


def start_client(connection: Connection) -> None:
    """Initialise the `ee` client if it is not initialised yet, so that expressions can be built.

    A session that the user has opened is left as it is. Expressions do not depend on the server, and pixels and
    metadata are requested through tasks/earthengine/transport.py, not through the client.

    Raises:
        BadInputError: There are no usable credentials.
        Transient: The endpoint does not answer, or does not answer as Earth Engine does.
    """
    import ee

    from tasks.earthengine.bounded_session import BoundedSession

    with _initialising:
        if ee.data.is_initialized():
            return
        # The client would wait without limit, so it gets a session with a deadline before it sends anything.
        state = ee.data._get_state()  # noqa: SLF001 - there is no public switch before Initialize
        state.deadline_ms = CLIENT_DEADLINE_S * 1000
        session = state.requests_session = BoundedSession(CLIENT_BYTES, START_S)
        retries, state.max_retries = state.max_retries, START_RETRIES
        state.requests_session.trust_env = not connection.is_loopback
        # The client loads a list of deprecated assets from storage.googleapis.com without a deadline: it would hang
        # if there is no network. Google's own test case replaces the same function.
        fetch_stac = ee.deprecation._FetchDataCatalogStac  # noqa: SLF001 - there is no public switch
        ee.deprecation._FetchDataCatalogStac = dict  # noqa: SLF001 - as above
        try:
            ee.Initialize(connection.credentials(), url=connection.endpoint.rstrip("/"), project=connection.project)
            session.limits.seconds = CLIENT_DEADLINE_S
            _started[:] = [_address_of_client()]
            ee.data.setMaxRetries(retries)
        except InputError:
            ee.Reset()
            raise
        except Exception as error:  # the client may raise any type, depending on the answer
            ee.Reset()
            raise Transient(
                f"The Earth Engine client could not start at {connection.endpoint} ({type(error).__name__}). "
                "Check the endpoint, the network and the credentials. If you use the sandbox, check that it is running."
            ) from error
        finally:
            ee.deprecation._FetchDataCatalogStac = fetch_stac  # noqa: SLF001 - as above

"""The client of Cloud Storage, with a connection for each thread of a run."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

import google.auth.exceptions
from google.cloud.storage import Client
from requests.adapters import HTTPAdapter

from tasks.storage.cloud_errors import REMEDIES
from tasks.storage.store import (
    SignInExpired,
)

# Connections that a process keeps to Cloud Storage: one for each thread of a run, since all may write at once.
CONNECTIONS = 128


def client(credentials: Any = None) -> Client:
    """Return a client with a connection for each thread of a run.

    Args:
        credentials: None = Application Default Credentials, or no credentials if STORAGE_EMULATOR_HOST is set.

    Raises:
        SignInExpired: There are no credentials, or they would go over plain http to an emulator on another machine.
    """
    # Otherwise each client reads the metadata of its bucket, for traces. Storage Object User does not allow that.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator and credentials is not None and urlsplit(emulator).scheme == "http" and not _is_loopback(emulator):
        raise SignInExpired(
            f"STORAGE_EMULATOR_HOST = {emulator!r}: plain http to another machine would expose the access token. "
            "Unset it, or give an output without credentials."
        )
    try:
        made = Client(project=None, credentials=credentials)
    except google.auth.exceptions.GoogleAuthError as error:
        raise SignInExpired(
            f"Cloud Storage: there are no credentials ({type(error).__name__}). {REMEDIES[SignInExpired]}"
        ) from error
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=CONNECTIONS)
    for scheme in ("https://", "http://"):
        made._http.mount(scheme, adapter)  # noqa: SLF001 - no other way to enlarge the pool of 10
    return made


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}

"""Translate errors of the Cloud Storage client into errors of an output."""

from __future__ import annotations

import google.auth.exceptions
import requests
from google.api_core import exceptions
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from tasks.storage.store import (
    OutputBusy,
    OutputDamaged,
    OutputDenied,
    OutputMissing,
    SignInExpired,
    StorageError,
)

REMEDIES: dict[type[StorageError], str] = {
    OutputMissing: "Create the bucket, or give the name of an existing one.",
    OutputDenied: "Grant the account the role Storage Object User (roles/storage.objectUser) on the bucket.",
    SignInExpired: "Sign in again (`gcloud auth application-default login`), or fix the key of the output's block.",
    OutputBusy: "The cause may be temporary: run again.",
}


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of an error, or None. The library's uploads keep it elsewhere than its other calls."""
    status = error.response.status_code if isinstance(error, InvalidResponse) else getattr(error, "code", None)
    return None if status is None else int(status)


def kind_of(error: Exception) -> type[StorageError]:
    """Return the class of the output's error for an error of the library."""
    status = status_of(error)
    if isinstance(error, DataCorruption) or (status == 400 and "CRC32C" in str(error)):
        return OutputDamaged
    if status in {404, 410} and "bucket does not exist" not in str(error):
        return OutputBusy  # an object was replaced while it was read, or an upload has expired: both can be repeated
    if status is not None:
        kinds = {401: SignInExpired, 403: OutputDenied, 404: OutputMissing, 408: OutputBusy, 429: OutputBusy}
        return kinds.get(status, OutputBusy if status >= 500 else StorageError)
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        passing = isinstance(error, google.auth.exceptions.TransportError) or bool(error.retryable)
        return OutputBusy if passing else SignInExpired
    away = (exceptions.RetryError, requests.ConnectionError, requests.Timeout, ConnectionError)
    return OutputBusy if isinstance(error, away) else StorageError


def is_object(error: exceptions.NotFound) -> bool:
    """Return whether the object was not found, and not its bucket."""
    return "bucket does not exist" not in str(error)


def is_lost_upload(error: BaseException | None) -> bool:
    """Return whether the session of an upload in parts is gone. It can only begin again."""
    return isinstance(error, Exception) and status_of(error) in {404, 410}

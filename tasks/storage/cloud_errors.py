"""Errors of Cloud Storage's client, translated into those of an output."""

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
    OutputMissing: "Create the bucket, or give the name of one that is there.",
    OutputDenied: "Let the account read and write objects there: role Storage Object User (roles/storage.objectUser).",
    SignInExpired: "Sign in again (`gcloud auth application-default login`), or mend the key of the output's block.",
    OutputBusy: "It may pass: run the same again.",
}


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of an error, which the library's uploads keep elsewhere than its other calls."""
    status = error.response.status_code if isinstance(error, InvalidResponse) else getattr(error, "code", None)
    return None if status is None else int(status)


def kind_of(error: Exception) -> type[StorageError]:
    """Return the type of an output's error that an error of the library stands for."""
    status = status_of(error)
    if isinstance(error, DataCorruption) or (status == 400 and "CRC32C" in str(error)):
        return OutputDamaged
    if status in {404, 410} and "bucket does not exist" not in str(error):
        return OutputBusy  # an object was replaced while it was read, or an upload is gone: both may be repeated
    if status is not None:
        kinds = {401: SignInExpired, 403: OutputDenied, 404: OutputMissing, 408: OutputBusy, 429: OutputBusy}
        return kinds.get(status, OutputBusy if status >= 500 else StorageError)
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        passing = isinstance(error, google.auth.exceptions.TransportError) or bool(error.retryable)
        return OutputBusy if passing else SignInExpired
    away = (exceptions.RetryError, requests.ConnectionError, requests.Timeout, ConnectionError)
    return OutputBusy if isinstance(error, away) else StorageError


def is_object(error: exceptions.NotFound) -> bool:
    """Whether it is the object that was not found, and not its bucket."""
    return "bucket does not exist" not in str(error)

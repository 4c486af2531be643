"""Translate answers and exceptions into the errors of :mod:`tasks.earthengine.errors`.

The type of an error decides what the run does next.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from tasks.earthengine.errors import (
    BudgetExhausted,
    Denied,
    EarthEngineError,
    Rejected,
    Throttled,
    TooHeavy,
    Transient,
)
from tasks.errors.redaction import redacted

if TYPE_CHECKING:
    import google.auth.exceptions

TEXT_LIMIT = 500
"""Maximum number of characters of an answer in a message."""

SIGN_IN = (
    "Sign in again (`earthengine authenticate` or `gcloud auth application-default login`), "
    "or check the service-account key."
)
ENABLE = (
    "Enable the Earth Engine API in the Google Cloud project (`gcloud services enable earthengine.googleapis.com`)."
)
REGISTER = "Register the Google Cloud project for Earth Engine: https://code.earthengine.google.com/register."
ROLES = (
    "Give the account two roles in the project: Service Usage Consumer and Earth Engine Resource Viewer "
    "(https://developers.google.com/earth-engine/guides/access_control)."
)
_SHARE = "Ask the owner to share the asset with this account, or sign in with an account that may read it."
_DENIED = (
    "Check that the account is signed in, the Earth Engine API is enabled, the project is registered, "
    "and the asset is shared with the account."
)
_SMALLER = "Choose a smaller tile_size (for patches: size), or a simpler image."
_CROWDED = (
    "Other programs may use the quota of the project: lower requests_in_flight, or the limit of the project's tag."
)
_RESUME = "The stored tiles and their receipts are kept. When the budget is renewed, run the flow again."


@dataclass(frozen=True)
class Row:
    """One row of `TABLE`. The first row that fits an answer decides the type of the error."""

    status: int | range
    """HTTP status, or a range of them."""
    pattern: str
    """Regular expression that is searched in the text. Upper and lower case are the same. "" fits any text."""
    kind: type[EarthEngineError]
    source: str
    """Where the status or the text is documented."""
    remedy: str = ""
    """What the user can do. It is added to the message."""

    def fits(self, status: int, text: str) -> bool:
        """Return whether the row fits an answer."""
        # Names in quotes are ignored, because an asset or a band can have any name. A 429 is an exception: its quotes
        # hold the metric of the quota.
        text = text if status == 429 else re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
        statuses = (self.status,) if isinstance(self.status, int) else self.status
        return status in statuses and re.search(self.pattern, text, re.IGNORECASE) is not None


_ANY = range(400, 500)
_RPC = "google/rpc/code.proto"
_REASON = "google/api/error_reason.proto"
_GUIDES = "https://developers.google.com/earth-engine/guides"
_USAGE, _DEBUGGING, _TIERS = f"{_GUIDES}/usage", f"{_GUIDES}/debugging", f"{_GUIDES}/noncommercial_tiers"
_HTTP = "RFC 9110"
_BUDGET = r"EECU|compute (unit|time) (quota|limit|budget)|(daily|monthly)\b.*(quota|limit|budget)|per (day|month)\b"
_OFF = r"has not been used in project|SERVICE_DISABLED|accessNotConfigured|API .*is (disabled|not enabled)"
_UNREGISTERED = r"not signed up for earth engine|project .*not registered"
# "...does not exist or caller does not have access" means that one asset is missing: permissions are not the reason.
_NO_ACCESS = r"(?<!does not exist or )caller does not have (access|permission)|permission .*denied"
_MEMORY = r"(user memory limit|memory capacity) exceeded|(computation|execution) timed out"
_SIZE = r"(total request size|pixel grid dimensions) .*must be less than or equal to"

# Order matters. For example, a limit "per minute" is a rate, not a budget, and some answers with status 400 are about
# the size of a request, so their rows come before the row for any other 4xx.
TABLE: tuple[Row, ...] = (
    # An answer with a status below 400 is only translated if it does not hold what was requested.
    Row(range(100, 400), "", Transient, "a proxy or a captive portal answered"),
    Row(range(500, 1000), "", Transient, f"{_RPC}: INTERNAL, UNAVAILABLE and their like"),
    Row(401, "", Denied, f"{_RPC}: UNAUTHENTICATED", SIGN_IN),
    Row(402, "", BudgetExhausted, _HTTP, _RESUME),
    Row(407, "", Denied, _HTTP, "Check the user and password of the proxy."),
    Row(429, r"limit '[^']*per (minute|second|100 seconds)", Throttled, _USAGE),
    Row(429, _BUDGET, BudgetExhausted, _TIERS, _RESUME),
    Row(429, "", Throttled, f"{_RPC}: RESOURCE_EXHAUSTED", _CROWDED),
    Row(403, r"rate[_ ]?limit[_ ]?exceeded|too many (concurrent|requests)", Throttled, "googleapiclient/http.py"),
    Row(403, rf"{_BUDGET}|dailyLimitExceeded|\bquotaExceeded", BudgetExhausted, f"usageLimits; {_TIERS}", _RESUME),
    Row(_ANY, _OFF, Denied, f"{_REASON}: SERVICE_DISABLED", ENABLE),
    Row(_ANY, _UNREGISTERED, Denied, f"{_GUIDES}/access", REGISTER),
    Row(_ANY, r"permission to use project|USER_PROJECT_DENIED", Denied, f"{_REASON}: USER_PROJECT_DENIED", ROLES),
    Row(_ANY, _NO_ACCESS, Denied, f"{_RPC}: PERMISSION_DENIED", _SHARE),
    Row(403, "", Denied, f"{_RPC}: PERMISSION_DENIED", _DENIED),
    Row(_ANY, _MEMORY, TooHeavy, _DEBUGGING, _SMALLER),
    Row(_ANY, r"(computed value|output of image computation) (is )?too large", TooHeavy, _DEBUGGING, _SMALLER),
    Row(_ANY, _SIZE, TooHeavy, "reference/rest/v1/projects.image/computePixels; google/Xee#50, #85", _SMALLER),
    Row(_ANY, r"internal error", Transient, _DEBUGGING),
    Row(_ANY, r"too many (concurrent aggregations|requests)|rate or concurrency limit", Throttled, _DEBUGGING),
    Row(_ANY, r"quota exceeded|(user)?rateLimitExceeded", Throttled, _USAGE),
    # A split would not help: each part of a tile carries the same expression.
    Row(_ANY, r"request payload size exceeds the limit", Rejected, _USAGE),
    Row(413, "", Rejected, f"{_HTTP}: the content of the request is too large"),
    Row(408, "", Transient, f"{_HTTP}: request timeout"),
    Row(409, "", Transient, f"{_RPC}: ABORTED"),
    Row(421, "", Transient, f"{_HTTP}: misdirected request"),
    Row(425, "", Transient, "RFC 8470: too early"),
    Row(499, "", Transient, f"{_RPC}: CANCELLED"),
    Row(_ANY, "", Rejected, f"{_RPC}: INVALID_ARGUMENT, NOT_FOUND and their like"),
)


def from_response(status: int, headers: Mapping[str, str], body: bytes) -> EarthEngineError:
    """Return the error for an HTTP answer that does not hold what was requested."""
    text = _text(body)
    row = next(row for row in TABLE if row.fits(status, text))
    message = text[:TEXT_LIMIT] or f"Earth Engine answered with HTTP {status} and no text."
    if row.remedy:
        message = f"{message}{'' if message.endswith(('.', '!', '?')) else '.'} {row.remedy}"
    return row.kind(message, status, _seconds(headers.get("Retry-After"), headers.get("Date")))


def parted(error: EarthEngineError) -> tuple[str, str]:
    """Return the message of an error without its remedy, and the remedy; "" if it has none."""
    remedy = next((row.remedy for row in TABLE if row.remedy and error.message.endswith(row.remedy)), "")
    return error.message.removesuffix(remedy).strip(), remedy


def from_exception(error: Exception, endpoint: str, *, may_compute_s: float = 0.0) -> EarthEngineError:
    """Return the error for an exception of urllib3 or google.auth, if no complete answer came from an endpoint.

    Args:
        error: The exception. Messages show only the name of its type, because its text may contain what was sent.
        endpoint: Base URL of the API.
        may_compute_s: Seconds for which Earth Engine may still compute, if the request was given up here.
    """
    import google.auth.exceptions
    import urllib3.exceptions

    name = type(error).__name__
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        if _passes(error):
            return Transient(f"Google's token server was not reached or did not answer ({name}). Check the network.")
        return Denied(f"The credentials were refused ({name}). {SIGN_IN}")
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return Transient(
            f"The answer was not complete within the deadline ({name}). "
            "Raise read_deadline, or choose a smaller tile_size.",
            may_compute_s=may_compute_s,
        )
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return Rejected(f"The URL of the endpoint is not valid ({name}). Give a base URL.")
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):  # a refused connection is one of these
        return Transient(
            f"There is no answer from {endpoint} ({name}). Check the endpoint and the network. "
            "If you use the sandbox, check that it is running."
        )
    return Transient(f"The connection to {endpoint} broke before the answer was complete ({name}).")


def _passes(error: google.auth.exceptions.GoogleAuthError) -> bool:
    import google.auth.exceptions

    # If a metadata server cannot be reached, google.auth raises a RefreshError whose cause is a TransportError.
    passing = (
        google.auth.exceptions.TransportError,
        google.auth.exceptions.TimeoutError,
        google.auth.exceptions.ResponseError,
    )
    return isinstance(error, passing) or isinstance(error.__cause__, passing) or bool(error.retryable)


def _text(body: bytes) -> str:
    """Return the text of an answer: message and reasons of Google's JSON, or any other text without its HTML tags."""
    text = body.decode("utf-8", "replace").strip()
    try:
        error = json.loads(text)["error"]
        details = [*error.get("errors", []), *error.get("details", [])]
        reasons = " ".join(str(item["reason"]) for item in details if item.get("reason"))
        text = f"{error['message']} {reasons}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = re.sub(r"<[^<>]*>", " ", text[: 20 * TEXT_LIMIT])
    # Secrets are removed before the text is cut to TEXT_LIMIT: a part of a token must not show, either.
    return redacted(re.sub(r"\s+", " ", text[: 20 * TEXT_LIMIT]).strip())


def _seconds(header: str | None, date: str | None) -> float | None:
    """Return the seconds to wait of a Retry-After header. A date in it is compared with the Date of the same answer."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        moment = _moment(header)
        seconds = math.nan if moment is None else (moment - (_moment(date) or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _moment(header: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(header or "")
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

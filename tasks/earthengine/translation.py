"""Answers and exceptions, translated into the errors of :mod:`tasks.earthengine.errors`: the type says what to do."""

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
"""Characters of an answer that a message keeps."""

_SIGN_IN = (
    "Sign in again (`earthengine authenticate` or `gcloud auth application-default login`), "
    "or check the service-account key."
)
_ENABLE = (
    "Enable the Earth Engine API in the Google Cloud project (`gcloud services enable earthengine.googleapis.com`)."
)
_REGISTER = "Register the Google Cloud project for Earth Engine: https://code.earthengine.google.com/register."
_ROLES = (
    "Let the account use the project: roles Service Usage Consumer and Earth Engine Resource Viewer "
    "(https://developers.google.com/earth-engine/guides/access_control)."
)
_SHARE = "Have the asset shared with the account that signs in, or sign in with one that may read it."
_DENIED = (
    "Check that the account is signed in, the Earth Engine API enabled, the project registered, "
    "and the asset shared with the account."
)
_SMALLER = "Choose a smaller tile_size (for patches, size), or a simpler image."
_CROWDED = "Somebody else may use the project's quota: lower requests_in_flight, or the limit of the tag."
_RESUME = "What is stored is kept, with its receipts. When the budget is renewed, run the flow again."


@dataclass(frozen=True)
class Row:
    """One row of the translation: the first that fits an answer gives its type."""

    status: int | range
    """HTTP status, or statuses."""
    pattern: str
    """Regular expression that is searched in the text, whatever its case; "" fits any."""
    kind: type[EarthEngineError]
    source: str
    """Where the status or the text is from."""
    remedy: str = ""
    """What the user can do about it."""

    def fits(self, status: int, text: str) -> bool:
        """Say whether the row is about this answer."""
        # A name in quotes may say anything; but a 429 names the metric of its quota there.
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
# "...does not exist or caller does not have access" says nothing of permissions: that is one missing asset.
_NO_ACCESS = r"(?<!does not exist or )caller does not have (access|permission)|permission .*denied"
_MEMORY = r"(user memory limit|memory capacity) exceeded|(computation|execution) timed out"
_SIZE = r"(total request size|pixel grid dimensions) .*must be less than or equal to"

# Order matters: a rate "per minute" is no budget, and Earth Engine answers 400 to what a smaller request would cure.
TABLE: tuple[Row, ...] = (
    # A good status is no error, so whoever asks has found no pixels in it.
    Row(range(100, 400), "", Transient, "a proxy or a captive portal answered"),
    Row(range(500, 1000), "", Transient, f"{_RPC}: INTERNAL, UNAVAILABLE and their like"),
    Row(401, "", Denied, f"{_RPC}: UNAUTHENTICATED", _SIGN_IN),
    Row(402, "", BudgetExhausted, _HTTP, _RESUME),
    Row(407, "", Denied, _HTTP, "Check the user and password of the proxy."),
    Row(429, r"limit '[^']*per (minute|second|100 seconds)", Throttled, _USAGE),
    Row(429, _BUDGET, BudgetExhausted, _TIERS, _RESUME),
    Row(429, "", Throttled, f"{_RPC}: RESOURCE_EXHAUSTED", _CROWDED),
    Row(403, r"rate[_ ]?limit[_ ]?exceeded|too many (concurrent|requests)", Throttled, "googleapiclient/http.py"),
    Row(403, rf"{_BUDGET}|dailyLimitExceeded|\bquotaExceeded", BudgetExhausted, f"usageLimits; {_TIERS}", _RESUME),
    Row(_ANY, _OFF, Denied, f"{_REASON}: SERVICE_DISABLED", _ENABLE),
    Row(_ANY, _UNREGISTERED, Denied, f"{_GUIDES}/access", _REGISTER),
    Row(_ANY, r"permission to use project|USER_PROJECT_DENIED", Denied, f"{_REASON}: USER_PROJECT_DENIED", _ROLES),
    Row(_ANY, _NO_ACCESS, Denied, f"{_RPC}: PERMISSION_DENIED", _SHARE),
    Row(403, "", Denied, f"{_RPC}: PERMISSION_DENIED", _DENIED),
    Row(_ANY, _MEMORY, TooHeavy, _DEBUGGING, _SMALLER),
    Row(_ANY, r"(computed value|output of image computation) (is )?too large", TooHeavy, _DEBUGGING, _SMALLER),
    Row(_ANY, _SIZE, TooHeavy, "reference/rest/v1/projects.image/computePixels; google/Xee#50, #85", _SMALLER),
    Row(_ANY, r"internal error", Transient, _DEBUGGING),
    Row(_ANY, r"too many (concurrent aggregations|requests)|rate or concurrency limit", Throttled, _DEBUGGING),
    Row(_ANY, r"quota exceeded|(user)?rateLimitExceeded", Throttled, _USAGE),
    # Parts of a tile carry the same expression: a payload that is too large stays so.
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
    """Translate an HTTP answer that is not what was asked for into the type that says what to do."""
    text = _text(body)
    row = next(row for row in TABLE if row.fits(status, text))
    message = text[:TEXT_LIMIT] or f"Earth Engine answered with HTTP {status} and no text."
    if row.remedy:
        message = f"{message}{'' if message.endswith(('.', '!', '?')) else '.'} {row.remedy}"
    return row.kind(message, status, _seconds(headers.get("Retry-After"), headers.get("Date")))


def from_exception(error: Exception, endpoint: str, *, may_compute_s: float = 0.0) -> EarthEngineError:
    """Translate what urllib3 and google.auth raise when no whole answer came from an endpoint.

    Args:
        error: What was raised. Only the name of its type is shown: its text may hold what was sent.
        endpoint: Base URL.
        may_compute_s: Seconds for which Earth Engine may go on, if it was we who gave up.
    """
    import google.auth.exceptions
    import urllib3.exceptions

    name = type(error).__name__
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        if _passes(error):
            return Transient(f"The token server was not reached, or did not answer ({name}). Check the network.")
        return Denied(f"The credentials were refused ({name}). {_SIGN_IN}")
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return Transient(
            f"No whole answer within the deadline ({name}). Raise read_deadline, or choose a smaller tile_size.",
            may_compute_s=may_compute_s,
        )
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return Rejected(f"The endpoint's URL is not valid ({name}). Give a base URL.")
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):  # a refused connection is one of these
        return Transient(
            f"Nothing answers at {endpoint} ({name}). Check the endpoint and the network; is the sandbox started?"
        )
    return Transient(f"The connection to {endpoint} broke before the answer was whole ({name}).")


def _passes(error: google.auth.exceptions.GoogleAuthError) -> bool:
    import google.auth.exceptions

    # A RefreshError of a metadata server that can't be reached has a TransportError for its cause.
    passing = (
        google.auth.exceptions.TransportError,
        google.auth.exceptions.TimeoutError,
        google.auth.exceptions.ResponseError,
    )
    return isinstance(error, passing) or isinstance(error.__cause__, passing) or bool(error.retryable)


def _text(body: bytes) -> str:
    """Return what an answer says: message and reasons of Google's JSON, or the words of anything else."""
    text = body.decode("utf-8", "replace").strip()
    try:
        error = json.loads(text)["error"]
        details = [*error.get("errors", []), *error.get("details", [])]
        reasons = " ".join(str(item["reason"]) for item in details if item.get("reason"))
        text = f"{error['message']} {reasons}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = re.sub(r"<[^<>]*>", " ", text[: 20 * TEXT_LIMIT])
    # Hidden before it is cut: half a token is one, too.
    return redacted(re.sub(r"\s+", " ", text[: 20 * TEXT_LIMIT]).strip())


def _seconds(header: str | None, date: str | None) -> float | None:
    """Return what a Retry-After asks for in seconds; a moment is counted from the answer's own Date."""
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
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

"""What can go wrong with Earth Engine: the type says what to do.

    EarthEngineError
    ├── Transient           5xx, dropped or truncated, hang, HTML for JSON  -> retry: backoff with jitter
    ├── Throttled           429, 403 rateLimitExceeded                      -> slow down: wait; costs no attempt
    ├── TooHeavy            size, user memory limit, computation timed out  -> split: ask in parts, stitch
    ├── Rejected            other 4xx: wrong for this tile                  -> fail the tile: the rest go on
    ├── Denied              401, 403, asset not readable                    -> stop the run: at once
    ├── BudgetExhausted     monthly or daily EECU quota                     -> stop the run: resumable
    └── Stopped             another part of the run stopped it              -> stop the run: a consequence

    BadInputError           the user's parameters: refused before the first pixel request

`TABLE` translates every status and text. Every error pickles, since it crosses threads, processes and Prefect's
results, and none shows a token, an Authorization header or the query of a URL.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import ClassVar, Literal

import google.auth.exceptions
import urllib3.exceptions

from tasks.raster.refusal import InputError

Action = Literal["retry", "slow down", "split", "fail the tile", "stop the run"]

TEXT_LIMIT = 500
"""Characters of an answer that a message keeps."""

_HIDDEN = "[hidden]"  # without a blank, so that hiding twice is hiding once
_SECRETS = (
    (r"-----BEGIN [^-]*-----.*?(-----END [^-]*-----|\Z)", _HIDDEN),
    (r"(authorization[\\\"']*\s*[:=]\s*)[\\\"']*((bearer|basic|digest)\s+)?[^\s\"',;<>]+", rf"\1{_HIDDEN}"),
    (r"\bbearer\s+[\w.~+/=-]{16,}", _HIDDEN),
    # Access tokens, refresh tokens, API keys, client secrets and JWTs begin like this at Google.
    (r"\b(ya29\.|1//|AIza|GOCSPX-|eyJ)[\w.~+/=-]*", _HIDDEN),
    (
        r"\b((access|refresh|id)_token|client_secret|private_key|api_key|assertion)([\\\"']*\s*[:=]\s*)[\\\"']*[^\s\"',;&<>]+",
        rf"\1\3{_HIDDEN}",
    ),
    (r"(https?://)[^\s/@?#\"'<>]*@", r"\1"),
    (r"(https?://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", rf"\1?{_HIDDEN}"),
    (r"(?<=[^\s?])\?[^\s?=\"'<>]+=[^\s\"'<>]*", f"?{_HIDDEN}"),
)
_HIDE = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), shown) for pattern, shown in _SECRETS)


def redacted(text: str) -> str:
    """Return a text without what may be a credential, or the query of a URL, which may hold one."""
    for pattern, shown in _HIDE:
        text = pattern.sub(shown, text)
    return text


class EarthEngineError(Exception):
    """Base of all that Earth Engine or the way to it can answer.

    Args:
        message: What was answered; credentials and queries of URLs are taken out of it.
        status: HTTP status, or None where no answer came.
        retry_after: Seconds the server asked to wait, if it said.
        may_compute_s: Seconds for which Earth Engine may go on computing what we gave up: it counts as in flight.
    """

    action: ClassVar[Action]
    """What follows from it."""

    def __init__(
        self,
        message: str,
        status: int | None = None,
        retry_after: float | None = None,
        may_compute_s: float = 0.0,
    ) -> None:
        message = redacted(message)
        super().__init__(message, status, retry_after, may_compute_s)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.may_compute_s = may_compute_s

    def __str__(self) -> str:
        return self.message if self.status is None else f"{self.message} (HTTP {self.status})"


class Transient(EarthEngineError):
    """A passing fault: the same request may succeed."""

    action = "retry"


class Throttled(EarthEngineError):
    """Too many requests in flight or a second."""

    action = "slow down"


class TooHeavy(EarthEngineError):
    """One request asks for more than Earth Engine computes in one go."""

    action = "split"


class Rejected(EarthEngineError):
    """The request is wrong, and will be wrong again."""

    action = "fail the tile"


class Denied(EarthEngineError):
    """Credentials or permissions: no request of this run can succeed."""

    action = "stop the run"


class BudgetExhausted(EarthEngineError):
    """The project's EECU budget is used up."""

    action = "stop the run"


class Stopped(EarthEngineError):
    """Another part of the run met something that no part can survive."""

    action = "stop the run"


class BadInputError(InputError):
    """A parameter that can't be: found before the first pixel request.

    Args:
        field: Name of the parameter.
        value: What was given.
        reason: Why it can't be, with the limit.
        remedy: What to do.
    """

    def __init__(self, field: str, value: object, reason: str, remedy: str) -> None:
        super().__init__(field, value, reason, remedy)
        self.field, self.value, self.reason, self.remedy = field, value, reason, remedy

    def __str__(self) -> str:
        shown = repr(self.value)
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        end = "" if self.remedy.endswith((".", "?")) else "."
        return f"{self.field} = {shown}: {self.reason.rstrip('.')}. {self.remedy}{end}"


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
_RESUME = "What is stored is kept: run the flow again with the same parameters to go on from there."


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the translation: the first that fits an answer gives its type."""

    status: range
    """HTTP statuses."""
    pattern: str = ""
    """Regular expression that is searched in the text, whatever its case."""
    kind: type[EarthEngineError]
    remedy: str = ""
    """What the user can do about it."""
    source: str
    """Where the status or the text is from."""

    def fits(self, status: int, text: str) -> bool:
        """Say whether the row is about this answer."""
        # A name in quotes may say anything; but a 429 names the metric of its quota there.
        text = text if status == 429 else re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
        return status in self.status and re.search(self.pattern, text, re.IGNORECASE) is not None


def _only(status: int) -> range:
    return range(status, status + 1)


_ANY = range(400, 500)
_RPC = "google/rpc/code.proto"
_CLIENT = "googleapiclient/http.py, _should_retry_response"
_USAGE = "https://developers.google.com/earth-engine/guides/usage"
_DEBUGGING = "https://developers.google.com/earth-engine/guides/debugging"
_ACCESS = "https://developers.google.com/earth-engine/guides/access"
_HTTP = "RFC 9110"
_BUDGET = r"EECU|compute (unit|time) (quota|limit|budget)|(daily|monthly)\b.*(quota|limit|budget)|per (day|month)\b"

# Order matters: a rate "per minute" is no budget, and Earth Engine answers 400 to what a smaller request would cure.
TABLE: tuple[Row, ...] = (
    # A good status is no error, so whoever asks has found no pixels in it: a captive portal, a cache, a proxy.
    Row(status=range(100, 400), kind=Transient, source="a proxy or a captive portal answered"),
    Row(status=range(500, 1000), kind=Transient, source=f"{_RPC}: INTERNAL, UNAVAILABLE and their like"),
    Row(status=_only(401), kind=Denied, remedy=_SIGN_IN, source=f"{_RPC}: UNAUTHENTICATED"),
    Row(status=_only(402), kind=BudgetExhausted, remedy=_RESUME, source=_HTTP),
    Row(status=_only(407), kind=Denied, remedy="Check the proxy's user and password.", source=_HTTP),
    Row(status=_only(429), pattern=r"per (minute|second|100 seconds)", kind=Throttled, source=_USAGE),
    Row(
        status=_only(429),
        pattern=_BUDGET,
        kind=BudgetExhausted,
        remedy=_RESUME,
        source=f"{_USAGE}; noncommercial_tiers",
    ),
    Row(status=_only(429), kind=Throttled, source=f"{_RPC}: RESOURCE_EXHAUSTED"),
    Row(
        status=_only(403),
        pattern=r"rate_?limit_?exceeded|rate limit exceeded|too many (concurrent|requests)",
        kind=Throttled,
        source=_CLIENT,
    ),
    Row(
        status=_only(403),
        pattern=rf"{_BUDGET}|dailyLimitExceeded|\bquotaExceeded",
        kind=BudgetExhausted,
        remedy=_RESUME,
        source="Google API errors: usageLimits",
    ),
    Row(
        status=_ANY,
        pattern=r"has not been used in project|SERVICE_DISABLED|accessNotConfigured|API .*is (disabled|not enabled)",
        kind=Denied,
        remedy=_ENABLE,
        source="google/api/error_reason.proto: SERVICE_DISABLED",
    ),
    Row(
        status=_ANY,
        pattern=r"not signed up for earth engine|project .*(is )?not registered",
        kind=Denied,
        remedy=_REGISTER,
        source=_ACCESS,
    ),
    Row(
        status=_ANY,
        pattern=r"permission to use project|USER_PROJECT_DENIED",
        kind=Denied,
        remedy=_ROLES,
        source="google/api/error_reason.proto: USER_PROJECT_DENIED",
    ),
    # "...does not exist or caller does not have access" says nothing of permissions: that is one missing asset.
    Row(
        status=range(400, 403),
        pattern=r"(?<!does not exist or )caller does not have (access|permission)|permission .*denied",
        kind=Denied,
        remedy=_SHARE,
        source=_DEBUGGING,
    ),
    Row(
        status=_only(403),
        pattern=r"permission .*denied on resource|does not have (access|permission)|asset",
        kind=Denied,
        remedy=_SHARE,
        source=f"{_RPC}: PERMISSION_DENIED",
    ),
    Row(status=_only(403), kind=Denied, remedy=_DENIED, source=f"{_RPC}: PERMISSION_DENIED"),
    Row(
        status=range(404, 500),
        pattern=r"(?<!does not exist or )caller does not have (access|permission)|permission .*denied",
        kind=Denied,
        remedy=_SHARE,
        source=_DEBUGGING,
    ),
    Row(
        status=_ANY,
        pattern=r"(user memory limit|memory capacity) exceeded|(computation|execution) timed out",
        kind=TooHeavy,
        source=_DEBUGGING,
    ),
    Row(
        status=_ANY,
        pattern=r"(computed value|output of image computation) (is )?too large",
        kind=TooHeavy,
        source=_DEBUGGING,
    ),
    Row(
        status=_ANY,
        pattern=r"(total request size|pixel grid dimensions) .*must be less than or equal to",
        kind=TooHeavy,
        source="reference/rest/v1/projects.image/computePixels; google/Xee#50, #85",
    ),
    Row(status=_ANY, pattern=r"internal error", kind=Transient, source=_DEBUGGING),
    Row(
        status=_ANY,
        pattern=r"too many (concurrent aggregations|requests)|rate or concurrency limit|quota exceeded",
        kind=Throttled,
        source=_DEBUGGING,
    ),
    # Parts of a tile carry the same expression: a payload that is too large stays so.
    Row(status=_ANY, pattern=r"request payload size exceeds the limit", kind=Rejected, source=_USAGE),
    Row(status=_only(413), kind=Rejected, source=f"{_HTTP}: the content of the request is too large"),
    Row(status=_only(408), kind=Transient, source=f"{_HTTP}: request timeout"),
    Row(status=_only(409), kind=Transient, source=f"{_RPC}: ABORTED"),
    Row(status=_only(421), kind=Transient, source=f"{_HTTP}: misdirected request"),
    Row(status=_only(425), kind=Transient, source="RFC 8470: too early"),
    Row(status=_only(499), kind=Transient, source=f"{_RPC}: CANCELLED"),
    Row(status=_ANY, kind=Rejected, source=f"{_RPC}: INVALID_ARGUMENT, NOT_FOUND and their like"),
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
    name = type(error).__name__
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        if _passes(error):
            return Transient(f"The token server could not be reached, or not answer ({name}).")
        return Denied(f"The credentials were refused ({name}). {_SIGN_IN}")
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return Transient(f"No whole answer within the deadline ({name}).", may_compute_s=may_compute_s)
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return Rejected(f"The endpoint's URL is not valid ({name}).")
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):  # a refused connection is one of these
        return Transient(
            f"Nothing answers at {endpoint} ({name}). Check the endpoint and the network; is the sandbox started?"
        )
    return Transient(f"The connection to {endpoint} broke before the answer was whole ({name}).")


def _passes(error: google.auth.exceptions.GoogleAuthError) -> bool:
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

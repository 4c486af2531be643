"""What can go wrong with Earth Engine: the type says what to do.

    EarthEngineError
    ├── Transient           5xx, dropped or truncated, hang, HTML for JSON  -> retry this request, backoff with jitter
    ├── Throttled           429, 403 rateLimitExceeded                      -> fewer in flight, wait; costs no attempt
    ├── TooHeavy            size, user memory limit, computation timed out  -> a smaller tile
    ├── Rejected            other 4xx: wrong for this tile                  -> this tile fails, the rest go on
    ├── Denied              401, 403, asset not readable                    -> stop the run at once
    ├── BudgetExhausted     monthly or daily EECU quota                     -> stop the run, resumable
    └── Stopped             another part of the run stopped it

    BadInputError           the user's parameters: refused before the first pixel request

Every error pickles, since it crosses threads, processes and Prefect's results.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

import google.auth.exceptions
import requests
from urllib3.exceptions import NewConnectionError

from tasks.raster.refusal import InputError

TEXT_LIMIT = 500


class EarthEngineError(Exception):
    """Base of all that Earth Engine or the way to it can answer.

    Args:
        message: What was answered, without any credential.
        status: HTTP status, or None where no answer came.
        retry_after: Seconds the server asked to wait, if it said.
    """

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, status, retry_after)
        self.message = message
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message if self.status is None else f"{self.message} (HTTP {self.status})"


class Transient(EarthEngineError):
    """A passing fault: the same request may succeed."""


class Throttled(EarthEngineError):
    """Too many requests in flight or a second."""


class TooHeavy(EarthEngineError):
    """One request asks for more than Earth Engine computes in one go."""


class Rejected(EarthEngineError):
    """The request is wrong, and will be wrong again."""


class Denied(EarthEngineError):
    """Credentials or permissions: no request of this run can succeed."""


class BudgetExhausted(EarthEngineError):
    """The project's EECU budget is used up."""


class Stopped(EarthEngineError):
    """Another part of the run met something that no part can survive."""


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


# Texts decide only where the status does not: Earth Engine answers 400 to what a smaller request would cure.
# Order matters: "Quota exceeded" of a rate is no budget, and "limit exceeded" stands in texts of every kind.
_BY_TEXT: tuple[tuple[re.Pattern[str], type[EarthEngineError]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), error)
    for pattern, error in (
        (r"(user memory limit|memory capacity) exceeded|(computation|execution) timed out", TooHeavy),
        (r"(computed value|output of image computation) (is )?too large", TooHeavy),
        (r"internal error", Transient),
        (r"total request size .* must be less than or equal to", TooHeavy),
        (r"pixel grid dimensions .* must be less than or equal to", TooHeavy),
        (r"too many concurrent aggregations|too many requests|rate or concurrency limit", Throttled),
        (r"quota exceeded for quota metric|rateLimitExceeded|userRateLimitExceeded", Throttled),
        (r"request payload size exceeds the limit", Rejected),
        # "...does not exist or caller does not have access" says nothing of permissions: that is one missing asset.
        (r"(?<!does not exist or )caller does not have (access|permission)|permission .* denied", Denied),
    )
)

_BUDGET = re.compile(r"EECU|compute (unit|time) (quota|limit|budget)|monthly (quota|limit)", re.IGNORECASE)

_BY_STATUS: Mapping[int, type[EarthEngineError]] = {
    401: Denied,
    403: Denied,
    408: Transient,
    413: TooHeavy,
    429: Throttled,
}


def from_response(status: int, headers: Mapping[str, str], body: bytes) -> EarthEngineError:
    """Translate a refused HTTP answer into the type that says what to do.

    The texts are those of the Earth Engine guides ("Earth Engine quotas", "Debugging") and of the client.
    """
    message = _message(body) or f"Earth Engine answered with HTTP {status} and no text."
    retry_after = _seconds(headers.get("Retry-After"))
    kind = Transient if status >= 500 else _kind(status, message)
    return kind(message, status, retry_after)


def from_exception(error: Exception, endpoint: str) -> EarthEngineError:
    """Translate what requests and google.auth raise when no whole answer came from an endpoint."""
    name = type(error).__name__
    if isinstance(error, google.auth.exceptions.TransportError) or getattr(error, "retryable", False):
        return Transient(f"The token server could not be reached, or not answer ({name}).")
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        return Denied(
            f"The credentials were refused ({name}). Sign in again (`earthengine authenticate` or "
            f"`gcloud auth application-default login`), or check the service-account key."
        )
    if isinstance(error, requests.Timeout):
        return Transient(f"No answer within the deadline ({name}).")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema):
        return Rejected(f"The endpoint's URL is not valid ({name}).")
    if isinstance(getattr(error.args[0] if error.args else None, "reason", None), NewConnectionError):
        return Transient(f"Nothing answers at {endpoint}. Check the endpoint and the network; is the sandbox started?")
    return Transient(f"The connection to {endpoint} broke before the answer was whole ({name}).")


def _kind(status: int, message: str) -> type[EarthEngineError]:
    if status in {403, 429} and _BUDGET.search(message):
        return BudgetExhausted
    message = re.sub(r"'[^']*'|\"[^\"]*\"", "", message)  # a name in quotes may say anything
    for pattern, error in _BY_TEXT:
        if pattern.search(message):
            return error
    return _BY_STATUS.get(status, Rejected)


def _message(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    try:
        error = json.loads(text)["error"]
        reasons = " ".join(str(item.get("reason", "")) for item in error.get("errors", []))
        return f"{error['message']} {reasons}".strip()[:TEXT_LIMIT]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        plain = re.sub(r"<[^>]*>", " ", text)
        return re.sub(r"\s+", " ", plain).strip()[:TEXT_LIMIT]


def _seconds(header: str | None) -> float | None:
    try:
        seconds = float(header) if header else math.nan
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None

"""Errors of Earth Engine: the type of an error decides what the run does next.

    EarthEngineError
    ├── Transient           5xx, dropped or truncated, hang, HTML for JSON  -> retry: backoff with jitter
    ├── Throttled           429, 403 rateLimitExceeded                      -> slow down: wait. Uses up no attempt
    ├── TooHeavy            size, user memory limit, computation timed out  -> split: fetch in parts, stitch them
    ├── Rejected            other 4xx: wrong for this tile                  -> fail the tile: the others go on
    ├── Denied              401, 403, asset not readable                    -> stop the run: at once
    ├── BudgetExhausted     monthly or daily EECU quota                     -> stop the run: resume it later
    ├── GivenUp             the first tiles failed with one class of error  -> stop the run: the rest would fail, too
    │   └── OutOfReach      many tiles in a row: faults that may pass       -> stop the run: run it again later
    └── Stopped             another part of the run stopped it              -> stop the run: a consequence

    BadInputError           the user's parameters: refused before the first pixel request

`tasks.earthengine.translation.TABLE` gives every status and text a type. Every error can be pickled, because errors
cross threads, processes and Prefect's results. No message shows a token, an Authorization header or the query of a URL.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from tasks.errors import QuarryError
from tasks.errors.redaction import redacted
from tasks.errors.shown_text import plain

Action = Literal["retry", "slow down", "split", "fail the tile", "stop the run"]


class EarthEngineError(QuarryError):
    """Base of all errors of Earth Engine, and of the connection to it.

    Args:
        message: Text of the answer, or what happened. Credentials and queries of URLs are removed from it.
        status: HTTP status. None if there was no answer.
        retry_after: Seconds that the server asked to wait. None if it did not ask.
        may_compute_s: Seconds for which Earth Engine may still compute a request that was given up here. For that
            time, the request counts as in flight.
    """

    action: ClassVar[Action]
    """What the run does after this error."""

    def __init__(
        self,
        message: str,
        status: int | None = None,
        retry_after: float | None = None,
        may_compute_s: float = 0.0,
    ) -> None:
        message = plain(redacted(message), lines=True)
        super().__init__(message, status, retry_after, may_compute_s)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.may_compute_s = may_compute_s

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later, without any change."""
        return self.action in {"retry", "slow down"}

    def __str__(self) -> str:
        return self.message if self.status is None else f"{self.message} (HTTP {self.status})"


class Transient(EarthEngineError):
    """A fault that may pass: the same request may succeed later."""

    action = "retry"


class Throttled(EarthEngineError):
    """Too many requests in flight, or too many requests a second."""

    action = "slow down"


class TooHeavy(EarthEngineError):
    """One request asks for more than Earth Engine computes at once."""

    action = "split"


class Rejected(EarthEngineError):
    """The request is wrong: the same request would fail again."""

    action = "fail the tile"


class Denied(EarthEngineError):
    """Credentials or permissions are missing: no request of this run can succeed."""

    action = "stop the run"


class BudgetExhausted(EarthEngineError):
    """The project's EECU budget is used up."""

    action = "stop the run"


class GivenUp(EarthEngineError):
    """The first tiles of a run all failed with the same class of error, so the rest would fail, too."""

    action = "stop the run"


class OutOfReach(GivenUp):
    """Many tiles in a row failed with faults that may pass: an outage, or throttling without end."""

    @property
    def passing(self) -> bool:
        """Always True: the run may succeed later."""
        return True


class Stopped(EarthEngineError):
    """Another part of the run met an error that ends the whole run."""

    action = "stop the run"

"""What can go wrong with Earth Engine: the type says what to do.

    EarthEngineError
    ├── Transient           5xx, dropped or truncated, hang, HTML for JSON  -> retry: backoff with jitter
    ├── Throttled           429, 403 rateLimitExceeded                      -> slow down: wait; costs no attempt
    ├── TooHeavy            size, user memory limit, computation timed out  -> split: ask in parts, stitch
    ├── Rejected            other 4xx: wrong for this tile                  -> fail the tile: the rest go on
    ├── Denied              401, 403, asset not readable                    -> stop the run: at once
    ├── BudgetExhausted     monthly or daily EECU quota                     -> stop the run: resumable
    ├── GivenUp             tile after tile failed alike                    -> stop the run: the rest would fail, too
    │   └── OutOfReach      the same for faults that pass                   -> stop the run: again later
    └── Stopped             another part of the run stopped it              -> stop the run: a consequence

    BadInputError           the user's parameters: refused before the first pixel request

`TABLE` translates every status and text. Every error pickles, since it crosses threads, processes and Prefect's
results, and none shows a token, an Authorization header or the query of a URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from tasks.errors import QuarryError

if TYPE_CHECKING:
    pass
from tasks.errors.redaction import redacted

Action = Literal["retry", "slow down", "split", "fail the tile", "stop the run"]


class EarthEngineError(QuarryError):
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

    @property
    def passing(self) -> bool:
        """Whether the same may succeed a while later, without anybody's doing."""
        return self.action in {"retry", "slow down"}

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


class GivenUp(EarthEngineError):
    """Tile after tile failed alike: the rest of the run would only fail as well."""

    action = "stop the run"


class OutOfReach(GivenUp):
    """As it is given up, but for faults that pass: an outage, or throttling without end."""

    @property
    def passing(self) -> bool:
        """It may succeed a while later."""
        return True


class Stopped(EarthEngineError):
    """Another part of the run met something that no part can survive."""

    action = "stop the run"

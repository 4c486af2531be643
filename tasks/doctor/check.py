"""A check: what is expected, what was found, and what to do. Checks run one after the other, each with a deadline."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tasks.doctor.privacy import Privacy
from tasks.earthengine.errors import EarthEngineError
from tasks.earthengine.line import Line
from tasks.earthengine.translation import parted
from tasks.errors import QuarryError
from tasks.errors.input import BadInputError
from tasks.storage.store import OutputDamaged, StorageError

State = Literal["ok", "warn", "fail", "not tried"]
SECONDS = 45.0
"""Deadline of a check. It has at most a few small requests, and each of them usually takes about 1 s."""
ALL_SECONDS = 600.0
"""Deadline of all checks together."""
BUG = "Report this line as a bug, with the whole table."
AGAIN = "Do what the message says, and run it again."
REPORT = (
    "A job can run, but this project assumes otherwise: report this line with the whole table, so that it can be fixed."
)


@dataclass(frozen=True)
class Outcome:
    """What a check found."""

    found: str
    state: State = "ok"
    remedy: str = ""


class UntriedError(QuarryError):
    """A check gives up before it has tried anything. The message is the reason."""


def ok(found: str) -> Outcome:
    """Return what is as expected."""
    return Outcome(found)


def warn(found: str, remedy: str = REPORT) -> Outcome:
    """Return what is not as expected, although a job can run."""
    return Outcome(found, "warn", remedy)


def fail(found: str, remedy: str) -> Outcome:
    """Return what keeps a job from running, or from storing the right pixels."""
    return Outcome(found, "fail", remedy)


def skipped(reason: str) -> Outcome:
    """Return that there was nothing to try, and why."""
    return Outcome(reason, "not tried")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check."""

    area: str
    name: str
    """Unique among all checks."""
    expected: str
    act: Callable[[], Outcome]
    """Tries it. An error that it raises makes the check fail."""
    needs: tuple[str, ...] = ()
    """Names of earlier checks. If one of them failed, or was not tried, this check is not tried."""
    seconds: float = SECONDS
    remedy: str = ""
    """What to do if `act` raises an error without a remedy of its own."""
    needed: bool = True
    """Whether no job can run without it. If not, an error or a missing answer is a warning."""
    always: bool = False
    """Whether it runs also after the deadline of all checks: it cleans up."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of the table. All texts are fit to be published."""

    area: str
    check: str
    state: State
    expected: str
    found: str
    remedy: str


def examined(
    checks: Iterable[Check], privacy: Privacy, *, seconds: float = ALL_SECONDS, limit: float = SECONDS
) -> Iterator[Finding]:
    """Run checks, and yield what each found.

    Args:
        checks: The checks, each after those that it needs.
        privacy: Makes each text fit to be published.
        seconds: Seconds after which no further check begins.
        limit: Longest deadline of a check, seconds.
    """
    states: dict[str, State] = {}
    causes: dict[str, str] = {}  # why a check was not tried: the first check in the chain
    until = time.monotonic() + seconds
    for check in checks:
        missing = next((name for name in check.needs if states.get(name, "not tried") in {"fail", "not tried"}), None)
        if missing is not None:
            causes[check.name] = missing = causes.get(missing, missing)
            outcome = skipped(f"It needs “{missing}”, which {_ended(states.get(missing))}.")
        elif time.monotonic() > until and not check.always:
            outcome = skipped(f"The {seconds:.0f} s of all checks were over.")
        else:
            outcome = _tried(check, min(check.seconds, limit))
        states[check.name] = outcome.state
        found, remedy = privacy(outcome.found), privacy(outcome.remedy)
        yield Finding(
            area=check.area,
            check=check.name,
            state=outcome.state,
            expected=check.expected,
            found=found,
            remedy=remedy,
        )


def _ended(state: State | None) -> str:
    return "failed" if state == "fail" else "was not tried"


def _tried(check: Check, seconds: float) -> Outcome:
    """Run a check in a thread of its own, which is left behind if it takes too long. Its connection is then cut."""
    line = Line()
    outcomes: list[Outcome] = []

    def act() -> None:
        with line.used():
            outcomes.append(_outcome(check))

    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(act,), name=f"doctor: {check.name}", daemon=True
    )
    thread.start()
    thread.join(seconds)
    if outcomes:
        return outcomes[0]
    line.cut()
    remedy = check.remedy or "Check the network, and run it again. If it happens again, something does not answer."
    return _wrong(check, f"There was no answer within {seconds:g} s.", remedy)


def _outcome(check: Check) -> Outcome:
    try:
        return check.act()
    except UntriedError as error:
        return skipped(str(error))
    except BadInputError as error:
        return _wrong(check, f"{error.field}: {error.reason}.", f"{error.remedy.rstrip('.')}.")
    except EarthEngineError as error:
        message, remedy = parted(error)
        return _wrong(check, message, remedy or check.remedy or BUG)
    except QuarryError as error:
        remedy = _remedy_of(error) if isinstance(error, StorageError) else ""
        return _wrong(check, str(error), remedy or check.remedy or AGAIN)
    except Exception as error:  # noqa: BLE001 - a check never raises
        return _wrong(check, f"{type(error).__name__}: {str(error)[:300]}", check.remedy or BUG)


def _remedy_of(error: StorageError) -> str:
    """Return what to do about an error of Cloud Storage; "" for others."""
    from tasks.storage.cloud_errors import REMEDIES  # takes a third of a second; a folder does not need it

    if isinstance(error, OutputDamaged):
        return "Run it again. If it happens again, something between here and the output changes bytes."
    remedy = REMEDIES.get(type(error), "")
    return remedy if remedy in str(error) else ""


def _wrong(check: Check, found: str, remedy: str) -> Outcome:
    return Outcome(found, "fail" if check.needed else "warn", remedy)

"""Calls x faults x phases: each fault of the Prefect server, in each call of a run, at each phase; what becomes of it.

A fault has one of these outcomes. The first two are allowed, the third in a worker only:

- `complete`: the run completes, and its pixels are those of an undisturbed run, byte for byte.
- `our error`: the run ends with one message of ours. The same job, run again without the fault, completes with the same
  pixels, and fetches no stored tile again.
- `Prefect's error`: Prefect's own code raises it before or after ours. The same job, run again, completes likewise.
- `raw error`, `hang`, `wrong pixels`, `not resumed`: what must never be.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.parameters import RegionParameters
from tests.chaos.lane import HANG_S, PHASES, End, Fault, Lane, Place, Watch

ALLOWED = ("complete", "our error", "Prefect's error")
READ = ("503", "503-retry", "500", "timeout", "reset", "short", "html", "truncated", "shape", "list")
CHANGE = (*READ, "reset-after", "409", "423")
LASTING = ("503", "timeout", "reset", "html")
"""Kinds of faults that go on for ever: a server that is busy, mute, away, or not a Prefect server."""

PATIENT: Mapping[str, Any] = {"settings": {"PREFECT_API_REQUEST_TIMEOUT": "60"}, "hurried": False}
"""Of a run without a fault: a server that is only busy does not fail it."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One fault of one run."""

    how: str
    """`command`, `adhoc` or `worker`."""
    fault: Fault
    settings: Mapping[str, str] = field(default_factory=dict)
    hurried: bool = True
    quick: bool = True
    """Whether the constants of the run are those of a short one: see `tests.chaos.lane.VALUES`."""
    patience: float = HANG_S

    @property
    def name(self) -> str:
        """Its name, in words."""
        fault = self.fault
        pace = "" if self.hurried else ", as it is set by default"
        return f"{self.how}: {fault.call} at {fault.phase}: {fault.kind} {fault.length}{pace}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of it."""

    combination: Combination
    outcome: str
    error: str
    """Type of the error and its first words."""
    seconds: float
    silence: float
    faults: int
    """Requests that failed. With none, the run had no such call in that phase."""
    tracebacks: int
    repeated: int
    """Tiles that were fetched more than once."""
    log: str = ""

    @property
    def met(self) -> bool:
        """Whether the fault happened."""
        return self.faults > 0

    @property
    def good(self) -> bool:
        """Whether the outcome is allowed."""
        return self.outcome in ALLOWED


class Deployment:
    """A deployment of the flow on each server, for runs as a worker starts them."""

    def __init__(self) -> None:
        self._ids: dict[str, UUID] = {}
        self._lock = threading.Lock()

    def new_run(self, prefect: str, parameters: Mapping[str, Any]) -> str:
        """Create a flow run of the deployment on a server, and return its id."""
        with temporary_settings({PREFECT_API_URL: prefect}), get_client(sync_client=True) as client:
            with self._lock:
                if prefect not in self._ids:
                    flow = client.create_flow_from_name("extract-region")
                    entrypoint = "flows.region.extract_region"
                    self._ids[prefect] = client.create_deployment(flow, "chaos", entrypoint=entrypoint, pull_steps=[])
            given = RegionParameters.nested(parameters)
            return str(client.create_flow_run_from_deployment(self._ids[prefect], parameters=given).id)


def job_of(how: str, place: Place, lane: Lane, deployment: Deployment, **more: Any) -> Any:
    """Return the job of a place, as a user starts it."""
    if how == "worker":
        return place.worker(deployment.new_run(lane.upstream, place.given(lane)), **more)
    return place.command(lane, **more) if how == "command" else place.adhoc(lane, **more)


def undisturbed(lane: Lane, how: str, deployment: Deployment) -> tuple[list[tuple[str, str]], dict[str, bytes]]:
    """Run a job without a fault; return phase and call of each of its requests, in order, and its pixels."""
    place = lane.new()
    end = lane.run(job_of(how, place, lane, deployment, **PATIENT), Watch())
    if end.code:
        raise RuntimeError(f"The undisturbed run left with {end.code}:\n{end.log[-4000:]}")
    pixels = place.pixels()
    place.remove()
    return end.watch.calls, pixels


def combinations(how: str, calls: Iterable[tuple[str, str]]) -> list[Combination]:
    """Return all combinations of one way to start a run: each kind of fault once, and the lasting ones.

    Args:
        how: How the run is started.
        calls: Phase and call of the requests of undisturbed runs.
    """
    faults: list[Fault] = []
    for phase, call in sorted(set(calls), key=lambda pair: (PHASES.index(pair[0]), pair[1])):
        kinds = LASTING if call.startswith("WS") else READ if call.startswith("GET") else CHANGE
        faults += [Fault(call=call, phase=phase, kind=kind) for kind in kinds]
        faults += [Fault(call=call, phase=phase, kind=kind, times=None) for kind in LASTING]
    for phase, kind in itertools.product(PHASES, LASTING):
        faults.append(Fault(call="*", phase=phase, kind=kind, times=None))
        faults.append(Fault(call="*", phase=phase, kind=kind, seconds=20.0))
    return [Combination(how=how, fault=fault) for fault in faults]


def sample(chosen: Sequence[Combination], count: int, *, seed: int = 0) -> list[Combination]:
    """Return some of them, spread evenly over calls and phases."""
    dice = random.Random(seed)
    groups: dict[tuple[str, str], list[Combination]] = {}
    for each in dice.sample(list(chosen), len(chosen)):
        groups.setdefault((each.fault.call, each.fault.phase), []).append(each)
    spread: list[Combination] = []
    while len(spread) < count and any(groups.values()):
        spread += [group.pop() for group in groups.values() if group]
    return spread[:count]


def judge(lane: Lane, combination: Combination, deployment: Deployment, pixels: Mapping[str, bytes]) -> Row:
    """Run a job with a fault, and once more without it if it failed."""
    place = lane.new()
    more = {"settings": combination.settings, "hurried": combination.hurried, "quick": combination.quick}
    job = job_of(combination.how, place, lane, deployment, **more)
    end = lane.run(job, Watch(combination.fault), patience=combination.patience)
    outcome, error = outcome_of(combination.how, end), ""
    repeated = 0
    log = end.log
    if outcome == "complete" and place.pixels() != pixels:
        outcome = "wrong pixels"
    elif outcome != "complete":
        error = end.message
        before = len(list(place.output.glob("tiles/**/*.tif")))
        again = lane.run(job_of(combination.how, place, lane, deployment, **PATIENT), Watch())
        log += f"\n--- again: {again.code}\n{again.log}"
        repeated = max(0, before + again.watch.answered - len(tiles_of(pixels)))
        if again.code or place.pixels() != pixels or repeated:
            outcome = f"{outcome}, not resumed" if outcome not in ALLOWED else "not resumed"
    row = Row(
        combination=combination,
        outcome=outcome,
        error=error,
        seconds=end.seconds,
        silence=end.silence,
        faults=end.watch.faults,
        tracebacks=end.tracebacks,
        repeated=repeated,
        log=log,
    )
    place.remove()
    return row


def tiles_of(pixels: Mapping[str, bytes]) -> list[str]:
    """Return the tiles among files of pixels."""
    return [name for name in pixels if name.startswith("tiles/")]


def outcome_of(how: str, end: End) -> str:
    """Return how a run ended, by its exit status and by what left it."""
    if end.code is None:
        return "hang"
    if end.code == 0 and (how != "worker" or "Finished in state Completed" in end.log):
        return "complete"
    if how == "worker":
        ours = "Finished in state Failed('" in end.log or "Finished in state Cancelled('" in end.log
        return "our error" if ours and end.code == 0 else "Prefect's error"
    left = end.how.get("how") == "left" or (end.how.get("how") == "raised" and end.how["ours"])
    left = left and not end.message.startswith("UnexpectedError")  # it stands for an exception that is not foreseen
    return "our error" if left and end.code in {1, 2, 130} else "raw error"

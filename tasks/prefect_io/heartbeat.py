"""Heartbeats of flow runs: how often they are sent, and what happens when they stop.

A process that is killed (`kill -9`, out of memory, power) cannot report to Prefect, and without a worker nothing else
does: its run would stay Running for ever. Prefect's engine sends heartbeats while a flow runs, so an automation on the
server can notice when they stop.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import AutomationSort
from prefect.events.actions import ChangeFlowRunState
from prefect.events.filters import AutomationFilter, AutomationFilterName
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.states import Crashed

HEARTBEAT_S = 30


@contextlib.contextmanager
def heartbeats() -> Iterator[None]:
    """Let runs that begin in the block send them; if the user has set another frequency, it stays."""
    from prefect.settings import temporary_settings

    with temporary_settings(set_defaults={"flows.heartbeat_frequency": HEARTBEAT_S}):
        yield


NAME = "pixel-quarry: runs without a heartbeat"
FLOWS = ("extract-region", "extract-timeseries", "extract-patches", "audit-output")
HEARTBEAT, RUNNING = "prefect.flow-run.heartbeat", "prefect.flow-run.Running"
# Names of the states in which nobody sends: the run has ended, or waits for its next start, as between two attempts. Of
# the others, a run that is Paused goes on sending, and one that is Cancelling for long becomes Cancelled by itself.
ENDED = ("Completed", "Failed", "TimedOut", "Cancelled", "Crashed")
WAITING = ("AwaitingRetry", "AwaitingConcurrencySlot", "Suspended", "Scheduled")

_log = logging.getLogger(__name__)


def watch_for_crashes(client: SyncPrefectClient, *, silence_s: float = 90.0) -> float:
    """Make sure that the server marks those of our runs Crashed which have stopped sending heartbeats.

    A run goes on without it: a server that does not let us is left as it is. So is the switch of the automation, if
    somebody has turned it off.

    Args:
        client: Of the server.
        silence_s: Seconds without a heartbeat, from 10, after which a run is taken for dead; some heartbeats long.

    Returns:
        The silence that is in force. It is never shortened here: another run's heartbeats may come more seldom, as
        those of a flow that is called by itself do.
    """
    wanted = automation(silence_s)
    try:
        found = _found(client)
        if not found:
            client.create_automation(wanted)
            found = _found(client)
        for younger in found[1:]:  # of runs that began at the same moment
            with contextlib.suppress(httpx.HTTPStatusError):  # another was quicker
                client.delete_automation(younger.id)
        for kept in found[:1]:
            known_s = kept.trigger.within.total_seconds() if isinstance(kept.trigger, EventTrigger) else 0.0
            if known_s > silence_s:
                silence_s, wanted = known_s, automation(known_s)
            if (kept.trigger, kept.actions) != (wanted.trigger, wanted.actions):
                update = wanted.model_dump(exclude={"owner_resource"}) | {"enabled": kept.enabled}
                client.update_automation(kept.id, AutomationCore(**update))
    except (httpx.HTTPError, ValueError) as error:  # the latter is an answer that this version can't read
        _log.debug("Killed runs are not marked Crashed, since the server has no automation for it: %s", error)
    return silence_s


def mark_the_silent(client: SyncPrefectClient, *, silence_s: float) -> int:
    """Mark those of our runs Crashed which have been silent for long, and return how many.

    That is what the automation does, but for a heartbeat that was lost: with a server that was restarted as a process
    was killed. A run that is alive all the same sets itself Running again.
    """
    since = (datetime.now(UTC) - timedelta(seconds=silence_s)).isoformat()
    running = {"state": {"type": {"any_": ["RUNNING"]}}, "start_time": {"before_": since}}
    asked = {"flows": {"name": {"any_": list(FLOWS)}}, "flow_runs": running, "limit": 50}
    marked = 0
    try:
        for run in client.request("POST", "/flow_runs/filter", json=asked).json():
            beats = {
                "event": {"name": [HEARTBEAT]},
                "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
                "occurred": {"since": since},
            }
            if not client.request("POST", "/events/filter", json={"filter": beats, "limit": 1}).json()["total"]:
                client.set_flow_run_state(run["id"], Crashed(message=_words(silence_s)))
                marked += 1
    except (httpx.HTTPError, ValueError, KeyError) as error:
        _log.debug("Runs without a heartbeat were not looked for: %s", error)
    return marked


def _found(client: SyncPrefectClient) -> list[Automation]:
    """Return the automations of our name, the oldest first."""
    ours = AutomationFilter(name=AutomationFilterName(any_=[NAME]))
    return client.read_automations(automations=ours, sort=AutomationSort.CREATED_DESC, limit=100)[::-1]


def automation(silence_s: float) -> AutomationCore:
    """Return what the server is to do."""
    trigger = EventTrigger(
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)},
        for_each={"prefect.resource.id"},
        after={HEARTBEAT, RUNNING},  # the latter for one that was killed before its first heartbeat had left it
        expect={HEARTBEAT, *(f"prefect.flow-run.{state}" for state in (*ENDED, *WAITING))},
        posture=Posture.Proactive,
        within=timedelta(seconds=silence_s),
    )
    crash = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=_words(silence_s))
    return AutomationCore(name=NAME, description=__doc__ or "", trigger=trigger, actions=[crash])


def _words(silence_s: float) -> str:
    return (
        f"No heartbeat for {silence_s:.0f} s: its process was killed, or lost the server. "
        "What it stored is kept: run the same again."
    )

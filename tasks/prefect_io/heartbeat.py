"""Heartbeats of flow runs: how often they are sent, and what happens when they stop.

A process that is killed (`kill -9`, out of memory, power failure) cannot report to Prefect. Without a worker, nothing
else reports it, and its run would stay Running for ever. Prefect's engine sends heartbeats while a flow runs, so an
automation on the server can notice when they stop.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import AutomationSort
from prefect.events.actions import ChangeFlowRunState
from prefect.events.filters import AutomationFilter, AutomationFilterName
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.states import Crashed

from tasks.prefect_io.client_log import REPORT_S, log_retries

HEARTBEAT_S = 30
# Runs that the server lists in one answer.
PAGE = 200
# The header `Date` of an answer has whole seconds, and a busy server renews it late.
DATE_LATE = timedelta(seconds=5)


@contextlib.contextmanager
def heartbeats() -> Iterator[None]:
    """Make runs that begin in the `with` block send a heartbeat every 30 s, unless the user has set another frequency.

    Prefect's default is 180 s. Prefect's client also waits for 20 s for an answer instead of 60 s, unless the user has
    set another time, so that the log soon names a server that is away.
    """
    from prefect.settings import temporary_settings

    log_retries()
    with temporary_settings(set_defaults={"flows.heartbeat_frequency": HEARTBEAT_S, "api.request_timeout": REPORT_S}):
        yield


NAME = "pixel-quarry: runs without a heartbeat"
FLOWS = ("extract-region", "extract-timeseries", "extract-patches", "audit-output", "examine-setup")
HEARTBEAT, RUNNING = "prefect.flow-run.heartbeat", "prefect.flow-run.Running"
# Names of the states without heartbeats: the run has ended, or waits for its next start, for example between two
# attempts. In other states: a Paused run still sends heartbeats, and a run that stays Cancelling becomes Cancelled.
ENDED = ("Completed", "Failed", "TimedOut", "Cancelled", "Crashed")
WAITING = ("AwaitingRetry", "AwaitingConcurrencySlot", "Suspended", "Scheduled")

_log = logging.getLogger(__name__)


def watch_for_crashes(client: SyncPrefectClient, *, silence_s: float = 90.0) -> float:
    """Create or update the automation that marks runs of our flows Crashed when their heartbeats stop.

    If the server refuses, the run goes on without it. If a user has disabled the automation, it stays disabled.

    Args:
        client: Client of the Prefect server.
        silence_s: Seconds without a heartbeat after which a run counts as dead: at least 10, and several heartbeats.

    Returns:
        The silence in force, in seconds. A longer silence of the existing automation is kept: other runs may send
        heartbeats less often, for example a flow that is called directly as a function.

    Raises:
        ValueError: `silence_s` is less than 10.
    """
    wanted = automation(silence_s)
    try:
        found = _found(client)
        if not found:
            client.create_automation(wanted)
            found = _found(client)
        for younger in found[1:]:  # created by runs that began at the same moment
            with contextlib.suppress(httpx.HTTPStatusError):  # another run has already deleted it
                client.delete_automation(younger.id)
        for kept in found[:1]:
            known_s = kept.trigger.within.total_seconds() if isinstance(kept.trigger, EventTrigger) else 0.0
            if known_s > silence_s:
                silence_s, wanted = known_s, automation(known_s)
            if (kept.trigger, kept.actions) != (wanted.trigger, wanted.actions):
                update = wanted.model_dump(exclude={"owner_resource"}) | {"enabled": kept.enabled}
                client.update_automation(kept.id, AutomationCore(**update))
    except (httpx.HTTPError, ValueError) as error:  # ValueError: this version cannot read the answer
        _log.debug("The automation that marks killed runs Crashed could not be created or updated: %s", error)
    return silence_s


def mark_the_silent(client: SyncPrefectClient, *, silence_s: float) -> int:
    """Mark runs of our flows Crashed that have sent no heartbeat for `silence_s` seconds; return how many.

    The automation does the same, but misses a run whose last heartbeat was lost because the server restarted as its
    process was killed. A run that is marked although it is alive sets itself Running again (`QuotaLimit.cancelled`).
    """
    marked = 0
    runs: list[dict[str, Any]] = []
    try:
        since = (_now(client) - timedelta(seconds=silence_s)).isoformat()
        running = {"state": {"type": {"any_": ["RUNNING"]}}, "start_time": {"before_": since}}
        asked = {"flows": {"name": {"any_": list(FLOWS)}}, "flow_runs": running, "limit": PAGE}
        # Not `/flow_runs/filter`: it answers 500 if one of the runs has parameters that the server cannot send, such as
        # an integer beyond 64 bits. This answer has no parameters.
        while len(runs) % PAGE == 0:
            page = client.request("POST", "/ui/flow_runs/history", json=asked | {"offset": len(runs)}).json()
            runs += page
            if not page:
                break
        for run in runs:
            beats = {
                "event": {"name": [HEARTBEAT]},
                "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
                "occurred": {"since": since},
            }
            if not client.request("POST", "/events/filter", json={"filter": beats, "limit": 1}).json()["total"]:
                client.set_flow_run_state(run["id"], Crashed(message=_words(silence_s)))
                marked += 1
    except (httpx.HTTPError, ValueError, KeyError) as error:
        _log.debug("The search for runs without a heartbeat failed: %s", error)
    return marked


def _now(client: SyncPrefectClient) -> datetime:
    """Return the time, and not a later one than that of the server: by a clock that is ahead, all runs are silent."""
    now = datetime.now(UTC)
    with contextlib.suppress(KeyError, ValueError, TypeError):  # a proxy removed the header, or wrote another one
        now = min(now, parsedate_to_datetime(client.hello().headers["Date"]) + DATE_LATE)
    return now


def _found(client: SyncPrefectClient) -> list[Automation]:
    """Return the automations with our name, the oldest first."""
    ours = AutomationFilter(name=AutomationFilterName(any_=[NAME]))
    return client.read_automations(automations=ours, sort=AutomationSort.CREATED_DESC, limit=100)[::-1]


def automation(silence_s: float) -> AutomationCore:
    """Return the automation that marks runs of our flows Crashed after `silence_s` seconds without a heartbeat."""
    trigger = EventTrigger(
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)},
        for_each={"prefect.resource.id"},
        after={HEARTBEAT, RUNNING},  # RUNNING: the process may be killed before it sends its first heartbeat
        expect={HEARTBEAT, *(f"prefect.flow-run.{state}" for state in (*ENDED, *WAITING))},
        posture=Posture.Proactive,
        within=timedelta(seconds=silence_s),
    )
    crash = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=_words(silence_s))
    return AutomationCore(name=NAME, description=__doc__ or "", trigger=trigger, actions=[crash])


def _words(silence_s: float) -> str:
    return (
        f"No heartbeat for {silence_s:.0f} s: the process of the run was killed, or cannot reach the Prefect server. "
        "Stored tiles are kept. To resume, run it again with the same parameters."
    )

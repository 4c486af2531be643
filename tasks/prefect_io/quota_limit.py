"""The concurrency limit on the Prefect server that stands for the quota of an Earth Engine project."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.states import Running

from tasks.errors.input import BadInputError
from tasks.prefect_io.flow_run import Log

# A process that holds nothing.
NOBODY = UUID(int=0)
# How much may be wanted: no limit at all, as far as anybody can use it.
BOUNDLESS = 1_000_000


def tag_of(project: str) -> str:
    """Return the tag of the tasks that send requests to an Earth Engine project."""
    return f"earthengine:{project}"


def share(limit: int, *, wanted: int, all_wanted: int) -> int:
    """Return how many slots of a limit are due to a run that wants some, where all runs together want more.

    >>> share(40, wanted=40, all_wanted=80), share(40, wanted=5, all_wanted=45), share(40, wanted=40, all_wanted=40)
    (20, 4, 40)
    """
    if all_wanted <= limit:
        return min(wanted, limit)
    return max(1, limit * wanted // all_wanted)


@dataclass(frozen=True)
class LimitState:
    """What the server says of the quota."""

    limit: int
    taken: int
    all_wanted: int
    """Slots that all runs together could use."""


@dataclass(frozen=True)
class QuotaLimit:
    """The quota of an Earth Engine project, as one process of a run sees it."""

    project: str
    run_id: str = ""
    """Of the flow run, whose state shows whether it has been cancelled."""
    holder: UUID = NOBODY
    """Of this process: the server keeps holders apart, so that each has a share."""

    @property
    def name(self) -> str:
        """The limit of the tag, whose slots are the requests that may be in flight."""
        return f"tag:{tag_of(self.project)}"

    @property
    def wanted(self) -> str:
        """The limit of which each run takes as many slots as it could use."""
        return f"{self.name}:wanted"

    def read(self, client: SyncPrefectClient, *, wanted: int) -> LimitState:
        """Return how it stands.

        Args:
            client: Of the server.
            wanted: What this run wants.

        Raises:
            ObjectNotFound: one of the two is not there.
        """
        limit = client.read_global_concurrency_limit_by_name(self.name)
        all_wanted = max(client.read_global_concurrency_limit_by_name(self.wanted).active_slots, wanted)
        if all_wanted > limit.limit and not self.others(client):  # wishes of runs that died with a server's memory
            all_wanted = wanted
        return LimitState(limit.limit, limit.active_slots, all_wanted)

    def full(self, client: SyncPrefectClient) -> bool:
        """Return whether all slots are taken."""
        limit = client.read_global_concurrency_limit_by_name(self.name)
        return limit.active_slots >= limit.limit

    def cancelled(self, client: SyncPrefectClient) -> bool:
        """Return whether the run has been cancelled. Prefect does not notify a run without a worker.

        One that the server took for dead, as it was away itself and missed heartbeats, is set to Running again: from
        Crashed, Prefect would not retry it.
        """
        with contextlib.suppress(ObjectNotFound, ValueError):  # a job that is no flow run has an id of its own kind
            run = UUID(self.run_id)
            state = client.read_flow_run(run).state
            if state is not None and state.is_crashed():
                client.set_flow_run_state(run, Running(), force=True)
            return state is not None and (state.is_cancelling() or state.is_cancelled())
        return False

    def others(self, client: SyncPrefectClient) -> bool:
        """Return whether other processes, of this run or another, are known to share the quota."""
        tag = self.wanted.removeprefix("tag:")
        return bool(set(client.read_concurrency_limit_by_tag(tag).active_slots) - {self.holder})

    def check(self, client: SyncPrefectClient, *, in_flight: int, quota: int, log: Log) -> None:
        """Create the limits, or hold that of the quota against what the run was told.

        Args:
            client: Of the server.
            in_flight: What the run may have in flight.
            quota: Slots that a limit gets which is not there yet.
            log: Of the flow run.

        Raises:
            BadInputError: it is there, but counts nothing.
        """
        found, created = _found_or_created(client, self.name, quota)
        if created:
            log.warning("There was no limit %s: it was created with %d slots.", self.name, quota)
        _found_or_created(client, self.wanted, BOUNDLESS)
        slots = max(quota, in_flight)
        remedy = f"Mend it: `prefect global-concurrency-limit update {self.name} --limit {slots} --enable`"
        if not found.active or found.limit < 1 or found.slot_decay_per_second:
            state = "switched off" if not found.active else "decaying" if found.slot_decay_per_second else "zero"
            raise BadInputError("requests_in_flight", in_flight, f"the limit {self.name} is {state}", remedy)
        if found.limit < in_flight:
            log.warning(
                "The limit %s is %d, so no more than that are in flight, though requests_in_flight = %d. %s.",
                *(self.name, found.limit, in_flight, remedy),
            )
        if found.active_slots and not self.others(client):
            log.warning(
                "%d of %d slots of %s are taken by runs that died. They come back in 75 seconds; if the server was "
                "started anew since and keeps leases in memory, only by `prefect global-concurrency-limit update "
                "%s --active-slots 0` (and the same for %s) while no run is going on.",
                *(found.active_slots, found.limit, self.name, self.name, self.wanted),
            )


def _found_or_created(client: SyncPrefectClient, name: str, slots: int) -> tuple[GlobalConcurrencyLimitResponse, bool]:
    """Return a limit, and whether it was created."""
    with contextlib.suppress(ObjectNotFound):
        return client.read_global_concurrency_limit_by_name(name), False
    limit = GlobalConcurrencyLimitCreate(name=name, limit=slots, active=True, slot_decay_per_second=0)
    with contextlib.suppress(ObjectAlreadyExists):  # another run was quicker
        client.create_global_concurrency_limit(limit)
    return client.read_global_concurrency_limit_by_name(name), True

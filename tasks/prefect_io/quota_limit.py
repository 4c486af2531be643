"""The concurrency limits on the Prefect server that represent the quota of an Earth Engine project."""

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

# Holder id of a process that holds no slot.
NOBODY = UUID(int=0)
# Slots of the second limit: more than all processes together can want.
BOUNDLESS = 1_000_000


def tag_of(project: str) -> str:
    """Return the tag of tasks that send requests to an Earth Engine project."""
    return f"earthengine:{project}"


def share(limit: int, *, wanted: int, all_wanted: int) -> int:
    """Return how many slots of a limit a process may take, in proportion to what all processes want; at least 1.

    Args:
        limit: Slots of the limit.
        wanted: Slots that the process could use.
        all_wanted: Slots that all processes together could use.

    >>> share(40, wanted=40, all_wanted=80), share(40, wanted=5, all_wanted=45), share(40, wanted=40, all_wanted=40)
    (20, 4, 40)
    """
    if all_wanted <= limit:
        return min(wanted, limit)
    return max(1, limit * wanted // all_wanted)


@dataclass(frozen=True)
class LimitState:
    """The quota's limits, as the server reports them."""

    limit: int
    """Slots of the limit."""
    taken: int
    """Slots that are taken."""
    all_wanted: int
    """Slots that all processes together could use."""


@dataclass(frozen=True)
class QuotaLimit:
    """The quota of an Earth Engine project, as one process of a run uses it."""

    project: str
    """The Earth Engine project."""
    run_id: str = ""
    """Id of the flow run. The state of the run shows whether it has been cancelled."""
    holder: UUID = NOBODY
    """Id under which this process holds slots. Each process has its own id, and so its own share."""

    @property
    def name(self) -> str:
        """The name of the tag's limit. Its slots are the requests that may be in flight."""
        return f"tag:{tag_of(self.project)}"

    @property
    def wanted(self) -> str:
        """The name of the second limit. Each process takes as many of its slots as it could use of the quota."""
        return f"{self.name}:wanted"

    def read(self, client: SyncPrefectClient, *, wanted: int) -> LimitState:
        """Return the state of both limits.

        Args:
            client: Client of the server.
            wanted: Slots that this process could use.

        Raises:
            ObjectNotFound: One of the two limits does not exist.
        """
        limit = client.read_global_concurrency_limit_by_name(self.name)
        all_wanted = max(client.read_global_concurrency_limit_by_name(self.wanted).active_slots, wanted)
        # With no other process alive, the rest is the demand of dead runs whose leases the server lost in a restart.
        if all_wanted > limit.limit and not self.others(client):
            all_wanted = wanted
        return LimitState(limit.limit, limit.active_slots, all_wanted)

    def full(self, client: SyncPrefectClient) -> bool:
        """Return whether all slots are taken."""
        limit = client.read_global_concurrency_limit_by_name(self.name)
        return limit.active_slots >= limit.limit

    def cancelled(self, client: SyncPrefectClient) -> bool:
        """Return whether the run has been cancelled. Prefect does not notify a run without a worker.

        If the run is marked Crashed, it is set to Running again: the server was away and missed heartbeats. Prefect
        would not retry a Crashed run.
        """
        with contextlib.suppress(ObjectNotFound, ValueError):  # a job without a flow run has another kind of id
            run = UUID(self.run_id)
            state = client.read_flow_run(run).state
            if state is not None and state.is_crashed():
                client.set_flow_run_state(run, Running(), force=True)
            return state is not None and (state.is_cancelling() or state.is_cancelled())
        return False

    def others(self, client: SyncPrefectClient) -> bool:
        """Return whether the server knows other processes that share the quota, of this run or of another."""
        tag = self.wanted.removeprefix("tag:")
        return bool(set(client.read_concurrency_limit_by_tag(tag).active_slots) - {self.holder})

    def check(self, client: SyncPrefectClient, *, in_flight: int, quota: int, log: Log) -> None:
        """Create the limits if they do not exist, and check the limit of the quota against the parameters of the run.

        Logs a warning if a limit was created, if it is lower than `in_flight`, or if dead runs hold slots.

        Args:
            client: Client of the server.
            in_flight: Requests that the run may have in flight.
            quota: Slots of the limit if it is created.
            log: Logger of the flow run.

        Raises:
            BadInputError: The limit is switched off, zero, or has slot decay, so it does not count requests.
        """
        found, created = _found_or_created(client, self.name, quota)
        if created:
            log.warning("The limit %s did not exist: it was created with %d slots.", self.name, quota)
        _found_or_created(client, self.wanted, BOUNDLESS)
        slots = max(quota, in_flight)
        remedy = f"Set it: `prefect global-concurrency-limit update {self.name} --limit {slots} --enable`"
        if not found.active or found.limit < 1 or found.slot_decay_per_second:
            state = "switched off" if not found.active else "decaying" if found.slot_decay_per_second else "zero"
            raise BadInputError("requests_in_flight", in_flight, f"the limit {self.name} is {state}", remedy)
        if found.limit < in_flight:
            log.warning(
                "The limit %s is %d, so at most %d requests are in flight, although requests_in_flight = %d. %s.",
                *(self.name, found.limit, found.limit, in_flight, remedy),
            )
        if found.active_slots and not self.others(client):
            log.warning(
                "%d of %d slots of %s are taken by runs that died. They come back as their leases end, usually within "
                "75 s. If not, the server was restarted and had kept the leases in memory: while no run is in "
                "progress, run `prefect global-concurrency-limit update %s --active-slots 0`, and the same for %s.",
                *(found.active_slots, found.limit, self.name, self.name, self.wanted),
            )


def _found_or_created(client: SyncPrefectClient, name: str, slots: int) -> tuple[GlobalConcurrencyLimitResponse, bool]:
    """Return a limit, and whether it did not exist before."""
    with contextlib.suppress(ObjectNotFound):
        return client.read_global_concurrency_limit_by_name(name), False
    limit = GlobalConcurrencyLimitCreate(name=name, limit=slots, active=True, slot_decay_per_second=0)
    with contextlib.suppress(ObjectAlreadyExists):  # another run has created it just now
        client.create_global_concurrency_limit(limit)
    return client.read_global_concurrency_limit_by_name(name), True

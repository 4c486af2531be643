"""Slots: what a run holds of the quota that all runs of an Earth Engine project share.

The limit of the tag ``earthengine:<project>`` is the quota, so the slots that are taken on the Prefect page are the
requests that may be in flight. A lane takes one by its tag, as any tagged task does; its run takes the others by leases
on the same limit, and lanes of a run share them, so that nothing is idle between two batches.

Leases fail open in Prefect: a task whose lease is lost runs on. So one thread renews all leases of the run, that of the
tag too, and the permits count none that was not confirmed in time. How much each run may take when there are several
follows from a second limit, ``earthengine:<project>:wanted``, of which each run takes as many slots as it could use.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self
from uuid import UUID

import httpx
import tenacity
from prefect.client.base import ServerType, determine_server_type
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from tasks.crashed import mark_the_silent, watch_for_crashes
from tasks.earthengine.permits import Permits
from tasks.limit import Limit, Log, ServerAwayError, server, share, tag_of

# A busy server may take longer for an answer than a run's threads would wait: its start does.
_patiently = tenacity.retry(
    retry=tenacity.retry_if_exception_type(ServerAwayError), stop=tenacity.stop_after_attempt(3), reraise=True
)

# The shortest lease that Prefect grants, so that a killed run's slots come back soonest; and how often it is prolonged.
LEASE_S, RENEW_S = 60.0, 10.0
# Looks at the server: seconds apart while all is well, and while slots are to be taken or given up.
CALM_S, EAGER_S = 2.0, 0.3
# Seconds of waiting for slots after which, and then again, the log says so.
PATIENCE_S = 30.0
# Seconds in which a request that was in flight as its lane ended has ended, whatever became of it.
LONGEST_S = 400.0


@dataclass
class _Lease:
    id: UUID
    slots: int
    renewed: float
    """When it was last confirmed; before that, no request may count on it."""
    seconds: float = LEASE_S
    """How long it lasts from then on."""
    is_wish: bool = False
    """Whether it is of the limit by which runs tell how much they want."""
    of_tag: bool = False
    """Whether it is that of a lane's tag, which Prefect itself releases."""
    retiring: bool = False


class Slots:
    """The leases of one run in one process, and the thread that keeps them.

    Args:
        project: Earth Engine project.
        permits: What the leases are counted for.
        run_id: Flow run that holds them.
        log: Of the flow run.
        quota: Slots that the project's limit gets if it is not there yet; None = what the run may have in flight.
    """

    def __init__(self, project: str, permits: Permits, *, run_id: UUID, log: Log, quota: int | None = None) -> None:
        self.tag = tag_of(project)
        self.on_cancel: Callable[[], object] = lambda: None
        """Called when somebody has cancelled the flow run."""
        self._asked = -float("inf")
        self._permits = permits
        self._limit = Limit(project, run_id)
        self._quota = quota or permits.pace.in_flight
        self._log = log
        self._leases: list[_Lease] = []
        self._wish: _Lease | None = None
        self._wanted = 1
        self._by_tag = 0
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._closing = False
        self._left_for: float | None = None
        self._client: SyncPrefectClient | None = None
        self._thread: threading.Thread | None = None
        self._until_the_end = contextlib.ExitStack()
        self._waiting_since = time.monotonic()
        self.shared = determine_server_type() is not ServerType.EPHEMERAL
        """Whether there is a server by which runs share the quota."""

    # The run ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if not self.shared:
            self._permits.hold("quota", self._permits.pace.in_flight)
            self._log.info(
                "No Prefect server is configured, by which runs could share the quota: this one takes all %d requests "
                "in flight. Start no other beside it.",
                self._permits.pace.in_flight,
            )
            return self
        self._client = self._until_the_end.enter_context(server())
        with contextlib.ExitStack() as failed:
            failed.push(self._until_the_end)
            _patiently(self._limit.check)(
                self._client, in_flight=self._permits.pace.in_flight, quota=self._quota, log=self._log
            )
            if heartbeat_s := get_current_settings().flows.heartbeat_frequency:  # it can be switched off
                watch_for_crashes(self._client, silence_s=3.0 * heartbeat_s)
                mark_the_silent(self._client, silence_s=3.0 * heartbeat_s)
            failed.pop_all()
        return self

    def wait_for_room(self) -> None:
        """Wait until a slot is free, without taking it: what is asked before the first pixel is asked one by one.

        Others leave it free, since this run's wish is among those that they share with.
        """
        if self._client is None:
            return
        self._wish_for(self._client, 1)
        while self._limit.full(self._client):
            if self._limit.cancelled(self._client):
                self.on_cancel()
                return
            self._complain(f"all slots of {self._limit.name} are taken")
            time.sleep(EAGER_S)

    def begin(self) -> None:
        """Take slots from now on, the first before this returns unless none is free."""
        if self._client is None:
            return
        self._wish_for(self._client, 1)  # unless it has: by its wish others see that it is alive
        self._take(self._client, 1)
        until_the_end = self._until_the_end.pop_all()
        self._thread = threading.Thread(target=self._keep, args=(self._client, until_the_end), name="slots")
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        # Nobody waits for the slots to be given back, but Python does before it ends: the thread is no daemon.
        self._closing = True
        self._wake.set()
        if self._client and self._thread is None:  # it never began
            self._release_all(self._client)
        self._until_the_end.close()

    def leave(self, computing_s: float) -> None:
        """Let the process end although requests are in flight: their slots stay taken for as long as they may go on."""
        self._left_for = computing_s

    def want(self, slots: int) -> None:
        """Say how many requests the run could have in flight from now on; one of them by the tag of a lane."""
        self._by_tag = 1
        slots = max(1, min(slots, self._permits.pace.in_flight))
        if slots != self._wanted:
            self._wanted = slots
            self._wake.set()

    # Lanes -----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lane(self, tag_lease: UUID | None) -> Iterator[None]:
        """Count the slot of a lane's tag, for as long as the lane runs.

        Args:
            tag_lease: That of the task run; None, where the tag has no limit.
        """
        own = [_Lease(tag_lease, 1, -float("inf"), of_tag=True)] if tag_lease and self.shared else []
        with self._lock:
            self._leases += own
        self._wake.set()
        try:
            yield
        finally:
            with self._lock:
                for lease in own:
                    if lease in self._leases:
                        self._leases.remove(lease)
                    self._permits.drop(lease.id)
            # Prefect gives the slot back as soon as the task ends: until then a request may need it.
            self._permits.wait_idle(LONGEST_S if self._left_for is None else 0.0, beyond=self._permits.slots)

    # The thread ------------------------------------------------------------------------------------------------------

    def _keep(self, client: SyncPrefectClient, until_the_end: contextlib.ExitStack) -> None:
        with until_the_end:
            # Slots are kept for requests that are still in flight when the run ends.
            while not self._closing or (self._permits.in_flight and self._left_for is None):
                calm = False
                try:
                    calm = self._look(client)
                except httpx.HTTPStatusError as error:
                    self._complain(f"the Prefect server answers with {error!r}", always=True)
                except httpx.HTTPError as error:  # leases lapse, and nothing is sent on them
                    self._complain(f"the Prefect server is away ({error})")
                except Exception as error:  # noqa: BLE001 - without this thread the run would wait for slots for ever
                    self._complain(repr(error), always=True)
                self._wake.wait(CALM_S if calm else EAGER_S)
                self._wake.clear()
            self._release_all(client)

    def _look(self, client: SyncPrefectClient) -> bool:
        """Renew what is due, take or give up slots; return whether there is nothing more to do for now."""
        self._renew(client)
        if not self._closing and time.monotonic() - self._asked >= CALM_S:
            self._asked = time.monotonic()
            if self._limit.cancelled(client):
                self.on_cancel()
        if self._closing:
            self._wanted = max(1, self._permits.in_flight)
        try:
            self._wish_for(client, self._wanted)
            state = self._limit.read(client, wanted=self._wanted)
        except ObjectNotFound:  # somebody has deleted one
            self._limit.check(client, in_flight=self._permits.pace.in_flight, quota=self._quota, log=self._log)
            return False
        self._permits.quota = max(1, state.limit)  # a limit of 0 leaves a run the slot of its lane, and no other
        due = share(state.limit, wanted=self._wanted, all_wanted=state.all_wanted)
        calm = self._release_retired(client)
        with self._lock:
            held = [lease for lease in self._leases if not lease.retiring]
            by_tag = max(0, self._by_tag - sum(lease.of_tag for lease in held))
            spare = due - by_tag - sum(lease.slots for lease in held)
        if spare < 0:
            self._retire(-spare)
            return False
        free = max(0, state.limit - state.taken - by_tag)
        if spare and free:
            self._take(client, min(spare, free))
        if not self._permits.slots:
            who = (
                "other runs" if self._limit.others(client) else "runs that died, or this one before a server's restart"
            )
            self._complain(f"{state.taken} of {state.limit} of {self._limit.name} are taken by {who}")
        return calm and (spare == 0 or free >= spare) and self._permits.slots > 0

    def _renew(self, client: SyncPrefectClient) -> None:
        with self._lock:
            leases = [*self._leases, *([self._wish] if self._wish else [])]
        for lease in leases:
            now = time.monotonic()
            if now - lease.renewed < RENEW_S:
                continue
            seconds = self._lease_s()
            try:
                client.renew_concurrency_lease(lease.id, seconds)
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.GONE:
                    raise
                self._lost(client, lease)
                continue
            lease.renewed, lease.seconds = now, seconds
            self._count(lease)

    def _lease_s(self) -> float:
        """Return how long a lease is to last: a request that is sent while it is known to hold ends before it."""
        return max(LEASE_S, 2 * self._permits.reserve + RENEW_S)

    def _lost(self, client: SyncPrefectClient, lease: _Lease) -> None:
        """Forget a lease that the server no longer knows."""
        known = self._forget(lease)  # that of a lane that has ended meanwhile was given back by Prefect
        age = time.monotonic() - lease.renewed
        if known and age < lease.seconds - RENEW_S:
            # It did not end by time: the server has lost its memory, or somebody reset it. Its count is kept in the
            # database, where nobody but the holder would ever take it back.
            name = self._limit.wanted if lease.is_wish else self._limit.name
            client.release_concurrency_slots([name], lease.slots, max(age, 0.1))

    def _count(self, lease: _Lease) -> None:
        with self._lock:
            if lease in self._leases and not lease.retiring:
                # Prefect prolongs that of a tag as well, and to no more than its own.
                seconds = min(lease.seconds, LEASE_S) if lease.of_tag else lease.seconds
                self._permits.hold(lease.id, lease.slots, lease.renewed + seconds)

    def _forget(self, lease: _Lease) -> bool:
        """Count a lease no more; return whether it was counted as ours."""
        with self._lock:
            self._permits.drop(lease.id)
            known = lease in self._leases or lease is self._wish
            if lease in self._leases:
                self._leases.remove(lease)
            if lease is self._wish:
                self._wish = None
            return known

    def _wish_for(self, client: SyncPrefectClient, slots: int) -> None:
        if self._wish and self._wish.slots == slots:
            return
        former, self._wish = self._wish, self._lease(client, self._limit.wanted, slots)
        if former:
            client.release_concurrency_slots_with_lease(former.id)

    def _take(self, client: SyncPrefectClient, slots: int) -> None:
        # By halves, so that most of them can be kept when a part is to be given up.
        while slots > 0:
            lease = self._lease(client, self._limit.name, -(-slots // 2))
            if lease is None:  # somebody was quicker
                return
            with self._lock:
                self._leases.append(lease)
            self._count(lease)
            slots -= lease.slots

    def _lease(self, client: SyncPrefectClient, name: str, slots: int) -> _Lease | None:
        # Of the holders of a tag's limit, the server lists those only that are of this type: so the runs that are alive
        # are told apart by their wishes.
        kind: Literal["task_run", "flow_run"] = "flow_run" if name == self._limit.name else "task_run"
        holder = ConcurrencyLeaseHolder(type=kind, id=self._limit.run_id)
        asked, seconds = time.monotonic(), self._lease_s()
        try:
            answer = client.increment_concurrency_slots_with_lease([name], slots, "concurrency", seconds, holder)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.LOCKED:
                return None
            raise
        lease = UUID(answer.json()["lease_id"])
        return _Lease(lease, slots, asked, seconds, is_wish=name != self._limit.name)

    def _retire(self, surplus: int) -> None:
        """Send nothing more on so many slots: the largest leases that fit, and one more where that is not enough."""
        with self._lock:
            leases = sorted((x for x in self._leases if not x.of_tag and not x.retiring), key=lambda x: -x.slots)
            chosen = []
            for lease in leases:
                if lease.slots <= surplus:
                    chosen.append(lease)
                    surplus -= lease.slots
            if surplus > 0:
                chosen += [lease for lease in reversed(leases) if lease not in chosen][:1]
            for lease in chosen:
                lease.retiring = True
                self._permits.drop(lease.id)

    def _release_retired(self, client: SyncPrefectClient) -> bool:
        """Give back what no request in flight needs any more; return whether nothing is left to give back."""
        with self._lock:
            retired = sorted((lease for lease in self._leases if lease.retiring), key=lambda lease: lease.slots)
        for lease in retired:
            rest = sum(other.slots for other in retired if other is not lease and other in self._leases)
            if self._permits.in_flight <= self._permits.slots + rest:
                client.release_concurrency_slots_with_lease(lease.id)
                self._forget(lease)
        return not any(lease.retiring for lease in self._leases)

    def _release_all(self, client: SyncPrefectClient) -> None:
        """Give everything back, but for what requests need that go on at Earth Engine after this process."""
        needed = self._permits.in_flight if self._left_for else 0
        for lease in [*sorted(self._leases, key=lambda lease: lease.slots), *([self._wish] if self._wish else [])]:
            with contextlib.suppress(httpx.HTTPError):
                if needed > 0 and not lease.is_wish and self._left_for:
                    client.renew_concurrency_lease(lease.id, max(LEASE_S, self._left_for))
                    needed -= lease.slots
                elif not lease.of_tag:
                    client.release_concurrency_slots_with_lease(lease.id)
            self._permits.drop(lease.id)

    def _complain(self, reason: str, *, always: bool = False) -> None:
        now = time.monotonic()
        if self._permits.slots and not always:
            self._waiting_since = now
        elif now - self._waiting_since >= PATIENCE_S:
            self._waiting_since = now
            self._log.warning("Waiting for slots: %s.", reason)

"""The keeper of a process's leases: it takes, renews and releases them on the Prefect server as requests need slots.

Until `begin` returns, it is used by the thread that opened the session. From then on it is used by its own thread;
other threads only set its events.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Literal
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from tasks.extraction.permits import Permits
from tasks.prefect_io.complaints import Complaints, why_none
from tasks.prefect_io.flow_run import Log
from tasks.prefect_io.heartbeat import mark_the_silent, watch_for_crashes
from tasks.prefect_io.lease_book import LEASE_S, Lease, LeaseBook, age
from tasks.prefect_io.outage import Outage
from tasks.prefect_io.quota_limit import LimitState, QuotaLimit, share
from tasks.prefect_io.server import FAULTS, raise_if_refused
from tasks.prefect_io.tag_slot import TagSlot

# Seconds between two renewals of a lease.
RENEW_S = 10.0
# Seconds between two looks at the server: while nothing is to be changed, and while slots are to be taken or released.
CALM_S, EAGER_S = 2.0, 0.3
# Up to so many slots are taken by one lease; more are spread over several.
FEW = 10


class LeaseKeeper:
    """Takes, renews and releases the leases in a book.

    Its demand is its lease on the second limit, :attr:`QuotaLimit.wanted`: as many slots as the process could use.

    Args:
        limit: The quota's limits on the server.
        client: Client of the server, used by the keeper only.
        permits: The permits of the process, which count the slots of the leases.
        book: The leases.
        quota: Slots of the limit when it is created again, if it was deleted.
        tagged: Whether one slot stays free for the tag of the next task.
        wanted: Function that returns how many requests could be in flight.
        on_cancel: Function to call when the run has been cancelled.
        log: Logger of the run.
    """

    def __init__(
        self,
        limit: QuotaLimit,
        client: SyncPrefectClient,
        permits: Permits,
        book: LeaseBook,
        *,
        quota: int,
        tagged: bool,
        wanted: Callable[[], int],
        on_cancel: Callable[[], object],
        log: Log,
    ) -> None:
        self._quota = quota
        self._limit, self._client = limit, client
        self._permits, self._book, self._log = permits, book, log
        self._on_cancel, self._asks_for = on_cancel, wanted
        self._heartbeat_s = get_current_settings().flows.heartbeat_frequency  # None if it is switched off
        self._demand: Lease | None = None
        self._asked = -float("inf")
        self._complaints = Complaints(permits, log)
        self._outage = Outage(self._complaints, permits)
        # Used by other threads:
        self._thread: threading.Thread | None = None
        self._wake, self._closing = threading.Event(), threading.Event()
        self.tag_slot = TagSlot(tagged=tagged)
        self.left_for: float | None = None
        """Seconds that requests in flight may go on at Earth Engine after the process; None = the process stays."""

    # Called by the thread that opened the session --------------------------------------------------------------------

    def wait_for_room(self) -> None:
        """See `LeaseHold.wait_for_room`.

        Raises:
            ServerGoneError: The server has not answered for `outage.LONGEST_S` seconds.
            ServerRefusedError: The server refuses, and would refuse later, too.
        """
        while True:
            try:
                self._set_demand(1)
                self._renew()
                full = self._limit.full(self._client)
                self._outage.over()
                if not full:
                    return
                if self._limit.cancelled(self._client):
                    self._on_cancel()
                    return
                if self._complaints.due:
                    self._explain(self._limit.read(self._client, wanted=1))
            except FAULTS as error:
                self._outage.failed(error)
                if isinstance(error, ObjectNotFound):
                    self._restore()
            time.sleep(EAGER_S)

    def begin(self, until_the_end: contextlib.ExitStack, send: Callable[[], object]) -> None:
        """Take the first slot, call `send`, take further slots, and start the keeper's thread.

        Args:
            until_the_end: Contexts that the keeper's thread closes when it ends.
            send: Function that starts sending requests.

        Raises:
            ServerRefusedError: The server refuses the slot, and would refuse it later, too.
        """
        try:
            self._set_demand(1)  # does nothing if it is set; by the demand, others see that this process is alive
            self._take(1)
        except FAULTS as error:  # the thread tries again
            if isinstance(error, httpx.HTTPError):
                raise_if_refused(error)
        send()
        if self._asks_for() > 1:
            # Here and not in the thread: Prefect will soon take the slot of the tag for the task of the first batch. On
            # SQLite, two writes at the same time each take several times as long.
            self._asked = time.monotonic()  # too early for a cancellation: the run has only just begun
            with contextlib.suppress(Exception):  # the thread gets the same error, and logs it
                self._look()
        self._thread = threading.Thread(target=self._keep, args=(until_the_end.pop_all(),), name="leases")
        self._thread.start()

    # Called by any thread --------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Make the keeper's thread look at the server now."""
        self._wake.set()

    def close(self) -> None:
        """End the keeper's thread as soon as no answer is awaited, or at once if the process leaves."""
        self._closing.set()
        self._wake.set()
        if self._thread is None:
            self._release_all()

    # Called by the keeper's thread -----------------------------------------------------------------------------------

    def _keep(self, until_the_end: contextlib.ExitStack) -> None:
        with until_the_end:
            # Slots are kept for requests in flight when the session ends. For those given up, leases alone keep them.
            while not self._closing.is_set() or (self._permits.awaited and self.left_for is None):
                calm = False
                try:
                    calm = self._look()
                    self._outage.over()
                    self._watch()
                except Exception as error:  # noqa: BLE001 - without this thread the run would wait for slots for ever
                    self._outage.note(error)  # leases expire, and no request is sent on an expired lease
                self._wake.wait(CALM_S if calm else EAGER_S)
                self._wake.clear()
            self._release_all()

    def _look(self) -> bool:
        """Renew the leases that are due, take or release slots; return whether nothing is left to do for now."""
        self._renew()
        closing = self._closing.is_set()
        if not closing and time.monotonic() - self._asked >= CALM_S:
            self._asked = time.monotonic()
            if self._limit.cancelled(self._client):
                self._on_cancel()
        wanted = self._permits.in_flight if closing else min(self._asks_for(), self._permits.pace.in_flight)
        wanted = max(1, wanted)
        try:
            self._set_demand(wanted)
            state = self._limit.read(self._client, wanted=wanted)
        except ObjectNotFound:  # one of the two limits was deleted
            self._restore()
            return False
        self._permits.quota = max(1, state.limit)
        self._book.pause(state.limit == 0)
        due = share(state.limit, wanted=wanted, all_wanted=state.all_wanted)
        # While the limit is 0 (which pauses all runs), Prefect 3.8 refuses the release of slots (409).
        for lease in self._book.retired() if state.limit else ():
            self._client.release_concurrency_slots_with_lease(lease.id)
            self._book.remove(lease)
        calm = not self._book.retires
        held, of_tag = self._book.held()
        to_come = self.tag_slot.to_come(due=due, held=of_tag, usable=self._permits.slots)
        spare = due - to_come - held
        if spare < 0:
            self._book.retire(-spare)
            return False
        free = max(0, state.limit - state.taken - to_come)
        if spare and free:
            self._take(min(spare, free))
        if not self._permits.slots:
            self._explain(state)
        return calm and (spare == 0 or free >= spare) and self._permits.slots > 0

    def _explain(self, state: LimitState) -> None:
        if self._complaints.due:
            self._complaints.add(why_none(self._limit.name, state, others=self._limit.others(self._client)))

    def _restore(self) -> None:
        with contextlib.suppress(httpx.HTTPError):  # the next look meets it again
            self._limit.check(self._client, in_flight=self._permits.pace.in_flight, quota=self._quota, log=self._log)

    def _watch(self) -> None:
        """Make sure, once, that dead runs are marked Crashed. Done in this thread, so that no run waits for it."""
        if heartbeat_s := self._heartbeat_s:
            self._heartbeat_s = None
            silence_s = watch_for_crashes(self._client, silence_s=3.0 * heartbeat_s)
            mark_the_silent(self._client, silence_s=silence_s)

    def _renew(self) -> None:
        for lease in [*self._book.all(), *([self._demand] if self._demand else [])]:
            now = time.monotonic()
            if now - lease.renewed < RENEW_S:
                continue
            seconds = self._lease_s()
            try:
                self._client.renew_concurrency_lease(lease.id, seconds)
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.GONE:
                    raise
                self._lost(lease)
                continue
            self._book.renewed(lease, now, seconds)

    def _lease_s(self) -> float:
        """Return the seconds that a lease is to last: a request that is sent while it is valid ends before it does."""
        return max(LEASE_S, 2 * self._permits.reserve + RENEW_S)

    def _lost(self, lease: Lease) -> None:
        """Remove a lease that the server no longer knows."""
        known = self._book.remove(lease)  # False if its task has ended: Prefect released it
        name = self._limit.name
        if lease is self._demand:
            known, self._demand, name = True, None, self._limit.wanted
        if known and age(lease) < lease.seconds - RENEW_S:
            # It has not expired: a restart lost the leases in the server's memory, or the limit was reset. The database
            # still counts its slots as taken, and only their holder can release them.
            self._client.release_concurrency_slots([name], lease.slots, max(age(lease), 0.1))

    def _set_demand(self, slots: int) -> None:
        if self._demand and self._demand.slots == slots:
            return
        former, self._demand = self._demand, self._lease(self._limit.wanted, slots)
        if former:
            self._client.release_concurrency_slots_with_lease(former.id)

    def _take(self, slots: int) -> None:
        # Each lease takes half of the rest, so that a part can be released later. For a few slots, one call is enough.
        while slots > 0:
            lease = self._lease(self._limit.name, slots if slots <= FEW else -(-slots // 2))
            if lease is None:  # another process has taken them
                return
            self._book.add(lease)
            slots -= lease.slots

    def _lease(self, name: str, slots: int) -> Lease | None:
        # The server lists the holders of a tag's limit only if they are task runs. So demands are held as task runs:
        # they show each process which others are alive.
        kind: Literal["task_run", "flow_run"] = "flow_run" if name == self._limit.name else "task_run"
        holder = ConcurrencyLeaseHolder(type=kind, id=self._limit.holder)
        asked, seconds = time.monotonic(), self._lease_s()
        try:
            answer = self._client.increment_concurrency_slots_with_lease([name], slots, "concurrency", seconds, holder)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.LOCKED:
                return None
            raise
        return Lease(UUID(answer.json()["lease_id"]), slots, asked, seconds)

    def _release_all(self) -> None:
        """Release all leases, except those for requests that go on at Earth Engine after this process."""
        left_for = self._permits.lingering_s if self.left_for is None else self.left_for
        needed = self._permits.in_flight if left_for else 0
        with contextlib.suppress(*FAULTS):  # then the leases below are kept
            if needed and (exact := self._lease(self._limit.name, needed)):  # those below may have many slots more
                self._client.renew_concurrency_lease(exact.id, max(LEASE_S, left_for))
                needed = 0
        for lease in sorted(self._book.all(), key=lambda lease: lease.slots):
            with contextlib.suppress(*FAULTS):
                if needed > 0 and not lease.of_tag:
                    self._client.renew_concurrency_lease(lease.id, max(LEASE_S, left_for))
                    needed -= lease.slots
                elif not lease.of_tag:  # Prefect releases that of a tag
                    self._client.release_concurrency_slots_with_lease(lease.id)
            self._permits.drop_lease(lease.id)
        if self._demand:
            with contextlib.suppress(*FAULTS):
                self._client.release_concurrency_slots_with_lease(self._demand.id)

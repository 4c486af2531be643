"""What keeps the leases of a process on the Prefect server: taken, renewed and given back as requests need them.

Until it begins, it is used by the thread that opened the session, and from then on by a thread of its own alone; others
only set its events.
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
from tasks.prefect_io.flow_run import Log
from tasks.prefect_io.heartbeat import mark_the_silent, watch_for_crashes
from tasks.prefect_io.lease_book import LEASE_S, Lease, LeaseBook, age
from tasks.prefect_io.quota_limit import QuotaLimit, share
from tasks.prefect_io.server import raise_if_refused

# How often a lease is prolonged.
RENEW_S = 10.0
# Looks at the server: seconds apart while all is well, and while slots are to be taken or given up.
CALM_S, EAGER_S = 2.0, 0.3
# Slots that are taken by one lease.
FEW = 10
# Seconds of waiting for slots after which, and then again, the log says so.
PATIENCE_S = 30.0


class LeaseKeeper:
    """Takes, renews and gives back the leases of a book.

    Args:
        limit: On the server.
        client: Of the server; nobody else uses it.
        permits: What the leases are counted for.
        book: The leases.
        quota: Slots that the limit gets if it is deleted.
        tagged: Whether a slot is left to the tag of the next task.
        wanted: Returns how many requests could be in flight.
        on_cancel: Called when the run has been cancelled.
        log: Of the run.
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
        self._tagged, self._quota = tagged, quota
        self._limit, self._client = limit, client
        self._permits, self._book, self._log = permits, book, log
        self._on_cancel, self._asks_for = on_cancel, wanted
        self._heartbeat_s = get_current_settings().flows.heartbeat_frequency  # it can be switched off
        self._wish: Lease | None = None
        self._asked = -float("inf")
        self._waiting_since = time.monotonic()
        # Of other threads:
        self._thread: threading.Thread | None = None
        self._wake, self._closing = threading.Event(), threading.Event()
        self.left_for: float | None = None
        """Seconds that requests in flight may go on after the process; None while it does not leave."""

    # Of the thread that opened the session, before `begin` -----------------------------------------------------------

    def wait_for_room(self) -> None:
        """See `LeaseHold.wait_for_room`."""
        while True:
            try:
                self._wish_for(1)
                self._renew()
                if not self._limit.full(self._client):
                    return
                if self._limit.cancelled(self._client):
                    self._on_cancel()
                    return
                self._complain(f"all slots of {self._limit.name} are taken")
            except ObjectNotFound:
                self._restore()
            except httpx.HTTPError as error:
                raise_if_refused(error)
                self._complain(f"the Prefect server is away ({error})")
            time.sleep(EAGER_S)

    def begin(self, until_the_end: contextlib.ExitStack, send: Callable[[], object]) -> None:
        """Take the first slot, call `send`, take the others, and let the thread do the rest.

        Raises:
            ServerRefusedError: the server gives none, and will not.
        """
        try:
            self._wish_for(1)  # unless it has: by its wish others see that it is alive
            self._take(1)
        except httpx.HTTPError as error:  # the thread tries again
            raise_if_refused(error)
        send()
        if self._asks_for() > 1:
            # Here and not in the thread: the task of the first batch is still to come, which takes the slot of its tag,
            # and on SQLite what two write at once takes both several times as long.
            self._asked = time.monotonic()  # the run has only just begun
            with contextlib.suppress(Exception):  # the thread meets it again, and says so
                self._look()
        self._thread = threading.Thread(target=self._keep, args=(until_the_end.pop_all(),), name="leases")
        self._thread.start()

    # Of any thread ---------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look at the server now."""
        self._wake.set()

    def close(self) -> None:
        """End, once what is in flight has ended or is left."""
        self._closing.set()
        self._wake.set()
        if self._thread is None:
            self._release_all()

    # Of its own thread -----------------------------------------------------------------------------------------------

    def _keep(self, until_the_end: contextlib.ExitStack) -> None:
        with until_the_end:
            # Slots are kept for requests that are still in flight when the session ends.
            while not self._closing.is_set() or (self._permits.in_flight and self.left_for is None):
                calm = False
                try:
                    calm = self._look()
                    self._watch()
                except httpx.HTTPStatusError as error:
                    self._complain(f"the Prefect server answers with {error!r}", always=True)
                except httpx.HTTPError as error:  # leases lapse, and nothing is sent on them
                    self._complain(f"the Prefect server is away ({error})")
                except Exception as error:  # noqa: BLE001 - without this thread the run would wait for slots for ever
                    self._complain(repr(error), always=True)
                self._wake.wait(CALM_S if calm else EAGER_S)
                self._wake.clear()
            self._release_all()

    def _look(self) -> bool:
        """Renew what is due, take or give up slots; return whether there is nothing more to do for now."""
        self._renew()
        closing = self._closing.is_set()
        if not closing and time.monotonic() - self._asked >= CALM_S:
            self._asked = time.monotonic()
            if self._limit.cancelled(self._client):
                self._on_cancel()
        wanted = self._permits.in_flight if closing else min(self._asks_for(), self._permits.pace.in_flight)
        wanted = max(1, wanted)
        try:
            self._wish_for(wanted)
            state = self._limit.read(self._client, wanted=wanted)
        except ObjectNotFound:  # one was deleted
            self._restore()
            return False
        self._permits.quota = max(1, state.limit)  # a limit of 0 leaves a run the slot of its task, and no other
        due = share(state.limit, wanted=wanted, all_wanted=state.all_wanted)
        # While the limit is 0, which pauses its runs, Prefect 3.8 can't take slots back (409).
        for lease in self._book.retired() if state.limit else ():
            self._client.release_concurrency_slots_with_lease(lease.id)
            self._book.remove(lease)
        calm = not self._book.retires
        held, of_tag = self._book.held()
        to_come = max(0, self._tagged - of_tag)  # a slot is left to the next task's tag
        spare = due - to_come - held
        if spare < 0:
            self._book.retire(-spare)
            return False
        free = max(0, state.limit - state.taken - to_come)
        if spare and free:
            self._take(min(spare, free))
        if not self._permits.slots:
            others = self._limit.others(self._client)
            who = "other runs" if others else "runs that died, or this one before a server's restart"
            self._complain(f"{state.taken} of {state.limit} of {self._limit.name} are taken by {who}")
        return calm and (spare == 0 or free >= spare) and self._permits.slots > 0

    def _restore(self) -> None:
        in_flight = self._permits.pace.in_flight
        self._limit.check(self._client, in_flight=in_flight, quota=self._quota, log=self._log)

    def _watch(self) -> None:
        """See to it, once, that runs which died are marked Crashed: here, since no start need wait for it."""
        if heartbeat_s := self._heartbeat_s:
            self._heartbeat_s = None
            silence_s = watch_for_crashes(self._client, silence_s=3.0 * heartbeat_s)
            mark_the_silent(self._client, silence_s=silence_s)

    def _renew(self) -> None:
        for lease in [*self._book.all(), *([self._wish] if self._wish else [])]:
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
        """Return how long a lease is to last: a request that is sent while it is known to hold ends before it."""
        return max(LEASE_S, 2 * self._permits.reserve + RENEW_S)

    def _lost(self, lease: Lease) -> None:
        """Forget a lease that the server no longer knows."""
        known = self._book.remove(lease)  # that of a task that has ended meanwhile was given back by Prefect
        name = self._limit.name
        if lease is self._wish:
            known, self._wish, name = True, None, self._limit.wanted
        if known and age(lease) < lease.seconds - RENEW_S:
            # It did not end by time: the server has lost its memory, or the limit was reset. Its count is kept in the
            # database, where nobody but the holder would ever take it back.
            self._client.release_concurrency_slots([name], lease.slots, max(age(lease), 0.1))

    def _wish_for(self, slots: int) -> None:
        if self._wish and self._wish.slots == slots:
            return
        former, self._wish = self._wish, self._lease(self._limit.wanted, slots)
        if former:
            self._client.release_concurrency_slots_with_lease(former.id)

    def _take(self, slots: int) -> None:
        # By halves, so that most of them can be kept when a part is to be given up; a few are not worth more calls.
        while slots > 0:
            lease = self._lease(self._limit.name, slots if slots <= FEW else -(-slots // 2))
            if lease is None:  # another process was quicker
                return
            self._book.add(lease)
            slots -= lease.slots

    def _lease(self, name: str, slots: int) -> Lease | None:
        # Of the holders of a tag's limit, the server lists those only that are of this type: so the processes that are
        # alive are recognised by their wishes.
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
        """Give everything back, but for what requests need that go on at Earth Engine after this process."""
        needed = self._permits.in_flight if self.left_for else 0
        for lease in sorted(self._book.all(), key=lambda lease: lease.slots):
            with contextlib.suppress(httpx.HTTPError):
                if lease.of_tag:  # Prefect releases it
                    pass
                elif needed > 0 and self.left_for:
                    self._client.renew_concurrency_lease(lease.id, max(LEASE_S, self.left_for))
                    needed -= lease.slots
                else:
                    self._client.release_concurrency_slots_with_lease(lease.id)
            self._permits.drop(lease.id)
        if self._wish:
            with contextlib.suppress(httpx.HTTPError):
                self._client.release_concurrency_slots_with_lease(self._wish.id)

    def _complain(self, reason: str, *, always: bool = False) -> None:
        now = time.monotonic()
        if self._permits.slots and not always:
            self._waiting_since = now
        elif now - self._waiting_since >= PATIENCE_S:
            self._waiting_since = now
            self._log.warning("Waiting for slots: %s.", reason)

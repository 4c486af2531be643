"""The leases of one process on the quota's limit, and how many of their slots requests may use."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tasks.extraction.permits import Permits

# Seconds: the shortest lease that Prefect grants, so that the slots of a killed run come back as soon as possible.
LEASE_S = 60.0


@dataclass
class Lease:
    """Slots of a limit that the server has granted for a limited time."""

    id: UUID
    slots: int
    renewed: float
    """Monotonic time of the last confirmation; minus infinity = not confirmed, so no request may use its slots."""
    seconds: float = LEASE_S
    """Seconds that it lasts after `renewed`."""
    of_tag: bool = False
    """Whether it is the lease of a task's tag, which Prefect itself releases."""
    retiring: bool = False
    """Whether no new request uses it. It is released as soon as no request in flight needs it."""


class LeaseBook:
    """Records the leases of a process and keeps its permits up to date. Safe in threads: each call holds one lock.

    Args:
        permits: The permits of the process, which count the slots of the leases.
    """

    def __init__(self, permits: Permits) -> None:
        self._permits = permits
        self._lock = threading.Lock()  # guards the list and the fields of its leases
        self._leases: list[Lease] = []
        self._paused = False

    def pause(self, paused: bool) -> None:
        """Let new requests use no slot, or all slots again. The leases are kept: a running task keeps that of its tag.

        Args:
            paused: Whether the limit is 0, which pauses all runs.
        """
        with self._lock:
            if paused == self._paused:
                return
            self._paused = paused
            for lease in self._leases:
                self._permits.drop_lease(lease.id)
                self._count(lease)

    def add(self, lease: Lease) -> None:
        """Add a lease. Requests may use its slots if it was confirmed."""
        with self._lock:
            self._leases.append(lease)
            self._count(lease)

    def renewed(self, lease: Lease, at: float, seconds: float) -> None:
        """Record that the server renewed a lease.

        Args:
            lease: The lease.
            at: Monotonic time at which the server was asked.
            seconds: Seconds that the lease lasts after `at`.
        """
        with self._lock:
            lease.renewed, lease.seconds = at, seconds
            if lease in self._leases:
                self._count(lease)

    def remove(self, lease: Lease) -> bool:
        """Remove a lease; return whether it was in the book."""
        with self._lock:
            self._permits.drop_lease(lease.id)
            known = lease in self._leases
            if known:
                self._leases.remove(lease)
            return known

    def all(self) -> Sequence[Lease]:
        """Return all leases, including the retiring ones."""
        with self._lock:
            return tuple(self._leases)

    def held(self) -> tuple[int, int]:
        """Return the slots of all leases that are not retiring, and how many of these belong to a task's tag."""
        with self._lock:
            held = [lease for lease in self._leases if not lease.retiring]
            return sum(lease.slots for lease in held), sum(lease.slots for lease in held if lease.of_tag)

    def retire(self, surplus: int) -> None:
        """Retire leases with `surplus` slots in total: the largest that fit, then one more if that is not enough."""
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
                self._permits.drop_lease(lease.id)

    def retired(self) -> Sequence[Lease]:
        """Return the retiring leases that no request in flight needs, in the order in which to release them."""
        with self._lock:
            retiring = sorted((lease for lease in self._leases if lease.retiring), key=lambda lease: lease.slots)
            rest, free = sum(lease.slots for lease in retiring), []
            in_flight, slots = self._permits.in_flight, self._permits.slots
            # The slot of a tag ends with its task, and a request that was given up may be computed for longer.
            lasting, left_behind = slots - self._tag_slots(), self._permits.lingering
            for lease in retiring:
                kept = rest - lease.slots
                if in_flight <= slots + kept and left_behind <= lasting + kept:
                    free.append(lease)
                    rest = kept
            return tuple(free)

    @property
    def slots(self) -> int:
        """Slots of all leases that have not ended, including retiring ones: so many requests in flight are covered."""
        with self._lock:
            now = time.monotonic()
            return sum(lease.slots for lease in self._leases if lease.renewed + lease.seconds > now)

    @property
    def retires(self) -> bool:
        """Whether a retiring lease has not been released yet."""
        with self._lock:
            return any(lease.retiring for lease in self._leases)

    def _tag_slots(self) -> int:
        return sum(lease.slots for lease in self._leases if lease.of_tag)

    def _count(self, lease: Lease) -> None:
        """Let requests use the slots of a lease until it ends. The caller holds the lock."""
        if not lease.retiring and not self._paused:
            # Prefect, too, renews the lease of a tag, and for no longer than this.
            seconds = min(lease.seconds, LEASE_S) if lease.of_tag else lease.seconds
            self._permits.hold_lease(lease.id, lease.slots, lease.renewed + seconds)


def tag_lease(lease: UUID) -> Lease:
    """Return a record of the lease of a running task's tag. Its slot counts once this process has renewed it."""
    return Lease(lease, 1, -float("inf"), of_tag=True)


def age(lease: Lease) -> float:
    """Return the seconds since the server last confirmed a lease."""
    return time.monotonic() - lease.renewed

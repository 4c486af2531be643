"""The leases of one process on the limit that is the quota, and how many slots of them requests may count on."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tasks.extraction.permits import Permits

# The shortest lease that Prefect grants, so that a killed run's slots come back soonest.
LEASE_S = 60.0


@dataclass
class Lease:
    """Slots of a limit that the server has given for a while."""

    id: UUID
    slots: int
    renewed: float
    """When it was last confirmed; before that, no request may count on it."""
    seconds: float = LEASE_S
    """How long it lasts from then on."""
    of_tag: bool = False
    """Whether it is that of a task's tag, which Prefect itself releases."""
    retiring: bool = False
    """Whether nothing more is sent on it, and it is given back once no request in flight needs it."""


class LeaseBook:
    """Keeps the permits in step with the leases. Safe in threads: each call is one step under a lock.

    Args:
        permits: What the leases are counted for.
    """

    def __init__(self, permits: Permits) -> None:
        self._permits = permits
        self._lock = threading.Lock()  # guards the list and the marks of its leases
        self._leases: list[Lease] = []

    def add(self, lease: Lease) -> None:
        """Hold a lease, and count it if it was confirmed."""
        with self._lock:
            self._leases.append(lease)
            self._count(lease)

    def renewed(self, lease: Lease, at: float, seconds: float) -> None:
        """Note that the server confirmed a lease."""
        with self._lock:
            lease.renewed, lease.seconds = at, seconds
            if lease in self._leases:
                self._count(lease)

    def remove(self, lease: Lease) -> bool:
        """Hold a lease no more; return whether it was held."""
        with self._lock:
            self._permits.drop(lease.id)
            known = lease in self._leases
            if known:
                self._leases.remove(lease)
            return known

    def all(self) -> Sequence[Lease]:
        """Return the leases that are held, those that retire among them."""
        with self._lock:
            return tuple(self._leases)

    def held(self) -> tuple[int, int]:
        """Return the slots that are held to send on: of all leases, and of those that are of a task's tag."""
        with self._lock:
            held = [lease for lease in self._leases if not lease.retiring]
            return sum(lease.slots for lease in held), sum(lease.slots for lease in held if lease.of_tag)

    def retire(self, surplus: int) -> None:
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

    def retired(self) -> Sequence[Lease]:
        """Return the leases that retire and that no request in flight needs, if each is given back in this order."""
        with self._lock:
            retiring = sorted((lease for lease in self._leases if lease.retiring), key=lambda lease: lease.slots)
            rest, free = sum(lease.slots for lease in retiring), []
            in_flight, slots = self._permits.in_flight, self._permits.slots
            for lease in retiring:
                if in_flight <= slots + rest - lease.slots:
                    free.append(lease)
                    rest -= lease.slots
            return tuple(free)

    @property
    def slots(self) -> int:
        """Slots of all leases that have not ended, those that retire among them: requests in flight are covered."""
        with self._lock:
            now = time.monotonic()
            return sum(lease.slots for lease in self._leases if lease.renewed + lease.seconds > now)

    @property
    def retires(self) -> bool:
        """Whether a lease is still to be given back."""
        with self._lock:
            return any(lease.retiring for lease in self._leases)

    def _count(self, lease: Lease) -> None:
        """Let requests count on a lease until it ends. The lock is held."""
        if not lease.retiring:
            # Prefect prolongs that of a tag as well, and to no more than its own.
            seconds = min(lease.seconds, LEASE_S) if lease.of_tag else lease.seconds
            self._permits.hold(lease.id, lease.slots, lease.renewed + seconds)


def tag_lease(lease: UUID) -> Lease:
    """Return the lease of a running task's tag: it counts once we have renewed it ourselves."""
    return Lease(lease, 1, -float("inf"), of_tag=True)


def age(lease: Lease) -> float:
    """Return the seconds since a lease was last confirmed."""
    return time.monotonic() - lease.renewed

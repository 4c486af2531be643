"""The quota: how many requests a process may have in flight, and what grants them. It has no default.

There are two kinds. `FixedShare` is a part of the quota that the user has reserved for a process without a Prefect
server. `tasks.prefect_io.leases.PrefectLeases` takes free slots of the concurrency limit on the Prefect server.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from tasks.errors.input import BadInputError
from tasks.extraction.permits import Permits

_log = logging.getLogger("pixel_quarry")
# Seconds of waiting after which a warning is logged.
PATIENCE_S = 30.0


class Hold(Protocol):
    """The slots that a session holds of the quota, from its opening to its close."""

    def wait_for_room(self) -> None:
        """Wait until a slot is free, but do not take it. Used for requests that come before the first pixel request."""
        ...

    def begin(self, send: Callable[[], object] = lambda: None) -> None:
        """Take slots from now on. Take the first slot if one is free, call `send`, then take the other slots."""
        ...

    def counting(self, quota: Quota) -> contextlib.AbstractContextManager[None]:
        """Count the slots that a batch already has, such as that of its Prefect task, inside the `with` block."""
        ...

    def leave(self, computing_s: float) -> None:
        """Let the process end although requests are in flight. Keep their slots taken while they may be computed.

        Args:
            computing_s: Seconds for which Earth Engine may still compute a request.
        """
        ...

    def close(self) -> None:
        """Give all slots back."""
        ...


class Quota(Protocol):
    """A source of slots: a small value without a secret, which can be pickled and written as JSON."""

    def hold(
        self, permits: Permits, *, run_id: str, wanted: Callable[[], int], on_cancel: Callable[[], object]
    ) -> Hold:
        """Return the hold of this process on the quota. It takes no slot before `Hold.begin`.

        Args:
            permits: The permits that the slots allow.
            run_id: Id of the flow run, or an id that the caller chose.
            wanted: Returns how many requests could be in flight. Slots that are not wanted are left to other processes.
            on_cancel: Called from another thread when the run was cancelled.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class FixedShare:
    """A part of the quota that is reserved for one process. Nothing else may use it at the same time.

    The process gets the same part of the rate: with 5 of 40 slots, an eighth of the requests a second.
    """

    in_flight: int
    """Requests that the process may have in flight."""
    of: int
    """The whole quota: requests that all processes of the Earth Engine project together may have in flight."""

    def __post_init__(self) -> None:
        if not 1 <= self.in_flight <= self.of:
            reason = f"a share is at least 1 request, and at most the quota of {self.of} requests"
            raise BadInputError("in_flight", self.in_flight, reason, "Give the quota divided by the process count")

    def hold(
        self, permits: Permits, *, run_id: str, wanted: Callable[[], int], on_cancel: Callable[[], object]
    ) -> Hold:
        """See `Quota`."""
        del run_id, wanted, on_cancel  # no other process uses the share, and without a server a run is not cancelled
        return _FixedHold(self, permits)


class _FixedHold:
    """The hold of a fixed share. All holds on a share in one process, at once or in sequence, use the same slots."""

    _all: ClassVar[dict[FixedShare, list[_FixedHold]]] = {}
    """Holds by share: the open ones, and closed ones whose requests Earth Engine may still compute for minutes."""
    _lock: ClassVar[threading.Lock] = threading.Lock()
    LOOK_S: ClassVar[float] = 0.5

    def __init__(self, share: FixedShare, permits: Permits) -> None:
        self._share, self._permits = share, permits
        self._slots = 0
        self._closed = threading.Event()

    def wait_for_room(self) -> None:
        """Return at once: no other process uses the share."""

    def begin(self, send: Callable[[], object] = lambda: None) -> None:
        """Take the slots that no other hold in this process needs, and the others when they become free."""
        self._permits.quota = self._share.of
        with self._lock:
            self._all.setdefault(self._share, []).append(self)
        if self._grow() < self._share.in_flight:
            threading.Thread(target=self._keep_growing, name="share", daemon=True).start()
        send()

    def counting(self, quota: Quota) -> contextlib.AbstractContextManager[None]:
        """Count nothing: a batch has no slots of its own."""
        del quota
        return contextlib.nullcontext()

    def leave(self, computing_s: float) -> None:
        """Do nothing: requests in flight count for the next hold in this process."""

    def close(self) -> None:
        """Give the slots back, except those of requests that may still be computed."""
        self._closed.set()
        self._permits.drop_lease(self)
        with self._lock:
            self._slots = 0
            self._prune()

    def _grow(self) -> int:
        with self._lock:
            self._prune()
            if self._closed.is_set():
                return self._share.in_flight
            others = [hold for hold in self._all[self._share] if hold is not self]
            needed = sum(hold._slots or hold._permits.in_flight for hold in others)  # noqa: SLF001 - the same class
            self._slots = max(self._slots, self._share.in_flight - needed)
            self._permits.hold_lease(self, self._slots)
            return self._slots

    def _keep_growing(self) -> None:
        waiting_since: float | None = time.monotonic()
        while not self._closed.wait(self.LOOK_S) and (slots := self._grow()) < self._share.in_flight:
            if slots == 0 and waiting_since and time.monotonic() - waiting_since > PATIENCE_S:
                waiting_since = None
                _log.warning(
                    "Waiting for slots: another run in this process uses its share of %d.", self._share.in_flight
                )

    def _prune(self) -> None:
        """Forget closed holds without a request in flight. The caller holds the lock."""
        for share, holds in list(self._all.items()):
            kept = [hold for hold in holds if not hold._closed.is_set() or hold._permits.in_flight]  # noqa: SLF001 - as above
            self._all[share] = kept
            if not kept:
                del self._all[share]

    @classmethod
    def forget(cls) -> None:
        """Forget all holds. After a fork, the holds of the parent process are never closed in the child."""
        cls._all, cls._lock = {}, threading.Lock()


os.register_at_fork(after_in_child=_FixedHold.forget)

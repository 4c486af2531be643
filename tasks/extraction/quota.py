"""The quota: what a process may have in flight, and by whose leave. It is always given, never assumed.

There are two kinds. `FixedShare` is a part of the quota that the user has set aside for a process, for one that reaches
no Prefect server. `tasks.prefect_io.leases.PrefectLeases` takes slots of the limit on the Prefect server, as many as
are free.
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
# Seconds of waiting after which the log says so.
PATIENCE_S = 30.0


class Hold(Protocol):
    """What a session holds of the quota, from its opening to its close."""

    def wait_for_room(self) -> None:
        """Wait until a slot is free, without taking it: for what is asked before the first pixel."""
        ...

    def begin(self, send: Callable[[], object] = lambda: None) -> None:
        """Take slots from now on: the first unless none is free, then call `send`, then take what else is due."""
        ...

    def counting(self, quota: Quota) -> contextlib.AbstractContextManager[None]:
        """Count what a batch brings along, such as the slot of its Prefect task, for as long as the block."""
        ...

    def leave(self, computing_s: float) -> None:
        """Let the process end although requests are in flight: their slots stay taken for as long as they may go on."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Quota(Protocol):
    """A small value: JSON and pickle, without a secret."""

    def hold(
        self, permits: Permits, *, run_id: str, wanted: Callable[[], int], on_cancel: Callable[[], object]
    ) -> Hold:
        """Return what this process holds of it; nothing is taken before `Hold.begin`.

        Args:
            permits: What the slots are counted for.
            run_id: Id of the flow run, or of a job.
            wanted: Returns how many requests could be in flight: what is not wanted is left to others.
            on_cancel: Called from another thread when the run has been cancelled.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class FixedShare:
    """A part of the quota that is set aside for one process: nobody else may use it meanwhile.

    Of the rate it is the same part: with 5 of 40 slots an eighth of the requests a second.
    """

    in_flight: int
    """Requests that the process may have in flight."""
    of: int
    """The whole quota: requests that all processes of the Earth Engine project together may have in flight."""

    def __post_init__(self) -> None:
        if not 1 <= self.in_flight <= self.of:
            reason = f"a share is at least 1, and at most the quota of {self.of}"
            raise BadInputError("in_flight", self.in_flight, reason, "Give the quota divided by the processes")

    def hold(
        self, permits: Permits, *, run_id: str, wanted: Callable[[], int], on_cancel: Callable[[], object]
    ) -> Hold:
        """See `Quota`."""
        del run_id, wanted, on_cancel  # nobody shares it, and nobody can cancel what no server knows
        return _Fixed(self, permits)


class _Fixed:
    """The hold of a fixed share. Holds of one share in one process, one after the other or at once, are one share."""

    _all: ClassVar[dict[FixedShare, list[_Fixed]]] = {}
    """Those that are open, and those that have left requests at Earth Engine, which may go on for minutes."""
    _lock: ClassVar[threading.Lock] = threading.Lock()
    LOOK_S: ClassVar[float] = 0.5

    def __init__(self, share: FixedShare, permits: Permits) -> None:
        self._share, self._permits = share, permits
        self._slots = 0
        self._closed = threading.Event()

    def wait_for_room(self) -> None:
        """Nobody else has it: there is nothing to wait for."""

    def begin(self, send: Callable[[], object] = lambda: None) -> None:
        """Take what no other hold of the process needs, and the rest as it comes free."""
        self._permits.quota = self._share.of
        with self._lock:
            self._all.setdefault(self._share, []).append(self)
        if self._grow() < self._share.in_flight:
            threading.Thread(target=self._keep_growing, name="share", daemon=True).start()
        send()

    def counting(self, quota: Quota) -> contextlib.AbstractContextManager[None]:
        """A batch brings nothing along."""
        del quota
        return contextlib.nullcontext()

    def leave(self, computing_s: float) -> None:
        """What is in flight is counted for the next hold, as long as the process lives."""

    def close(self) -> None:
        """Give it back, but for requests that may still go on."""
        self._closed.set()
        self._permits.drop(self)
        with self._lock:
            self._slots = 0
            self._prune()

    def _grow(self) -> int:
        with self._lock:
            self._prune()
            if self._closed.is_set():
                return self._share.in_flight
            others = [hold for hold in self._all[self._share] if hold is not self]
            needed = sum(hold._slots or hold._permits.in_flight for hold in others)  # noqa: SLF001 - of its own class
            self._slots = max(self._slots, self._share.in_flight - needed)
            self._permits.hold(self, self._slots)
            return self._slots

    def _keep_growing(self) -> None:
        waiting_since: float | None = time.monotonic()
        while not self._closed.wait(self.LOOK_S) and (slots := self._grow()) < self._share.in_flight:
            if slots == 0 and waiting_since and time.monotonic() - waiting_since > PATIENCE_S:
                waiting_since = None
                _log.warning(
                    "Waiting for slots: another run of this process uses its share of %d.", self._share.in_flight
                )

    def _prune(self) -> None:
        """Forget holds that are closed and have no request in flight. The lock is held."""
        for share, holds in list(self._all.items()):
            kept = [hold for hold in holds if not hold._closed.is_set() or hold._permits.in_flight]  # noqa: SLF001 - as above
            self._all[share] = kept
            if not kept:
                del self._all[share]

    @classmethod
    def forget(cls) -> None:
        """Know no hold: those of the process that this one was forked from are not closed here."""
        cls._all, cls._lock = {}, threading.Lock()


os.register_at_fork(after_in_child=_Fixed.forget)

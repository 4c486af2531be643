"""Leases: what a process holds of the quota that all runs of an Earth Engine project share on a Prefect server.

The limit of the tag ``earthengine:<project>`` is the quota, so the slots that are taken on the Prefect page are the
requests that may be in flight. A tagged task takes one by its tag, as any does; the process that it runs in takes the
others by leases on the same limit, each process under a holder id of its own.

Leases fail open in Prefect: a task whose lease is lost runs on. So one thread renews all leases of the process, that of
the tag too, and the permits count none that was not confirmed in time. How much each process may take when there are
several follows from a second limit, ``earthengine:<project>:wanted``, of which each takes as many slots as it could
use.

Who owns what: the `LeaseBook` is safe in any thread; the `LeaseKeeper` is of one thread at a time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import httpx
import tenacity

from tasks.extraction.permits import Permits
from tasks.extraction.quota import Quota
from tasks.prefect_io.flow_run import Log, run_logger
from tasks.prefect_io.lease_book import LeaseBook, tag_lease
from tasks.prefect_io.lease_keeper import LeaseKeeper
from tasks.prefect_io.quota_limit import QuotaLimit, tag_of
from tasks.prefect_io.server import ServerAwayError, raise_if_refused, server

# A busy server may take longer for an answer than a run's threads would wait: its start does.
_patiently = tenacity.retry(
    retry=tenacity.retry_if_exception_type(ServerAwayError), stop=tenacity.stop_after_attempt(3), reraise=True
)

# Seconds in which a request that was in flight as its batch ended has ended, whatever became of it.
LONGEST_S = 400.0
# Seconds between looks whether the process is to end meanwhile.
LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class PrefectLeases:
    """Slots of the limit on the Prefect server, as many as are due to this process. JSON and pickle, no secret."""

    project: str
    """Earth Engine project, whose tag's limit is the quota."""
    limit: int
    """Slots that the limit gets if it is not there yet: the project's quota."""
    tagged: bool = False
    """Whether batches are Prefect tasks with the tag, each of which brings a slot of its own."""
    tag_lease: UUID | None = field(default=None, compare=False)
    """Lease of the running task's tag; None where it has none."""

    @property
    def tag(self) -> str:
        """Tag of the tasks that send requests to the project."""
        return tag_of(self.project)

    def hold(
        self, permits: Permits, *, run_id: str, wanted: Callable[[], int], on_cancel: Callable[[], object]
    ) -> LeaseHold:
        """Return what this process holds: see `tasks.extraction.quota.Quota`.

        Raises:
            BadInputError: the limit counts nothing.
            ServerRefusedError: the server refuses, and would later.
            httpx.HTTPError: the server can't be asked.
        """
        return LeaseHold(self, permits, run_id=run_id, wanted=wanted, on_cancel=on_cancel, log=run_logger())


class LeaseHold:
    """The leases of one run in one process, from its opening to its close: see `tasks.extraction.quota.Hold`."""

    def __init__(
        self,
        quota: PrefectLeases,
        permits: Permits,
        *,
        run_id: str,
        wanted: Callable[[], int],
        on_cancel: Callable[[], object],
        log: Log,
    ) -> None:
        self._permits = permits
        self._open = contextlib.ExitStack()
        client = self._open.enter_context(server())
        limit = QuotaLimit(quota.project, run_id, holder=uuid4())
        with contextlib.ExitStack() as failed:
            failed.push(self._open)
            try:
                _patiently(limit.check)(client, in_flight=permits.pace.in_flight, quota=quota.limit, log=log)
            except httpx.HTTPError as error:
                raise_if_refused(error)
                raise
            failed.pop_all()
        self.book = LeaseBook(permits)
        self.keeper = LeaseKeeper(
            limit,
            client,
            permits,
            self.book,
            quota=quota.limit,
            tagged=quota.tagged,
            wanted=wanted,
            on_cancel=on_cancel,
            log=log,
        )

    def wait_for_room(self) -> None:
        """Wait until a slot is free, without taking it: what is asked before the first pixel is asked one by one.

        Others leave it free, since this run's wish is among those that they share with.
        """
        self.keeper.wait_for_room()

    def begin(self, send: Callable[[], object] = lambda: None) -> None:
        """Take slots from now on: the first unless none is free, then call `send`, then take what else is due."""
        self.keeper.begin(self._open, send)

    @contextlib.contextmanager
    def counting(self, quota: Quota) -> Iterator[None]:
        """Count the slot of a task's tag, for as long as its batch runs."""
        own = quota.tag_lease if isinstance(quota, PrefectLeases) else None
        lease = None if own is None else tag_lease(own)
        if lease:
            self.book.add(lease)
            self.keeper.wake()
        try:
            yield
        finally:
            if lease:
                self.book.remove(lease)
            # Prefect gives the slot back as soon as the task ends: until then a request may need it.
            end = time.monotonic() + LONGEST_S
            while self.keeper.left_for is None and time.monotonic() < end:
                if self._permits.wait_idle(LOOK_S, beyond=self.book.slots):
                    break

    def leave(self, computing_s: float) -> None:
        """Let the process end although requests are in flight: their slots stay taken for as long as they may go on."""
        self.keeper.left_for = computing_s

    def close(self) -> None:
        """Give everything back. Nobody waits for it, but Python does before it ends: the thread is no daemon."""
        self.keeper.close()
        self._open.close()  # of a hold that never began

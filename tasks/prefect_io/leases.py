"""Leases: the slots of an Earth Engine project's quota that one process holds.

All runs of the project share the quota through a Prefect server. It is the concurrency limit of the tag
``earthengine:<project>``. The slots that the Prefect UI shows as taken are the requests that may be in flight. A task
with the tag takes one slot, as any tagged task does. The process in which the task runs takes further slots by leases
on the same limit. Each process has its own holder id.

In Prefect, a task whose lease is lost goes on. So one thread renews all leases of the process, including that of the
tag, and the permits count no lease that was not confirmed in time.

When there are several processes, a second limit, ``earthengine:<project>:wanted``, decides how much each may take. Each
process takes as many slots of it as it could use: its demand. The quota is shared in proportion to the demands.

Threads: a `LeaseBook` may be used by any thread, a `LeaseKeeper` by one thread at a time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import tenacity

from tasks.extraction.permits import Permits
from tasks.extraction.quota import Quota
from tasks.prefect_io.flow_run import Log, run_logger
from tasks.prefect_io.lease_book import LeaseBook, tag_lease
from tasks.prefect_io.lease_keeper import LeaseKeeper
from tasks.prefect_io.quota_limit import QuotaLimit, tag_of
from tasks.prefect_io.server import FAULTS, ServerAwayError, server, server_error

# Seconds for which a run tries at its start, while a server restarts or is busy.
START_S = 50.0


def _may_answer_later(error: BaseException) -> bool:
    return isinstance(server_error(error), ServerAwayError)


_patiently = tenacity.retry(
    retry=tenacity.retry_if_exception(_may_answer_later),
    stop=tenacity.stop_after_delay(START_S),
    wait=tenacity.wait_random_exponential(0.5, max=5),
    reraise=True,
)

# Seconds after the end of a batch in which each of its requests has ended, with or without an answer.
LONGEST_S = 400.0
# Seconds between two checks whether the process is about to end.
LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class PrefectLeases:
    """The quota as leases on the limit of the Prefect server. Can be sent as JSON or pickle, and holds no secret."""

    project: str
    """Earth Engine project. The limit of its tag is the quota."""
    limit: int
    """Slots of the limit if it does not exist yet: the project's quota."""
    tagged: bool = False
    """Whether batches are Prefect tasks with the tag: each of them adds the slot of its tag."""
    tag_lease: UUID | None = field(default=None, compare=False)
    """Lease of the running task's tag; None = the task has no such lease."""

    @property
    def tag(self) -> str:
        """The tag of tasks that send requests to the project."""
        return tag_of(self.project)

    def hold(
        self, permits: Permits, *, run_id: str, wanted: Callable[[], int], on_cancel: Callable[[], object]
    ) -> LeaseHold:
        """Return the hold of this process on the quota: see `tasks.extraction.quota.Quota`.

        Raises:
            BadInputError: The limit is switched off, zero, or has slot decay.
            ServerRefusedError: The server refuses the request, and would refuse it later, too.
            ServerAwayError: The server does not answer, or answers with garbage.
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
            except FAULTS as error:
                if found := server_error(error):
                    raise found from error
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
        """Wait until a slot is free, without taking it. One is enough: requests for metadata are sent one at a time.

        Other processes leave this slot free, because they share the quota with the demand of this one.
        """
        self.keeper.wait_for_room()

    def begin(self, send: Callable[[], object] = lambda: None) -> None:
        """Take the first slot if one is free, call `send`, then take the rest of this process's share."""
        self.keeper.begin(self._open, send)

    @contextlib.contextmanager
    def counting(self, quota: Quota) -> Iterator[None]:
        """Count the slot of a task's tag while its batch runs."""
        own = quota.tag_lease if isinstance(quota, PrefectLeases) else None
        lease = None if own is None else tag_lease(own)
        if lease:
            self.book.add(lease)
        else:
            self.keeper.tag_slot.untagged.add(token := object())
        self.keeper.wake()
        try:
            yield
        finally:
            if lease:
                self.book.remove(lease)
            else:
                self.keeper.tag_slot.untagged.discard(token)
            # Prefect releases the slot as soon as the task ends. So wait until no request in flight needs it.
            end = time.monotonic() + LONGEST_S
            while self.keeper.left_for is None and time.monotonic() < end:
                if self._permits.wait_idle(LOOK_S, beyond=self.book.slots):
                    break

    def leave(self, computing_s: float) -> None:
        """Let the process end although requests are in flight. Their slots stay taken for `computing_s` seconds."""
        self.keeper.left_for = computing_s

    def close(self) -> None:
        """Release all slots, without waiting for it. Python waits before it exits: the thread is not a daemon."""
        self.keeper.close()
        self._open.close()  # empty, unless the hold never began

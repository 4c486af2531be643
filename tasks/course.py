"""The course of a flow run: what its lanes, which are threads of its process, share."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from prefect import get_run_logger
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run

from tasks.earthengine.account import Account
from tasks.earthengine.checkpoint import Checkpoint
from tasks.earthengine.connection import Connection
from tasks.earthengine.lane import Lane
from tasks.earthengine.permits import Pace
from tasks.earthengine.plan import Plan
from tasks.earthengine.run import Run
from tasks.earthengine.transport import Deadlines, fetch
from tasks.slots import Slots
from tasks.storage.receipt import Receipt
from tasks.storage.store import Store


class RunCancelled(Exception):
    """Somebody has cancelled the run. What it stored is kept."""


@dataclass(frozen=True)
class Work:
    """What lanes need besides numbers of tiles: they are threads of the process that planned it."""

    plan: Plan
    store: Store
    checkpoint: Checkpoint
    """What was stored before."""
    connection: Connection


@dataclass(frozen=True)
class Course:
    """A run and its slots."""

    run: Run
    slots: Slots
    deadlines: Deadlines
    workload_tag: str
    id: str
    """Of the flow run."""
    events: queue.SimpleQueue[bool] = field(default_factory=queue.SimpleQueue)
    """True as a lane begins, False as it ends."""
    receipts: list[Receipt] = field(default_factory=list)
    """Of the batches that ended."""
    errors: list[BaseException] = field(default_factory=list)
    """What ended batches before their end."""
    work: dict[str, Work] = field(default_factory=dict)
    """What is fetched, by the key of its plan."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Stop, because somebody has cancelled the flow run."""
        self.cancelled.set()
        self.leave()

    def leave(self) -> None:
        """Stop, and let the process end once what is in flight has had its grace."""
        self.slots.leave(self.deadlines.computing_s)
        self.run.stop.set()

    def ended(self, future: PrefectFuture[Any]) -> None:
        """Take note that a lane's task has ended. One that crashed leaves no receipt: the run has failed."""
        future.wait()  # it has ended: else Prefect asks the server for its state, by a client that it does not close
        state = future.state
        if not state.is_completed():
            self.run.stop.set()
            if not self.errors:  # it ended before it could say why
                self.errors.append(RuntimeError(f"A lane ended in state {state.name}: {state.message}"))
        self.events.put(False)

    def lane(self, work: Work) -> Lane:
        """Return what fetches tiles of a plan."""
        ask = partial(fetch, work.connection, deadlines=self.deadlines, workload_tag=self.workload_tag)
        return Lane(plan=work.plan, fetch=ask, run=self.run, store=work.store, checkpoint=work.checkpoint)


# By the id of the flow run.
_COURSES: dict[str, Course] = {}


@contextlib.contextmanager
def at_quota(account: Account, deadlines: Deadlines) -> Iterator[Course]:
    """Share a project's quota with other runs, for as long as the block. No slot is held before tiles are fetched.

    Raises:
        BadInputError: the quota's limit counts nothing.
    """
    # Without Prefect's engine around it, a flow's function may be called as well: it plans, and refuses bad input.
    key = flow_run.id or str(uuid4())
    log = get_run_logger() if flow_run.id else logging.getLogger(__name__)
    # Permits take of the whole rate what a run's slots are of the quota.
    pace = Pace(in_flight=account.pace.in_flight, per_second=account.per_second)
    with (
        Run(pace) as run,
        Slots(account.connection.project, run.permits, run_id=UUID(key), log=log, quota=account.quota) as slots,
    ):
        run.permits.quota = account.quota
        course = _COURSES[key] = Course(run, slots, deadlines, account.workload_tag, key)
        slots.on_cancel = course.cancel
        try:
            slots.wait_for_room()
            if course.cancelled.is_set():
                raise RunCancelled("Cancelled while it waited for slots. Nothing was fetched.")
            yield course
        finally:
            del _COURSES[key]


def current() -> Course:
    """Return the course of the flow run that this thread works for."""
    return _COURSES[str(flow_run.id)]

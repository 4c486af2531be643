"""Prefect's own wait for the slot of a task's tag: how to end it.

Prefect's engine takes the slot of a tag before it calls the task. It waits in a thread of the task runner, without a
limit of time and deaf to signals, and the flow cannot end before this thread. Prefect 3.8 has no public way to end the
wait. So this module cancels it in Prefect's event loop, as Prefect itself does when an asynchronous task is cancelled.
If a later version of Prefect differs, nothing is cancelled, and the wait ends when a slot is free.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any
from uuid import UUID

from prefect._internal.concurrency.threads import get_run_sync_loop

# The coroutine in which Prefect takes the slot of a tag.
_TAKES = "aacquire_concurrency_slots_with_lease"
# Seconds that Prefect's event loops have to cancel.
PATIENCE_S = 5.0

_log = logging.getLogger(__name__)


def end_slot_wait(task_run: UUID) -> bool:
    """End the wait of a task run for the slot of its tag; return whether it waited.

    The task run ends as Crashed. If the slot was granted at this moment, Prefect returns it, or its lease ends.
    """
    try:
        loop = get_run_sync_loop()._loop  # noqa: SLF001 - see the docstring of this module
        if loop is None:
            return False
        return asyncio.run_coroutine_threadsafe(_cancel(task_run), loop).result(PATIENCE_S)
    except Exception as error:  # noqa: BLE001 - another version of Prefect may fail in any way
        _log.debug("Prefect's wait for the slot of a task could not be ended: %r", error)
        return False


async def _cancel(task_run: UUID) -> bool:
    for task in asyncio.all_tasks():
        coroutine: Any = task.get_coro()
        given = inspect.getcoroutinelocals(coroutine) if coroutine.__name__ == _TAKES else {}
        if getattr(given.get("holder"), "id", None) == task_run:
            task.cancel()
            _stop(given.get("service"))
            return True
    return False


def _stop(service: Any) -> None:
    """Stop the service that asks the server again and again, unless it asks for other tasks, too.

    Python waits for this service before it exits.
    """
    task, loop = service._task, service._loop  # noqa: SLF001 - see the docstring of this module
    if task is None or service._queue.qsize():  # noqa: SLF001 - as above
        return
    logger = logging.getLogger("prefect._internal.concurrency")

    def quiet(record: logging.LogRecord) -> bool:  # it would be logged as an error of Prefect
        return not str(record.msg).startswith("Service %r failed with")

    logger.addFilter(quiet)
    task.add_done_callback(lambda _: logger.removeFilter(quiet))
    loop.call_soon_threadsafe(task.cancel)

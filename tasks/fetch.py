"""The fetch task: one batch of a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from prefect import task
from prefect.concurrency.context import ConcurrencyContext
from prefect.states import Cancelled, Failed

from tasks.earthengine.errors import Stopped
from tasks.extraction.batch import Batch, run_batch
from tasks.extraction.quota import Quota
from tasks.prefect_io.boundary import ours
from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.leases import PrefectLeases
from tasks.prefect_io.opener import PREFECT
from tasks.prefect_io.result_cache import BatchCachePolicy


# No retries, whatever the user's profile sets: a retry would sleep while its task holds a slot, and the second attempt
# would find the run already stopped.
@task(
    name="fetch-batch",
    task_run_name="tiles {batch.start}-{batch.stop}",
    retries=0,
    log_prints=False,
    cache_policy=BatchCachePolicy(),
    persist_result=True,
    result_serializer="json",
)
def fetch_batch(batch: Batch, quota: Quota) -> dict[str, Any]:
    """Fetch and store the missing tiles of a batch and write its receipt: see :func:`tasks.extraction.batch.run_batch`.

    Failed requests are repeated inside the batch: a retry of the task would sleep while it holds a concurrency slot.

    Returns:
        The key of the receipt (`receipt`) and the number of tiles of each status. Prefect's cache keeps this.
    """
    if isinstance(quota, PrefectLeases):
        quota = replace(quota, tag_lease=_tag_lease())
    try:
        summary = run_batch(batch, quota, opener=PREFECT)
    except Exception as raised:  # noqa: BLE001 - the flow raises it
        error = ours(raised)
        # Returned as a state: Prefect's engine would log a raised error with a traceback, as if the code were at fault.
        kind = Cancelled if isinstance(error, Stopped) else Failed
        state: Any = kind(message=f"{type(error).__name__}: {error}", data=error)
        return state  # type: ignore[no-any-return]  # the engine accepts a state as a result
    counts = ", ".join(f"{count} {kind}" for kind, count in summary.items() if kind != "receipt")
    run_logger().info("Tiles %d to %d: %s", batch.start, batch.stop - 1, counts)
    return summary


def _tag_lease() -> UUID | None:
    """Return the lease of the running task's tag; None if there is none.

    Prefect records the lease in the `ConcurrencyContext` around that of the task's code, so that it is released
    whatever happens. There is no public access to it. If a later version of Prefect does not record it there, the slot
    of the tag is not counted, and the process sends one request less at a time.
    """
    outer = getattr(getattr(ConcurrencyContext.get(), "_token", None), "old_value", None)
    leases = outer.cleanup_lease_ids if isinstance(outer, ConcurrencyContext) else []
    return leases[0] if leases else None

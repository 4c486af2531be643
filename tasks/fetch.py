"""The fetch task: one batch of a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from prefect import task
from prefect.concurrency.context import ConcurrencyContext
from prefect.states import Cancelled, Failed

from tasks.earthengine.errors import EarthEngineError, Stopped
from tasks.extraction.batch import Batch, run_batch
from tasks.extraction.quota import Quota
from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.leases import PrefectLeases
from tasks.prefect_io.opener import PREFECT
from tasks.prefect_io.result_cache import ByBatch
from tasks.storage.store import StorageError


# No retries, whatever the user's profile says: they would sleep in the slot, and the second would find the run stopped.
@task(
    name="fetch-batch",
    task_run_name="tiles {batch.start}-{batch.stop}",
    retries=0,
    log_prints=False,
    cache_policy=ByBatch(),
    persist_result=True,
    result_serializer="json",
)
def fetch_batch(batch: Batch, quota: Quota) -> dict[str, Any]:
    """Fetch what is missing of the tiles of a batch, store it, and write their receipt: see `run_batch`.

    A task's own retries would sleep inside its concurrency slot, so requests are repeated inside the batch.

    Returns:
        Key of the receipt, and how many tiles of each status it has: what Prefect's cache keeps.
    """
    if isinstance(quota, PrefectLeases):
        quota = replace(quota, tag_lease=_tag_lease())
    try:
        summary = run_batch(batch, quota, opener=PREFECT)
    except (EarthEngineError, StorageError) as error:
        # Not raised through the engine, which would log a traceback, as if the code were at fault.
        kind = Cancelled if isinstance(error, Stopped) else Failed
        state: Any = kind(message=f"{type(error).__name__}: {error}", data=error)
        return state  # type: ignore[no-any-return]  # the engine takes a state for a result
    counts = ", ".join(f"{count} {kind}" for kind, count in summary.items() if kind != "receipt")
    run_logger().info("tiles %d to %d: %s", batch.start, batch.stop - 1, counts)
    return summary


def _tag_lease() -> UUID | None:
    """Return the lease of the running task's tag.

    To give it back whatever happens, Prefect notes it in the context around that of the task's code, which knows what
    it covers: there is no public way to it. Where Prefect no longer does, the slot of the tag is not counted, and the
    process sends one request less.
    """
    outer = getattr(getattr(ConcurrencyContext.get(), "_token", None), "old_value", None)
    leases = outer.cleanup_lease_ids if isinstance(outer, ConcurrencyContext) else []
    return leases[0] if leases else None

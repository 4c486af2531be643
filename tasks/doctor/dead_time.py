"""The dead time between two tasks whose tag has a limit, measured with a limit of its own."""

from __future__ import annotations

import contextlib
import time
import uuid
from itertools import pairwise

from prefect import task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound

TASKS = 2


def dead_time(client: SyncPrefectClient) -> float | None:
    """Return the longest time in seconds from the end of a tagged task to the start of the next; None = no flow run.

    The tag and its limit are made for this, so that no slot of the quota is taken.
    """
    if FlowRunContext.get() is None:
        return None
    tag = f"doctor-{uuid.uuid4().hex[:8]}"
    name = f"tag:{tag}"
    client.create_global_concurrency_limit(
        GlobalConcurrencyLimitCreate(name=name, limit=1, active=True, slot_decay_per_second=0)
    )
    try:
        moments = [_moments.with_options(tags=[tag])() for _ in range(TASKS)]
    finally:
        with contextlib.suppress(ObjectNotFound):
            client.delete_global_concurrency_limit_by_name(name)
    return max(later[0] - earlier[1] for earlier, later in pairwise(moments))


@task(name="doctor", persist_result=False)
def _moments() -> tuple[float, float]:
    """Return when the task began and when it ended. It does nothing else."""
    begun = time.monotonic()
    return begun, time.monotonic()

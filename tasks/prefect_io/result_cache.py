"""Keys of batches in Prefect's result cache.

The key is made from the plan's fingerprint, the batch's range, the output and a version. Prefect takes the slot of a
tag before it looks into its cache, and it caches a Failed or Cancelled state of a task like any other result. So
receipts, the source of truth, are read first. Only batches without a missing tile may be answered from the cache, and
these run without the tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext

from tasks.extraction.batch import Batch

# Part of every key. To be raised when the result of the same batch changes.
VERSION = 1


@dataclass
class BatchCachePolicy(CachePolicy):
    """Cache policy of batches: the key does not depend on the run, the quota, the connection or the worker."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the key of the task's batch: see :func:`key_of`."""
        del task_ctx, flow_parameters, kwargs
        return key_of(inputs["batch"])


def key_of(batch: Batch) -> str:
    """Return the key under which Prefect caches the result of a batch. It is also a valid file name."""
    identity = [VERSION, batch.plan, batch.start, batch.stop, batch.output]
    return f"pixel-quarry-batch-{sha256(orjson.dumps(identity)).hexdigest()}"

"""What Prefect keeps of a task's result, under which key, and where: an index over what is stored, never the truth.

A batch is known by its plan's fingerprint, its range, its output and a version. Prefect looks into its cache after it
has taken the slot of a tag, and keeps a result that says Failed like any other. So receipts are looked at first: only
batches that are known from them may be answered from the cache, and those run without a tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext

from tasks.extraction.batch import Batch

# Part of every key: raised when the same batch gives another result.
VERSION = 1


@dataclass
class ByBatch(CachePolicy):
    """Keys of batches, whatever run, quota, connection and worker they have."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the key of a batch."""
        del task_ctx, flow_parameters, kwargs
        return key_of(inputs["batch"])


def key_of(batch: Batch) -> str:
    """Return under which key Prefect keeps the result of a batch; it is the name of a file, too."""
    identity = [VERSION, batch.plan, batch.start, batch.stop, batch.output]
    return f"pixel-quarry-batch-{sha256(orjson.dumps(identity)).hexdigest()}"

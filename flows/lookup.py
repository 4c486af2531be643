"""Which tiles of a plan are stored when a run starts, and whether the output has room for the others."""

from __future__ import annotations

import time
from collections import Counter

from tasks.extraction.checkpoint import Checkpoint, read_checkpoint
from tasks.extraction.free_space import check_free_space
from tasks.plan.choices import Verify
from tasks.plan.plan import Plan
from tasks.prefect_io.flow_run import run_logger
from tasks.storage.store import Store

# Receipts that cannot be read, and are named in the log.
NAMED = 5


def look_up(plan: Plan, store: Store, *, verify: Verify, sweep: bool = True) -> Checkpoint:
    """Return which tiles of a plan are stored, and log their number. Warn if the others may not fit into the output.

    Args:
        plan: The plan to fetch.
        store: The output.
        verify: How stored tiles are compared with their receipts: see :class:`flows.run_options.RunOptions`.
        sweep: Whether unfinished files of killed runs are removed.

    Raises:
        BadInputError: The output has no room for the missing tiles.
        StorageError: The output cannot be read.
    """
    begun, log = time.monotonic(), run_logger()
    checkpoint = read_checkpoint(plan, store, verify=verify)
    if warning := check_free_space(store, plan, missing=len(plan) - len(checkpoint.tiles)):
        log.warning("%s", warning)
    for key, reason in list(checkpoint.refused.items())[:NAMED]:
        log.warning("%s is left out, and its tiles count as without a receipt: %s", key, reason)
    if sweep:
        store.sweep()
    if checkpoint.tiles or checkpoint.unverified:
        kinds = Counter(fault.kind for fault in checkpoint.faults.values())
        log.info(
            "%d of %d tiles are stored%s%s (looked up in %.1f s)",
            len(checkpoint.tiles),
            len(plan),
            "".join(f", {count} {kind}" for kind, count in sorted(kinds.items())),
            f", {unreceipted} without a receipt"
            if (unreceipted := len(set(checkpoint.unverified) - set(checkpoint.faults)))
            else "",
            time.monotonic() - begun,
        )
    return checkpoint

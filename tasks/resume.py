"""The start of a run: what is stored of its plan, and whether there is room for the rest."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
from humanize import naturalsize

from tasks.earthengine.checkpoint import Checkpoint, read_checkpoint
from tasks.earthengine.choices import Verify
from tasks.earthengine.errors import BadInputError
from tasks.earthengine.plan import Plan
from tasks.log import run_logger
from tasks.output import open_output
from tasks.storage.store import Store

# Compression of level 1 seldom makes pixels smaller than this share: with less room the disk fills up.
LEAST_SHARE = 0.25


def stored_before(plan: Plan, output: str, *, verify: Verify, sweep: bool = True) -> Checkpoint:
    """Return what is stored of a plan, and say so.

    Args:
        plan: What is to be fetched.
        output: Where to.
        verify: How much is read.
        sweep: Whether what killed runs left unfinished is removed.

    Raises:
        BadInputError: there is no room for the rest.
        StorageError: the output can't be read.
    """
    store, begun, log = open_output(output), time.monotonic(), run_logger()
    checkpoint = read_checkpoint(plan, store, verify=verify)
    check_room(store, plan, missing=len(plan) - len(checkpoint.tiles))
    if sweep:
        store.sweep()
    if checkpoint.tiles or checkpoint.there:
        kinds = Counter(fault.kind for fault in checkpoint.faults.values())
        log.info(
            "%d of %d tiles are stored%s%s; looked up in %.1f s",
            len(checkpoint.tiles),
            len(plan),
            "".join(f", {count} {kind}" for kind, count in sorted(kinds.items())),
            f", {untold} without a receipt" if (untold := len(set(checkpoint.there) - set(checkpoint.faults))) else "",
            time.monotonic() - begun,
        )
    return checkpoint


def check_room(store: Store, plan: Plan, *, missing: int) -> None:
    """Hold what is missing against the free space of the output.

    Raises:
        BadInputError: it can't hold it.
    """
    free = store.free_bytes()
    if free is None or not missing:
        return
    bytes_a_pixel = sum(np.dtype(band.dtype).itemsize for band in plan.bands)
    whole = round(plan.tiles.pixels * len(plan.sources) * bytes_a_pixel * missing / len(plan))
    packed = plan.output.file_format in {"PNG", "JPEG"} or plan.output.codec != "none"
    least = round(whole * LEAST_SHARE) if packed else whole
    text = f"{naturalsize(free)} are free, and the {missing:,} tiles that are missing take {naturalsize(whole)}"
    if free < least:
        how = f"{text} before compression" if packed else text
        remedy = "Free some space, or give an output with more room; nothing was fetched"
        raise BadInputError("output", store.uri, how, remedy)
    if free < whole:
        run_logger().warning("%s before compression: it may not suffice.", text)

"""Whether an output has room for the tiles that are missing."""

from __future__ import annotations

import numpy as np
from humanize import naturalsize

from tasks.errors.input import BadInputError
from tasks.plan.plan import Plan
from tasks.prefect_io.log import run_logger
from tasks.storage.store import Store

# Compression of level 1 seldom makes pixels smaller than this share: with less room the disk fills up.
LEAST_SHARE = 0.25


def check_free_space(store: Store, plan: Plan, *, missing: int) -> None:
    """Hold what is missing against the free space of the output.

    Raises:
        BadInputError: it can't hold it.
    """
    free = store.free_bytes()
    if free is None or not missing:
        return
    bytes_a_pixel = sum(np.dtype(band.dtype).itemsize for band in plan.bands)
    whole = round(plan.tiles.pixels * len(plan.sources) * bytes_a_pixel * missing / len(plan))
    packed = plan.tile_format.file_format in {"PNG", "JPEG"} or plan.tile_format.codec != "none"
    least = round(whole * LEAST_SHARE) if packed else whole
    text = f"{naturalsize(free)} are free, and the {missing:,} tiles that are missing take {naturalsize(whole)}"
    if free < least:
        how = f"{text} before compression" if packed else text
        remedy = "Free some space, or give an output with more room; nothing was fetched"
        raise BadInputError("output", store.uri, how, remedy)
    if free < whole:
        run_logger().warning("%s before compression: it may not suffice.", text)

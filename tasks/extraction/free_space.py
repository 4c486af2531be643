"""Check that an output has room for the missing tiles."""

from __future__ import annotations

import numpy as np
from humanize import naturalsize

from tasks.errors.input import BadInputError
from tasks.extraction.tile_file import planned
from tasks.plan.plan import Plan
from tasks.storage.store import Store

# Compression of level 1 seldom makes pixels smaller than this share. With less room than that, the disk fills up.
LEAST_SHARE = 0.25


def check_free_space(store: Store, plan: Plan, *, missing: int) -> str | None:
    """Compare the size of the missing tiles with the free space of the output.

    Returns:
        A warning if the tiles may not fit, else None.

    Raises:
        BadInputError: The tiles cannot fit.
    """
    free = store.free_bytes()
    if free is None or not missing:
        return None
    alike = planned(plan)
    bytes_a_pixel = sum((alike.dtype if alike else np.dtype(band.dtype)).itemsize for band in plan.bands)
    whole = round(plan.tiles.pixels * len(plan.sources) * bytes_a_pixel * missing / len(plan))
    packed = plan.tile_format.file_format in {"PNG", "JPEG"} or plan.tile_format.codec != "none"
    least = round(whole * LEAST_SHARE) if packed else whole
    text = f"{naturalsize(free)} are free, and the {missing:,} missing tiles take {naturalsize(whole)}"
    if free < least:
        how = f"{text} before compression" if packed else text
        remedy = "Free some space, or give an output with more room. Nothing was fetched"
        raise BadInputError("output", store.uri, how, remedy)
    return f"{text} before compression. The free space may not suffice." if free < whole else None

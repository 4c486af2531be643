"""Garbage collection in a process that executes one run and nothing else."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

# New objects between two collections. With Python's default of 700, a run spends a twentieth of its CPU time on them.
SELDOM = 20_000


@contextlib.contextmanager
def rare_garbage_collection() -> Iterator[None]:
    """Exclude the objects that exist already from garbage collection inside the `with` block, and collect less often.

    After the imports alone there are about 200,000 objects, and each full collection stops all threads for a seventh
    of a second. Use this only in a process that runs nothing else: garbage of other code would also be kept until the
    block ends.
    """
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(SELDOM, *before[1:])
    gc.enable()  # `python -m flows` disables it as it starts
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()

"""Python's search for garbage, in a process that is for one run alone."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

# New objects before they are searched; with Python's 700 a run spends a twentieth of its CPU on it.
SELDOM = 20_000


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leave what is there already out of Python's search for garbage.

    It is some 200,000 objects after the imports alone: every search of all stops all threads for a seventh of a second.
    Only for a process of our own: what others of a process leave behind meanwhile would be kept as well.
    """
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(SELDOM, *before[1:])
    gc.enable()  # `python -m flows` does without it until here
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()

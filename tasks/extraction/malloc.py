"""The heaps of glibc, each of which keeps what its threads needed at their worst moment."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

# mallopt(3): `#define M_ARENA_MAX -8`. Two heaps are enough, since Python's lock lets one thread allocate at a time,
# but for arrays; by default there are eight a core.
_M_ARENA_MAX, _HEAPS = -8, 2


def share() -> None:
    """Let all threads of the process that are yet to come share two heaps: 50 MB less for a run of 50 threads."""
    if "MALLOC_ARENA_MAX" in os.environ:  # the user has chosen
        return
    with _in_glibc():
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)


def trim() -> None:
    """Give back to the system what is free in the heaps, also in their middle: some milliseconds.

    Arrow has a heap of its own, and keeps three times what it ever used of it.
    """
    if pyarrow := sys.modules.get("pyarrow"):
        pyarrow.default_memory_pool().release_unused()
    with _in_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _in_glibc() -> contextlib.AbstractContextManager[None]:
    # Other C libraries have no such functions, and Windows no such way to them (TypeError).
    return contextlib.suppress(OSError, AttributeError, TypeError)

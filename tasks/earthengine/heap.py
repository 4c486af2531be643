"""The heaps of glibc, each of which keeps what its threads needed at their worst moment."""

from __future__ import annotations

import contextlib
import ctypes
import os

# mallopt(3): `#define M_ARENA_MAX -8`. Two heaps are enough, since Python's lock lets one thread allocate at a time,
# but for arrays; by default there are eight a core.
_M_ARENA_MAX, _HEAPS = -8, 2


def share() -> None:
    """Let all threads of the process that are yet to come share two heaps: 50 MB less for a run of 50 threads."""
    if "MALLOC_ARENA_MAX" in os.environ:  # somebody has chosen
        return
    # Other C libraries have no such knob, and Windows no such way to it (TypeError).
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)

"""The owner of an unfinished file: the process that writes it. If it has ended, the file was left behind."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import time
from pathlib import Path

# Unfinished files of another machine are removed after a day: whether its process is alive cannot be seen from here.
FORGOTTEN_S = 86_400


@functools.cache
def place() -> str:
    """Return an id of the place where this process runs: host, boot and PID namespace.

    Whether a process still runs can be seen only from the same place.
    """
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def owner() -> str:
    """Return an id of this process: its place and its process id."""
    return f"{place()}-{os.getpid()}"


def left_behind(entry: os.DirEntry[str], made_by: str) -> bool:
    """Return whether the process that made a file or folder has ended. `made_by` begins with its `owner`."""
    where, _, rest = made_by.partition("-")
    process = rest.partition("-")[0]
    if where == place() and process.isdecimal():
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > FORGOTTEN_S
    except OSError:
        return False

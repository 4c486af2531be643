"""Files and folders as a local store needs them: made, stamped and named atomically."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from typing import TypeVar

from tasks.storage.store import (
    check_key,
)

T = TypeVar("T")
# A file system without hard links says so in one of these ways.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


def in_folder(path: str, make: Callable[[], T]) -> T:
    """Make something in a folder that may not be there yet, or be removed at this moment."""
    for _ in range(9):
        with contextlib.suppress(FileNotFoundError):
            return make()
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # the latter, if it was removed just then
            os.makedirs(os.path.dirname(path), exist_ok=True)
    return make()


def folder_of(prefix: str) -> str:
    """Return the folder that holds all keys with a prefix."""
    return check_key(prefix.rpartition("/")[0]) if "/" in prefix else ""


def stamp(file: int | str) -> None:
    """Give a file a time of its own: the kernel's stands still for milliseconds, and it is the file's version."""
    now = time.time_ns()
    with contextlib.suppress(OSError):
        os.utime(file, ns=(now, now))


def sync(path: str) -> None:
    """Make sure that a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link(temporary: str, path: str) -> bool:
    """Give a file its name unless that is taken; return whether it has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):  # another may still come between
            return False
        os.replace(temporary, path)
    return True

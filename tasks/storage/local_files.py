"""File operations of the local store: open files, create folders, set times, and give files their names atomically."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable
from typing import IO, TypeVar

from tasks.storage.root import Root
from tasks.storage.store import check_key, check_size

T = TypeVar("T")
# Errors of file systems without hard links.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


def in_folder(path: str, make: Callable[[], T], root: Root) -> T:
    """Call `make`, which creates something at a path. If the folder of the path is missing, create it and try again.

    Another process may delete the empty folder at any moment. The root of the output is created only once.

    Raises:
        OutputMissing: The root has vanished.
    """
    for _ in range(9):
        with contextlib.suppress(FileNotFoundError):
            return make()
        root.prepare()
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # FileExistsError: it was just deleted
            os.makedirs(os.path.dirname(path), exist_ok=True)
    return make()


def folder_of(prefix: str) -> str:
    """Return the folder that holds all keys with a prefix."""
    return check_key(prefix.rpartition("/")[0]) if "/" in prefix else ""


def stamp(file: int | str) -> None:
    """Give a file a modification time of its own, since it is the file's version.

    The clock of the kernel stands still for milliseconds, so two writes could get the same time.
    """
    now = time.time_ns()
    with contextlib.suppress(OSError):
        os.utime(file, ns=(now, now))


def sync(path: str) -> None:
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link(temporary: str, path: str) -> bool:
    """Give a file its name unless the name is taken. Return whether the file has the name now."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):  # after this check, another process may still create it
            return False
        os.replace(temporary, path)
    return True


def leads_out(root: str, path: str) -> bool:
    """Return whether a path below a root leads out of it, by a symbolic link that someone put there."""
    place = root
    for part in path.removeprefix(root).split("/")[1:]:
        place = f"{place}/{part}"
        if os.path.islink(place):
            real = os.path.realpath(root)
            return os.path.commonpath([os.path.realpath(path), real]) != real
    return False


def open_file(path: str) -> IO[bytes]:
    """Open a regular file to read it. Anything else, such as a pipe that would never end, counts as a folder.

    Raises:
        OSError: The file cannot be opened. ``IsADirectoryError``: it is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def facts_of(root: str, path: str) -> os.stat_result:
    """Return size and times of a file below a root; of a link that leads out, or nowhere, those of the link itself.

    Raises:
        OSError: Nothing is there.
    """
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode) and not leads_out(root, path):
        with contextlib.suppress(OSError):
            return os.stat(path)
    return found


def read_file(uri: str, key: str, path: str, most: int | None) -> bytes:
    """Return the bytes of a file of an output.

    Args:
        uri: Address of the output.
        key: Key of the file.
        path: Its path.
        most: Largest number of bytes. None = any number.

    Raises:
        TileLost: It holds more bytes.
    """
    with open_file(path) as file:
        check_size(uri, key, os.fstat(file.fileno()).st_size, most)
        return file.read()

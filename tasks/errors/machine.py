"""Errors of the machine that a run is on: memory, room on its disks, open files."""

from __future__ import annotations

import errno
import tempfile
from types import MappingProxyType

from tasks.errors import QuarryError
from tasks.errors.input import brief


class MachineError(QuarryError, OSError):
    """This machine lacks memory, room on a disk outside of the output, open files, or the permission for a file."""


_MEMORY = "Use a smaller tile_size or fewer requests_in_flight, or a machine with more memory"
_ROOM = "Free some space there. Temporary files go to another disk if TMPDIR names a folder on it"
_OPEN = "Raise the limit (`ulimit -n`), or use fewer requests_in_flight"
REMEDIES = MappingProxyType(
    {
        errno.ENOMEM: _MEMORY,
        errno.ENOSPC: _ROOM,
        errno.EDQUOT: _ROOM,
        errno.EFBIG: "Raise the limit of a file's size (`ulimit -f`), or use a disk that takes larger files",
        errno.EMFILE: _OPEN,
        errno.ENFILE: _OPEN,
        errno.EAGAIN: "Raise the limit of threads and processes (`ulimit -u`), or use fewer requests_in_flight",
        errno.EACCES: "Give the user of this process permission",
        errno.EPERM: "Give the user of this process permission",
        errno.EROFS: "Mount the disk for writing, or set TMPDIR to a folder that may be written",
        errno.ENOENT: "Create it again",
        errno.EIO: "Check the disk",
        errno.ESTALE: "Check the mount",
    }
)
"""What to do about an error of the operating system, by its number."""


def of_machine(error: BaseException) -> MachineError | None:
    """Return the error of the machine that an exception stands for; None if it is another one."""
    if isinstance(error, MemoryError):
        return MachineError(f"The memory of this machine is not sufficient. {_MEMORY}.")
    remedy = REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None
    if not isinstance(error, OSError) or remedy is None:
        return None
    place = f"{brief(str(error.filename))}: " if error.filename is not None else ""
    return MachineError(f"{place}{error.strerror}. {remedy}.")


def temporary_files(error: OSError) -> MachineError:
    """Return the error for temporary files that cannot be written. The output itself may have room."""
    try:
        place = brief(tempfile.gettempdir())
    except OSError:
        place = "None"
    remedy = REMEDIES.get(error.errno or 0, "Run again")
    return MachineError(f"temporary folder = {place}: a file cannot be written ({error.strerror or error}). {remedy}.")

"""Errors of the operating system, as errors of an output in a folder."""

from __future__ import annotations

import errno

from tasks.errors.machine import REMEDIES
from tasks.storage.store import OutputBusy, OutputDenied, OutputFull, OutputMissing, StorageError

_ROOM = "Free some space, or give an output on a disk with more room."
_MAY = "Give a folder that you may write to."
_MOUNT = "Check the mount, then run again."
_KINDS: dict[int | None, tuple[type[StorageError], str]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), (OutputFull, _ROOM)),
    errno.EFBIG: (OutputFull, f"{_ROOM} The limit may also be that of a file's size (`ulimit -f`)."),
    **dict.fromkeys((errno.EACCES, errno.EPERM), (OutputDenied, _MAY)),
    errno.EROFS: (OutputDenied, f"{_MAY} A disk that was remounted read-only may have errors: check it."),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), (OutputMissing, "Create the folder, or mount its disk again.")),
    **dict.fromkeys((errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EAGAIN), (OutputBusy, _MOUNT)),
    errno.EIO: (StorageError, "Check the disk or the mount, then run again."),
    **{number: (StorageError, f"{REMEDIES[number]}.") for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)},
}


def error_of(uri: str, key: str, what: str, error: OSError) -> StorageError:
    """Return the error for a file of an output that cannot be used.

    Args:
        uri: Address of the output.
        key: Key of the file.
        what: What was tried: `read`, `written`, `deleted`.
        error: The error of the operating system, or of GDAL.
    """
    kind, remedy = _KINDS.get(error.errno, (StorageError, _MAY if error.errno else "Run again."))
    return kind(f"output = {uri!r}: {key} cannot be {what} ({error.strerror or error}). {remedy}")


def leads_out_error(uri: str, key: str) -> OutputDenied:
    """Return the error for a key whose path leads out of the output by a symbolic link."""
    return OutputDenied(
        f"output = {uri!r}: {key} leads out of the output by a symbolic link, which is not followed. Remove the link, "
        "or give the folder that it leads to as output."
    )

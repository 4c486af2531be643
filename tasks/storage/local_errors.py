"""Errors of a folder: which error of ours an error of the operating system becomes."""

from __future__ import annotations

import errno

from tasks.storage.store import OutputBusy, OutputDenied, OutputFull, StorageError

_KINDS: dict[int | None, type[StorageError]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), OutputFull),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), OutputDenied),
    **dict.fromkeys((errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EAGAIN), OutputBusy),
}
_REMEDIES = {
    OutputFull: "Free some space, or give an output on a disk with more room.",
    OutputBusy: "Check the mount, then run again.",
}


def error_of(uri: str, key: str, what: str, error: OSError) -> StorageError:
    """Return the error of ours for an error of the operating system.

    Args:
        uri: Address of the output.
        key: What could not be read or written.
        what: ``read``, ``written`` or ``deleted``.
        error: The error of the operating system.
    """
    kind = _KINDS.get(error.errno, StorageError)
    remedy = _REMEDIES.get(kind, "Give a folder that you may write to.")
    return kind(f"output = {uri!r}: {key} cannot be {what} ({error.strerror or error}). {remedy}")


def leads_out_error(uri: str, key: str) -> OutputDenied:
    """Return the error for a key whose path leads out of the output by a symbolic link."""
    return OutputDenied(
        f"output = {uri!r}: {key} leads out of the output by a symbolic link, which is not followed. Remove the link, "
        "or give the folder that it leads to as output."
    )

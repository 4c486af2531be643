"""Find the file system of a folder, and warn of file systems that are unsuitable for writing."""

from __future__ import annotations

import re
from pathlib import Path

# Mounted object stores. A rename copies and deletes, an fsync uploads, links and modification times are not kept.
OBJECT_STORES = re.compile(r"fuse\.(gcsfuse|gcs|s3fs|goofys|rclone|mountpoint-s3|mount-s3|blobfuse2?|geesefs|juicefs)")
MOUNTS = Path("/proc/self/mountinfo")


def mounted_type(folder: Path, mounts: str) -> str | None:
    r"""Return the type of the file system that a folder is on; None if no mount is found.

    Args:
        folder: Absolute path. It need not exist yet.
        mounts: Text of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)).

    >>> line = "36 35 98:0 / /mnt/a\\040b rw,noatime shared:1 - fuse.gcsfuse bucket rw"
    >>> mounted_type(Path("/mnt/a b/output"), line), mounted_type(Path("/mnt/other"), line)
    ('fuse.gcsfuse', None)
    """
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4]))
        if folder.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):  # a later mount hides it
            found = len(point.parts), rest.split()[0]
    return found[1] if found else None


def advice(folder: Path) -> str | None:
    """Return a warning if a folder is on a mounted object store, else None."""
    try:
        kind = mounted_type(folder.resolve(), MOUNTS.read_text())
    except (OSError, IndexError):  # not on Linux
        return None
    if kind is None or not OBJECT_STORES.fullmatch(kind):
        return None
    return (
        f"output = {str(folder)!r} is on a mounted object store ({kind}), where a rename is not atomic and each file "
        "is uploaded twice. Write to the bucket itself: output = gs://bucket/prefix."
    )

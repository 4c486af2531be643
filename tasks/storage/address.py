"""Open the store of an address."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from pathlib import Path
from typing import Any

from tasks.storage.local import LocalStore
from tasks.storage.store import StorageError, Store, check_key

# Bucket names: https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(/(?P<prefix>.*?))?/?")

# Slugs of the block types that an output may have, and names of blocks: https://docs.prefect.io/v3/concepts/blocks
BUCKET, FOLDER = "gcs-bucket", "local-file-system"
_BLOCK = re.compile(rf"({BUCKET}|{FOLDER})/[a-z0-9-]+")


def is_block(output: str) -> bool:
    """Return whether an output is a saved block: ``gcs-bucket/name`` or ``local-file-system/name``.

    >>> is_block("gcs-bucket/pixels"), is_block("./gcs-bucket/pixels"), is_block("gs://bucket/prefix")
    (True, False, False)
    """
    return _BLOCK.fullmatch(output) is not None


# Slugs of block types that are no output. A folder of such a name would be a surprise.
_OTHER_BLOCKS = ("earth-engine-connection", "gcp-credentials", "remote-file-system", "s3-bucket", "smb")
_SCHEMES = ("gs", "gcs", "s3", "file", "http", "https", "ftp", "az", "abfs")


def fault_of(output: str) -> str | None:
    r"""Return why a text cannot be an output, without a look at the disk; None = it may be one.

    >>> fault_of("gs://bucket/prefix"), fault_of("../out"), fault_of("local-file-system/pixels")
    (None, None, None)
    >>> fault_of(r"C:\pixels")
    'it has a backslash, or a drive of Windows'
    """
    first, slash, _ = output.partition("/")
    scheme = re.match(r"([a-z][a-z0-9+.-]*):", output, re.IGNORECASE)
    reason = None
    if re.search(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", output):
        reason = "it has a control character"
    elif output != output.strip():
        reason = "it begins or ends with a blank"
    elif "\\" in output or re.match(r"[a-z]:", output, re.IGNORECASE):
        reason = "it has a backslash, or a drive of Windows"
    elif output.startswith("gs://"):
        try:
            bucket_of(output)
        except StorageError:
            reason = (
                "a bucket has a name of 3 to 222 lower-case letters, digits, dots, dashes or underscores, and its "
                "prefix has no empty part, `.` or `..`"
            )
    elif scheme and (scheme[1].lower() in _SCHEMES or output.startswith("/", scheme.end())):
        reason = f"nothing can be written to {scheme[0]}//"
    elif output.startswith(("//", "/vsi")):
        reason = "it is no folder of this machine"
    elif slash and first.lower() in {BUCKET, FOLDER, *_OTHER_BLOCKS} and not is_block(output):
        reason = f"no saved block that can be an output has this name: {BUCKET}/name or {FOLDER}/name in a-z, 0-9 and -"
    elif output.startswith("~"):
        try:
            Path(output).expanduser()
            reason = "it is a home folder itself" if "/" not in output.strip("/") else None
        except RuntimeError:
            reason = "there is no such home folder"
    return reason


def bucket_of(address: str) -> tuple[str, str]:
    """Return the bucket and the prefix of ``gs://bucket/prefix``.

    >>> bucket_of("gs://pixels/runs/2020/"), bucket_of("gs://pixels")
    (('pixels', 'runs/2020'), ('pixels', ''))

    Raises:
        StorageError: The address has another form.
    """
    found = _BUCKET.fullmatch(address)
    with contextlib.suppress(ValueError):
        if found:
            return found["bucket"], check_key(found["prefix"]) if found["prefix"] else ""
    raise StorageError(
        f"output = {address!r}: a bucket has a name of 3 to 222 lower-case letters, digits, dots, dashes or "
        "underscores, and its prefix has no empty part, `.` or `..`. Give gs://bucket/prefix."
    )


def open_store(address: str) -> Store:
    """Return the store of ``gs://bucket/prefix``, or of a local or mounted folder.

    The store of an address is opened once and used again until `forget` is called.

    Raises:
        StorageError: The address is neither that of a bucket nor that of a folder.
    """
    return _open(address, os.environ.get("STORAGE_EMULATOR_HOST"))


def forget() -> None:
    """Forget all stores and clients, so that later calls open new ones."""
    _open.cache_clear()
    _client.cache_clear()


@functools.lru_cache(maxsize=16)
def _open(address: str, endpoint: str | None) -> Store:
    if not address.startswith("gs://"):
        return LocalStore(Path(address))
    from tasks.storage.cloud import CloudStore  # takes a third of a second; a folder does not need it

    return CloudStore(*bucket_of(address), _client(endpoint))


@functools.cache
def _client(_endpoint: str | None) -> Any:
    from tasks.storage.cloud_client import client

    return client()

"""From an address to a store."""

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

# Slugs of the block types that an output may be, and the names of blocks: https://docs.prefect.io/v3/concepts/blocks
BUCKET, FOLDER = "gcs-bucket", "local-file-system"
_BLOCK = re.compile(rf"({BUCKET}|{FOLDER})/[a-z0-9-]+")


def is_block(output: str) -> bool:
    """Return whether an output is a saved block: ``gcs-bucket/name`` or ``local-file-system/name``.

    >>> is_block("gcs-bucket/pixels"), is_block("./gcs-bucket/pixels"), is_block("gs://bucket/prefix")
    (True, False, False)
    """
    return _BLOCK.fullmatch(output) is not None


def bucket_of(address: str) -> tuple[str, str]:
    """Return bucket and prefix of ``gs://bucket/prefix``.

    >>> bucket_of("gs://pixels/runs/2020/"), bucket_of("gs://pixels")
    (('pixels', 'runs/2020'), ('pixels', ''))

    Raises:
        StorageError: it is no such address.
    """
    found = _BUCKET.fullmatch(address)
    with contextlib.suppress(ValueError):
        if found:
            return found["bucket"], check_key(found["prefix"]) if found["prefix"] else ""
    raise StorageError(f"output = {address!r}: no bucket with a prefix of plain parts. Give gs://bucket/prefix.")


def open_store(address: str) -> Store:
    """Return the store of ``gs://bucket/prefix``, or of a folder, local or mounted; one until `forget`.

    Raises:
        StorageError: it is no such address.
    """
    return _open(address, os.environ.get("STORAGE_EMULATOR_HOST"))


def forget() -> None:
    """Open every store anew from now on."""
    _open.cache_clear()
    _client.cache_clear()


@functools.lru_cache(maxsize=16)
def _open(address: str, endpoint: str | None) -> Store:
    if not address.startswith("gs://"):
        return LocalStore(Path(address))
    from tasks.storage.cloud import CloudStore  # a third of a second, which a folder does not need

    return CloudStore(*bucket_of(address), _client(endpoint))


@functools.cache
def _client(_endpoint: str | None) -> Any:
    from tasks.storage.cloud_client import client

    return client()

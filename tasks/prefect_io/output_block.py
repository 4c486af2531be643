"""The store behind a saved block: a bucket or a folder."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, cast

from google.auth.exceptions import GoogleAuthError
from prefect.exceptions import ObjectNotFound
from prefect.filesystems import LocalFileSystem

from tasks.prefect_io.flow_run import of_deployment
from tasks.storage.address import BUCKET, bucket_of, fault_of
from tasks.storage.local import LocalStore
from tasks.storage.store import SignInExpired, StorageError, Store


def open_block(slug: str) -> Store:
    """Return the store of a saved block. Further calls return the same store, until `forget_blocks` is called.

    Args:
        slug: Slug of the block, ``gcs-bucket/name`` or ``local-file-system/name``.

    Raises:
        StorageError: There is no such block, or its credentials cannot be used here.
    """
    return _open(slug, os.environ.get("STORAGE_EMULATOR_HOST"))


def forget_blocks() -> None:
    """Forget the stores of all blocks, so that each block is read again."""
    _open.cache_clear()


@functools.lru_cache(maxsize=16)
def _open(slug: str, _endpoint: str | None) -> Store:
    try:
        # Loaded by its own class: `Block.load` knows only types whose module was imported.
        kind = _bucket_type() if slug.startswith(f"{BUCKET}/") else LocalFileSystem
        block: Any = cast("Any", kind).load(slug.partition("/")[2])
    except (ValueError, RuntimeError, GoogleAuthError) as error:
        if isinstance(error.__cause__, ObjectNotFound):
            raise StorageError(
                f"output = {slug!r}: there is no such block on the Prefect server. "
                "`prefect block ls` lists the saved blocks."
            ) from error
        raise SignInExpired(
            f"output = {slug!r}: the block cannot be used where the flow runs ({type(error).__name__}). Fix its "
            "credentials, or sign in on the machine of the flow (`gcloud auth application-default login`)."
        ) from error
    if isinstance(block, LocalFileSystem):
        return _folder(slug, block.basepath or ".")
    from tasks.storage.cloud import CloudStore
    from tasks.storage.cloud_client import client

    key = block.gcp_credentials
    named = key.service_account_info or key.service_account_file
    credentials = key.get_credentials_from_service_account() if named else None
    return CloudStore(*_bucket(slug, block.bucket, block.bucket_folder), client(credentials))


def _bucket(slug: str, bucket: str, folder: str) -> tuple[str, str]:
    """Return the bucket and the prefix of a block. A folder is a path: `/runs//2020/` is `runs/2020`.

    Raises:
        StorageError: The bucket or the folder cannot be used. The message shows them as they are in the block.
    """
    is_address = "://" in folder  # it keeps its empty part, which is refused
    prefix = folder if is_address else "/".join(part for part in folder.split("/") if part not in {"", "."})
    try:
        return bucket_of(f"gs://{bucket}/{prefix}")
    except StorageError as error:
        raise StorageError(
            f"output = {slug!r}: the block has bucket = {bucket!r} and bucket_folder = {folder!r}. A bucket is a name "
            "without gs://, of 3 to 222 lower-case letters, digits, dots, dashes or underscores. A folder has no ://, "
            "`..`, backslash or line break. Change the block."
        ) from error


def _folder(slug: str, basepath: str) -> LocalStore:
    """Return the store of a block's folder.

    Raises:
        StorageError: The folder is a URL, cannot be, or is relative in a run of a deployment.
    """
    reason = None
    if "://" in basepath:
        reason = "that is a URL, not a folder"
    elif fault := fault_of(basepath):
        reason = fault
    elif of_deployment() and not basepath.startswith(("/", "~")):
        reason = "the worker deletes its working directory after each run of a deployment"
    try:
        if reason is None:
            return LocalStore(Path(basepath))
    except StorageError as error:
        reason = str(error.__cause__ or error)
    raise StorageError(
        f"output = {slug!r}: the block has basepath = {basepath!r} ({reason}). Give the block an absolute folder."
    )


def _bucket_type() -> Any:
    from prefect_gcp.cloud_storage import GcsBucket  # the import takes nearly a second; a folder does not need it

    return GcsBucket

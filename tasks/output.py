"""Outputs as the user gives them: a saved block, or the address of a bucket or a folder."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, cast

from google.auth.exceptions import GoogleAuthError
from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.filesystems import LocalFileSystem

from tasks.earthengine.errors import BadInputError
from tasks.results_storage import check_apart, results_uri
from tasks.slug import BUCKET, is_block
from tasks.storage.local import LocalStore
from tasks.storage.open import bucket_of, forget, open_store
from tasks.storage.store import SignInExpired, StorageError, Store


def open_output(output: str) -> Store:
    """Return the store of an output; one a process.

    Raises:
        StorageError: there is no such block, or no such address.
    """
    if is_block(output):
        return _of_block(output, os.environ.get("STORAGE_EMULATOR_HOST"))
    return open_store(output)


def opened(output: str, *, write: bool = True) -> str:
    """See that an output can be used, and return what stands for it wherever it is opened: no relative path.

    It is opened anew for each run: the block, the sign-in or the folder where we are may be another since the last.

    Args:
        output: As the user gave it.
        write: Whether anything is to be written.

    Raises:
        BadInputError: a folder can't be written.
        StorageError: a bucket can't be used.
    """
    forget()
    _of_block.cache_clear()
    run = FlowRunContext.get()
    of_deployment = run is not None and run.flow_run is not None and run.flow_run.deployment_id is not None
    if of_deployment and not is_block(output) and not output.startswith("gs://") and not _is_absolute(output):
        reason = "a worker removes the folder where a run of a deployment begins as soon as it ends"
        raise BadInputError("output", output, reason, "Give a saved block, gs://bucket/prefix, or an absolute folder")
    try:
        store = open_output(output)
        advice = store.check() if write else None
    except StorageError as error:
        if is_block(output) or output.startswith("gs://"):
            raise
        reason, remedy = str(error.__cause__ or error), "Give a folder that you may write to"
        raise BadInputError("output", output, reason, remedy) from error
    check_apart(store.uri, results_uri())
    if advice:
        get_run_logger().warning("%s", advice)
    return output if is_block(output) else store.uri


def _is_absolute(folder: str) -> bool:
    return Path(folder).expanduser().is_absolute()


@functools.lru_cache(maxsize=16)
def _of_block(slug: str, _endpoint: str | None) -> Store:
    try:
        # By its type: `Block.load` knows only types whose module was imported.
        kind = _bucket_type() if slug.startswith(f"{BUCKET}/") else LocalFileSystem
        block: Any = cast("Any", kind).load(slug.partition("/")[2])
    except (ValueError, RuntimeError, GoogleAuthError) as error:
        if isinstance(error.__cause__, ObjectNotFound):
            raise StorageError(
                f"output = {slug!r}: there is no such block on the Prefect server. "
                "`prefect block ls` lists those that are."
            ) from error
        raise SignInExpired(
            f"output = {slug!r}: the block can't be used where the flow runs ({type(error).__name__}). Mend its "
            "credentials, or sign in there (`gcloud auth application-default login`)."
        ) from error
    if isinstance(block, LocalFileSystem):
        return LocalStore(Path(block.basepath or "."))
    from tasks.storage.cloud import CloudStore, client

    key = block.gcp_credentials
    named = key.service_account_info or key.service_account_file
    credentials = key.get_credentials_from_service_account() if named else None
    return CloudStore(*bucket_of(f"gs://{block.bucket}/{block.bucket_folder}"), client(credentials))


def _bucket_type() -> Any:
    from prefect_gcp.cloud_storage import GcsBucket  # takes nearly a second, which a folder does not need

    return GcsBucket

"""Outputs as the user gives them: a saved block, or the address of a bucket or a folder."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from google.auth.exceptions import GoogleAuthError
from prefect import get_run_logger
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.filesystems import LocalFileSystem

from tasks.earthengine.errors import BadInputError
from tasks.storage.local import LocalStore
from tasks.storage.open import bucket_of, forget, open_store
from tasks.storage.store import SignInExpired, StorageError, Store

# Types of blocks that an output may be, by their slug on the Prefect server; and that of a connection.
BUCKET, FOLDER = "gcs-bucket", "local-file-system"
CONNECTION = "earth-engine-connection"
# What their names are made of: https://docs.prefect.io/v3/concepts/blocks
_SLUG = re.compile(rf"({BUCKET}|{FOLDER})/[a-z0-9-]+")


def is_block(output: str) -> bool:
    """Return whether an output is a saved block: ``gcs-bucket/name`` or ``local-file-system/name``.

    >>> is_block("gcs-bucket/pixels"), is_block("./gcs-bucket/pixels"), is_block("gs://bucket/prefix")
    (True, False, False)
    """
    return _SLUG.fullmatch(output) is not None


def slug_of(value: Any) -> Any:
    """Return the slug of a saved block, or of a reference to one as forms send it; anything else as it is.

    By its slug, its secrets never leave the Prefect server but for the process that needs them.

    Raises:
        ValueError: the block is not saved, or not there.
    """
    if isinstance(value, Block):
        slug, name = value.get_block_type_slug(), value._block_document_name  # noqa: SLF001 - no other way to its name
        if name is None:
            raise ValueError(f"a block that is not saved: save it (`block.save('name')`), or give '{slug}/name'")
        return f"{slug}/{name}"
    if isinstance(value, dict) and "$ref" in value:
        reference = value["$ref"]
        number = reference.get("block_document_id") if isinstance(reference, dict) else reference
        with get_client(sync_client=True) as client:
            try:
                document = client.read_block_document(UUID(str(number)))
            except ObjectNotFound:
                raise ValueError(f"there is no block {number}") from None
        slug = document.block_type.slug if document.block_type else ""
        if slug not in {BUCKET, FOLDER, CONNECTION}:  # as text, it would be the name of a folder
            raise ValueError(f"a block of type {slug}, which can't be taken here")
        return f"{slug}/{document.name}"
    return value


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

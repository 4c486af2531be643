"""The one place where stores and connections are opened, from addresses or from saved blocks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from prefect import get_run_logger
from prefect.context import FlowRunContext

from tasks.earthengine.connection import Connection, ConnectionReference
from tasks.errors.input import BadInputError
from tasks.extraction.openers import PLAIN
from tasks.prefect_io.block_slugs import is_block
from tasks.prefect_io.output_block import _of_block
from tasks.prefect_io.results_storage import check_apart, results_uri
from tasks.storage.address import forget, open_store
from tasks.storage.store import StorageError, Store


@dataclass(frozen=True)
class PrefectOpener:
    """Opens references that name saved blocks, too, on the Prefect server of the process."""

    def store(self, output: str) -> Store:
        """See `tasks.extraction.openers.Opener`."""
        return open_output(output)

    def connection(self, reference: ConnectionReference) -> Connection:
        """See `tasks.extraction.openers.Opener`."""
        if reference.block is None:
            return PLAIN.connection(reference)
        from tasks.prefect_io.connection_block import (
            open_account,  # takes a second, which a run without a block does not need
        )

        return open_account(reference.block).connection


PREFECT = PrefectOpener()


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

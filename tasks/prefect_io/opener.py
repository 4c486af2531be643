"""Outputs and connections of flow runs, opened from addresses or from saved blocks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.earthengine.connection import Connection, ConnectionReference
from tasks.errors.input import BadInputError
from tasks.extraction.plain_opener import PLAIN
from tasks.prefect_io.flow_run import of_deployment, run_logger
from tasks.prefect_io.output_block import forget_blocks, open_block
from tasks.prefect_io.results_storage import check_apart, results_uri
from tasks.storage.address import forget, is_block, open_store
from tasks.storage.store import StorageError, Store


@dataclass(frozen=True)
class PrefectOpener:
    """Opens the output and the connection of a batch. Saved blocks are read from the Prefect server of the process."""

    def store(self, output: str) -> Store:
        """See `tasks.extraction.plain_opener.Opener`."""
        return open_block(output) if is_block(output) else open_store(output)

    def connection(self, reference: ConnectionReference) -> Connection:
        """See `tasks.extraction.plain_opener.Opener`."""
        if reference.block is None:
            return PLAIN.connection(reference)
        # Imported here, because the import takes a second, and a run without a block does not need it.
        from tasks.prefect_io.connection_block import open_account

        return open_account(reference.block).connection


PREFECT = PrefectOpener()


@dataclass(frozen=True)
class Output:
    """Where the files of a run go."""

    reference: str
    """Slug of a saved block, or an absolute address. Another process opens the same store from it."""
    store: Store


def open_output(output: str, *, write: bool) -> Output:
    """Open an output for a flow run, and check it.

    Stores that an earlier run opened are not reused: block, sign-in or working directory may have changed since.

    Args:
        output: The output as the user gives it: a block's slug, ``gs://bucket/prefix`` or a folder.
        write: Whether the run writes to it.

    Raises:
        BadInputError: The folder cannot be written, overlaps Prefect's results, or is relative in a deployment.
        StorageError: The bucket or the block cannot be used.
    """
    forget()
    forget_blocks()
    is_address = is_block(output) or output.startswith("gs://")
    if of_deployment() and not is_address and not Path(output).expanduser().is_absolute():
        reason = "the worker deletes its working directory after each run of a deployment"
        raise BadInputError("output", output, reason, "Give a saved block, gs://bucket/prefix, or an absolute folder")
    try:
        store = PREFECT.store(output)
        advice = store.check() if write else None
    except StorageError as error:
        if is_address:
            raise
        reason, remedy = str(error.__cause__ or error), "Give a folder that you may write to"
        raise BadInputError("output", output, reason, remedy) from error
    check_apart(store.uri, results_uri())
    if advice:
        run_logger().warning("%s", advice)
    return Output(reference=output if is_block(output) else store.uri, store=store)

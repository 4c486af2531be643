"""Open what a batch refers to: its store and its connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tasks.earthengine.connection import Connection, ConnectionReference
from tasks.errors.input import BadInputError
from tasks.storage.address import is_block, open_store
from tasks.storage.store import Store


class Opener(Protocol):
    """Opens the references of a batch in the process that runs it."""

    def store(self, output: str) -> Store:
        """Return the store of an output.

        Raises:
            StorageError: There is no such output.
            BadInputError: This process cannot open the output.
        """
        ...

    def connection(self, reference: ConnectionReference) -> Connection:
        """Return the connection to Earth Engine.

        Raises:
            BadInputError: This process cannot use the connection.
        """
        ...


@dataclass(frozen=True)
class PlainOpener:
    """Opens what needs no Prefect server: folders, buckets by address, and connections that are not saved blocks."""

    def store(self, output: str) -> Store:
        """See `Opener`."""
        if is_block(output):
            reason = "a saved block is read from a Prefect server, which this process does not use"
            remedy = "Give gs://bucket/prefix or a folder, or use the opener tasks.prefect_io.opener.PREFECT"
            raise BadInputError("output", output, reason, remedy)
        return open_store(output)

    def connection(self, reference: ConnectionReference) -> Connection:
        """See `Opener`."""
        if reference.block is not None:
            reason = "a saved block is read from a Prefect server, which this process does not use"
            remedy = (
                "Give project, endpoint and credentials_file instead, or use the opener tasks.prefect_io.opener.PREFECT"
            )
            raise BadInputError("connection", reference.block, reason, remedy)
        return Connection(
            project=reference.project, endpoint=reference.endpoint, credentials_file=reference.credentials_file
        )


PLAIN = PlainOpener()

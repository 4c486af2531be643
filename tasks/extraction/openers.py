"""How a process opens what a batch refers to: store and connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tasks.earthengine.connection import Connection, ConnectionReference
from tasks.errors.input import BadInputError
from tasks.storage.address import is_block, open_store
from tasks.storage.store import Store


class Opener(Protocol):
    """How references are opened where a process runs."""

    def store(self, output: str) -> Store:
        """Return the store of an output.

        Raises:
            StorageError: there is none.
        """
        ...

    def connection(self, reference: ConnectionReference) -> Connection:
        """Return the way to Earth Engine.

        Raises:
            BadInputError: it can't be used here.
        """
        ...


@dataclass(frozen=True)
class PlainOpener:
    """Opens what needs no Prefect server: folders, buckets by their address, and the sign-in of the process."""

    def store(self, output: str) -> Store:
        """See `Opener`."""
        if is_block(output):
            reason = "a saved block is read from a Prefect server, which this process does not use"
            remedy = "Give gs://bucket/prefix or a folder, or open it with tasks.prefect_io.opener.PREFECT"
            raise BadInputError("output", output, reason, remedy)
        return open_store(output)

    def connection(self, reference: ConnectionReference) -> Connection:
        """See `Opener`."""
        if reference.block is not None:
            reason = "a saved block is read from a Prefect server, which this process does not use"
            remedy = (
                "Give project, endpoint and credentials_file instead, or open it with tasks.prefect_io.opener.PREFECT"
            )
            raise BadInputError("connection", reference.block, reason, remedy)
        return Connection(
            project=reference.project, endpoint=reference.endpoint, credentials_file=reference.credentials_file
        )


PLAIN = PlainOpener()

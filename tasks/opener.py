"""How a process that reaches a Prefect server opens what batches refer to: saved blocks, too."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.earthengine.connection import Connection, ConnectionReference
from tasks.extraction.opened import PLAIN
from tasks.output import open_output
from tasks.storage.store import Store


@dataclass(frozen=True)
class PrefectOpener:
    """Opens references that name saved blocks, too, on the Prefect server of the process."""

    def store(self, output: str) -> Store:
        """See `tasks.extraction.opened.Opener`."""
        return open_output(output)

    def connection(self, reference: ConnectionReference) -> Connection:
        """See `tasks.extraction.opened.Opener`."""
        if reference.block is None:
            return PLAIN.connection(reference)
        from tasks.connection import open_account  # takes a second, which a run without a block does not need

        return open_account(reference.block).connection


PREFECT = PrefectOpener()

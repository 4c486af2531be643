"""From what the user wrote to a store."""

from __future__ import annotations

from pathlib import Path

from tasks.storage.local import LocalStore


def open_store(output: str) -> LocalStore:
    """Return the store of a folder: local or mounted.

    Raises:
        StorageError: it can't be the name of a folder.
    """
    return LocalStore(Path(output))

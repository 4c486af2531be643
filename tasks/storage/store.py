"""The store protocol: where bytes go, by key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol


class StorageError(OSError):
    """The output can't be read or written; the message says which, why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What is known of stored bytes without reading them."""

    key: str
    """Relative POSIX path."""
    size: int
    """Bytes."""


class Store(Protocol):
    """Bytes by key, below one root. Keys are relative POSIX paths, see :func:`check_key`."""

    @property
    def uri(self) -> str:
        """The root, as the user would write it."""
        ...

    def put(self, key: str, data: bytes | memoryview) -> Stored:
        """Write whole or not at all: a reader never sees a part.

        Raises:
            StorageError: the output can't be written.
        """
        ...

    def get(self, key: str) -> bytes:
        """Return the bytes of a key.

        Raises:
            KeyError: there is no such key.
            StorageError: the output can't be read.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """All keys that begin with a prefix, in order."""
        ...

    def open_path(self, key: str) -> str:
        """A path of the key that GDAL opens."""
        ...


def check_key(key: str) -> str:
    """Return the key if it stays below the root of its store.

    Raises:
        ValueError: an absolute path, `..`, an empty part or a backslash, which could leave the root.
    """
    parts = key.split("/")
    if not key or PurePosixPath(key).is_absolute() or "\\" in key or "\0" in key or set(parts) & {"", ".", ".."}:
        raise ValueError(f"key = {key!r}: must be a relative path of plain parts, such as 'tiles/r0000_c0000.tif'.")
    return key

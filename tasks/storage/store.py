"""The store protocol, which reads and writes bytes by key, and the errors of an output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, Protocol

from tasks.errors import QuarryError
from tasks.errors.input import brief


class StorageError(QuarryError, OSError):
    """The output cannot be read or written. The message names the output, the reason and what to do."""

    passing: ClassVar[bool] = False
    """Whether the error is temporary: the same call may succeed later without any change."""


class OutputFull(StorageError):
    """The disk, or the user's share of it, is full."""


class OutputDenied(StorageError):
    """The output exists, but may not be read or written."""


class OutputMissing(StorageError):
    """The bucket does not exist, or the folder has vanished."""


class SignInExpired(StorageError):
    """The credentials are refused (expired or revoked), or there are none."""


class OutputBusy(StorageError):
    """The output is throttled (429), out of service (5xx) or does not answer, after the library's own retries."""

    passing = True


class OutputDamaged(StorageError):
    """Stored or read bytes have another checksum than the sent bytes."""

    passing = True


class TileLost(StorageError):
    """A tile was deleted or changed after it was stored. A run fetches it again."""

    passing = True


def check_size(uri: str, key: str, size: int, most: int | None) -> None:
    """Check that a file holds no more bytes than were stored.

    Raises:
        TileLost: It holds more.
    """
    if most is not None and size > most:
        raise TileLost(
            f"output = {uri!r}: {key} was changed after it was stored: it has another size ({size:,} bytes or more, "
            f"not {most:,}). Something else changes this output. To resume, run the same job again."
        )


class OutputConflict(StorageError):
    """A key holds other bytes than expected: another process writes other bytes under the same name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreEntry:
    """What is known of stored bytes without reading them."""

    key: str
    """Relative POSIX path."""
    size: int
    """Size in bytes."""
    version: str
    """Changes whenever the bytes are written: generation (Cloud Storage), modification time in ns (folder)."""
    crc32c: str | None = None
    """Base64 of the big-endian CRC32C; None if the store keeps none."""
    fingerprint: str | None = None
    """Fingerprint of the tile; None if the store keeps none beside the bytes."""


class Store(Protocol):
    """Bytes by key, below one root. Keys are relative POSIX paths: see :func:`check_key`.

    Every method may raise :class:`StorageError` (a subclass if the cause is known), and ``ValueError`` for a key that
    could leave the root.
    """

    @property
    def uri(self) -> str:
        """The address of the root, as the user would write it."""
        ...

    def check(self) -> str | None:
        """Check that the output exists and can be used. Return a warning for the user, or None."""
        ...

    def free_bytes(self) -> int | None:
        """Return the free space in bytes; None if there is no limit."""
        ...

    def put(self, key: str, data: bytes | memoryview) -> StoreEntry:
        """Write bytes completely or not at all, and replace what is there. A reader never sees a part."""
        ...

    def put_file(self, key: str, path: Path) -> StoreEntry:
        """Write the bytes of a file as `put` does. The file is in a `workspace`, and is gone afterwards."""
        ...

    def commit(self, key: str, data: bytes | memoryview, *, fingerprint: str, seen: str | None = None) -> StoreEntry:
        """Write a tile if its key is free or holds the version that was seen. If the same bytes are there, keep them.

        Args:
            key: Key of the tile.
            data: Bytes of the tile.
            fingerprint: Fingerprint of the tile.
            seen: Version that the tile may replace; None = nothing was seen.

        Raises:
            OutputConflict: The key holds other bytes than those that were seen.
        """
        ...

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """Return the bytes of a key.

        Args:
            key: The key.
            most: Largest number of bytes that are read, such as the size in a receipt. None = any number.

        Raises:
            KeyError: There is no such key.
            TileLost: It holds more bytes.
        """
        ...

    def find(self, key: str) -> StoreEntry | None:
        """Return what is known of a key; None if nothing is stored there."""
        ...

    def open(self, key: str) -> IO[bytes]:
        """Open the bytes of a key, to read a part of them.

        Raises:
            KeyError: There is no such key.
        """
        ...

    def local_copies(self, keys: Iterable[str], folder: Path, *, most: int | None = None) -> dict[str, Path]:
        """Return a file on this machine for each key: the stored file itself, or a copy in the folder.

        Args:
            keys: The keys.
            folder: Folder of this machine.
            most: Largest number of bytes of a file. None = any number.

        Raises:
            KeyError: One of the keys does not exist.
            TileLost: A file holds more bytes.
        """
        ...

    def folders(self) -> list[str]:
        """Return the first parts of all keys that have more than one part, sorted."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoreEntry]:
        """Yield what is stored at all keys with a prefix, in no particular order, without unfinished files."""
        ...

    def delete(self, key: str) -> None:
        """Delete what is stored at a key, if anything."""
        ...

    def open_path(self, key: str) -> str:
        """Return a path with which rasterio opens the bytes of a key."""
        ...

    def workspace(self) -> AbstractContextManager[Path]:
        """Return a context with a folder on this machine, for files that are made before they are stored."""
        ...

    def sweep(self, prefix: str = "") -> int:
        """Delete the unfinished files of killed processes, and return their number."""
        ...


def is_key(key: str) -> bool:
    """Return whether a path is a key: see :func:`check_key`."""
    text = (
        key.isascii() or key.encode("utf-8", "replace").decode() == key
    )  # a name of a file may be bytes that are none
    return text and "\\" not in key and "\0" not in key and not set(key.split("/")) & {"", ".", ".."}


def check_key(key: str) -> str:
    """Return the key if it stays below the root of its store.

    Raises:
        ValueError: The key is an absolute path, or has `.`, `..`, an empty part, a backslash or NUL, and so could leave
            the root.
    """
    if not is_key(key):
        raise ValueError(
            f"key = {brief(key)}: must be a relative path of plain parts. Example: 'tiles/r0000_c0000.tif'."
        )
    return key

"""The store protocol: where bytes go, by key, and the errors that say what is wrong with the place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, Protocol

from tasks.errors import QuarryError


class StorageError(QuarryError, OSError):
    """The output can't be read or written; the message says which, why and what to do."""

    passing: ClassVar[bool] = False
    """Whether the same may succeed a while later, without anybody's doing."""


class OutputFull(StorageError):
    """The disk, or the user's share of it, is full."""


class OutputDenied(StorageError):
    """The output is there, but may not be read or written."""


class OutputMissing(StorageError):
    """There is no such bucket."""


class SignInExpired(StorageError):
    """The credentials are refused, or no longer taken: expired, revoked, or none."""


class OutputBusy(StorageError):
    """Throttled (429), out of service (5xx) or out of reach, after the library's own retries."""

    passing = True


class OutputDamaged(StorageError):
    """What was stored, or read, has another checksum than what was sent."""

    passing = True


class OutputConflict(StorageError):
    """Other bytes are there than those that were seen before: somebody else writes under the same name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What is known of stored bytes without reading them."""

    key: str
    """Relative POSIX path."""
    size: int
    """Bytes."""
    version: str
    """Changes whenever the bytes are written: generation (Cloud Storage), time of modification in ns (folder)."""
    crc32c: str | None = None
    """Base64 of the big-endian checksum, where the store itself keeps one."""
    fingerprint: str | None = None
    """Identity of the tile, where the store has a place for it beside the bytes."""


class Store(Protocol):
    """Bytes by key, below one root. Keys are relative POSIX paths, see :func:`check_key`.

    Every method may raise :class:`StorageError` (a subclass where the cause is known), and ``ValueError`` for a key
    that could leave the root.
    """

    @property
    def uri(self) -> str:
        """The root, as the user would write it."""
        ...

    def check(self) -> str | None:
        """See that the output is there and can be used; return what the user should know of it, if anything."""
        ...

    def free_bytes(self) -> int | None:
        """Room that is left; None where there is no limit."""
        ...

    def put(self, key: str, data: bytes | memoryview) -> Stored:
        """Write whole or not at all, over whatever is there: a reader never sees a part."""
        ...

    def put_file(self, key: str, path: Path) -> Stored:
        """As `put`, from a file in a `workspace`, which is then gone."""
        ...

    def commit(self, key: str, data: bytes | memoryview, *, fingerprint: str, seen: str | None = None) -> Stored:
        """Write a tile: where nothing is, or over just what was seen there. The same bytes are as good as ours.

        Args:
            key: Where.
            data: Its bytes.
            fingerprint: Its identity.
            seen: Version of what it is to replace.

        Raises:
            OutputConflict: other bytes are there than those that were seen.
        """
        ...

    def get(self, key: str) -> bytes:
        """Return the bytes of a key.

        Raises:
            KeyError: there is no such key.
        """
        ...

    def find(self, key: str) -> Stored | None:
        """Return what is known of a key; None if nothing is there."""
        ...

    def open(self, key: str) -> IO[bytes]:
        """Open what is there for reading a part of it.

        Raises:
            KeyError: there is no such key.
        """
        ...

    def at_hand(self, keys: Iterable[str], folder: Path) -> dict[str, Path]:
        """Return a file of this machine for each key: its own, or a copy in the folder.

        Raises:
            KeyError: one of them is not there.
        """
        ...

    def folders(self) -> list[str]:
        """The first parts of all keys that have more than one, in order."""
        ...

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """All that begins with a prefix, in no particular order; what is not finished is passed over."""
        ...

    def delete(self, key: str) -> None:
        """Remove what is there, if anything."""
        ...

    def open_path(self, key: str) -> str:
        """A path of the key that rasterio opens."""
        ...

    def workspace(self) -> AbstractContextManager[Path]:
        """A folder of this machine for files that are made before they are put."""
        ...

    def sweep(self, prefix: str = "") -> int:
        """Remove what killed processes left unfinished; return how many."""
        ...


def check_key(key: str) -> str:
    """Return the key if it stays below the root of its store.

    Raises:
        ValueError: an absolute path, `..`, an empty part or a backslash, which could leave the root.
    """
    parts = key.split("/")
    if not key or "\\" in key or "\0" in key or set(parts) & {"", ".", ".."}:
        raise ValueError(f"key = {key!r}: must be a relative path of plain parts, such as 'tiles/r0000_c0000.tif'.")
    return key

"""A store in a local or mounted folder."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from tasks.storage.store import StorageError, Stored, check_key

TEMPORARY_SUFFIX = ".part"


class LocalStore:
    """A folder. Each file appears whole, under a temporary name until its bytes are on disk.

    Args:
        root: The folder; it is made when the first file is written.

    Raises:
        StorageError: it can't be the name of a folder.
    """

    def __init__(self, root: Path) -> None:
        try:
            self.root = root.expanduser().absolute()
            with contextlib.suppress(OSError):  # whether it can be written is told by writing
                self.root.stat()
        except (RuntimeError, ValueError) as error:  # no such user; NUL, or half of a surrogate pair
            raise StorageError(
                f"output = {str(root)!r}: it can't be the name of a folder ({error}). "
                "Give a folder that you may write to."
            ) from error

    @property
    def uri(self) -> str:
        """The folder's absolute path."""
        return str(self.root)

    def check_writable(self) -> None:
        """Make the folder and write a file in it.

        Raises:
            StorageError: it can't be written.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        self.put(probe, b"")
        (self.root / probe).unlink(missing_ok=True)

    def put(self, key: str, data: bytes | memoryview) -> Stored:
        """Write a file: temporary name, fsync, rename, fsync of its folder."""
        # Plain strings: pathlib would keep each name of a tile, and costs a fifth of a small tile's time.
        path = f"{self.root}/{check_key(key)}"
        folder, name = os.path.split(path)
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
        try:
            os.makedirs(folder, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _fsync_folder(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise StorageError(
                f"output = {str(self.root)!r}: {key} can't be written ({error.strerror or error}). "
                f"Give a folder that you may write to, on a disk with room."
            ) from error
        return Stored(key=key, size=len(data))

    def get(self, key: str) -> bytes:
        """Read a file."""
        try:
            return (self.root / check_key(key)).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None
        except OSError as error:
            raise StorageError(f"output = {str(self.root)!r}: {key} can't be read ({error.strerror}).") from error

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Walk the folder that the prefix names; unfinished files are passed over."""
        start = self.root / prefix.rpartition("/")[0]
        for path in sorted(start.rglob("*")) if start.is_dir() else ():
            key = path.relative_to(self.root).as_posix()
            if key.startswith(prefix) and not path.name.endswith(TEMPORARY_SUFFIX) and path.is_file():
                yield Stored(key=key, size=path.stat().st_size)

    def open_path(self, key: str) -> str:
        """The file's path."""
        return str(self.root / check_key(key))


def _fsync_folder(folder: str) -> None:
    # The rename itself must be on disk before a receipt names the file.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

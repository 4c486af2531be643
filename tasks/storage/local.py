"""A store in a local or mounted folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from tasks.storage.local_errors import error_of, leads_out_error
from tasks.storage.local_files import facts_of, folder_of, in_folder, leads_out, link, open_file, read_file, stamp, sync
from tasks.storage.mount import advice
from tasks.storage.owner import left_behind, owner
from tasks.storage.root import Root
from tasks.storage.store import OutputConflict, StorageError, StoreEntry, check_key, check_size

TEMPORARY_SUFFIX = ".part"
WORKSPACES = ".work"
# Errors for a key at which nothing is stored. A folder is not a key.
_NOTHING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalStore:
    """A folder. Each file has a temporary name until its bytes are on disk, so it appears only when complete.

    Args:
        root: The folder. It is created when the first file is written.
        durable: Whether files and folders are flushed to disk (fsync) before they count. A receipt that survives a
            power cut must not name a file that did not.

    Raises:
        StorageError: `root` cannot be the name of a folder.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self._durable = durable
        self._own: set[str] = set()  # folders that are known to lie below the root
        self._root = Root(root)  # whether the folder is writable shows when it is written
        self.root = self._root.path

    @property
    def uri(self) -> str:
        """The folder's absolute path."""
        return str(self.root)

    def check(self) -> str | None:
        """Create the folder and write a file in it. Return a warning if it is on a mounted object store."""
        probe = f".probe.{owner()}-{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"  # never listed, and swept if it is left
        self._root.check()
        self.put(probe, b"")
        self.delete(probe)
        return advice(self.root)

    def free_bytes(self) -> int | None:
        """Return the free bytes on the disk of the folder, for this user."""
        there = next(folder for folder in (self.root, *self.root.parents) if folder.is_dir())
        return shutil.disk_usage(there).free

    def put(self, key: str, data: bytes | memoryview) -> StoreEntry:
        """Write a file: temporary name, fsync, rename, fsync of its folder."""
        path = self._name(key)
        with self._writing(key), self._temporary(path, data) as (temporary, version):
            os.replace(temporary, path)
            self._sync(os.path.dirname(path))
        return StoreEntry(key=key, size=len(data), version=version)

    def put_file(self, key: str, path: Path) -> StoreEntry:
        """Move a file to its key."""
        destination = self._name(key)
        with self._writing(key):
            stamp(str(path))
            self._sync(str(path))
            facts = os.stat(path)
            in_folder(destination, lambda: os.replace(path, destination), self._root)
            self._sync(os.path.dirname(destination))
        return StoreEntry(key=key, size=facts.st_size, version=str(facts.st_mtime_ns))

    def commit(self, key: str, data: bytes | memoryview, *, fingerprint: str, seen: str | None = None) -> StoreEntry:
        """Write a tile. Its fingerprint is in its name and in its receipt."""
        path = self._name(key)
        with self._writing(key), self._temporary(path, data) as (temporary, version):
            if seen is not None and self._version(path) == seen:
                os.replace(temporary, path)
            elif not link(temporary, path):
                with contextlib.suppress(FileNotFoundError):
                    return self._there(key, path, data)
                if not link(temporary, path):  # the other file was deleted just now, and a third one came
                    return self._there(key, path, data)
            self._sync(os.path.dirname(path))
        return StoreEntry(key=key, size=len(data), version=version)

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """Return the bytes of a file."""
        path = self._path(key)
        try:
            return read_file(self.uri, key, path, most)
        except _NOTHING:
            self._root.check()
            raise KeyError(key) from None
        except OSError as error:
            raise error if isinstance(error, StorageError) else self._error(key, "read", error) from error

    def find(self, key: str) -> StoreEntry | None:
        """Return the size and the version of a file."""
        path = self._path(key)
        try:
            facts = os.stat(path)
        except _NOTHING:
            return None
        except OSError as error:
            raise self._error(key, "read", error) from error
        entry = StoreEntry(key=key, size=facts.st_size, version=str(facts.st_mtime_ns))
        return entry if stat.S_ISREG(facts.st_mode) else None

    def open(self, key: str) -> IO[bytes]:
        """Open a file."""
        path = self._path(key)
        try:
            return open_file(path)
        except _NOTHING:
            self._root.check()
            raise KeyError(key) from None
        except OSError as error:
            raise self._error(key, "read", error) from error

    def local_copies(self, keys: Iterable[str], folder: Path, *, most: int | None = None) -> dict[str, Path]:
        """Return the paths of the files themselves."""
        files = {key: Path(self._path(key)) for key in keys}
        for key, path in files.items():
            if not path.is_file():
                self._root.check()
                raise KeyError(key)
            check_size(self.uri, key, path.stat().st_size, most)
        return files

    def folders(self) -> list[str]:
        """Return the folders in the root, except hidden ones."""
        try:
            with os.scandir(self.root) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._error("it", "read", error) from error

    def list(self, prefix: str = "") -> Iterator[StoreEntry]:
        """Yield the files with a prefix, from a walk through the folder of the prefix."""
        for path, entry in self._walk(folder_of(prefix)):
            if path.startswith(prefix) and not entry.name.endswith(TEMPORARY_SUFFIX):
                try:
                    facts = facts_of(str(self.root), f"{self.root}/{path}")
                except FileNotFoundError:  # deleted meanwhile
                    continue
                except OSError as error:
                    raise self._error(path, "read", error) from error
                yield StoreEntry(key=path, size=facts.st_size, version=str(facts.st_mtime_ns))

    def delete(self, key: str) -> None:
        """Delete a file, and the folders that become empty."""
        path = self._name(key)
        try:
            os.unlink(path)
        except _NOTHING:
            return
        except OSError as error:
            raise self._error(key, "deleted", error) from error
        with contextlib.suppress(OSError):  # the first folder that is not empty ends the loop
            for part in Path(key).parents[:-1]:
                os.rmdir(f"{self.root}/{part}")

    def open_path(self, key: str) -> str:
        """Return the path of the file."""
        return self._path(key)

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """Yield a folder inside the output: on the same disk, files are moved and not copied."""
        folder = self.root / WORKSPACES / f"{owner()}-{uuid.uuid4().hex}"
        self._path(WORKSPACES)
        try:
            in_folder(str(folder), folder.mkdir, self._root)
            yield folder
        except OSError as error:
            raise error if isinstance(error, StorageError) else self._error("a product", "written", error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()

    def sweep(self, prefix: str = "") -> int:
        """Delete the temporary files and workspaces of processes that have ended, and return their number."""
        swept = 0
        for path, entry in self._walk(folder_of(prefix)):
            name = entry.name
            if name[0] == "." and name.endswith(TEMPORARY_SUFFIX) and left_behind(entry, name.rsplit(".", 2)[-2]):
                with contextlib.suppress(OSError):
                    os.unlink(f"{self.root}/{path}")
                    swept += 1
        with contextlib.suppress(OSError), os.scandir(self._path(WORKSPACES)) as entries:
            for entry in entries:
                if left_behind(entry, entry.name):
                    shutil.rmtree(entry.path, ignore_errors=True)
                    swept += 1
            (self.root / WORKSPACES).rmdir()
        return swept

    # -----------------------------------------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        """Return the path of a key to read it; raise an error if it leads out of the output."""
        # Plain strings: pathlib would keep each tile's name in memory, and takes a fifth of a small tile's time.
        return self._inside(f"{self.root}/{check_key(key)}", key)

    def _inside(self, path: str, key: str) -> str:
        if leads_out(str(self.root), path):
            raise leads_out_error(self.uri, key)
        return path

    def _name(self, key: str) -> str:
        """Return the path of a key to write or delete it. A link there is replaced, and its target is left alone."""
        path = f"{self.root}/{check_key(key)}"
        folder = os.path.dirname(path)
        if folder not in self._own:
            self._own.add(self._inside(folder, key))
        return path

    @contextlib.contextmanager
    def _temporary(self, path: str, data: bytes | memoryview) -> Iterator[tuple[str, str]]:
        """Write a temporary file beside a path. Yield its name and its version. The name is removed afterwards."""
        folder, name = os.path.split(path)
        temporary = f"{folder}/.{name}.{owner()}-{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
        try:
            with in_folder(temporary, lambda: open(temporary, "wb"), self._root) as file:
                file.write(data)
                file.flush()
                stamp(file.fileno())
                if self._durable:
                    os.fsync(file.fileno())
                version = str(os.fstat(file.fileno()).st_mtime_ns)
            yield temporary, version
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _there(self, key: str, path: str, data: bytes | memoryview) -> StoreEntry:
        """Return the file that is already there, if its bytes are the same as ours."""
        with open_file(path) as file:
            facts = os.fstat(file.fileno())
            if facts.st_size == len(data) and file.read() == memoryview(data):
                return StoreEntry(key=key, size=facts.st_size, version=str(facts.st_mtime_ns))
        raise OutputConflict(
            f"output = {self.uri!r}: {key} holds other bytes than expected. Another version of this project, or of "
            "GDAL, may be writing to the same output. Stop one of the two, or give another output."
        )

    def _version(self, path: str) -> str | None:
        try:
            return str(facts_of(str(self.root), path).st_mtime_ns)
        except FileNotFoundError:
            return None

    def _sync(self, path: str) -> None:
        if self._durable:
            sync(path)

    def _walk(self, folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield the keys of files with their entries. Hidden folders in the root are not part of the output."""
        start = self._inside(f"{self.root}/{folder}" if folder else str(self.root), folder)
        try:
            with os.scandir(start) as found:
                entries = list(found)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._error(folder or ".", "read", error) from error
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if folder or not entry.name.startswith("."):
                    yield from self._walk(path)
            else:
                yield path, entry

    @contextlib.contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            self._root.check()  # a whole folder that is gone is named as such, whatever call missed it first
            raise self._error(key, "written", error) from error

    def _error(self, *what: Any) -> StorageError:
        return error_of(self.uri, *what)

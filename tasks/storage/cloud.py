"""A store in a bucket of Google Cloud Storage, below a prefix."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar, NoReturn, cast

import google.auth.exceptions
import requests
from google.api_core import exceptions, retry
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.fileio import BlobReader
from google.cloud.storage.retry import DEFAULT_RETRY

from tasks.storage.checksum import crc32c, crc32c_of_file
from tasks.storage.cloud_errors import REMEDIES, is_object, kind_of, status_of
from tasks.storage.store import (
    OutputConflict,
    OutputDamaged,
    Stored,
    check_key,
)

# Seconds for one answer, after which the library's retry asks again, for two minutes in all.
ANSWER_S = 60.0
# Objects of a listing that one answer holds at the most: https://cloud.google.com/storage/docs/json_api/v1/objects/list
PAGE = 1000
# Bytes that are read of an object at once, and objects that are copied at once.
RANGE, COPIES = 1 << 20, 16
_LISTED = "items(name,size,generation,crc32c,metadata),prefixes,nextPageToken"


class CloudStore:
    """Objects of a bucket. Each is created whole; a tile is created only where nothing is, or over what was seen.

    Args:
        bucket: Its name.
        prefix: What the names of all objects begin with, without a slash at its end.
        client: Shared by all threads of the process.
        again: How calls are repeated: the library's own policy.
    """

    again: ClassVar[retry.Retry] = DEFAULT_RETRY

    def __init__(self, bucket: str, prefix: str, client: Client, *, again: retry.Retry | None = None) -> None:
        if prefix:
            check_key(prefix)
        self._client, self._bucket = client, client.bucket(bucket)
        self._prefix = f"{prefix}/" if prefix else ""
        self._call: dict[str, Any] = {"timeout": ANSWER_S, "retry": again or self.again}

    @property
    def uri(self) -> str:
        """``gs://bucket/prefix``."""
        return f"gs://{self._bucket.name}/{self._prefix}".rstrip("/")

    def check(self) -> str | None:
        """See that the bucket is there and can be listed; that it can be written is seen with the plan."""
        next(iter(self._listing("", page_size=1, max_results=1)), None)
        return None

    def free_bytes(self) -> int | None:
        """No limit."""
        return None

    def put(self, key: str, data: bytes | memoryview) -> Stored:
        """Write an object, over whatever is there."""
        return self._upload(key, bytes(data), {})

    def put_file(self, key: str, path: Path) -> Stored:
        """Upload a file, in parts if it is large."""
        blob = self._blob(key)
        with self._speaking(key, "written"):
            blob.upload_from_filename(path, content_type="application/octet-stream", checksum="crc32c", **self._call)
        with path.open("rb") as file:
            stored = self._whole(key, blob, crc32c_of_file(file))
        path.unlink()
        return stored

    def commit(self, key: str, data: bytes | memoryview, *, fingerprint: str, seen: str | None = None) -> Stored:
        """Create an object, or replace the generation that was seen, with the fingerprint in its metadata."""
        data = bytes(data)
        for generation in (int(seen or 0), 0):
            try:
                return self._upload(key, data, {"fingerprint": fingerprint}, if_generation_match=generation)
            except exceptions.PreconditionFailed as error:
                # Another run was quicker, or the answer to our own first try was lost; or what was seen is gone.
                refused, there = error, self.find(key)
            if there is not None:
                break
        if there is None:
            self._fail(key, "written", refused)
        if there.fingerprint == fingerprint and there.crc32c == crc32c(data):
            return there
        raise OutputConflict(
            f"output = {self.uri!r}: {key} holds other bytes than were seen there. Does another version of this "
            "project, or of GDAL, write to the same output? Let one end, or give another output."
        )

    def get(self, key: str) -> bytes:
        """Download an object; its checksum is held against the bytes."""
        with self._speaking(key, "read"):
            try:
                data: bytes = self._blob(key).download_as_bytes(checksum="crc32c", **self._call)
            except exceptions.NotFound as error:
                if not is_object(error):
                    raise
                raise KeyError(key) from None
        return data

    def find(self, key: str) -> Stored | None:
        """Ask for an object's metadata."""
        blob = self._blob(key)
        with self._speaking(key, "read"):
            try:
                blob.reload(**self._call)
            except exceptions.NotFound as error:
                if is_object(error):
                    return None
                raise
        return _stored(key, blob)

    def open(self, key: str) -> IO[bytes]:
        """Read an object in ranges, as it is asked for."""
        stored = self.find(key)
        if stored is None:
            raise KeyError(key)
        blob = self._bucket.blob(self._prefix + key, generation=int(stored.version))
        reader: Any = _Reader(blob, partial(self._speaking, key, "read"), chunk_size=RANGE, **self._call)
        return cast("IO[bytes]", reader)

    def at_hand(self, keys: Iterable[str], folder: Path) -> dict[str, Path]:
        """Copies, many at once."""

        def copied(key: str) -> tuple[str, Path]:
            path = folder / check_key(key).replace("~", "~0").replace("/", "~1")  # each its own
            path.write_bytes(self.get(key))
            return key, path

        with ThreadPoolExecutor(COPIES) as pool:
            return dict(pool.map(copied, keys))

    def folders(self) -> list[str]:
        """First parts of the names, asked for as such."""
        with self._speaking("", "listed"):
            pages = self._client.list_blobs(
                self._bucket, prefix=self._prefix, delimiter="/", fields=_LISTED, page_size=PAGE, **self._call
            )
            for _ in pages:
                pass
            return sorted({name.removeprefix(self._prefix).rstrip("/") for name in pages.prefixes} - {""})

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """List objects, a thousand a call."""
        for blob in self._listing(prefix, page_size=PAGE):
            if not blob.name.endswith("/"):  # as the console makes a folder
                yield _stored(blob.name.removeprefix(self._prefix), blob)

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._speaking(key, "removed"), contextlib.suppress(exceptions.NotFound):
            self._blob(key).delete(**self._call)

    def open_path(self, key: str) -> str:
        """``gs://bucket/prefix/key``: rasterio opens it with the credentials that GDAL finds."""
        return f"{self.uri}/{check_key(key)}"

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """A temporary folder of this machine."""
        with tempfile.TemporaryDirectory(prefix="pixel-quarry-") as folder:
            yield Path(folder)

    def sweep(self, prefix: str = "") -> int:
        """Nothing: an object that was not finished was never there."""
        return 0

    # -----------------------------------------------------------------------------------------------------------------

    def _blob(self, key: str) -> Blob:
        return self._bucket.blob(self._prefix + check_key(key))

    def _upload(self, key: str, data: bytes, metadata: dict[str, str], **conditions: int) -> Stored:
        """Create an object; the service holds the checksum against what it got, and we hold what it says against ours.

        Raises:
            PreconditionFailed: something else is there.
        """
        blob = self._blob(key)
        blob.metadata = metadata
        with self._speaking(key, "written", but=(exceptions.PreconditionFailed,) if conditions else ()):
            blob.upload_from_string(
                data, content_type="application/octet-stream", checksum="crc32c", **conditions, **self._call
            )
        return self._whole(key, blob, crc32c(data))

    def _whole(self, key: str, blob: Blob, checksum: str) -> Stored:
        """Hold what the service says of an object against what was sent; what is damaged is removed."""
        stored = _stored(key, blob)
        if stored.crc32c in {None, checksum}:
            return stored
        replaced = exceptions.NotFound, exceptions.PreconditionFailed
        with self._speaking(key, "removed"), contextlib.suppress(*replaced):
            blob.delete(if_generation_match=int(stored.version), **self._call)
        raise OutputDamaged(f"output = {self.uri!r}: {key} came to another checksum than was sent. Run again.")

    def _listing(self, prefix: str, **paging: int) -> Iterator[Blob]:
        with self._speaking(prefix, "listed"):
            yield from self._client.list_blobs(
                self._bucket, prefix=self._prefix + prefix, fields=_LISTED, **paging, **self._call
            )

    @contextlib.contextmanager
    def _speaking(self, key: str, what: str, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        try:
            yield
        except but:
            raise
        except (
            exceptions.GoogleAPIError,
            google.auth.exceptions.GoogleAuthError,
            InvalidResponse,
            DataCorruption,
            requests.RequestException,
            ConnectionError,
        ) as error:
            self._fail(key, what, error)

    def _fail(self, key: str, what: str, error: Exception) -> NoReturn:
        """Translate an error of the library. Its text is not shown where it may hold what was sent."""
        cause = error.cause if isinstance(error, exceptions.RetryError) and error.cause else error
        kind, status = kind_of(cause), status_of(cause)
        reason = type(cause).__name__ if status is None else f"HTTP {status}"
        remedy = REMEDIES.get(kind, "Run again.")
        raise kind(f"output = {self.uri!r}: {key or 'it'} can't be {what} ({reason}). {remedy}") from error


class _Reader(BlobReader):  # type: ignore[misc]  # it ships no types
    """Reads an object in ranges; its errors are those of the output."""

    def __init__(self, blob: Blob, speaking: Callable[[], AbstractContextManager[None]], **options: Any) -> None:
        super().__init__(blob, **options)
        self._speaking = speaking

    def read(self, size: int = -1) -> bytes:
        with self._speaking():
            data: bytes = super().read(size)
        return data

    def seek(self, position: int, whence: int = 0) -> int:
        with self._speaking():
            there: int = super().seek(position, whence)
        return there


def _stored(key: str, blob: Blob) -> Stored:
    fingerprint = (blob.metadata or {}).get("fingerprint")
    return Stored(
        key=key, size=int(blob.size), version=str(blob.generation), crc32c=blob.crc32c, fingerprint=fingerprint
    )

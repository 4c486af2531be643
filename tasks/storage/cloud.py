"""A store in a bucket of Google Cloud Storage, below a prefix."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar, NoReturn, cast

import google.auth.exceptions
import requests
from google.api_core import exceptions, retry
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from tasks.errors import QuarryError
from tasks.errors.machine import temporary_files
from tasks.storage.checksum import crc32c, crc32c_of_file
from tasks.storage.cloud_errors import REMEDIES, is_lost_upload, is_object, kind_of, status_of
from tasks.storage.cloud_reader import Checked, ObjectReader
from tasks.storage.store import (
    OutputBusy,
    OutputConflict,
    OutputDamaged,
    StoreEntry,
    check_key,
    check_size,
)

# Seconds to wait for one answer. The library then repeats the call, for two minutes in all.
ANSWER_S = 60.0
# Largest number of objects in one answer: https://cloud.google.com/storage/docs/json_api/v1/objects/list
PAGE = 1000
# Bytes of an object that are read at a time, and number of objects that are copied at a time.
RANGE, COPIES = 1 << 20, 16
# Bytes of an object that is read as a whole, with its checksum, even if only a part is needed.
WHOLE = 8 << 20
# Sessions of one upload in parts: the service may forget a session. The upload then begins again.
SESSIONS = 3
_LISTED = "items(name,size,generation,crc32c,metadata),prefixes,nextPageToken"


class CloudStore:
    """Objects in a bucket. Each appears only when complete. A tile replaces nothing but the version that was seen.

    Args:
        bucket: Name of the bucket.
        prefix: Prefix of the names of all objects, without a slash at its end.
        client: Client that all threads of the process share.
        again: How calls are repeated; None = the library's own policy.
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
        """Check that the bucket exists and can be listed. Whether it is writable shows when the plan is stored."""
        next(iter(self._listing("", page_size=1, max_results=1)), None)
        return None

    def free_bytes(self) -> int | None:
        """Return None: a bucket has no limit."""
        return None

    def put(self, key: str, data: bytes | memoryview) -> StoreEntry:
        """Write an object, and replace any that is there."""
        return self._upload(key, bytes(data), {})

    def put_file(self, key: str, path: Path) -> StoreEntry:
        """Upload a file, in parts if it is large, and delete it."""
        blob = self._blob(key)
        for left in reversed(range(SESSIONS)):
            try:
                with self._translated_errors(key, "written"):
                    blob.upload_from_filename(
                        path, content_type="application/octet-stream", checksum="crc32c", **self._call
                    )
                break
            except OutputBusy as error:
                if not left or not is_lost_upload(error.__cause__):
                    raise
        with path.open("rb") as file:
            stored = self._verified(key, blob, crc32c_of_file(file))
        path.unlink()
        return stored

    def commit(self, key: str, data: bytes | memoryview, *, fingerprint: str, seen: str | None = None) -> StoreEntry:
        """Create an object, or replace the generation that was seen. The fingerprint is in its metadata."""
        data = bytes(data)
        for generation in (int(seen or 0), 0):
            try:
                return self._upload(key, data, {"fingerprint": fingerprint}, if_generation_match=generation)
            except exceptions.PreconditionFailed as error:
                # Another run was faster, the answer to our first attempt was lost, or the seen generation was deleted.
                refused, there = error, self.find(key)
            if there is not None:
                break
        if there is None:
            self._fail(key, "written", refused)
        if there.fingerprint == fingerprint and there.crc32c == crc32c(data):
            return there
        raise OutputConflict(
            f"output = {self.uri!r}: {key} holds other bytes than expected. Another version of this project, or of "
            "GDAL, may be writing to the same output. Stop one of the two, or give another output."
        )

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """Download an object, and verify its checksum."""
        with self._translated_errors(key, "read"):
            try:
                return self._download(self._blob(key), partial(check_size, self.uri, key, most=most))
            except exceptions.NotFound as error:
                if not is_object(error):
                    raise
                raise KeyError(key) from None

    def find(self, key: str) -> StoreEntry | None:
        """Return the metadata of an object."""
        blob = self._blob(key)
        with self._translated_errors(key, "read"):
            try:
                blob.reload(**self._call)
            except exceptions.NotFound as error:
                if is_object(error):
                    return None
                raise
        return _stored(key, blob)

    def open(self, key: str) -> IO[bytes]:
        """Open an object. The bytes of a large one are read in ranges, when they are needed."""
        stored = self.find(key)
        if stored is None:
            raise KeyError(key)
        blob = self._bucket.blob(self._prefix + key, generation=int(stored.version))
        translated = partial(self._translated_errors, key, "read")
        if stored.size <= WHOLE:
            with translated():
                return io.BytesIO(self._download(blob, partial(check_size, self.uri, key, most=WHOLE)))
        reader: Any = ObjectReader(blob, stored.size, translated, chunk_size=RANGE, **self._call)
        return cast("IO[bytes]", reader)

    def local_copies(self, keys: Iterable[str], folder: Path, *, most: int | None = None) -> dict[str, Path]:
        """Copy objects into the folder, several at a time, and return the copies."""

        def copied(key: str) -> tuple[str, Path]:
            path = folder / check_key(key).replace("~", "~0").replace("/", "~1")  # a name for each key
            path.write_bytes(self.get(key, most=most))
            return key, path

        with ThreadPoolExecutor(COPIES) as pool:
            return dict(pool.map(copied, keys))

    def folders(self) -> list[str]:
        """Return the first parts of the names. The service lists them without the objects below."""
        with self._translated_errors("", "listed"):
            pages = self._client.list_blobs(
                self._bucket, prefix=self._prefix, delimiter="/", fields=_LISTED, page_size=PAGE, **self._call
            )
            for _ in pages:
                pass
            return sorted({name.removeprefix(self._prefix).rstrip("/") for name in pages.prefixes} - {""})

    def list(self, prefix: str = "") -> Iterator[StoreEntry]:
        """Yield the objects with a prefix, from calls that list a thousand each."""
        for blob in self._listing(prefix, page_size=PAGE):
            if not blob.name.endswith("/"):  # the console makes such an object for a folder
                yield _stored(blob.name.removeprefix(self._prefix), blob)

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""
        with self._translated_errors(key, "deleted"), contextlib.suppress(exceptions.NotFound):
            self._blob(key).delete(**self._call)

    def open_path(self, key: str) -> str:
        """Return ``gs://bucket/prefix/key``. Rasterio opens it with the credentials that GDAL finds."""
        return f"{self.uri}/{check_key(key)}"

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """Yield a temporary folder of this machine."""
        try:
            with tempfile.TemporaryDirectory(prefix="pixel-quarry-") as folder:
                yield Path(folder)
        except QuarryError:
            raise
        except OSError as error:
            raise temporary_files(error) from error

    def sweep(self, prefix: str = "") -> int:
        """Return 0: an unfinished upload never becomes an object."""
        return 0

    # -----------------------------------------------------------------------------------------------------------------

    def _blob(self, key: str) -> Blob:
        return self._bucket.blob(self._prefix + check_key(key))

    def _download(self, blob: Blob, check: Callable[[int], None]) -> bytes:
        """Download an object. The library does not check the bytes if it had to ask for the rest of an answer.

        Args:
            blob: The object.
            check: Raises an error if this number of bytes is too large.

        Raises:
            DataCorruption: The bytes have another checksum than the object.
            TileLost: The object is larger than what was stored.
        """
        with Checked(check) as file:
            blob.download_to_file(file, checksum=None, **self._call)
            data = file.getvalue()
        if blob.crc32c not in {None, crc32c(data)}:  # the answer gives it
            raise DataCorruption(None, f"The bytes of {blob.name} have another checksum than the object.")
        return data

    def _upload(self, key: str, data: bytes, metadata: dict[str, str], **conditions: int) -> StoreEntry:
        """Create an object. The service verifies our checksum, and we verify the checksum that it returns.

        Raises:
            PreconditionFailed: Something else is stored there.
        """
        blob = self._blob(key)
        blob.metadata = metadata
        with self._translated_errors(key, "written", but=(exceptions.PreconditionFailed,) if conditions else ()):
            blob.upload_from_string(
                data, content_type="application/octet-stream", checksum="crc32c", **conditions, **self._call
            )
        return self._verified(key, blob, crc32c(data))

    def _verified(self, key: str, blob: Blob, checksum: str) -> StoreEntry:
        """Compare the checksum of a stored object with that of the sent bytes. Delete a damaged object."""
        stored = _stored(key, blob)
        if stored.crc32c in {None, checksum}:
            return stored
        replaced = exceptions.NotFound, exceptions.PreconditionFailed
        with self._translated_errors(key, "deleted"), contextlib.suppress(*replaced):
            blob.delete(if_generation_match=int(stored.version), **self._call)
        raise OutputDamaged(f"output = {self.uri!r}: {key} was stored with another checksum than was sent. Run again.")

    def _listing(self, prefix: str, **paging: int) -> Iterator[Blob]:
        with self._translated_errors(prefix, "listed"):
            yield from self._client.list_blobs(
                self._bucket, prefix=self._prefix + prefix, fields=_LISTED, **paging, **self._call
            )

    @contextlib.contextmanager
    def _translated_errors(self, key: str, what: str, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Raise the library's errors, other than `but`, as errors of the output."""
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
        """Raise a library's error as one of the output. Its text is not shown, since it may contain what was sent."""
        cause = error.cause if isinstance(error, exceptions.RetryError) and error.cause else error
        kind, status = kind_of(cause), status_of(cause)
        reason = type(cause).__name__ if status is None else f"HTTP {status}"
        remedy = REMEDIES.get(kind, "Run again.")
        raise kind(f"output = {self.uri!r}: {key or 'it'} cannot be {what} ({reason}). {remedy}") from error


def _stored(key: str, blob: Blob) -> StoreEntry:
    fingerprint = (blob.metadata or {}).get("fingerprint")
    return StoreEntry(
        key=key, size=int(blob.size), version=str(blob.generation), crc32c=blob.crc32c, fingerprint=fingerprint
    )

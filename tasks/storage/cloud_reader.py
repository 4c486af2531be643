"""Read a part of a large object. Cloud Storage has a checksum of whole objects only, so each range is read twice."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from google.cloud.storage import Blob
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.fileio import BlobReader

# How often a range is read until two readings agree.
READINGS = 3


class Checked(io.BytesIO):
    """Memory that is written only up to a size.

    Args:
        check: Raises an error if this number of bytes is too large.
    """

    def __init__(self, check: Callable[[int], None]) -> None:
        super().__init__()
        self._check = check

    def write(self, data: Any) -> int:
        """Write bytes, if they are not too many."""
        self._check(self.tell() + len(data))
        return super().write(data)


class ObjectReader(BlobReader):  # type: ignore[misc]  # the library has no types
    """Reads an object in ranges, and raises errors of the output.

    Args:
        blob: The object, with its generation.
        size: Its size in bytes.
        translated: Returns a context that raises the library's errors as errors of the output.
        options: See `BlobReader`.
    """

    def __init__(
        self, blob: Blob, size: int, translated: Callable[[], AbstractContextManager[None]], **options: Any
    ) -> None:
        super().__init__(_Compared(blob, size), **options)
        self._translated_errors = translated

    def read(self, size: int = -1) -> bytes:
        """Read bytes, as any file does."""
        with self._translated_errors():
            data: bytes = super().read(size)
        return data

    def seek(self, position: int, whence: int = 0) -> int:
        """Go to a position, as in any file."""
        with self._translated_errors():
            there: int = super().seek(position, whence)
        return there


class _Compared:
    """A blob whose ranges are read twice, and again if the readings differ.

    The second reading begins and ends at other bytes, so that no cache answers both.
    """

    def __init__(self, blob: Blob, size: int) -> None:
        self._blob, self.size = blob, size

    def download_as_bytes(self, *, start: int, end: int | None, **options: Any) -> bytes:
        """Return a range of the object.

        Args:
            start: Number of the first byte.
            end: Number of the last byte; None = the end of the object.
            options: See `Blob.download_as_bytes`.

        Raises:
            DataCorruption: The readings differ, or are cut off.
        """
        last = self.size - 1 if end is None else min(end, self.size - 1)
        before = max(0, start - 1)
        for _ in range(READINGS):
            data: bytes = self._blob.download_as_bytes(start=start, end=end, **options)
            again: bytes = self._blob.download_as_bytes(start=before, end=last + 2, **options)
            if len(data) == last + 1 - start and data == again[start - before :][: len(data)]:
                return data
        raise DataCorruption(None, f"The bytes {start} to {last} differ at each reading.")

"""Checksums in Cloud Storage's form: base64 of the big-endian CRC32C."""

from __future__ import annotations

import base64
from typing import IO

import google_crc32c

# Bytes of a file that are read at a time for its checksum.
CHUNK = 1 << 20


def crc32c(data: bytes | memoryview) -> str:
    """Return the checksum in Cloud Storage's form: base64 of the big-endian CRC32C."""
    # It takes no memoryview of Python's own, but GDAL's.
    data = bytes(data) if isinstance(data, memoryview) else data
    return _as_text(google_crc32c.value(data))


def crc32c_of_file(file: IO[bytes]) -> str:
    """Return the checksum of what is left to read of a file, in the same form; memory holds a piece of it."""
    value = 0
    while piece := file.read(CHUNK):
        value = google_crc32c.extend(value, piece)
    return _as_text(value)


def _as_text(value: int) -> str:
    return base64.b64encode(value.to_bytes(4, "big")).decode()

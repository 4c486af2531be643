"""Checksums in the form of Cloud Storage: base64 of the big-endian CRC32C."""

from __future__ import annotations

import base64
from typing import IO

import google_crc32c

# Bytes of a file that are read at a time.
CHUNK = 1 << 20


def crc32c(data: bytes | memoryview) -> str:
    """Return a checksum in the form of Cloud Storage: base64 of the big-endian CRC32C."""
    # google_crc32c does not accept a memoryview.
    data = bytes(data) if isinstance(data, memoryview) else data
    return _as_text(google_crc32c.value(data))


def crc32c_of_file(file: IO[bytes]) -> str:
    """Return the checksum of the rest of a file, in the same form. Only one piece at a time is in memory."""
    value = 0
    while piece := file.read(CHUNK):
        value = google_crc32c.extend(value, piece)
    return _as_text(value)


def _as_text(value: int) -> str:
    return base64.b64encode(value.to_bytes(4, "big")).decode()

"""The body of an answer: read whole, or refused as soon as it is larger than its request allows."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import urllib3

from tasks.earthengine.errors import EarthEngineError, Transient

ERROR_BYTES = 64 << 10
"""Most bytes that are read of an answer that reports an error, and most bytes that they are decompressed to."""
PIECE = 1 << 20
"""Bytes that are read at a time if the length is not known. Chunks of a few bytes take 20 times that in memory."""
_GZIP = 16 + zlib.MAX_WBITS
FRAMING = 64 << 10
"""Most bytes around a piece: sizes of chunks, lines after the last chunk. It is enough for chunks of 120 bytes."""
MEMBERS = 100
"""Most parts of a compressed answer. A server sends one. For each part, the rest is copied once."""


def too_large(largest: int, kind: type[EarthEngineError] = Transient) -> EarthEngineError:
    """Return the error for an answer that is larger than its request allows.

    Pixels raise ``Transient``. Their size follows from the request, so what is larger is no answer to it: something
    else answered, or the answer is damaged. Sending the request again costs at most as much as the first time, and
    ends after a few attempts. Metadata raise ``TooHeavy``: a smaller page of a listing may fit.

    Args:
        largest: Largest number of bytes that the answer may have.
        kind: Type of the error.
    """
    return kind(f"The answer is larger than its request allows: more than {largest:,} bytes. The rest was not read.")


def read_whole(
    response: urllib3.BaseHTTPResponse, largest: int, kind: type[EarthEngineError], allow: Callable[[int], None]
) -> bytes:
    """Read the body of an answer and decompress it. The connection is then free, or closed.

    Args:
        response: An answer whose body was not read yet.
        largest: Largest number of bytes of the body, decompressed.
        kind: Type of the error if it is larger.
        allow: Allows the connection to read this many bytes more.

    Raises:
        EarthEngineError: The body is larger, or it cannot be decompressed.
        urllib3.exceptions.HTTPError: It is not complete.
    """
    compressed = _encoding(response)
    if compressed not in {"identity", "gzip"}:
        response.close()
        raise Transient(f"The answer is compressed in another way than was requested ({compressed[:20]!r}).")
    data = _read(response, largest if compressed == "identity" else compressed_size(largest), allow)
    if data is not None and compressed == "gzip":
        try:
            data = decompressed(data, largest)
        except (EOFError, zlib.error, MemoryError) as error:
            raise Transient(f"The compressed answer is broken ({type(error).__name__}).", response.status) from error
    if data is None:
        raise too_large(largest, kind)
    return data


def _read(response: urllib3.BaseHTTPResponse, largest: int, allow: Callable[[int], None]) -> bytes | None:
    """Return the body of an answer as it was sent; None if it is larger."""
    length = response.length_remaining
    if length is not None and length <= largest:
        allow(length)
        return response.read(decode_content=False)
    whole = None if length is not None else _pieces(response, largest, allow)
    if whole is None:
        response.close()
    return whole


def _pieces(response: urllib3.BaseHTTPResponse, largest: int, allow: Callable[[int], None]) -> bytes | None:
    pieces: list[bytes] = []
    left = largest
    while left >= 0:
        allow(min(PIECE, left + 1) + FRAMING)
        piece = response.read(min(PIECE, left + 1), decode_content=False)
        if not piece:
            return b"".join(pieces)
        left -= len(piece)
        pieces.append(piece)
    return None


def read_error(response: urllib3.BaseHTTPResponse, allow: Callable[[int], None]) -> bytes:
    """Read the beginning of an answer that reports an error, decompressed. The connection is then free, or closed."""
    allow(ERROR_BYTES + FRAMING)
    data = response.read(ERROR_BYTES, decode_content=False)
    if len(data) == ERROR_BYTES or response.read(1, decode_content=False):
        response.close()
    if _encoding(response) == "identity":
        return data
    try:
        return zlib.decompressobj(_GZIP).decompress(data, ERROR_BYTES) if _encoding(response) == "gzip" else b""
    except zlib.error:
        return b""


def _encoding(response: urllib3.BaseHTTPResponse) -> str:
    """Return how a body is compressed: ``identity``, ``gzip``, or what else the answer names."""
    name = response.headers.get("Content-Encoding", "").strip().lower()
    return {"": "identity", "x-gzip": "gzip"}.get(name, name)


def compressed_size(largest: int) -> int:
    """Return the largest size of a gzip stream that holds a number of bytes. What cannot be compressed grows a bit."""
    return largest + largest // 1000 + 4096


def decompressed(data: bytes, largest: int) -> bytes | None:
    """Decompress a gzip stream. urllib3 does not do it, because it takes a truncated stream for a complete one.

    Args:
        data: The stream.
        largest: Largest number of bytes that it may hold.

    Returns:
        What it holds; None if that is larger.

    Raises:
        EOFError: The stream is truncated.
        zlib.error: It is no gzip stream, or its checksum is wrong.
    """
    pieces, left = [], largest
    for _ in range(MEMBERS):
        if not data:
            break
        member = zlib.decompressobj(_GZIP)
        pieces.append(member.decompress(data, left + 1))
        left -= len(pieces[-1])
        if left < 0:
            return None
        if not member.eof:
            raise EOFError("the compressed answer is truncated")
        data = member.unused_data.lstrip(b"\0")
    if data:
        raise zlib.error(f"more than {MEMBERS} parts")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)

"""The directories of a TIFF, checked before GDAL takes memory for what they declare."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from odc.geo.types import Shape2d

DIRECTORIES = 64
"""Most directories (images, masks, overviews) of a file."""
LARGEST_BLOCK = 128 << 20
"""Most bytes of a decompressed block (tile or strip): twice as many as Earth Engine sends pixels, and room for those by
which a block reaches beyond the edges."""
TAGS = 200
"""Most tags of a directory. A GeoTIFF has about 25."""
VALUES = 5_000
"""Most values of a tag that is checked: bits for each band, places of directories."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by its type (TIFF 6.0, and BigTIFF)."""
_WHOLE = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _ROWS = 256, 257, 258, 277, 278
_PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _SUBDIRECTORIES = 284, 322, 323, 330
_COMPRESSION = 259
_READ = {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT}
_CODECS = {1, 5, 8, 32773, 32946, 34925, 50000}
"""None, LZW, Deflate (also by its old number), PackBits, LZMA, ZSTD. The others lose data, or decode files of their own
within the file."""


class _Form(NamedTuple):
    """How numbers are laid out: byte order, and the widths of offsets and counts."""

    order: str
    number: str
    """Format of the number of tags."""
    offset: str
    """Format of offsets and counts of values."""
    first: int
    """Where the offset of the first directory is."""
    width: int
    """Bytes of an offset."""


def check_tiff(
    data: bytes | memoryview, shape: Shape2d | tuple[int, int], count: int, largest: int = LARGEST_BLOCK
) -> None:
    """Check that no directory of a TIFF declares more than an image of this size has.

    Args:
        data: The whole file.
        shape: Largest height and width of an image in it, pixels.
        count: Largest number of bands of an image in it.
        largest: Largest number of bytes of one block (tile or strip), decompressed.

    Raises:
        ValueError: A directory declares more, lies outside the file, or the file is not a TIFF.
    """
    for directory in _directories(memoryview(data)):
        size, samples = (directory.get(_HEIGHT, 0), directory.get(_WIDTH, 0)), directory.get(_SAMPLES, 1)
        if not (0 < size[0] <= shape[0] and 0 < size[1] <= shape[1] and 0 < samples <= count):
            raise ValueError(
                f"it has shape {size} and {samples} bands, but {tuple(shape)} and {count} bands are the most"
            )
        if directory.get(_COMPRESSION, 1) not in _CODECS:
            raise ValueError(f"compression {directory[_COMPRESSION]} is not one of pixels that are kept as they are")
        height = directory.get(_TILE_HEIGHT) or min(directory.get(_ROWS, size[0]), size[0])
        width = directory.get(_TILE_WIDTH) or size[1]
        bits = max(8, directory.get(_BITS, 1))
        block = height * width * bits // 8 * (1 if directory.get(_PLANAR) == 2 else samples)
        if bits > 128 or block > largest:
            raise ValueError(f"a block of {width} x {height} pixels of {bits} bits has more than {largest:,} bytes")


def _directories(data: memoryview) -> Iterator[Mapping[int, int]]:
    """Yield the tags of each directory that are whole numbers, with their largest value."""
    form = _form(data)
    entry = struct.Struct(f"{form.order}HH{form.offset}{form.width}s")
    waiting, seen = [_number(form, form.offset, data, form.first)], 0
    while waiting:
        place = waiting.pop()
        if place == 0:
            continue
        seen += 1
        number = _number(form, form.number, data, place)
        if seen > DIRECTORIES or number > TAGS:
            raise ValueError(f"more than {DIRECTORIES} directories or {TAGS} tags, or a loop of directories")
        start, tags = place + struct.calcsize(form.order + form.number), {}
        for at in range(start, start + number * entry.size, entry.size):
            tag, kind, count, value = _unpacked(entry, data, at)
            values = _values(form, data, kind, count, value)
            if tag == _SUBDIRECTORIES:
                waiting.extend(values)
            elif tag in _READ:
                if tag in tags or not values:
                    raise ValueError(f"tag {tag} is there twice, or is no whole number")
                tags[tag] = max(values)
        waiting.append(_number(form, form.offset, data, start + number * entry.size))
        yield tags


def _values(form: _Form, data: memoryview, kind: int, count: int, value: bytes | memoryview) -> Sequence[int]:
    """Return the values of a tag if they are whole numbers. All tags must lie inside the file."""
    size = _SIZES.get(kind, 0) * count
    if size > len(value):
        (where,) = struct.unpack(form.order + form.offset, value)
        if where + size > len(data):
            raise ValueError("the values of a tag lie outside the file")
        value = data[where : where + size]
    if kind not in _WHOLE or count > VALUES:
        return ()
    return struct.unpack_from(f"{form.order}{count}{_WHOLE[kind]}", value)


def _form(data: memoryview) -> _Form:
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]), "")
    version = _unpacked(struct.Struct(order + "H"), data, 2)[0] if order else 0
    if version == 42:
        return _Form(order, "H", "I", first=4, width=4)
    if version == 43:
        return _Form(order, "Q", "Q", first=8, width=8)
    raise ValueError("it is not a TIFF")


def _number(form: _Form, kind: str, data: memoryview, at: int) -> int:
    return int(_unpacked(struct.Struct(form.order + kind), data, at)[0])


def _unpacked(layout: struct.Struct, data: memoryview, at: int) -> tuple[Any, ...]:
    if at + layout.size > len(data):
        raise ValueError("a directory lies outside the file")
    return layout.unpack_from(data, at)

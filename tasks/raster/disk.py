"""Files that GDAL writes: the errors of the disk behind GDAL's own, and whether a GeoTIFF is whole."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError, RasterioIOError

# Bytes that the disk must still take. GDAL writes less at a time.
PROBE = 1 << 20
# TIFF 6.0: tags of the places and sizes of strips and tiles, and the sizes of the types of their values. The last is
# that of BigTIFF (LONG8).
PLACES, SIZES = (273, 324), (279, 325)
BIG = 43  # version of BigTIFF
TYPES = {3: "u2", 4: "u4", 16: "u8"}


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise the error of the disk if GDAL cannot write a file. GDAL has its own words for it, and no number.

    So the disk is asked again: a byte more for each file must give the same error.

    Args:
        folder: The folder with the unfinished files, which are of no use any more.

    Raises:
        OSError: The error of the disk (`errno`), or GDAL's words without a number.
    """
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        for path in list(folder.iterdir()):
            with path.open("ab") as file:
                file.write(bytes(PROBE))
                file.flush()
                os.fsync(file.fileno())
        raise RasterioIOError(str(error.__cause__ or error)) from error


def check_whole(path: Path) -> None:
    """Check that a GeoTIFF ends after the last pixel that its directories name.

    When GDAL closes a file on a full disk, it may cut the file off without an error.

    Raises:
        RasterioIOError: The file is cut off.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            end = max(_ends(file))
    except (struct.error, ValueError) as error:
        raise RasterioIOError(f"{path.name} is cut off") from error
    if end > size:
        raise RasterioIOError(f"{path.name} is cut off: it has {size:,} of {end:,} bytes")


def _ends(file: IO[bytes]) -> Iterator[int]:
    """Yield where the pixels of each directory of a TIFF end: TIFF 6.0, section 2, and BigTIFF."""
    mark, version = struct.unpack("<2sH", file.read(4))
    order, big = ("<" if mark == b"II" else ">"), version == BIG
    count_type, entry, place_type = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")

    def read(layout: str, place: int | None = None) -> tuple[Any, ...]:
        if place is not None:
            file.seek(place)
        return struct.unpack(order + layout, file.read(struct.calcsize(order + layout)))

    (directory,) = read(place_type, 8 if big else 4)
    while directory:
        (entries,) = read(count_type, directory)
        found = {}
        for tag, kind, count, value in [read(entry) for _ in range(entries)]:
            if tag in {*PLACES, *SIZES}:
                found[tag] = (np.dtype(order + TYPES[kind]), count, value)
        (following,) = read(place_type)
        arrays = {}
        for tag, (dtype, count, value) in found.items():
            data = value
            if dtype.itemsize * count > len(value):
                file.seek(struct.unpack(order + place_type, value)[0])
                data = file.read(dtype.itemsize * count)
            arrays[tag] = np.frombuffer(data, dtype, count).astype(np.int64)
        yield from (
            int((arrays[place] + arrays[size]).max())
            for place, size in zip(PLACES, SIZES, strict=True)
            if place in arrays
        )
        directory = following

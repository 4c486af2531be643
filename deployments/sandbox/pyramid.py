"""Bands of pixels that have an end: loaded in chunks, with a pyramid above them, read on any grid."""

from __future__ import annotations

import functools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.sandbox.raster import (
    DOUBLE,
    FLOAT,
    Band,
    DataType,
    Grid,
    Pixels,
    Projection,
    PyramidingPolicy,
    Resampling,
    crs_of,
)
from deployments.sandbox.sampling import EDGE, pixel_coordinates, sample

Window = tuple[int, int, int, int]
"""``(left, top, right, bottom)`` in pixels; right and bottom are outside."""

CHUNK = 256
"""Pixels on a side that are read, made and kept together."""

CACHE_BYTES = 256 * 2**20
"""What the chunks of all bands may take in memory together."""

TOP = 256
"""The pyramid ends where an image fits into this many pixels a side (Google's guide "Scale")."""

STRIP = 2**20
"""Pixels that are sampled at a time, so that a large request holds few intermediate arrays."""


class Chunks:
    """The chunks that were used last, by a limit of bytes. It may be used by many threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._lock = threading.Lock()
        self._chunks: OrderedDict[tuple[object, ...], Pixels] = OrderedDict()

    def get(self, key: tuple[object, ...], make: Callable[[], Pixels]) -> Pixels:
        """Return the chunk of a key, made outside the lock if it is not held."""
        with self._lock:
            found = self._chunks.get(key)
            if found is not None:
                self._chunks.move_to_end(key)
                return found
        made = _compact(make())
        with self._lock:
            if key not in self._chunks:
                self._chunks[key] = made
                self._held += _bytes(made)
                while self._held > self._limit and len(self._chunks) > 1:
                    self._held -= _bytes(self._chunks.popitem(last=False)[1])
        return made


def _compact(pixels: Pixels) -> Pixels:
    """Return the same pixels; a mask that is the same all over, as most are, takes no memory."""
    first = pixels.mask.flat[0]
    if (pixels.mask == first).all():
        return Pixels(pixels.values, np.broadcast_to(first, pixels.mask.shape))
    return pixels


def _bytes(pixels: Pixels) -> int:
    held = (array.nbytes for array in (pixels.values, pixels.mask) if any(array.strides))
    return int(sum(held))


_chunks = Chunks(CACHE_BYTES)


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredBand:
    """Pixels on a native grid with an end, loaded by windows, with a pyramid above them.

    Level k of the pyramid holds blocks of 2^k x 2^k native pixels. With the policy MEAN a pixel is the mean of
    the valid ones, and its mask is the mean of their masks, where what lies beyond the edge counts as masked;
    integers are rounded to the nearest when they are read. With SAMPLE it is the upper-left one of its block.
    """

    id: str
    type: DataType
    projection: Projection
    dimensions: tuple[int, int]
    """``(width, height)`` in native pixels."""
    load: Callable[[Window], Pixels]
    """Native pixels of a window inside the dimensions, (bottom - top, right - left)."""
    pyramiding: PyramidingPolicy = "MEAN"
    extent: tuple[Window, ...] | None = None
    """Where anything can be valid, if this is less than the whole: what is outside is never loaded."""
    coarse: Callable[[int, Window], Pixels] | None = None
    """Pixels of a window of a level above 0, where they are made without those below them: what is simulated would
    otherwise be made at its finest, 4^level times as many pixels, for every coarse look at it."""

    def band(self, resampling: Resampling = "nearest") -> Band:
        """Return the lazy band; an interpolated one is floating-point.

        Args:
            resampling: How to read between pixel centres.
        """
        exact = resampling == "nearest" or self.type.precision != "INT"
        return Band(
            id=self.id,
            type=self.type if exact else (FLOAT if self.type.numpy.itemsize <= 2 else DOUBLE),
            projection=self.projection,
            read=functools.partial(self.read, resampling=resampling),
            dimensions=self.dimensions,
            pyramiding=self.pyramiding,
            resampled=self.band,
        )

    def level(self, grid: Grid) -> int:
        """Return the pyramid level that a grid reads: the one whose scale is the closest that is not coarser.

        Scales are nominal metres of the two CRS, so that the tiles of one grid all read the same level.
        """
        ratio = nominal_scale(grid) / nominal_scale(self.projection)
        top = math.ceil(math.log2(max(1.0, max(self.dimensions) / TOP)))
        return min(top, max(0, math.floor(math.log2(ratio * (1 + 1e-6)))))

    def read(self, grid: Grid, resampling: Resampling = "nearest") -> Pixels:
        """Return the pixels of any grid.

        Args:
            grid: In any CRS, sheared and rotated ones included.
            resampling: How to read between pixel centres.

        Returns:
            Values (height, width) in the NumPy type of the band (see `band`), masked outside the dimensions.
        """
        level = self.level(grid)
        cols, rows = pixel_coordinates(grid, self._projection(level))
        dtype = self.band(resampling).type.numpy
        lines = max(1, STRIP // grid.width)
        if grid.height <= lines:
            return self._sample(level, cols, rows, resampling, dtype)
        strips = [
            self._sample(level, cols[top : top + lines], rows[top : top + lines], resampling, dtype)
            for top in range(0, grid.height, lines)
        ]
        return Pixels(np.concatenate([s.values for s in strips]), np.concatenate([s.mask for s in strips]))

    def window(self, level: int, window: Window) -> Pixels:
        """Return the pixels of a window of a level.

        Args:
            level: 0 for native pixels, k for blocks of 2^k.
            window: In pixels of the level, inside it.

        Returns:
            Pixels (bottom - top, right - left); unrounded float64 means in the levels of the policy MEAN.
            They may be views of what is kept: do not write to them.
        """
        left, top, right, bottom = window
        if left // CHUNK == (right - 1) // CHUNK and top // CHUNK == (bottom - 1) // CHUNK:
            chunk = self._chunk(level, left // CHUNK, top // CHUNK)
            if chunk is not None:
                part = np.s_[top % CHUNK : (bottom - 1) % CHUNK + 1, left % CHUNK : (right - 1) % CHUNK + 1]
                return Pixels(chunk.values[part], chunk.mask[part])
        dtype = np.dtype("<f8") if level and self.pyramiding == "MEAN" else self.type.numpy
        shape = (bottom - top, right - left)
        values, mask = np.zeros(shape, dtype), np.zeros(shape, np.float32)
        for j in range(top // CHUNK, (bottom - 1) // CHUNK + 1):
            for i in range(left // CHUNK, (right - 1) // CHUNK + 1):
                chunk = self._chunk(level, i, j)
                if chunk is not None:
                    x0, y0 = max(left, i * CHUNK), max(top, j * CHUNK)
                    x1, y1 = min(right, (i + 1) * CHUNK), min(bottom, (j + 1) * CHUNK)
                    here = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
                    there = np.s_[y0 - j * CHUNK : y1 - j * CHUNK, x0 - i * CHUNK : x1 - i * CHUNK]
                    values[here], mask[here] = chunk.values[there], chunk.mask[there]
        return Pixels(values, mask)

    def _size(self, level: int) -> tuple[int, int]:
        width, height = self.dimensions
        return -(-width >> level), -(-height >> level)

    def _projection(self, level: int) -> Projection:
        native = self.projection
        if not level:
            return native
        return Projection(crs=native.crs, transform=native.transform @ native.transform.scale(2**level))

    def _sample(
        self,
        level: int,
        cols: NDArray[np.float64],
        rows: NDArray[np.float64],
        resampling: Resampling,
        dtype: np.dtype[Any],
    ) -> Pixels:
        """Read only the window that the points touch, and sample it."""
        width, height = self._size(level)
        margin = 0 if resampling == "nearest" else 2
        left, right = _touched(cols, width, margin)
        top, bottom = _touched(rows, height, margin)
        if left >= right or top >= bottom:
            return Pixels(np.zeros(cols.shape, dtype), np.zeros(cols.shape, np.float32))
        stored = self.window(level, (left, top, right, bottom))
        found = sample(stored, cols - left, rows - top, resampling)
        if found.values.dtype == dtype:
            return found
        if dtype.kind in "iu":
            return Pixels(np.rint(found.values).astype(dtype), found.mask)
        return Pixels(found.values.astype(dtype), found.mask)

    def _chunk(self, level: int, i: int, j: int) -> Pixels | None:
        """Return a chunk of a level, None where all is masked for sure."""
        width, height = self._size(level)
        left, top = i * CHUNK, j * CHUNK
        right, bottom = min(left + CHUNK, width), min(top + CHUNK, height)
        window = (left, top, right, bottom)
        known = self._known(level, window)
        if known is None:
            return None
        return _chunks.get((self, level, i, j), lambda: _within(known, window, self._made(level, known)))

    def _known(self, level: int, window: Window) -> Window | None:
        """Return the part of a window of a level where anything can be valid, None if there is none."""
        if self.extent is None:
            return window
        extents = [(x0 >> level, y0 >> level, -(-x1 >> level), -(-y1 >> level)) for x0, y0, x1, y1 in self.extent]
        parts = [_overlap(window, extent) for extent in extents if intersects(window, extent)]
        if not parts:
            return None
        lefts, tops, rights, bottoms = zip(*parts, strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)

    def _made(self, level: int, window: Window) -> Pixels:
        """Return the pixels of a window of a level, not looked up but made."""
        if not level:
            return self.load(window)
        if self.coarse is not None:
            return self.coarse(level, window)
        left, top, right, bottom = window
        width, height = self._size(level - 1)
        return self._reduce(self.window(level - 1, (2 * left, 2 * top, min(2 * right, width), min(2 * bottom, height))))

    def _reduce(self, below: Pixels) -> Pixels:
        """Return one level from the level below it."""
        if self.pyramiding != "MEAN":
            return Pixels(below.values[::2, ::2].copy(), below.mask[::2, ::2].copy())
        height, width = below.values.shape
        even = (height + height % 2, width + width % 2)
        weight, weighted = np.zeros(even), np.zeros(even)
        weight[:height, :width] = below.mask
        # What is masked may be NaN, and NaN times zero is not zero.
        np.multiply(below.values, below.mask, out=weighted[:height, :width], where=below.mask > 0, dtype=np.float64)
        total, mean = _blocks(weight), _blocks(weighted)
        np.divide(mean, total, out=mean, where=total > 0)
        return Pixels(mean, (total / 4).astype(np.float32))


def _blocks(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of blocks of 2 x 2."""
    lines = array[::2] + array[1::2]
    sums: NDArray[np.float64] = lines[:, ::2] + lines[:, 1::2]
    return sums


def intersects(one: Window, other: Window) -> bool:
    """Return whether two windows have a pixel in common."""
    return one[0] < other[2] and one[1] < other[3] and one[2] > other[0] and one[3] > other[1]


def _overlap(one: Window, other: Window) -> Window:
    """Return what two windows share."""
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _within(part: Window, window: Window, pixels: Pixels) -> Pixels:
    """Return the pixels of a part of a window as those of the whole window, masked around the part."""
    if part == window:
        return pixels
    left, top, right, bottom = window
    shape = (bottom - top, right - left)
    values, mask = np.zeros(shape, pixels.values.dtype), np.zeros(shape, np.float32)
    here = np.s_[part[1] - top : part[3] - top, part[0] - left : part[2] - left]
    values[here], mask[here] = pixels.values, pixels.mask
    return Pixels(values, mask)


def nominal_scale(projection: Projection) -> float:
    """Return the size of a pixel in metres at the CRS's true scale, the shorter side of it.

    A degree is 111,319.49 m, as in ``Projection.nominalScale`` of Earth Engine.
    """
    crs, affine = crs_of(projection.crs), projection.transform
    axis = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    unit = axis * 6378137.0 if crs.is_geographic else axis
    return float(min(math.hypot(affine.a, affine.d), math.hypot(affine.b, affine.e)) * unit)


def _touched(coordinates: NDArray[np.float64], size: int, margin: int) -> tuple[int, int]:
    """Return the range of pixel indices that coordinates touch, clipped to ``size``; empty if none."""
    along = coordinates
    if coordinates.ndim == 2:  # views of separable coordinates repeat: look at one line only
        along = coordinates[0] if coordinates.strides[0] == 0 else coordinates
        along = coordinates[:, 0] if coordinates.strides[1] == 0 else along
    inside = along[(along >= -EDGE) & (along < size - EDGE)]
    if not inside.size:
        return 0, 0
    first, last = math.floor(inside.min() + EDGE), math.floor(inside.max() + EDGE)
    return max(0, first - margin), min(size, last + margin + 1)

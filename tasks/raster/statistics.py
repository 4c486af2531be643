"""Statistics of each band: the number of valid pixels, and their sum, minimum and maximum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.raster.raster import Raster

CHUNK = 1 << 16
"""Number of pixels that are summed at a time, so that they fit the cache of a core."""


@dataclass(frozen=True, kw_only=True)
class BandStatistics:
    """Statistics of a band over its valid pixels that are not NaN, in the unit of the band."""

    name: str
    """Name of the band."""
    valid: int | None
    """Number of valid pixels (a valid NaN counts as valid); None if the mask is not known."""
    counted: int
    """Number of pixels in the statistics below."""
    sums: tuple[float, ...]
    """Numbers that together are the sum without any rounding, so that a mean does not depend on the tiling. A sum that
    NumPy has as infinite or NaN is one number."""
    min: float | None
    """Minimum; None if no pixel is counted."""
    max: float | None
    """Maximum; None if no pixel is counted."""

    @property
    def mean(self) -> float | None:
        """Mean; None if no pixel is counted. It is NaN if both infinities occur."""
        return math.fsum(self.sums) / self.counted if self.counted else None


@dataclass(frozen=True, kw_only=True)
class BandRange:
    """The lowest and the highest valid value of a band."""

    valid: int
    """Number of valid pixels, NaN included; the number of all pixels if the mask is not known."""
    counted: int
    """Number of valid pixels that are not NaN."""
    low: float | None
    """Lowest value that is not NaN; None if no pixel is counted."""
    high: float | None
    """Highest value that is not NaN; None if no pixel is counted."""


def band_statistics(raster: Raster) -> tuple[BandStatistics, ...]:
    """Return the statistics of every band. If the mask is not known, all pixels are counted as valid."""
    return tuple(_statistics(raster, i) for i in range(len(raster.bands)))


def _statistics(raster: Raster, i: int) -> BandStatistics:
    ends = band_range(raster, i)
    return BandStatistics(
        name=raster.bands[i],
        valid=None if raster.valid is None else ends.valid,
        counted=ends.counted,
        sums=_sums(raster, i, ends.counted) if ends.counted else (),
        min=ends.low,
        max=ends.high,
    )


def _sums(raster: Raster, i: int, counted: int) -> tuple[float, ...]:
    data = raster.values[i]
    if data.dtype.kind != "f":  # masked pixels are zero, and the sum of integers is exact
        total = int(data.sum(dtype=np.int64))
        return float(total), float(total - int(float(total)))
    data = data if counted == data.size else _numbers(data, _mask(raster, i))
    flat = data.ravel()
    with np.errstate(invalid="ignore", over="ignore"):  # an infinity among the pixels, or a sum beyond float64
        parts = [part for start in range(0, flat.size, CHUNK) for part in _folded(flat[start : start + CHUNK])]
        try:
            return tuple(parts) if math.isfinite(math.fsum(parts)) else (float(data.sum(dtype=np.float64)),)
        except (OverflowError, ValueError):  # of fsum: the sum is too large, or both infinities occur
            return (float(data.sum(dtype=np.float64)),)


def _folded(values: NDArray[np.generic]) -> list[float]:
    """Return a few numbers with the same sum as the values, without any rounding.

    Halves are added until one number is left. What the rounding of an addition loses is a float, too (Knuth's TwoSum),
    and these floats are added in the same way.
    """
    parts = []
    left = values.astype(np.float64)
    while left.size:
        lost = []
        while left.size > 1:
            half = left.size // 2
            one, other = left[:half], left[half : 2 * half]
            total = one + other
            taken = total - one
            rounded = (one - (total - taken)) + (other - taken)
            lost.append(rounded[rounded != 0])
            left = np.append(total, left[-1]) if left.size % 2 else total
        parts.append(float(left[0]))
        left = np.concatenate(lost) if lost else left[:0]
    return parts


def band_range(raster: Raster, i: int) -> BandRange:
    """Return the lowest and the highest valid value of band i, counted from 0."""
    data, valid = raster.values[i], _mask(raster, i)
    count = data.size if valid is None else int(np.count_nonzero(valid))
    if data.dtype.kind == "f":
        data = _numbers(data, valid)
        if not data.size:
            return BandRange(valid=count, counted=0, low=None, high=None)
        return BandRange(valid=count, counted=data.size, low=float(data.min()), high=float(data.max()))
    if not count:
        return BandRange(valid=0, counted=0, low=None, high=None)
    low, high = data.min(), data.max()
    if count < data.size:  # masked pixels are zero: only an end that is not beyond zero can be wrong
        info = np.iinfo(data.dtype.name)
        low = low if low < 0 else data.min(where=valid, initial=info.max)
        high = high if high > 0 else data.max(where=valid, initial=info.min)
    return BandRange(valid=count, counted=count, low=float(low), high=float(high))


def _mask(raster: Raster, i: int) -> NDArray[np.bool_] | None:
    return None if raster.valid is None or raster.full else raster.valid[i]


def _numbers(data: NDArray[np.generic], valid: NDArray[np.bool_] | None) -> NDArray[np.generic]:
    """Return the valid floats that are not NaN. If these are all pixels, return the band itself, not a copy."""
    data = data if valid is None else data[valid]
    missing = np.isnan(data)
    return data[~missing] if missing.any() else data

"""Statistics of each band: the share of valid pixels, and their mean, minimum and maximum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.raster.raster import Raster


@dataclass(frozen=True, kw_only=True)
class BandStatistics:
    """Statistics of a band over its valid pixels that are not NaN, in the unit of the band."""

    name: str
    """Name of the band."""
    valid_share: float | None
    """Share of valid pixels, 0 to 1 (a valid NaN counts as valid); None if the mask is not known."""
    counted: int
    """Number of pixels in the statistics below."""
    mean: float | None
    """Mean; None if no pixel is counted."""
    min: float | None
    """Minimum; None if no pixel is counted."""
    max: float | None
    """Maximum; None if no pixel is counted."""


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
        valid_share=None if raster.valid is None else ends.valid / raster.values[i].size,
        counted=ends.counted,
        mean=_mean(raster, i, ends.counted) if ends.counted else None,
        min=ends.low,
        max=ends.high,
    )


def _mean(raster: Raster, i: int, counted: int) -> float:
    data = raster.values[i]
    if data.dtype.kind != "f":  # masked pixels are zero, and the sum of integers is exact
        return int(data.sum(dtype=np.int64)) / counted
    data = data if counted == data.size else _numbers(data, _mask(raster, i))
    with np.errstate(invalid="ignore"):  # if both infinities occur, the mean is NaN
        return float(data.mean(dtype=np.float64))


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

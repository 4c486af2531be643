"""Numbers a band: how much of it is valid, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.raster.raster import Raster


@dataclass(frozen=True, kw_only=True)
class BandStatistics:
    """A band in numbers, over its valid pixels that are not NaN; in the band's own unit."""

    name: str
    valid_share: float | None
    """Share of valid pixels, 0 to 1 (a valid NaN counts); None where the mask is not known."""
    counted: int
    """Number of pixels that the numbers below are of."""
    mean: float | None
    """None where there is no pixel to take it over, as for the two below."""
    min: float | None
    max: float | None


def band_statistics(raster: Raster) -> tuple[BandStatistics, ...]:
    """Return the statistics of every band; where the mask is not known, all pixels count."""
    return tuple(_statistics(raster, i) for i in range(len(raster.bands)))


def _statistics(raster: Raster, i: int) -> BandStatistics:
    data, share = raster.values[i], None
    if raster.valid is not None:
        share = float(raster.valid[i].mean())
        data = data[raster.valid[i]]
    if data.dtype.kind == "f":
        data = data[~np.isnan(data)]
    name = raster.bands[i]
    if not data.size:
        return BandStatistics(name=name, valid_share=share, counted=0, mean=None, min=None, max=None)
    return BandStatistics(
        name=name,
        valid_share=share,
        counted=data.size,
        mean=float(data.mean(dtype=np.float64)),
        min=float(data.min()),
        max=float(data.max()),
    )

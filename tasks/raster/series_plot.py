"""Plot a time series."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class SeriesPoint:
    """The statistics of one band on one date."""

    time: datetime
    band: str
    """Name of the band."""
    valid_share: float | None
    """Share of valid pixels, 0 to 1; None if the mask is not known."""
    mean: float | None
    """Mean of the valid pixels, in the unit of the band; None if there are none."""
    min: float | None = None
    """Minimum of the valid pixels."""
    max: float | None = None
    """Maximum of the valid pixels."""


def plot_series(points: Sequence[SeriesPoint], *, title: str) -> bytes:
    """Return a PNG plot: the mean of each band over time, and below it the share of valid pixels, %."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for band in dict.fromkeys(point.band for point in points):
        own = [point for point in points if point.band == band]
        times = [point.time for point in own]
        upper.plot(times, [math.nan if p.mean is None else p.mean for p in own], marker="o", markersize=3, label=band)
        lower.plot(times, [math.nan if p.valid_share is None else 100 * p.valid_share for p in own])
    upper.set_title(title)
    upper.set_ylabel("mean of valid pixels")
    upper.legend(loc="best")
    lower.set_ylabel("valid, %")
    lower.set_ylim(-5, 105)
    figure.autofmt_xdate()
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=100)
        return file.getvalue()

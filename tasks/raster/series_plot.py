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
        means = [math.nan if p.mean is None else p.mean for p in own]
        upper.plot(times, means, marker="o", markersize=3, label=_label(band))
        lower.plot(times, [math.nan if p.valid_share is None else 100 * p.valid_share for p in own])
    upper.set_title(title)
    upper.set_ylabel("mean of valid pixels")
    upper.legend(loc="best")
    lower.set_ylabel("valid, %")
    lower.set_ylim(-5, 105)
    for text in (upper.title, *upper.get_legend().get_texts()):
        text.set_parse_math(False)  # a name with two $ is no formula
    figure.autofmt_xdate()
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=100)
        return file.getvalue()


def _label(name: str) -> str:
    """Return a name for the legend, which leaves out what begins with `_`, in characters that its font has."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))  # it comes with matplotlib
    shown = "".join(c if font.get_char_index(ord(c)) else f"\\u{ord(c):04x}" for c in name)
    shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
    return f"'{shown}'" if shown.startswith("_") else shown

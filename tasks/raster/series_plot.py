"""Plot a time series."""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

MOST = 10
"""Largest number of features with a line each. Of more, the mean over all is shown."""


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
    area: int | None = None
    """Number of the feature from 0; None if the region is one area."""
    day: str = ""
    """Day of the image: that of `time` in UTC, or the day for which several images were joined."""
    counted: int = 0
    """Number of pixels behind the mean."""
    name: str = ""
    """Name of the image in the series."""
    end: str = ""
    """End of the acquisition, ISO 8601. Empty = not known."""
    images: tuple[str, ...] = ()
    """Ids of the images that it is made of."""


def plot_series(points: Sequence[SeriesPoint], *, title: str, names: Sequence[str] = ()) -> bytes:
    """Return a PNG plot: the mean of each band over time, and below it the share of valid pixels, %.

    Args:
        points: The points of each feature and band, in order of time.
        title: Title of the plot.
        names: Names of the features; empty = the region is one area.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for label, own in _lines(points, names):
        times = [point.time for point in own]
        means = [math.nan if p.mean is None else p.mean for p in own]
        upper.plot(times, means, marker="o", markersize=3, label=_label(label))
        lower.plot(times, [math.nan if p.valid_share is None else 100 * p.valid_share for p in own])
    if len(names) > MOST:
        title += f": mean of all {len(names)} features (the table has a row for each)"
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


def _lines(points: Sequence[SeriesPoint], names: Sequence[str]) -> list[tuple[str, list[SeriesPoint]]]:
    lines: dict[tuple[int | None, str], list[SeriesPoint]] = defaultdict(list)
    for point in points:
        lines[point.area, point.band].append(point)
    if len(names) <= MOST:
        bands = {band for _, band in lines}
        return [(_name(area, band, names, len(bands)), own) for (area, band), own in lines.items()]
    together: dict[str, list[list[SeriesPoint]]] = defaultdict(list)
    for (_, band), own in lines.items():
        together[band].append(own)
    return [(band, [_mean(each) for each in zip(*own, strict=True)]) for band, own in together.items()]


def _name(area: int | None, band: str, names: Sequence[str], bands: int) -> str:
    return band if area is None else names[area] if bands == 1 else f"{names[area]} {band}"


def _mean(points: Sequence[SeriesPoint]) -> SeriesPoint:
    """Return the mean over all pixels of the features at one time. A feature without a valid pixel adds nothing."""
    counted = sum(point.counted for point in points)
    total = sum(point.mean * point.counted for point in points if point.mean is not None)
    shares = [point.valid_share for point in points if point.valid_share is not None]
    return SeriesPoint(
        time=points[0].time,
        band=points[0].band,
        valid_share=sum(shares) / len(shares) if shares else None,
        mean=total / counted if counted else None,
    )

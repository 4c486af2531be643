"""Plot a time series."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tasks.raster import house_style as style
from tasks.raster.colours import AS_STORED, Quantity
from tasks.raster.house_style import Heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH, HEIGHT = style.PAGE, 380
"""Size of the plot of one quantity, pixels."""
LEGEND = 250
"""Width of a name in the legend, pixels."""
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


def plot_series(
    points: Sequence[SeriesPoint],
    *,
    heading: Heading,
    names: Sequence[str] = (),
    quantities: Mapping[str, Quantity] = MappingProxyType({}),
) -> bytes:
    """Return a PNG plot: the mean of each band over time in physical units, and below it the share of valid pixels, %.

    Bands of another quantity have axes of their own.

    Args:
        points: The points of each feature and band, in order of time.
        heading: The words above.
        names: Names of the features; empty = the region is one area.
        quantities: What the numbers of the bands stand for. Of other bands, the numbers are shown as they are.
    """
    lines = _lines(points, names)
    kinds = list(dict.fromkeys(quantities.get(own[0].band, AS_STORED) for _, own in lines)) or [AS_STORED]
    figure = style.new_figure(WIDTH, HEIGHT + 170 * (len(kinds) - 1), layout="constrained")
    *upper, lower = figure.subplots(len(kinds) + 1, 1, sharex=True, height_ratios=[3] * len(kinds) + [1.2])
    if len(names) > MOST:
        more = f"Mean of all {len(names):,} features; the table has a row for each"
        heading = heading._replace(lines=(*heading.lines, more))
    style.add_heading(figure, heading, WIDTH)
    marker = 3.5 if max((len(own) for _, own in lines), default=0) <= 120 else 1.5
    for number, (label, own) in enumerate(lines):
        quantity = quantities.get(own[0].band, AS_STORED)
        look = _look(number) | {"marker": "o", "markersize": marker, "linewidth": 1.3}
        times = [point.time for point in own]
        means = [math.nan if p.mean is None else p.mean * quantity.scale + quantity.offset for p in own]
        upper[kinds.index(quantity)].plot(times, means, label=_label(label), **look)
        lower.plot(times, [math.nan if p.valid_share is None else 100 * p.valid_share for p in own], **look)
    for axes, quantity in zip(upper, kinds, strict=True):
        _finish(axes, quantity.text, quantity.formula)
    _finish(lower, "valid pixels, %")
    lower.set_ylim(-5, 105)
    _date(lower)
    _add_legend(figure, [line for axes in upper for line in axes.lines])
    return style.encoded(figure, trim=True)


def _look(number: int) -> dict[str, Any]:
    """Return colour and style of a line. There are ten colours, each in four styles."""
    import matplotlib as mpl

    colours = mpl.color_sequences[style.CYCLE]
    return {"color": colours[number % len(colours)], "linestyle": ("-", "--", ":", "-.")[number // len(colours) % 4]}


def _finish(axes: Axes, label: str, formula: str = "") -> None:
    """Put axes into the house style, with their quantity."""
    style.dress(axes)
    axes.grid(color=style.GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    lines = [each for part in (label, formula) for each in style.wrapped(part, 230)]
    axes.set_ylabel("\n".join(lines), fontproperties=style.font(style.SMALL), color=style.INK)


def _add_legend(figure: Figure, lines: Sequence[Line2D]) -> None:
    """Name the lines below the plot, in as many columns as there is room for."""
    widest = max((style.text_width(str(line.get_label())) for line in lines), default=0.0) + 50
    figure.legend(
        handles=lines,
        loc="upper left",
        bbox_to_anchor=(0, -style.GAP / (float(figure.get_size_inches()[1]) * style.DPI)),
        borderaxespad=0,
        borderpad=0,
        ncols=max(1, int(WIDTH / widest)),
        frameon=False,
        prop=style.font(),
        labelcolor=style.INK,
        columnspacing=1.4,
    )


def _date(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=12)  # type: ignore[no-untyped-call]  # it has no types
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # it has no types
    axes.xaxis.get_offset_text().set(fontproperties=style.font(style.SMALL), color=style.INK)


def _label(name: str) -> str:
    """Return a name for the legend, which leaves out what begins with `_`."""
    shown = style.fitted(name, LEGEND, style.SMALL)
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

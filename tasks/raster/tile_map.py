"""Coverage maps: the status of each tile (stored, empty, planned, missing, failed), on a map and by date."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

from tasks.raster.frame import Frame, framed, joined, outlines, painted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Status(IntEnum):
    """The status of a tile. A greater value is a worse status."""

    STORED = 0
    EMPTY = 1
    """The tile was fetched, and none of its pixels is valid."""
    PLANNED = 2
    MISSING = 3
    """The tile should exist, but it is neither stored, nor empty, nor failed with a reason."""
    FAILED = 4


# Bad statuses are darker than good ones, or warmer than all others, so that they differ without seeing red and green.
# No status is a neutral grey, which is the colour of lines and letters.
COLOURS = {
    Status.STORED: "#55b592",
    Status.EMPTY: "#c0c4ca",
    Status.PLANNED: "#4f81bd",
    Status.MISSING: "#ee8a00",
    Status.FAILED: "#96001e",
}
INK, PALE, LINE, GRID = "#222222", "#666666", "#bbbbbb", "#ececec"

DPI = 100
WIDTH, HEIGHT = 900, 600
"""Size of the picture, pixels."""
LEFT, BOTTOM, TOP, RIGHT = 72, 62, 78, 30
"""Margins around the axes, pixels."""
BARS_LEFT, BARS_GAP = 650, 120
"""Left edge of the bars of a series, and the space for their labels, pixels."""

OUTLINED = 8
"""Shorter side from which a tile is drawn as a polygon with an outline, pixels."""
MAX_POLYGONS = 5000
"""If more tiles than this would be polygons, none is."""
MARK = 5
"""Smallest side at which a small tile is drawn, pixels. It is less if many tiles have the same status."""
MARKED_SHARE = 1 / 10
"""Largest share of the map that the marks of one status cover, unless each is already a single pixel."""
MAX_BARS, MAX_LABELS = 120, 50
KM_PER_DEGREE = 111.2


def coverage_map(
    corners: NDArray[np.float64],
    status: ArrayLike,
    *,
    title: str,
    labels: Sequence[str] = (),
    region: BaseGeometry | None = None,
) -> bytes:
    """Return a PNG, 900 x 600 px: a map of tiles by status and, for a series, a bar of counts for each date.

    For a series, the map shows the worst status of each tile on any date. The exception is a tile that is empty on some
    dates and stored on the others, which is drawn as stored. The same input gives the same bytes. A million tiles take
    a second or two.

    Args:
        corners: Longitude and latitude of the tile corners, degrees, shape (tile, 4, 2), as a ring that starts at the
            outer corner of the first pixel. A tile with a corner that is not finite is counted but not drawn.
        status: `Status` of each tile for each source, shape (source, tile), or (tile,) for one source.
        title: Title above the map, on one line.
        labels: Names of the sources, such as dates, from top to bottom. Required if there is more than one source.
        region: The requested region, a polygon in WGS 84. It is drawn as an outline.

    Raises:
        ValueError: The shapes do not match, or a status is not known.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = _checked(corners, status, labels)
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    series = len(table) > 1
    right = BARS_LEFT - BARS_GAP if series else WIDTH - RIGHT
    left_out = _draw_map(_axes(figure, LEFT, right), corners, _worst(table), region, right - LEFT)
    counts = np.stack([np.count_nonzero(table == kind, axis=1) for kind in Status], axis=1)
    if series:
        _draw_bars(_axes(figure, BARS_LEFT, WIDTH - RIGHT), counts, labels)
    _draw_words(figure, title, table.shape, counts.sum(axis=0), left_out)
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
        return file.getvalue()


def _checked(corners: NDArray[np.float64], status: ArrayLike, labels: Sequence[str]) -> NDArray[np.uint8]:
    """Return the statuses as a table, shape (source, tile)."""
    table = np.atleast_2d(np.asarray(status))
    if corners.shape != (table.shape[-1], 4, 2) or table.ndim != 2:
        raise ValueError(
            f"corners.shape = {corners.shape}: it does not match status.shape = {table.shape}. "
            "Give (tile, 4, 2) and (source, tile)."
        )
    if table.size and not (table.min() >= min(Status) and table.max() <= max(Status)):
        raise ValueError(
            f"status = {table.min()} to {table.max()}: give {int(min(Status))} to {int(max(Status))}, see `Status`."
        )
    if len(table) > 1 and len(labels) != len(table):
        raise ValueError(f"labels = {len(labels)} names: there are {len(table)} sources. Give one for each source.")
    return table.astype(np.uint8, copy=False)


def _worst(table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one status for each tile, shape (tile,), or shape (0,) if there is no source."""
    if not len(table):
        return np.empty(0, np.uint8)
    worst: NDArray[np.uint8] = table.max(axis=0)
    worst[(worst == Status.EMPTY) & (table.min(axis=0) == Status.STORED)] = Status.STORED
    return worst


def _axes(figure: Figure, left: int, right: int) -> Axes:
    """Add axes between two columns of pixels."""
    height = HEIGHT - BOTTOM - TOP
    axes = figure.add_axes((left / WIDTH, BOTTOM / HEIGHT, (right - left) / WIDTH, height / HEIGHT))
    axes.tick_params(labelsize=8, color=LINE, labelcolor=INK)
    axes.spines[:].set_color(LINE)
    axes.set_axisbelow(True)
    return axes


def _draw_map(
    axes: Axes, corners: NDArray[np.float64], worst: NDArray[np.uint8], region: BaseGeometry | None, width: int
) -> int:
    """Draw the tiles and the region. Return the number of tiles that cannot be placed on the map."""
    from matplotlib.collections import LineCollection, PolyCollection

    finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(corners), axis=(1, 2))
    shapes = joined(corners[finite])
    worst = worst[finite[: len(worst)]]
    low, high = shapes.min(axis=1), shapes.max(axis=1)
    rings = outlines(region, float(low[:, 0].min() + high[:, 0].max()) / 2 if len(low) else 0.0)
    frame = framed(np.concatenate([low, high, *rings]), width=width, height=HEIGHT - BOTTOM - TOP)
    _draw_degrees(axes, frame)
    boxes = np.concatenate([frame.pixels(low), frame.pixels(high)], axis=1)[: len(worst)]
    outlined = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) >= OUTLINED
    if np.count_nonzero(outlined) > MAX_POLYGONS:
        outlined[:] = False
    order = np.argsort(worst[outlined], kind="stable")  # the worst tiles are drawn last, on top
    polygons = list(shapes[: len(worst)][outlined][order])
    colours = [COLOURS[Status(kind)] for kind in worst[outlined][order]]
    axes.add_collection(PolyCollection(polygons, facecolors=colours, edgecolors="white", linewidths=0.7))
    _draw_tiny(axes, boxes[~outlined], worst[~outlined], frame)
    axes.add_collection(LineCollection(rings, colors=INK, linewidths=1.1, zorder=3))
    _draw_scale(axes, frame)
    return len(corners) - len(shapes)


def _draw_tiny(axes: Axes, boxes: NDArray[np.float64], worst: NDArray[np.uint8], frame: Frame) -> None:
    """Draw tiles pixel by pixel. If few tiles have a status, they are drawn larger, so that they can be seen."""
    from matplotlib.colors import to_rgba_array

    counts = np.bincount(worst, minlength=len(Status))
    marks = np.sqrt(frame.width * frame.height * MARKED_SHARE / np.maximum(counts, 1))
    # If only the narrow tiles at the edge of a grid are small, only missing and failed tiles are drawn larger.
    alone = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) < OUTLINED
    sides = [int(np.clip(marks[kind], 1, MARK)) if alone.any() or kind >= Status.MISSING else 1 for kind in Status]
    # The last colour is transparent, for pixels of kind -1.
    colours = np.concatenate([to_rgba_array([COLOURS[kind] for kind in Status]), np.zeros((1, 4))])
    picture = np.rint(colours * 255).astype(np.uint8)[painted(boxes, worst, sides, frame)]
    extent = (frame.west, frame.east, frame.south, frame.north)
    axes.imshow(picture, extent=extent, origin="lower", interpolation="nearest", aspect="auto", zorder=2)


def _draw_degrees(axes: Axes, frame: Frame) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(frame.west, frame.east)
    axes.set_ylim(frame.south, frame.north)
    axes.grid(color=GRID, linewidth=0.8)
    sides = (
        (axes.xaxis, "EW", frame.west, frame.east, frame.width // 95, 540),
        (axes.yaxis, "NS", frame.south, frame.north, frame.height // 60, 90),
    )
    for axis, letters, low, high, most, end in sides:
        steps = [1, 3, 6, 9, 10] if high - low > 60 else [1, 2, 5, 10]
        ticks = np.asarray(MaxNLocator(nbins=most, steps=steps).tick_values(low, high))
        ticks = ticks[(ticks >= low) & (ticks <= high) & (np.abs(ticks) <= end)]
        decimals = max(0, math.ceil(-math.log10(ticks[1] - ticks[0]) - 1e-9)) if len(ticks) > 1 else 3
        axis.set_ticks(ticks, labels=[_degree(tick, decimals, letters) for tick in ticks])


def _degree(value: float, decimals: int, letters: str) -> str:
    turned = (value + 180) % 360 - 180 if letters == "EW" else value
    text = f"{abs(turned):.{decimals}f}"
    return f"{text}°{'' if float(text) in {0, 180} else letters[int(turned < 0)]}"


def _draw_scale(axes: Axes, frame: Frame) -> None:
    """Draw a scale bar below a map of at most 30 degrees of latitude. In a taller map the scale varies too much."""
    if frame.north - frame.south > 30:
        return
    per_km = frame.down / KM_PER_DEGREE
    longest = 110 / per_km
    step = 10.0 ** math.floor(math.log10(longest))
    length = next(step * factor for factor in (5, 2, 1) if step * factor <= longest)
    text = f"{length:,.0f} km" if length >= 1 else f"{1000 * length:.3g} m"
    start, y = 1 - length * per_km / frame.width, (20 - BOTTOM) / frame.height
    axes.plot([start, 1], [y, y], transform=axes.transAxes, clip_on=False, color=INK, lw=2.5, solid_capstyle="butt")
    axes.text(start - 6 / frame.width, y, text, transform=axes.transAxes, size=8, color=INK, ha="right", va="center")


def _draw_bars(axes: Axes, counts: NDArray[np.int64], labels: Sequence[str]) -> None:
    """Draw a bar for each date, or for the mean of neighbouring dates if there are more than `MAX_BARS`.

    The counts have shape (date, status).
    """
    from matplotlib.ticker import MaxNLocator

    tiles = max(int(counts[0].sum()), 1)
    group = -(-len(counts) // MAX_BARS)
    starts = np.arange(0, len(counts), group)
    means = np.add.reduceat(counts, starts) / np.diff(starts, append=len(counts))[:, np.newaxis]
    rows, ends = np.arange(len(starts)), means.cumsum(axis=1)
    for kind, colour in COLOURS.items():
        # Missing and failed tiles get a bar that is wide enough to be seen.
        least = 0.02 * tiles if kind >= Status.MISSING else 0
        width = np.where(means[:, kind] > 0, np.maximum(means[:, kind], least), 0)
        axes.barh(rows, width, left=ends[:, kind] - width, color=colour, height=0.8 if len(rows) <= MAX_LABELS else 1)
    step = -(-len(rows) // MAX_LABELS)
    longest = 18  # a day and a time
    shown = [labels[start] for start in starts[::step]]
    names = [label if len(label) <= longest else f"{label[: longest - 1]}…" for label in shown]
    axes.set_yticks(rows[::step], labels=names, parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=min(8.0, 320 / len(names), 112 / max(map(len, names))))
    axes.set_ylim(max(len(rows), 6) - 0.4, -0.6)
    axes.set_xlim(0, tiles)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4 if tiles < 10_000 else 2, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("tiles" if group == 1 else f"tiles (each bar is the mean of {group} dates)", size=8, color=INK)


def _draw_words(figure: Figure, title: str, shape: tuple[int, ...], totals: NDArray[np.int64], left_out: int) -> None:
    """Draw the title, the legend with counts, and the notes."""
    from matplotlib.patches import Patch

    line = " ".join(title.split())
    line = line if len(line) <= 76 else f"{line[:75]}…"
    left, seen = LEFT / WIDTH, [kind for kind in Status if totals[kind]]
    figure.text(left, 1 - 26 / HEIGHT, line, size=12, weight="bold", color=INK, va="center", parse_math=False)
    figure.legend(
        handles=[Patch(color=COLOURS[kind], label=f"{kind.name.lower()} {totals[kind]:,}") for kind in seen],
        loc="center left",
        bbox_to_anchor=(left, 1 - 55 / HEIGHT),
        borderaxespad=0,
        borderpad=0,
        ncols=len(Status),
        frameon=False,
        fontsize=9.5,
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=1.8,
    )
    sources, tiles = shape
    notes = [f"{tiles:,} tile{'s' if tiles != 1 else ''}"]
    if sources > 1:
        notes = [f"{sources:,} dates x {notes[0]}; colour: worst status of all dates"]
    if left_out:
        notes.append(f"{left_out:,} cannot be placed on this map")
    figure.text(left, 20 / HEIGHT, "\n".join(notes), size=8, color=PALE, va="center")

"""Coverage maps: the status of each tile (stored, empty, planned, missing, failed), on a map and by date."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

from tasks.raster import house_style as style
from tasks.raster.frame import Frame, framed, joined, outlines, painted
from tasks.raster.house_style import Heading

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
WIDTH, HEIGHT = style.PAGE, 420
"""Size of the map, with the bars of a series, pixels."""

OUTLINED = 8
"""Shorter side from which a tile is drawn as a polygon with an outline, pixels."""
MAX_POLYGONS = 5000
"""If more tiles than this would be polygons, none is."""
MARK = 5
"""Smallest side at which a small tile is drawn, pixels. It is less if many tiles have the same status."""
MARKED_SHARE = 1 / 10
"""Largest share of the map that the marks of one status cover, unless each is already a single pixel."""
MAX_BARS, MAX_LABELS = 120, 50
LABEL = 100
"""Width of the labels of bars, pixels."""
KM_PER_DEGREE = 111.2


def coverage_map(
    corners: NDArray[np.float64],
    status: ArrayLike,
    *,
    heading: Heading,
    labels: Sequence[str] = (),
    region: BaseGeometry | None = None,
) -> bytes:
    """Return a PNG, about 726 px wide: a map of tiles by status and, for a series, a bar of counts for each date.

    For a series, the map shows the worst status of each tile on any date. The exception is a tile that is empty on some
    dates and stored on the others, which is drawn as stored. The same input gives the same bytes. A million tiles take
    a second or two.

    Args:
        corners: Longitude and latitude of the tile corners, degrees, shape (tile, 4, 2), as a ring that starts at the
            outer corner of the first pixel. A tile with a corner that is not finite is counted but not drawn.
        status: `Status` of each tile for each source, shape (source, tile), or (tile,) for one source.
        heading: The words above the map.
        labels: Names of the sources, such as dates, from top to bottom. Required if there is more than one source.
        region: The requested region, a polygon in WGS 84. It is drawn as an outline.

    Raises:
        ValueError: The shapes do not match, or a status is not known.
    """
    figure = coverage_figure(corners, status, heading=heading, labels=labels, region=region)
    return style.encoded(figure, trim=True)


def coverage_figure(
    corners: NDArray[np.float64],
    status: ArrayLike,
    *,
    heading: Heading,
    labels: Sequence[str] = (),
    region: BaseGeometry | None = None,
) -> Figure:
    """Return the figure of :func:`coverage_map`. Its axes are the map and, for a series, the bars."""
    table = _checked(corners, status, labels)
    figure = style.new_figure(WIDTH, HEIGHT, layout="constrained")
    series = len(table) > 1
    both = figure.subplots(1, 2, width_ratios=[1.7, 1], gridspec_kw={"wspace": 0.05}) if series else [figure.subplots()]
    for axes in both:
        style.dress(axes)
    counts = np.stack([np.count_nonzero(table == kind, axis=1) for kind in Status], axis=1)
    if series:
        _draw_bars(both[1], counts, labels)
    finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(corners), axis=(1, 2))
    shapes = joined(corners[finite])
    middle = (shapes[..., 0].min() + shapes[..., 0].max()) / 2 if len(shapes) else 0.0
    rings = outlines(region, float(middle))
    frame = _fill(both[0], np.concatenate([shapes.min(axis=1), shapes.max(axis=1), *rings]))
    worst = _worst(table)
    _draw_tiles(both[0], shapes, worst[finite[: len(worst)]], frame, rings)
    style.add_heading(
        figure, heading._replace(lines=(*heading.lines, _notes(table.shape, len(corners) - len(shapes)))), WIDTH
    )
    _draw_key(figure, counts.sum(axis=0), frame)
    return figure


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


def _fill(axes: Axes, points: NDArray[np.float64]) -> Frame:
    """Return the frame around points that fills the axes, which the layout then leaves as they are."""
    figure = axes.get_figure(root=True)
    assert figure is not None

    def frame_now() -> Frame:
        box = axes.get_window_extent()
        frame = framed(points, width=round(box.width), height=round(box.height))
        _draw_degrees(axes, frame)
        return frame

    frame_now()  # the size of the axes depends on the labels of their ticks
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return frame_now()


def _draw_tiles(
    axes: Axes, shapes: NDArray[np.float64], worst: NDArray[np.uint8], frame: Frame, rings: list[NDArray[np.float64]]
) -> None:
    """Draw the tiles, shape (tile, 4, 2), and the outline of the region."""
    from matplotlib.collections import LineCollection, PolyCollection

    low, high = shapes.min(axis=1), shapes.max(axis=1)
    boxes = np.concatenate([frame.pixels(low), frame.pixels(high)], axis=1)[: len(worst)]
    outlined = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) >= OUTLINED
    if np.count_nonzero(outlined) > MAX_POLYGONS:
        outlined[:] = False
    order = np.argsort(worst[outlined], kind="stable")  # the worst tiles are drawn last, on top
    polygons = list(shapes[: len(worst)][outlined][order])
    colours = [COLOURS[Status(kind)] for kind in worst[outlined][order]]
    axes.add_collection(PolyCollection(polygons, facecolors=colours, edgecolors="white", linewidths=0.7))
    _draw_tiny(axes, boxes[~outlined], worst[~outlined], frame)
    axes.add_collection(LineCollection(rings, colors=style.INK, linewidths=1.1, zorder=3))


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
    axes.grid(color=style.GRID, linewidth=0.8)
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
    size = min(style.SMALL, 300 / len(starts[::step]))
    names = [style.fitted(labels[start], LABEL, size) for start in starts[::step]]
    axes.set_yticks(rows[::step], labels=names)
    axes.tick_params(axis="y", length=0, labelsize=size)
    axes.set_ylim(max(len(rows), 6) - 0.4, -0.6)
    axes.set_xlim(0, tiles)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4 if tiles < 10_000 else 2, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    words = "tiles" if group == 1 else f"tiles (each bar is the mean of {group} dates)"
    axes.set_xlabel(words, fontproperties=style.font(style.SMALL), color=style.INK)


def _notes(shape: tuple[int, ...], left_out: int) -> str:
    sources, tiles = shape
    notes = ["North is up"]
    if sources > 1:
        notes.append(
            f"{sources:,} dates x {tiles:,} tile{'s' if tiles != 1 else ''}: the map has the worst of all dates"
        )
    if left_out:
        notes.append(f"{left_out:,} tiles cannot be placed on it")
    return "; ".join(notes)


def _draw_key(figure: Figure, totals: NDArray[np.int64], frame: Frame) -> None:
    """Draw the legend with counts, and the scale bar of a map of at most 30 degrees of latitude.

    In a taller map the scale varies too much.
    """
    from matplotlib.patches import Patch

    seen = [kind for kind in Status if totals[kind]]
    figure.legend(
        handles=[Patch(color=COLOURS[kind], label=f"{kind.name.lower()} {totals[kind]:,}") for kind in seen],
        loc="upper left",
        bbox_to_anchor=(0, -style.GAP / HEIGHT),
        borderaxespad=0,
        borderpad=0,
        ncols=len(Status),
        frameon=False,
        prop=style.font(),
        labelcolor=style.INK,
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=1.8,
    )
    if frame.north - frame.south <= 30:
        bar = style.scale_bar(1000 * KM_PER_DEGREE / frame.down)
        style.anchor(figure, bar, "upper right", (WIDTH, -style.GAP))

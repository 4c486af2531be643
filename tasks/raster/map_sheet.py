"""Map sheets: the pixels of one or many rasters as one PNG, with title, legend, scale bar and north arrow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from tasks.raster import house_style as style
from tasks.raster.colours import Key
from tasks.raster.ground import Ground, ground, upright
from tasks.raster.house_style import Heading

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.offsetbox import OffsetBox

NARROWEST, WORDS = 480, 600
"""Width of the words, if the panels are narrower, below and beside them, pixels."""
BESIDE = 250
"""Width of the legend beside a tall picture, pixels."""
GAP = style.GAP
CAPTION = 15
"""Height of the captions of panels, pixels."""
LEAST = 0.05
"""Shorter side of a panel as a share of its longer side. A narrower raster is drawn wider than it is."""
TINY, LARGEST = 240, 24
"""A raster of few pixels is enlarged to these pixels of the picture, or until its pixels are so large."""
SMALLEST = 0.5
"""A raster with fewer pixels than the panel is enlarged by whole numbers, up to at least this share of it."""


class Panel(NamedTuple):
    """One raster on a sheet."""

    caption: str
    """Text above it; empty = none."""
    pixels: NDArray[np.uint8]
    """Its colours, shape (y, x, 4)."""
    shape: tuple[int, int]
    """Height and width of the whole raster in pixels, of which `pixels` may be fewer."""


class _Room(NamedTuple):
    """The sizes of a sheet, pixels."""

    width: int
    """Width of a panel."""
    height: int
    """Height of a panel."""
    rows: int
    columns: int
    beside: bool
    """Whether the legend is beside the panels, and not below them."""
    stretch: float
    """How many times wider (above 1) or higher (below 1, its inverse) a pixel is drawn than it is."""

    @property
    def caption(self) -> int:
        """Height of the caption of a panel."""
        return CAPTION if self.rows * self.columns > 1 else 0

    @property
    def panels(self) -> tuple[int, int]:
        """Width and height of all panels."""
        return self.columns * (self.width + GAP) - GAP, self.rows * (self.height + GAP + self.caption) - GAP

    def corner(self, panel: int) -> tuple[float, float]:
        """Return the left and the top of a panel."""
        row, column = divmod(panel, self.columns)
        return column * (self.width + GAP), row * (self.height + GAP + self.caption) + self.caption

    @property
    def whole(self) -> int:
        """Width of the sheet without its margin."""
        wide = self.panels[0]
        return max(wide + GAP + BESIDE, WORDS) if self.beside else max(wide, NARROWEST)


def map_sheet(panels: Sequence[Panel], *, key: Key, heading: Heading, box: GeoBox, longest: int) -> bytes:
    """Return one PNG of panels side by side. The largest pixels stay visible; all panels have one scale.

    Args:
        panels: The rasters, at least one. Their grids differ only in their place and size.
        key: What their colours mean.
        heading: The words above.
        box: The grid of the first raster.
        longest: Longer side of the largest panel, pixels.
    """
    below = ground(box)
    rows, columns = (max(panel.shape[axis] for panel in panels) for axis in (0, 1))
    room = _room(len(panels), columns, rows * below.stretch, longest)
    wide, high = room.panels
    figure = style.new_figure(room.whole, high)
    # One pair of axes in pixels of the picture. A pair for each panel would take a second for 36.
    axes = figure.add_axes((0, 0, wide / room.whole, 1), xlim=(0, wide), ylim=(high, 0), autoscale_on=False)
    axes.set_axis_off()
    for number, panel in enumerate(panels):
        _draw(axes, panel, box, (room.width / columns, room.height / rows), room.corner(number))
    lines = [*heading.lines, *_notes(below, room)]
    style.add_heading(figure, heading._replace(lines=tuple(lines)), room.whole)
    _add_legend(figure, key, room)
    _add_ground(figure, below, columns / room.width, room)
    return style.encoded(figure, trim=True)


def side_of(count: int) -> int:
    """Return the longer side of so many panels with which a sheet is as wide as a page, pixels."""
    columns = min(max(math.ceil(math.sqrt(count)), 3), 6)
    return (style.PAGE + GAP) // columns - GAP


def _room(count: int, columns: int, rows: float, longest: int) -> _Room:
    """Return the sizes of a sheet of panels whose largest has so many columns, and rows of the same length."""
    most = max(columns, rows)
    factor = min(longest / most, style.TALL / rows, max(TINY / most, LARGEST))
    if factor > 1:
        factor = max(math.floor(factor), factor * SMALLEST if factor < 2 else 1)
    width, height = columns * factor, rows * factor
    least = LEAST * max(width, height)
    stretch = max(least / width, 1.0) / max(least / height, 1.0)
    width, height = max(1, round(max(width, least))), max(1, round(max(height, least)))
    beside = count == 1 and height > 1.25 * width and height >= 300
    # As close to a square as possible, and not wider than a page.
    cell = height + GAP + CAPTION
    across = min(count, round(math.sqrt(count * cell / (width + GAP))), int((style.PAGE + GAP) / (width + GAP)))
    across = max(1, across)
    return _Room(width, height, -(-count // across), across, beside, stretch)


def _draw(axes: Axes, panel: Panel, box: GeoBox, factors: tuple[float, float], corner: tuple[float, float]) -> None:
    """Draw a panel on hatches, which show where it has no data.

    Args:
        axes: Axes in pixels of the picture, y down.
        panel: The panel.
        box: The grid of the first raster.
        factors: Width and height of a pixel of the raster, pixels of the picture.
        corner: Left and top of the panel.
    """
    from matplotlib.patches import Rectangle

    left, top = corner
    width, height = panel.shape[1] * factors[0], panel.shape[0] * factors[1]
    paper = Rectangle((left, top), width, height, hatch="////", linewidth=0, zorder=-1)
    paper.set(facecolor=style.NO_DATA, edgecolor=style.HATCH, hatch_linewidth=0.6)
    axes.add_patch(paper)
    axes.imshow(
        upright(panel.pixels, box.affine),
        extent=(left, left + width, top + height, top),
        aspect="auto",
        interpolation="nearest" if factors[0] >= 1 else "auto",
        interpolation_stage="rgba",
    )
    frame = Rectangle((left, top), width, height, fill=False, edgecolor=style.LINE, linewidth=0.6, clip_on=False)
    axes.add_patch(frame)
    if panel.caption:
        caption = style.fitted(panel.caption, width, style.SMALL)
        axes.text(left, top - 3, caption, va="bottom", color=style.INK, fontproperties=style.font(style.SMALL))


def _notes(below: Ground, room: _Room) -> list[str]:
    notes = []
    if below.varies:
        notes.append("The scale bar and the north arrow hold at the centre of the picture")
    if room.stretch > 1:
        notes.append(f"Drawn {room.stretch:.3g} times as wide as it is, so that it can be seen")
    elif room.stretch < 1:
        notes.append(f"Drawn {1 / room.stretch:.3g} times as high as it is, so that it can be seen")
    return notes


def _add_legend(figure: Figure, key: Key, room: _Room) -> None:
    """Draw the colour bar, or the legend of classes or channels, and what is no data."""
    from matplotlib.patches import Patch

    wide, high = room.panels
    left, top = (float(wide + GAP), float(high)) if room.beside else (0.0, float(-GAP))
    most = (BESIDE if room.beside else room.whole - 170) - 30
    handles = [Patch(facecolor=colour, label=style.fitted(text, most)) for text, colour in key.entries]
    if key.no_data > 0:
        share = f"{100 * key.no_data:.0f} %" if key.no_data >= 0.005 else "less than 1 %"
        blank = Patch(facecolor=style.NO_DATA, edgecolor=style.HATCH, hatch="////", label=f"no data: {share}")
        blank.set_hatch_linewidth(0.6)
        handles.append(blank)
    name = key.bands[0] if len(key.bands) == 1 else ""
    words = f"{name}: {key.quantity.text}" if key.quantity.name or key.is_ramp else name
    if key.is_ramp:
        words = " = ".join(filter(None, (words, key.quantity.formula)))
        top = _add_colour_bar(figure, key, words, (left, top), room)
        name = ""
    elif key.classes:
        name = words
    if not handles:
        return
    widest = max(style.text_width(str(handle.get_label())) for handle in handles) + 34
    legend = figure.legend(
        handles=handles,
        title=style.fitted(name, most) or None,
        title_fontproperties=style.font(),
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(left / room.whole, top / high),
        ncols=1 if room.beside else max(1, min(len(handles), int((most + 30) / widest))),
        prop=style.font(),
        labelcolor=style.INK,
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        handlelength=1.2,
        handleheight=1.0,
        handletextpad=0.5,
        labelspacing=0.35,
        columnspacing=1.2,
    )
    legend.get_title().set_color(style.INK)


def _add_colour_bar(figure: Figure, key: Key, words: str, corner: tuple[float, float], room: _Room) -> float:
    """Draw a colour bar below a place, and return where it ends, pixels from the lower edge of the panels."""
    from matplotlib.offsetbox import VPacker
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    (left, top), high = corner, room.panels[1]
    across = BESIDE if room.beside else room.whole - 170
    lines: list[Artist] = [style.text_box(line) for line in style.wrapped(words, across)]
    style.anchor(figure, VPacker(children=lines, align="left", pad=0, sep=2), "upper left", corner)
    long, broad, drop = min(220, across), 12, 17 * len(lines) + 4
    sides = [key.clipped[0] and not key.palette, key.clipped[1] and not key.palette]
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[int(sides[0]), int(sides[1])]
    place = (left / room.whole, (top - drop - broad) / high, long / room.whole, broad / high)
    axes = figure.add_axes(place)
    bar = figure.colorbar(key.mappable, cax=axes, orientation="horizontal", extend=extend, extendfrac=0.04)
    bar.outline.set_edgecolor(style.LINE)
    style.dress(axes)
    bar.locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])
    bar.formatter = ScalarFormatter(useOffset=False)
    bar.update_ticks()
    axes.xaxis.get_offset_text().set(fontproperties=style.font(style.SMALL), color=style.INK)
    return top - drop - broad - 26


def _add_ground(figure: Figure, below: Ground, columns: float, room: _Room) -> None:
    """Draw the scale bar, for so many columns of a raster in a pixel of the picture, and the north arrow."""
    from matplotlib.offsetbox import HPacker

    parts: list[Artist] = []
    if below.metres is not None:
        parts.append(style.scale_bar(below.metres * columns))
    if below.north is not None:
        parts.append(_north_arrow(below.north))
    if not parts:
        return
    packed = HPacker(children=parts, align="bottom", pad=0, sep=14)
    if room.beside:
        style.anchor(figure, packed, "lower left", (room.panels[0] + GAP, 0))
    else:
        style.anchor(figure, packed, "upper right", (room.whole, -GAP))


def _north_arrow(angle: float) -> OffsetBox:
    """Return an arrow that points north, with the letter at its tip.

    Args:
        angle: Direction, degrees clockwise from up.
    """
    from matplotlib.offsetbox import DrawingArea
    from matplotlib.patches import Polygon
    from matplotlib.text import Text

    side, turn = 40.0, math.radians(angle)
    # In pixels around the centre, y up. The tip, a foot, the notch, the other foot.
    shape = np.array([(0, 8), (7, -14), (0, -9), (-7, -14)])
    spin = np.array([(math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))])
    area = DrawingArea(side * 72 / style.DPI, side * 72 / style.DPI)
    points = (shape @ spin + side / 2) * 72 / style.DPI
    area.add_artist(Polygon(points, closed=True, facecolor=style.INK, linewidth=0))
    x, y = (np.array([0.0, 15.0]) @ spin + side / 2) * 72 / style.DPI
    letter = Text(x, y, "N", ha="center", va="center", color=style.INK, fontproperties=style.font(style.TEXT, "bold"))
    area.add_artist(letter)
    return area

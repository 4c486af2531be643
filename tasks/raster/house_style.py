"""The house style of all pictures: one sheet of white paper, which reads the same on light and dark pages.

Nothing is taken from matplotlib's global settings, which a user may have changed and threads share. Text is drawn in
the letters of the fonts that are installed, and never read as a formula.
"""

from __future__ import annotations

import functools
import io
import math
import textwrap
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.offsetbox import OffsetBox

PAPER, INK, PALE, LINE, GRID = "#ffffff", "#222222", "#5f6368", "#b5b8bc", "#ececec"
NO_DATA, HATCH = "#f1f1ee", "#d2d2cd"
"""Background and lines of pixels without data."""
TITLE, TEXT, SMALL = 12.0, 9.0, 8.0
"""Sizes of text, points."""
DPI = 100
MARGIN, GAP = 14, 12
"""Paper around a picture, and between its parts, pixels."""
PAGE, TALL = 698, 610
"""Width of what a picture shows, and height of a map, pixels. The Prefect UI then shows it as it is, and as a whole, in
a window of 1280 x 900 pixels."""
BAR = 110
"""Length that a scale bar may have, pixels."""
MAP = "viridis"
"""Colour map of one band: more is brighter, also in grey and for all eyes."""
CYCLE = "petroff10"
"""Colours of lines and of up to ten classes, which all eyes tell apart."""

# Fonts with many letters, of Linux, macOS and Windows. The first comes with matplotlib.
_FAMILIES = """
DejaVu Sans;Noto Sans;Noto Sans CJK SC;Noto Sans CJK JP;Noto Sans CJK KR;Source Han Sans SC;WenQuanYi Micro Hei
WenQuanYi Zen Hei;Droid Sans Fallback;Noto Sans Devanagari;Noto Sans Bengali;Noto Sans Tamil;Noto Sans Thai
Noto Sans Ethiopic;Noto Sans Khmer;Lohit Devanagari;PingFang SC;Hiragino Sans;Apple SD Gothic Neo;Microsoft YaHei
Yu Gothic;Malgun Gothic;Nirmala UI;Leelawadee UI;Arial Unicode MS
"""


class Heading(NamedTuple):
    """The words above a picture."""

    title: str
    """What is shown, and when."""
    lines: tuple[str, ...] = ()
    """Where it is, and what else must be known."""


@functools.cache
def families() -> tuple[str, ...]:
    """Return the names of the fonts that are installed, in order of preference."""
    from matplotlib.font_manager import fontManager

    present = set(fontManager.get_font_names())
    return tuple(name for name in _FAMILIES.replace("\n", ";").split(";") if name in present)


@functools.cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(code for name in families() for code in get_font(findfont(name)).get_charmap())


def has_letters(text: str) -> bool:
    """Return whether a font has all letters of a text, and none of them is invisible."""
    return text.isprintable() and _letters().issuperset(map(ord, text))


def legible(text: str) -> str:
    r"""Return a text on one line. A letter that no font has is written as its code, such as ``\u690d``."""
    line = " ".join(text.split())
    return line if has_letters(line) else "".join(c if has_letters(c) else f"\\u{ord(c):04x}" for c in line)


def font(size: float = TEXT, weight: str = "normal") -> FontProperties:
    """Return the font of all text, of a size in points."""
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=list(families()), size=size, weight=weight)


def text_width(text: str, size: float = TEXT, weight: str = "normal") -> float:
    """Return the width of a text, pixels."""
    from matplotlib.textpath import TextToPath

    return float(TextToPath().get_text_width_height_descent(text, font(size, weight), ismath=False)[0]) * DPI / 72


def fitted(text: str, width: float, size: float = TEXT) -> str:
    """Return a text in legible letters that is cut, with an ellipsis, where it would be wider than some pixels."""
    line = legible(text)
    if text_width(line, size) <= width:
        return line
    while line and text_width(f"{line}…", size) > width:
        line = line[: min(len(line) - 1, math.ceil(len(line) * width / text_width(f"{line}…", size)))]
    return f"{line}…"


def wrapped(text: str, width: float, size: float = TEXT, weight: str = "normal", most: int = 3) -> list[str]:
    """Return a text as at most some lines of legible letters, each about as wide as some pixels."""
    line = legible(text)
    if not line:
        return []
    letters = max(8, int(len(line) * width / max(text_width(line, size, weight), 1)))
    return textwrap.wrap(line, letters, max_lines=most, placeholder=" …", break_on_hyphens=False)


def number(value: float) -> str:
    """Return a number with three digits or all whole ones, as people read it.

    >>> number(0.123456), number(1840.2), number(25_000), number(3e9)
    ('0.123', '1,840', '25,000', '3e+09')
    """
    return f"{value:,.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"


def new_figure(width: float, height: float, *, layout: Literal["constrained"] | None = None) -> Figure:
    """Return an empty figure for drawing in any thread.

    Args:
        width: Its width, pixels.
        height: Its height, pixels.
        layout: Layout engine of matplotlib. None = everything is where it is put.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (width / DPI, height / DPI)
    figure = Figure(figsize=size, dpi=DPI, facecolor=PAPER, edgecolor=LINE, linewidth=1, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes) -> None:
    """Put axes with numbers into the house style."""
    axes.set_facecolor(PAPER)
    axes.tick_params(labelsize=SMALL, color=LINE, labelcolor=INK, labelfontfamily=list(families()))
    axes.spines[:].set_color(LINE)
    axes.set_axisbelow(True)


def text_box(text: str, size: float = TEXT, weight: str = "normal", colour: str = INK) -> OffsetBox:
    """Return a line of text for :func:`anchor`."""
    from matplotlib.offsetbox import TextArea

    return TextArea(text, textprops={"fontproperties": font(size, weight), "color": colour, "parse_math": False})


def anchor(figure: Figure, content: OffsetBox, corner: str, place: tuple[float, float]) -> None:
    """Put a box with one of its corners at a place, which may lie beside the figure.

    Args:
        figure: The figure.
        content: The box.
        corner: The corner, such as `lower left`.
        place: x and y, pixels from the lower left corner of the figure.
    """
    from matplotlib.offsetbox import AnchoredOffsetbox

    width, height = figure.get_size_inches() * DPI
    box = AnchoredOffsetbox(
        loc=corner,
        child=content,
        pad=0,
        borderpad=0,
        frameon=False,
        bbox_to_anchor=(place[0] / width, place[1] / height),
        bbox_transform=figure.transFigure,
    )
    figure.add_artist(box)


def add_heading(figure: Figure, heading: Heading, width: float) -> None:
    """Put a heading above a figure, in lines of at most some pixels."""
    from matplotlib.offsetbox import VPacker

    bold = TITLE, "bold"
    shown: list[Artist] = [text_box(each, *bold) for each in wrapped(heading.title, width, *bold)]
    shown += [text_box(each, colour=PALE) for line in heading.lines for each in wrapped(line, width)]
    if shown:
        height = float(figure.get_size_inches()[1]) * DPI
        anchor(figure, VPacker(children=shown, align="left", pad=0, sep=3), "lower left", (0, height + GAP))


def scale_bar(metres: float) -> OffsetBox:
    """Return a bar of a round length with its length above it, if a pixel has a length of some metres."""
    from matplotlib.offsetbox import DrawingArea, VPacker
    from matplotlib.patches import Rectangle

    length = round_length(BAR * metres)
    wide, high = (pixels * 72 / DPI for pixels in (length / metres, 4))
    bar = DrawingArea(wide, high)
    bar.add_artist(Rectangle((0, 0), wide, high, facecolor=INK, linewidth=0))
    return VPacker(children=[text_box(length_text(length), SMALL), bar], align="center", pad=0, sep=3)


def round_length(longest: float) -> float:
    """Return the longest of 1, 2 or 5 times a power of ten that is not longer than a length.

    >>> round_length(730.0), round_length(0.05)
    (500.0, 0.05)
    """
    step = 10.0 ** math.floor(math.log10(longest))
    return next(step * factor for factor in (5, 2, 1) if step * factor <= longest * (1 + 1e-9))


def length_text(metres: float) -> str:
    """Return a length with its unit.

    >>> length_text(500), length_text(20_000), length_text(0.5)
    ('500 m', '20 km', '0.5 m')
    """
    return f"{metres / 1000:,.0f} km" if metres >= 1000 else f"{metres:.3g} m"


def encoded(figure: Figure, *, trim: bool = False) -> bytes:
    """Return a figure as PNG. The bytes depend on what is drawn alone: they hold neither a date nor a version.

    Args:
        figure: The figure.
        trim: Whether the picture has the size of what is drawn, which may lie beside the figure, and a margin.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    for each in figure.findobj(Text):
        assert isinstance(each, Text)
        each.set_parse_math(False)
    box = None
    if trim:
        figure.draw_without_rendering()
        drawn = figure.get_tightbbox().extents * DPI  # whole pixels, so that no pixel of a map is blurred
        low, high = [math.floor(side) - MARGIN for side in drawn[:2]], [math.ceil(side) + MARGIN for side in drawn[2:]]
        box = Bbox([[side / DPI for side in low], [side / DPI for side in high]])
    with io.BytesIO() as file:
        figure.savefig(
            file, format="png", dpi=DPI, bbox_inches=box, metadata={"Software": None}, facecolor=PAPER, edgecolor=LINE
        )
        return file.getvalue()

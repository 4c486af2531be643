"""Contact sheets: labelled pictures side by side in one PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

LABEL_HEIGHT, LABEL_WIDTH, GAP = 14, 64, 6

# Names of the red, green and blue bands of common sensors. If none match, the first three bands are shown.
NATURAL_COLOUR = (("B4", "B3", "B2"), ("SR_B4", "SR_B3", "SR_B2"), ("B3", "B2", "B1"))


def shown_bands(bands: Sequence[str]) -> list[str]:
    """Return the bands to show: red, green and blue if they are found, else the first three, else the first one.

    >>> shown_bands(["B2", "B3", "B4", "B8"])
    ['B4', 'B3', 'B2']
    """
    for triple in NATURAL_COLOUR:
        if set(triple) <= set(bands):
            return list(triple)
    return list(bands[:3]) if len(bands) >= 3 else list(bands[:1])


def contact_sheet(pictures: Sequence[tuple[str, Image.Image]], *, cell: int = 160) -> bytes:
    """Return one PNG of labelled pictures, arranged as close to a square as possible.

    Args:
        pictures: Label and picture of each cell; at least one.
        cell: Longer side of the largest picture, pixels. The other pictures are scaled by the same factor.
    """
    opened = [(label, picture.convert("RGBA")) for label, picture in pictures]
    factor = cell / max(max(picture.size) for _, picture in opened)
    width = max(LABEL_WIDTH, *(round(picture.width * factor) for _, picture in opened))
    height = max(round(picture.height * factor) for _, picture in opened) + LABEL_HEIGHT
    columns = min(len(opened), max(1, round(math.sqrt(len(opened) * height / width))))
    rows = math.ceil(len(opened) / columns)
    sheet = Image.new("RGB", (columns * (width + GAP), rows * (height + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), _font()
    for number, (label, picture) in enumerate(opened):
        row, column = divmod(number, columns)
        left, top = column * (width + GAP), row * (height + GAP)
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        # Nearest neighbour when enlarging, so that the original pixels stay visible.
        scaled = picture.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX)
        draw.text((left + 2, top + 1), _fitting(label, width, font), fill="black", font=font)
        sheet.paste(scaled, (left, top + LABEL_HEIGHT), scaled)
    with io.BytesIO() as file:
        sheet.save(file, "PNG")
        return file.getvalue()


def _font() -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which Matplotlib ships: Pillow's own font lacks letters with accents."""
    import matplotlib as mpl

    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 10)


def _fitting(label: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """Return a label in one line that is cut, with three dots, where it would be wider than its picture."""
    label = " ".join(label.split())
    if font.getlength(label) <= width:
        return label
    while label and font.getlength(f"{label}...") > width:
        label = label[:-1]
    return f"{label}..."

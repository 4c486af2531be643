"""Colours: data made visible as 8-bit RGB (Google's doc page VisualizationOptions)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deployments.sandbox.raster import UINT8, DataType, Pixels
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.request import Visualization


def colours(
    pixels: Sequence[Pixels], types: Sequence[DataType], visualization: Visualization | None
) -> NDArray[np.uint8]:
    """Return colours of shape (4, height, width): red, green, blue, alpha.

    Each range is mapped to 0 to 255 and clamped; a palette is interpolated along its colours. A pixel is as
    opaque as its least valid band. Without a visualization, data must be bytes already.

    Args:
        pixels: One or three bands of shape (height, width).
        types: Their types.
        visualization: Ranges, palette, gamma and opacity.

    Raises:
        Refusal: 400, when these bands cannot be shown so.
    """
    if len(pixels) not in (1, 3):
        raise Refusal(
            f"A visualization shows 1 or 3 bands, not {len(pixels)}: choose them with bandIds, or ask for "
            "NPY or GEO_TIFF without visualizationOptions."
        )
    if visualization is None:
        visualization = Visualization()
        if any(kind != UINT8 for kind in types):
            raise Refusal("Display formats show 8-bit data: give visualizationOptions.ranges, or use NPY or GEO_TIFF.")
    if visualization.palette and len(pixels) != 1:
        raise Refusal(f"A palette is only allowed with a single band, not with {len(pixels)}.")
    ranges = visualization.ranges or tuple(_limits(kind) for kind in types)
    if len(ranges) == 1:
        ranges *= len(pixels)
    if len(ranges) != len(pixels):
        raise Refusal(f"There are {len(ranges)} visualization ranges for {len(pixels)} bands.")
    shares = np.stack([_share(held, *limits) for held, limits in zip(pixels, ranges, strict=True)])
    if visualization.gamma != 1:
        shares **= 1 / visualization.gamma
    if visualization.palette:
        shares = _painted(shares[0], visualization.palette)
    mask = np.min([held.mask for held in pixels], axis=0)
    alpha = np.clip(mask, 0, 1) * visualization.opacity
    rgba: NDArray[np.float64] = np.empty((4, *alpha.shape), np.float64)
    rgba[:3] = shares  # one band is shown as grey
    rgba[3] = alpha
    rgba[:3, mask <= 0] = 0
    result: NDArray[np.uint8] = np.rint(rgba * 255).astype(np.uint8)
    return result


def _limits(kind: DataType) -> tuple[float, float]:
    """Without ranges, integers are stretched over their type and the others from 0 to 1."""
    if kind.precision == "INT" and kind.min is not None and kind.max is not None:
        return kind.min, kind.max
    return 0.0, 1.0


def _share(pixels: Pixels, low: float, high: float) -> NDArray[np.float64]:
    values = np.where(pixels.mask > 0, pixels.values, 0).astype(np.float64)
    return np.clip(np.nan_to_num((values - low) / (high - low)), 0, 1)


def _painted(share: NDArray[np.float64], palette: tuple[str, ...]) -> NDArray[np.float64]:
    stops = np.array([_colour(text) for text in palette])
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(share, places, stops[:, channel]) for channel in range(3)])


def _colour(text: str) -> tuple[float, float, float]:
    """Return red, green and blue, 0 to 1, of a CSS-style colour: ``#F00``, ``FF0000`` or ``red``."""
    from matplotlib.colors import CSS4_COLORS  # slow to import, and only palettes need it

    digits = str(CSS4_COLORS.get(text.lower(), text)).removeprefix("#")
    if re.fullmatch(r"[0-9a-fA-F]{3}", digits):
        digits = "".join(2 * digit for digit in digits)
    if not re.fullmatch(r"[0-9a-fA-F]{6}", digits):
        raise Refusal(f"Invalid palette colour '{text}': expected a CSS name or hexadecimal RGB.")
    red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue

"""``Image.visualize``: bytes for display."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from deployments.sandbox.interpreter.coercion import type_name
from deployments.sandbox.interpreter.images import select_bands
from deployments.sandbox.interpreter.pixels import Compute, pixelwise
from deployments.sandbox.interpreter.registry import function
from deployments.sandbox.raster import UINT8, Image
from deployments.sandbox.refusal import Refusal

NAMES = ("vis-red", "vis-green", "vis-blue")


def _numbers(value: Any, count: int, what: str) -> list[float] | None:
    if value is None:
        return None
    try:
        found = [float(part) for part in (value if isinstance(value, list) else str(value).split(","))]
    except (TypeError, ValueError, OverflowError):
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise Refusal(f"Image.visualize: '{what}' must be numbers, got {type_name(value)}.")
    if len(found) not in {1, count}:
        raise Refusal(f"Image.visualize: '{what}' must have 1 value, or {count}, one a band; got {len(found)}.")
    return found * count if len(found) == 1 else found


def colour(text: str) -> tuple[int, int, int]:
    """Return red, green, blue (0 to 255) of a CSS name or hexadecimal text.

    Raises:
        Refusal: 400, neither.
    """
    from matplotlib.colors import CSS4_COLORS  # slow to import, and only palettes need it

    digits = str(CSS4_COLORS.get(text.lower(), text)).removeprefix("#")
    digits = "".join(2 * d for d in digits) if re.fullmatch(r"[0-9a-fA-F]{3}", digits) else digits
    if not re.fullmatch(r"[0-9a-fA-F]{6}", digits):
        raise Refusal(f"Image.visualize: Invalid palette color '{text}'.")
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _linear(gain: float, bias: float, power: float) -> Compute:
    def compute(values: Any) -> Any:
        share = np.clip(values * gain + bias, 0, 255) / 255
        return np.rint(share**power * 255)

    return compute


def _painted(scale: Compute, stops: list[int]) -> Compute:
    places = np.linspace(0, 255, len(stops)) if len(stops) > 1 else np.array([0.0])
    return lambda values: np.rint(np.interp(scale(values), places, stops))


@function("Image.visualize")
def visualize(  # noqa: PLR0917 - the arguments of Earth Engine's signature, in its order
    image: Image,
    bands: Any,
    gain: Any,
    bias: Any,
    low: Any,
    high: Any,
    gamma: Any,
    opacity: float | None,
    palette: Any,
) -> Image:
    """Stretch one or three bands to bytes, as ``vis-red``, ``vis-green`` and ``vis-blue``."""
    names = bands.split(",") if isinstance(bands, str) else [bands] if isinstance(bands, int | float) else bands
    if not isinstance(names, list | None):
        raise Refusal(f"Image.visualize: 'bands' must be names of bands, got {type_name(bands)}.")
    chosen = select_bands(image, names, "Image.visualize") if names else image.bands[:3]
    if not names and len(chosen) == 2:
        chosen = chosen[:1]
    if len(chosen) not in {1, 3}:
        raise Refusal(f"Image.visualize: Must specify 1 or 3 bands, got {len(chosen)}.")
    if opacity not in {None, 1}:
        raise Refusal("Image.visualize: the sandbox does not support argument 'opacity'.")
    count = len(chosen)
    gains, biases = _numbers(gain, count, "gain"), _numbers(bias, count, "bias")
    lows, highs = _numbers(low, count, "min"), _numbers(high, count, "max")
    if (gains or biases) and (lows or highs):
        raise Refusal("Image.visualize: Cannot specify both 'gain' or 'bias' and 'min' or 'max'.")
    gammas = _numbers(gamma, count, "gamma") or [1.0] * count
    if min(gammas) <= 0:
        raise Refusal("Image.visualize: 'gamma' must be positive.")
    powers = [1 / g for g in gammas]
    scales = []
    for i, band in enumerate(chosen):
        whole = band.type.precision == "INT" and band.type.min is not None and band.type.max is not None
        bottom = lows[i] if lows else (float(band.type.min or 0) if whole else 0.0)
        top = highs[i] if highs else (float(band.type.max or 0) if whole else 1.0)
        if top == bottom:
            raise Refusal("Image.visualize: 'min' and 'max' must differ.")
        slope = gains[i] if gains else (1.0 if biases else 255 / (top - bottom))
        offset = biases[i] if biases else (0.0 if gains else -bottom * slope)
        scales.append(_linear(slope, offset, powers[i]))
    if palette is None:
        sources = chosen * 3 if count == 1 else chosen
        made = [pixelwise(s, (b,), UINT8, n) for s, b, n in zip(scales * (3 // count), sources, NAMES, strict=True)]
        return Image(bands=tuple(made), footprint=image.footprint)
    if count != 1:
        raise Refusal("Image.visualize: Cannot provide a palette when visualizing more than one band.")
    texts = palette.split(",") if isinstance(palette, str) else palette
    if not isinstance(texts, list) or not texts:
        raise Refusal(f"Image.visualize: 'palette' must be a list of colors, got {type_name(palette)}.")
    colours = [colour(str(text).strip()) for text in texts]
    made = [
        pixelwise(_painted(scales[0], [c[i] for c in colours]), chosen, UINT8, name) for i, name in enumerate(NAMES)
    ]
    return Image(bands=tuple(made), footprint=image.footprint)

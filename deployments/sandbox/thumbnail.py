"""Thumbnails: small pictures of the pixels that the sandbox serves."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from deployments.sandbox.raster import Grid, Image, Pixels

Box = tuple[float, float, float, float]
WIDTH, HIGHEST = 320, 480  # pixels
_COLOURS = (("B4", "B3", "B2"), ("SR_B4", "SR_B3", "SR_B2"))
_PALETTE = "viridis"


@dataclass(frozen=True)
class Thumbnail:
    """A picture of one image.

    Attributes:
        png: The picture. Masked pixels are transparent.
        caption: Its bands, and the values of its darkest and brightest colour.
        valid: Share of its pixels that are valid.
    """

    png: bytes
    caption: str
    valid: float


def thumbnail(image: Image, box: Box) -> Thumbnail:
    """Return a picture of an image: three bands as red, green and blue, or its first band in false colours.

    Args:
        image: The image.
        box: `(west, south, east, north)`, degrees.
    """
    by_id = {band.id: band for band in image.bands}
    bands = [by_id[name] for name in shown_bands(image)]
    grid = _grid(box)
    pixels = [band.read(grid) for band in bands]
    mask = np.min([held.mask for held in pixels], axis=0) > 0
    ranges = [_range(held, mask) for held in pixels]
    shares = [_share(held, limits) for held, limits in zip(pixels, ranges, strict=True)]
    text = "; ".join(f"{band.id} {low:,.6g} to {high:,.6g}" for band, (low, high) in zip(bands, ranges, strict=True))
    kind = "as red, green, blue" if len(bands) == 3 else "dark to bright"
    return Thumbnail(_png(shares, mask), f"{text} {kind}", float(mask.mean()))


def shown_bands(image: Image) -> list[str]:
    """Return the bands of the picture of an image: red, green and blue by their usual names, or the first band."""
    names = [band.id for band in image.bands]
    return next((list(triple) for triple in _COLOURS if set(triple) <= set(names)), names[:1])


def _grid(box: Box) -> Grid:
    """Return a grid in degrees whose pixels are about square on the ground."""
    west, south, east, north = box
    across = (east - west) / WIDTH
    down = across * math.cos(math.radians((south + north) / 2))
    height = max(1, min(HIGHEST, round((north - south) / down)))
    down = (north - south) / height
    return Grid(crs="EPSG:4326", transform=Affine(across, 0, west, 0, -down, north), width=WIDTH, height=height)


def _range(pixels: Pixels, mask: NDArray[np.bool_]) -> tuple[float, float]:
    values = pixels.values[mask]
    low, high = np.percentile(values, (2, 98)) if values.size else (0.0, 0.0)
    return float(low), float(high)


def _share(pixels: Pixels, limits: tuple[float, float]) -> NDArray[np.float64]:
    low, high = limits
    return np.clip((pixels.values.astype(np.float64) - low) / ((high - low) or 1.0), 0, 1)


def _png(shares: Sequence[NDArray[np.float64]], mask: NDArray[np.bool_]) -> bytes:
    from matplotlib import colormaps  # slow to import, and only pictures need it
    from PIL import Image as Picture

    rgb = np.stack(shares, axis=-1) if len(shares) == 3 else colormaps[_PALETTE](shares[0])[..., :3]
    rgba = np.dstack([rgb, mask.astype(np.float64)])
    file = io.BytesIO()
    Picture.fromarray(np.rint(rgba * 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()

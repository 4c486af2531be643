"""The colours of pixels in pictures, and what they mean: a colour map, classes, or three bands as red, green and blue.

All thumbnails of one picture have the same colours, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.raster.house_style import CYCLE, MAP, number
from tasks.raster.thumbnail import Thumbnail

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable

STRETCH = (2, 98)
"""Percentiles of the valid pixels that are drawn as the ends of the colour map, or black and white."""
MOST_CLASSES = 16
"""Largest number of whole numbers that are taken for classes."""
PIXELS_A_CLASS = 8
"""Of fewer pixels for each value, whole numbers are no classes."""
CHANNELS = ("red", "green", "blue")
Colour = tuple[float, float, float]


class Quantity(NamedTuple):
    """What the numbers of a band stand for: number * scale + offset is a value of the quantity."""

    name: str = ""
    """Such as `surface reflectance`. Empty = not known, and the numbers are shown as they are."""
    unit: str = ""
    """Such as `K`. Empty = none."""
    scale: float = 1.0
    offset: float = 0.0

    @property
    def is_scaled(self) -> bool:
        """Whether the numbers are not the values themselves."""
        return (self.scale, self.offset) != (1.0, 0.0)

    @property
    def text(self) -> str:
        """Name and unit, such as `surface temperature (K)`; `stored value` if it is not known."""
        name = self.name or "stored value"
        return f"{name} ({self.unit})" if self.unit else name

    @property
    def formula(self) -> str:
        """How its values are made of the numbers of the file; empty = they are the numbers."""
        offset = f" {'+' if self.offset > 0 else '-'} {abs(self.offset):g}" if self.offset else ""
        return f"stored value x {self.scale:g}{offset}" if self.is_scaled else ""


AS_STORED = Quantity()


@dataclass(frozen=True, kw_only=True)
class Key:
    """The colours of one picture."""

    bands: tuple[str, ...]
    """Names of the one or three bands that are shown. Empty = Earth Engine drew the colours."""
    quantity: Quantity = AS_STORED
    limits: tuple[tuple[float, float] | None, ...] = ()
    """For each band, the values at the ends of its colours. None = no pixel is valid."""
    clipped: tuple[bool, bool] = (False, False)
    """Of one band: whether there are lower values than the limits, and higher ones."""
    classes: tuple[tuple[str, Colour], ...] = ()
    """Of one band with classes: text and colour of each."""
    palette: tuple[str, ...] = ()
    """Colours of one band from low to high. Empty = those of the house style."""
    no_data: float = 0.0
    """Share of pixels without data, 0 to 1."""
    values: tuple[float, ...] = ()
    """The values of the classes, as they are stored."""

    @property
    def is_ramp(self) -> bool:
        """Whether one band is drawn in a colour map."""
        return len(self.limits) == 1 and self.limits[0] is not None and not self.classes

    @property
    def entries(self) -> list[tuple[str, Colour]]:
        """Text and colour of each entry of the legend."""
        if len(self.limits) != 3:
            return list(self.classes)
        pure: list[Colour] = [(0.82, 0.18, 0.16), (0.15, 0.6, 0.27), (0.16, 0.36, 0.8)]
        return [
            (f"{channel}: {band}, {_range(limits)}" if limits else f"{channel}: {band}", colour)
            for channel, band, limits, colour in zip(CHANNELS, self.bands, self.limits, pure, strict=True)
        ]

    @property
    def mappable(self) -> ScalarMappable:
        """What matplotlib draws a colour bar of, if :attr:`is_ramp`."""
        import matplotlib as mpl
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LinearSegmentedColormap, Normalize

        colours = [f"#{each}" if _is_hex(each) else each for each in self.palette]
        chosen = LinearSegmentedColormap.from_list("palette", colours * (2 if len(colours) == 1 else 1))
        assert self.limits[0] is not None
        return ScalarMappable(Normalize(*self.limits[0]), chosen if colours else mpl.colormaps[MAP])

    def rgba(self, thumbnail: Thumbnail) -> NDArray[np.uint8]:
        """Return a thumbnail in its colours, shape (y, x, 4). Where a band is not valid, it is transparent."""
        opaque: NDArray[np.bool_] = np.logical_and.reduce(thumbnail.valid)
        if self.classes:
            places = np.searchsorted(self.values, thumbnail.values[0]).clip(max=len(self.values) - 1)
            colours = np.round(255 * np.array([colour for _, colour in self.classes])).astype(np.uint8)[places]
        elif self.is_ramp:
            physical = _physical(thumbnail.values[0], self.quantity)
            colours = self.mappable.to_rgba(np.where(opaque, physical, 0.0), bytes=True)[..., :3]
        else:
            bands = zip(thumbnail.values, thumbnail.valid, self.limits, strict=True)
            grey = [_stretched(_physical(band, self.quantity), valid, limits) for band, valid, limits in bands]
            colours = np.stack(grey if len(grey) == 3 else grey * 3, axis=-1)
        picture = np.concatenate([colours, opaque[..., np.newaxis] * np.uint8(255)], axis=-1)
        picture[~opaque] = 0
        return picture


def colour_key(looks: Sequence[Thumbnail], *, bands: Sequence[str], quantity: Quantity = AS_STORED) -> Key:
    """Return the colours in which thumbnails are drawn, with one stretch over the valid pixels of all of them.

    Whole numbers of which there are few are classes, each with a colour of its own, unless their quantity is known. One
    value alone is shown as such.

    Args:
        looks: The thumbnails, at least one, all with the same one or three bands.
        bands: Names of the bands.
        quantity: What the numbers of the bands stand for.
    """
    data = [np.concatenate([look.values[n][look.valid[n]] for look in looks]) for n in range(len(bands))]
    pixels = sum(look.valid[0].size for look in looks)
    drawn = sum(np.count_nonzero(np.logical_and.reduce(look.valid)) for look in looks)
    no_data = 1 - drawn / pixels
    if len(bands) == 1 and (values := _classes(data[0], quantity)):
        texts = [f"{value * quantity.scale + quantity.offset:,.7g}" for value in values]
        classes = tuple(zip(texts, _class_colours(len(values)), strict=True))
        return Key(bands=tuple(bands), quantity=quantity, values=values, classes=classes, no_data=no_data)
    found = [_physical(each, quantity) for each in data]
    limits = tuple(_limits(each) for each in found)
    low, high = limits[0] or (0.0, 0.0)
    clipped = (bool((found[0] < low).any()), bool((found[0] > high).any()))
    return Key(bands=tuple(bands), quantity=quantity, limits=limits, clipped=clipped, no_data=no_data)


def _classes(data: NDArray[np.generic], quantity: Quantity) -> tuple[float, ...]:
    """Return the values of a band that has classes, or only one value; else nothing."""
    few = np.unique(data[: 64 * MOST_CLASSES])  # most bands have too many values, which is soon seen
    if not 1 <= len(few) <= MOST_CLASSES:
        return ()
    values = np.unique(data)
    alone = len(values) == 1
    whole = bool((values == np.round(values)).all()) and not quantity.name
    if not (alone or (whole and len(values) <= MOST_CLASSES and len(data) >= PIXELS_A_CLASS * len(values))):
        return ()
    return tuple(float(value) for value in values)


def _class_colours(count: int) -> list[Colour]:
    import matplotlib as mpl
    from matplotlib.colors import to_rgb

    if count == 1:
        return [to_rgb("#7f8c9a")]
    return [to_rgb(colour) for colour in mpl.color_sequences[CYCLE if count <= 10 else "tab20"][:count]]


def _physical(values: NDArray[np.generic], quantity: Quantity) -> NDArray[np.float64]:
    """Return numbers as values of their quantity. Differences of float32 may be beyond float32."""
    return np.asarray(values.astype(np.float64) * quantity.scale + quantity.offset)


def _limits(data: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the values at the ends of the colours; None if no pixel is valid."""
    if not data.size:
        return None
    low, high = np.percentile(data, STRETCH)
    if low == high:  # nearly all pixels have one value
        low, high = data.min(), data.max()
    return float(low), float(high)


def _stretched(
    band: NDArray[np.float64], valid: NDArray[np.bool_], limits: tuple[float, float] | None
) -> NDArray[np.uint8]:
    if limits is None:
        return np.zeros(band.shape, dtype=np.uint8)
    low, high = limits
    if low == high:
        return np.full(band.shape, 127, dtype=np.uint8)
    shares = np.clip((np.where(valid, band, low) - low) / (high - low), 0, 1)
    return np.asarray(np.round(shares * 255), dtype=np.uint8)


def _range(limits: tuple[float, float]) -> str:
    low, high = map(number, limits)
    return low if low == high else f"{low} to {high}"


def _is_hex(colour: str) -> bool:
    return len(colour) == 6 and all(c in "0123456789abcdefABCDEF" for c in colour)

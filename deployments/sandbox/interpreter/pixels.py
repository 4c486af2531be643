"""Lazy bands made of other bands, and the memory that spares reading them twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from deployments.sandbox.interpreter.boundary import refusing
from deployments.sandbox.interpreter.promotion import stored, working
from deployments.sandbox.interpreter.values import WGS84
from deployments.sandbox.raster import Band, DataType, Grid, Image, Pixels, Projection
from deployments.sandbox.refusal import Refusal

DEGREE = Projection(crs=WGS84, transform=Affine.identity())
"""Default projection of constants and composites: 1 degree (developers.google.com/earth-engine/guides/projections)."""


class Memory:
    """Pixels that were read lately, bounded in bytes; safe to share between threads and requests."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[object, Grid], Pixels] = OrderedDict()

    def get(self, key: tuple[object, Grid]) -> Pixels | None:
        """Return what is held, and make it the last to be forgotten."""
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
            return found

    def put(self, key: tuple[object, Grid], pixels: Pixels) -> None:
        """Hold pixels, forgetting the oldest ones if they are too many."""
        if _bytes(pixels) > self.limit // 2:  # one giant would drive all others out
            return
        with self._lock:
            if key in self._held:
                return
            self._held[key] = pixels
            self.size += _bytes(pixels)
            while self.size > self.limit:
                _, oldest = self._held.popitem(last=False)
                self.size -= _bytes(oldest)


def _bytes(pixels: Pixels) -> int:
    return pixels.values.nbytes + pixels.mask.nbytes


MEMORY = Memory(limit=256 * 2**20)


@dataclass(frozen=True, eq=False)
class Remembered:
    """A band's ``read`` that looks into the memory first."""

    read: Callable[[Grid], Pixels]

    def __call__(self, grid: Grid) -> Pixels:
        """Return pixels on a grid, read-only."""
        key = (self, grid)
        found = MEMORY.get(key)
        if found is None:
            read = self.read(grid)
            found = Pixels(_frozen(read.values), _frozen(read.mask))
            MEMORY.put(key, found)
        return found


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def remembered(value: Any) -> Any:
    """Return an image whose bands are read once a grid; anything else as it is."""
    if not isinstance(value, Image):
        return value
    bands = (b if isinstance(b.read, Remembered) else replace(b, read=Remembered(b.read)) for b in value.bands)
    return replace(value, bands=tuple(bands))


def guarded(value: Any) -> Any:
    """Return an image that refuses to be read if that fails: of values unfit, or of too many images on each other."""
    if not isinstance(value, Image):
        return value

    def safe(band: Band) -> Band:
        def read(grid: Grid) -> Pixels:
            try:
                with refusing(f"Band '{band.id}'"):
                    return band.read(grid)
            except RecursionError:
                raise Refusal("Expression is too deeply nested.") from None

        return replace(band, read=read)

    return replace(value, bands=tuple(safe(band) for band in value.bands))


Compute = Callable[..., NDArray[Any]]


def pixelwise(
    compute: Compute, inputs: Sequence[Band], band_type: DataType, band_id: str, *, nan_masks: bool = False
) -> Band:
    """Return a band computed pixel by pixel from others, masked where any of them is.

    Args:
        compute: From arrays (height, width) in int64 or float64, one an input, to the result.
        inputs: At least one band; the first gives the default projection.
        band_type: Type of the result, to which values are cast.
        band_id: Name of the result.
        nan_masks: Mask what the operation is not defined for (the root of -1).
    """
    whole = band_type.precision == "INT"

    def read(grid: Grid) -> Pixels:
        parts = [band.read(grid) for band in inputs]
        with np.errstate(all="ignore"):  # Earth Engine has no warnings: 1/0 and log(-1) are values or masked
            values = compute(*(working(part.values, whole=whole) for part in parts))
        mask = parts[0].mask
        for part in parts[1:]:
            mask = np.minimum(mask, part.mask)
        if nan_masks and values.dtype.kind == "f":
            undefined = np.isnan(values)
            if undefined.any():
                values, mask = np.where(undefined, 0, values), np.where(undefined, np.float32(0), mask)
        with np.errstate(all="ignore"):
            return Pixels(stored(values, band_type), mask)

    first = inputs[0]
    return Band(
        id=band_id,
        type=band_type,
        projection=first.projection,
        read=read,
        dimensions=first.dimensions,
        origin=first.origin,
    )


def constant_band(value: float, band_type: DataType, band_id: str = "constant") -> Band:
    """Return a band that has one value everywhere; its arrays cost no memory."""
    values, mask = stored(np.asarray(value), band_type), np.float32(1)

    def read(grid: Grid) -> Pixels:
        return Pixels(np.broadcast_to(values, grid.shape), np.broadcast_to(mask, grid.shape))

    return Band(id=band_id, type=band_type, projection=DEGREE, read=read)


def matched(function: str, a: Image, b: Image) -> list[tuple[Band, Band, str]]:
    """Pair the bands of two images, with the name of each result.

    One band goes with each of the other image's; as many bands of the same names go by name, of other
    names by position; results are named for the longer image, or the first. Source: the description of
    Image.add in Earth Engine's list of algorithms.

    Raises:
        Refusal: 400, the numbers of bands do not match.
    """
    first, second = a.bands, b.bands
    if len(first) == 1 and len(second) > 1:
        only = _shared(first[0])
        return [(only, other, other.id) for other in second]
    if len(second) == 1 and len(first) > 1:
        only = _shared(second[0])
        return [(band, only, band.id) for band in first]
    if len(first) != len(second):
        raise Refusal(
            f"{function}: Images must have the same number of bands, or one of them a single band. "
            f"Got {len(first)} and {len(second)}."
        )
    by_name = {band.id: band for band in second}
    if by_name.keys() == {band.id for band in first}:
        return [(band, by_name[band.id], band.id) for band in first]
    return [(band, other, band.id) for band, other in zip(first, second, strict=True)]


def _shared(band: Band) -> Band:
    return band if isinstance(band.read, Remembered) else replace(band, read=Remembered(band.read))

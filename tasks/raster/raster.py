"""Rasters: pixels with their mask, band names and grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike, NDArray
from odc.geo.geobox import GeoBox

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
"""Dtypes that a raster can hold: those of Earth Engine's GeoTIFFs (64-bit integers arrive as float64)."""

EXACT = 2**53
"""Every integer up to this magnitude is exact as a float64."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Raster:
    """Pixels of one or more bands on one grid.

    Values that are not valid are set to zero, so that equal rasters have equal bytes.

    Raises:
        ValueError: The shapes, the number of names and the grid do not agree, or the dtype is not one of ``DTYPES``.
    """

    values: NDArray[np.generic]
    """Pixels, shape (band, y, x), dtype one of ``DTYPES``, in the machine's byte order."""
    valid: NDArray[np.bool_] | None
    """The mask, shape (band, y, x): True = valid data. None = the mask is not known. It may be a read-only view that
    repeats one pixel (all valid) or one band (the same mask for all bands)."""
    bands: tuple[str, ...]
    """Names of the bands, in the order of the first axis."""
    geobox: GeoBox
    """The grid, shape (y, x)."""
    full: bool = field(init=False, repr=False)
    """Whether every pixel of every band is known to be valid."""

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if values.dtype.name not in DTYPES:
            raise ValueError(f"dtype = {values.dtype}: a raster cannot hold it. Convert to one of {', '.join(DTYPES)}.")
        expected = (len(self.bands), *self.geobox.shape)
        if values.shape != expected:
            raise ValueError(
                f"values.shape = {values.shape}: {len(self.bands)} bands on this grid need the shape {expected}. "
                "Give values of that shape."
            )
        if self.valid is not None:
            valid = np.asarray(self.valid, dtype=bool)
            if valid.shape != expected:
                raise ValueError(f"valid.shape = {valid.shape}: the values have {expected}. Give both the same shape.")
            object.__setattr__(self, "valid", valid)
        # Not a functools.cached_property: in Python 3.11 all rasters share its lock, and threads would wait for it.
        object.__setattr__(self, "full", self.valid is not None and bool(unrepeated(self.valid).all()))
        if self.valid is not None and not self.full:
            values = zeroed(values, self.valid)
        object.__setattr__(self, "values", values)

    @property
    def empty(self) -> bool:
        """Whether every pixel of every band is known to be masked."""
        return self.valid is not None and not unrepeated(self.valid).any()


def unrepeated(array: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a view with a single element along each axis that only repeats it (`np.broadcast_to`)."""
    return array[tuple(slice(1) if stride == 0 else slice(None) for stride in array.strides)]


def zeroed(values: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.generic]:
    """Return a copy of the values, with zeros where they are not valid."""
    if values.dtype.kind == "f":  # NaN times zero is NaN
        return np.where(valid, values, values.dtype.type(0))
    return np.asarray(np.multiply(values, valid))  # half the time of np.where


def common_dtype(dtypes: Iterable[DTypeLike]) -> np.dtype[np.generic]:
    """Return the smallest dtype of ``DTYPES`` that holds every value of all given dtypes.

    64-bit integers count as float64, as in Earth Engine's GeoTIFFs. `converted` checks their values.

    Raises:
        ValueError: No dtype is given, or one of them is not a real number of at most 64 bits.
    """
    given = [np.dtype(dtype).newbyteorder("=") for dtype in dtypes]
    if not given:
        raise ValueError("dtypes: there are none. Give the dtype of at least one band.")
    for dtype in given:
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            raise ValueError(f"dtype = {dtype}: a raster cannot hold it. Convert to one of {', '.join(DTYPES)}.")
    if any(dtype.kind in "iu" and dtype.itemsize == 8 for dtype in given):
        return np.dtype(np.float64)
    common = np.result_type(*given)
    if common == np.float16:
        return np.dtype(np.float32)
    return np.dtype(np.float64) if common == np.int64 else common  # int64 is the result for uint32 with a signed type


def converted(values: NDArray[np.generic], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Return values in another dtype that can hold them, such as that of `common_dtype`.

    Raises:
        ValueError: A 64-bit integer is beyond 2**53, so that float64 cannot hold it exactly.
    """
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size:
        low, high = int(values.min()), int(values.max())
        if max(-low, high) > EXACT:
            raise ValueError(
                f"values = {low} to {high}: 64-bit integers beyond 2**53 do not fit float64 without loss. "
                "Cast the band to int32 or double in the expression."
            )
    return values.astype(dtype, copy=False)

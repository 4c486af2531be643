"""The raster value: pixels with their mask, their band names and their grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike, NDArray
from odc.geo.geobox import GeoBox

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
"""What a raster may hold: the types that Earth Engine sends as GeoTIFF (64-bit integers come as doubles)."""

EXACT = 2**53
"""Up to this magnitude every integer is a float64."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Raster:
    """Pixels of one or more bands on one grid.

    Values are zeroed where they are not valid, so that equal rasters are equal bytes.

    Raises:
        ValueError: the shapes, the number of names and the grid do not agree, or the dtype is not one of
            ``DTYPES``.
    """

    values: NDArray[np.generic]
    """Pixels with shape (band, y, x), one of ``DTYPES``, in the machine's byte order."""
    valid: NDArray[np.bool_] | None
    """True where a pixel holds data, with shape (band, y, x); None = the mask is not known. It may be a
    read-only view that repeats one pixel (all valid) or one band (the same mask for all)."""
    bands: tuple[str, ...]
    """Names of the bands, in the order of the first axis."""
    geobox: GeoBox
    """The grid; its shape is (y, x)."""
    full: bool = field(init=False, repr=False)
    """Whether it is known that every pixel of every band is valid."""

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if values.dtype.name not in DTYPES:
            raise ValueError(f"a raster cannot hold {values.dtype}: convert it to one of {', '.join(DTYPES)}")
        expected = (len(self.bands), *self.geobox.shape)
        if values.shape != expected:
            raise ValueError(
                f"values have shape {values.shape}, but {len(self.bands)} bands on the grid ask for {expected}"
            )
        if self.valid is not None:
            valid = np.asarray(self.valid, dtype=bool)
            if valid.shape != expected:
                raise ValueError(f"the mask has shape {valid.shape}, but the values have {expected}")
            object.__setattr__(self, "valid", valid)
        # No functools.cached_property: threads would wait for its one lock, each for the pixels of the others.
        object.__setattr__(self, "full", self.valid is not None and bool(unrepeated(self.valid).all()))
        if self.valid is not None and not self.full:
            values = zeroed(values, self.valid)
        object.__setattr__(self, "values", values)

    @property
    def empty(self) -> bool:
        """Whether it is known that no pixel of any band is valid."""
        return self.valid is not None and not unrepeated(self.valid).any()


def unrepeated(array: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a view of as many axes, with one element along those that only repeat it (`np.broadcast_to`)."""
    return array[tuple(slice(1) if stride == 0 else slice(None) for stride in array.strides)]


def zeroed(values: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.generic]:
    """Return a copy of values with zeros where they are not valid."""
    if values.dtype.kind == "f":  # NaN times zero is NaN
        return np.where(valid, values, values.dtype.type(0))
    return np.asarray(np.multiply(values, valid))  # half the time of np.where


def common_dtype(dtypes: Iterable[DTypeLike]) -> np.dtype[np.generic]:
    """Return the smallest dtype of ``DTYPES`` that holds every value of all the given ones.

    64-bit integers count as float64, as in Earth Engine's GeoTIFFs; ``converted`` checks their values.

    Raises:
        ValueError: none is given, or one of them is not numeric.
    """
    given = [np.dtype(dtype).newbyteorder("=") for dtype in dtypes]
    if not given:
        raise ValueError("there is no band to take a dtype from")
    for dtype in given:
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            raise ValueError(f"{dtype} is not a type of pixels: convert it to one of {', '.join(DTYPES)}")
    if any(dtype.kind in "iu" and dtype.itemsize == 8 for dtype in given):
        return np.dtype(np.float64)
    common = np.result_type(*given)
    if common == np.float16:
        return np.dtype(np.float32)
    return np.dtype(np.float64) if common == np.int64 else common  # int64: of uint32 with a signed type


def converted(values: NDArray[np.generic], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Return values in another dtype, and refuse where one of them would change.

    Raises:
        ValueError: a 64-bit integer is too large for float64.
    """
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size:
        low, high = int(values.min()), int(values.max())
        if max(-low, high) > EXACT:
            raise ValueError(
                f"64-bit integers from {low} to {high} do not fit float64 without loss (limit 2**53): "
                "cast the band to int32 or double in the expression"
            )
    return values.astype(dtype, copy=False)

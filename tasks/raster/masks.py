"""How a mask is stored in a GeoTIFF, so that no valid pixel is ever taken for no data."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.raster.raster import Raster, common_dtype, unrepeated
from tasks.raster.statistics import band_ends

UNKNOWN_TAG = ("MASK", "unknown")
"""The tag of a file whose mask is not known: a zero in it may be data, or may be none."""

WIDER = {
    "int8": "int16",
    "uint8": "uint16",
    "int16": "int32",
    "uint16": "uint32",
    "int32": "float64",
    "uint32": "float64",
    "float32": "float64",
}
"""The next dtype that holds all values of one and more (64-bit integers are no type of pixels here)."""


@dataclass(frozen=True, kw_only=True)
class MaskFacts:
    """What must be known of all pixels of a file before the first of them is written."""

    dtype: np.dtype[np.generic]
    known: bool
    """Whether the mask is known everywhere."""
    full: bool
    """Whether every pixel of every band is valid (or of unknown validity)."""
    uniform: bool
    """Whether all bands have the same mask."""
    low: float | None = None
    """Lowest valid value that is not NaN; None if there is none."""
    high: float | None = None
    nan: bool = False
    """Whether NaN is among the valid values."""

    def __or__(self, other: MaskFacts) -> MaskFacts:
        """Return the facts of both sets of pixels together."""
        lows = [low for low in (self.low, other.low) if low is not None]
        highs = [high for high in (self.high, other.high) if high is not None]
        return MaskFacts(
            dtype=common_dtype([self.dtype, other.dtype]),
            known=self.known and other.known,
            full=self.full and other.full,
            uniform=self.uniform and other.uniform,
            low=min(lows, default=None),
            high=max(highs, default=None),
            nan=self.nan or other.nan,
        )


@dataclass(frozen=True, kw_only=True)
class MaskStorage:
    """How the mask of one file is stored."""

    kind: Literal["none", "unknown", "internal", "nodata"]
    """All valid; not known (a tag says so); one mask for all bands; a value that no valid pixel takes."""
    dtype: np.dtype[np.generic]
    """Of the file: wider than the pixels' if no value of theirs was free."""
    nodata: float | None = None


def mask_facts(raster: Raster) -> MaskFacts:
    """Return the facts of one raster."""
    full, uniform = _uniformity(raster)
    bands = [band_ends(raster, i) for i in range(len(raster.bands))]
    return MaskFacts(
        dtype=raster.values.dtype,
        known=raster.valid is not None,
        full=full,
        uniform=uniform,
        low=min((band.low for band in bands if band.low is not None), default=None),
        high=max((band.high for band in bands if band.high is not None), default=None),
        nan=any(band.counted < band.valid for band in bands),
    )


def raster_storage(raster: Raster) -> MaskStorage:
    """Return how the mask of a raster in a file of its own is stored; values are looked at only if needed.

    Raises:
        ValueError: see `choose_nodata`.
    """
    full, uniform = _uniformity(raster)
    if not uniform:
        return mask_storage(mask_facts(raster))
    known = raster.valid is not None
    return mask_storage(MaskFacts(dtype=raster.values.dtype, known=known, full=full, uniform=True))


def _uniformity(raster: Raster) -> tuple[bool, bool]:
    """Return whether all is valid (or of unknown validity), and whether all bands have the same mask."""
    if raster.valid is None or raster.full:
        return True, True
    valid = unrepeated(raster.valid)
    return False, len(valid) == 1 or bool((valid[1:] == valid[:1]).all())


def merged_facts(facts: Iterable[MaskFacts]) -> MaskFacts:
    """Return the facts of many rasters that go into one file.

    Raises:
        TypeError: there is none.
    """
    return functools.reduce(MaskFacts.__or__, facts)


def mask_storage(facts: MaskFacts) -> MaskStorage:
    """Return how the mask of a file with these facts is stored.

    Raises:
        ValueError: see `choose_nodata`.
    """
    if facts.uniform:
        # A tile of unknown mask beside tiles with a known one: the known part is kept, the tag warns.
        kind: Literal["none", "unknown", "internal"] = "internal"
        if facts.full:
            kind = "none" if facts.known else "unknown"
        return MaskStorage(kind=kind, dtype=facts.dtype)
    dtype, nodata = choose_nodata(facts.dtype, facts.low, facts.high, nan=facts.nan)
    return MaskStorage(kind="nodata", dtype=dtype, nodata=nodata)


def choose_nodata(
    dtype: np.dtype[np.generic], low: float | None, high: float | None, *, nan: bool = False
) -> tuple[np.dtype[np.generic], float]:
    """Return a value for no data that no valid value takes, and the dtype that holds both.

    Floats take NaN, or else an infinity. Integers take the lower end of their range (0 for unsigned ones,
    as Landsat and Sentinel-2 do), or else the upper one. If none is free, the next wider dtype has one.

    Args:
        dtype: Of the values, one of `tasks.raster.raster.DTYPES`.
        low: Lowest valid value that is not NaN; None = there is none.
        high: Highest.
        nan: Whether NaN is among the valid values.

    Raises:
        ValueError: float64 values hold NaN and both infinities, so that nothing is free.
    """
    low, high = (np.inf if low is None else low), (-np.inf if high is None else high)
    wide = np.dtype(dtype)
    while True:
        if wide.kind == "f":
            free = [(np.nan, not nan), (-np.inf, low > -np.inf), (np.inf, high < np.inf)]
        else:
            info = np.iinfo(wide.name)
            free = [(float(info.min), low > info.min), (float(info.max), high < info.max)]
        for candidate, is_free in free:
            if is_free:
                return wide, candidate
        if wide.name not in WIDER:
            raise ValueError(
                "valid pixels hold NaN and both infinities, and the masks differ by band, so that no value is "
                "left for no data: mask the infinities in the expression"
            )
        wide = np.dtype(WIDER[wide.name])

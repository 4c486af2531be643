"""Choose how a mask is stored in a GeoTIFF, so that no valid pixel is ever read as nodata."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from tasks.raster.raster import Raster, common_dtype, unrepeated
from tasks.raster.statistics import band_range

UNKNOWN_TAG = ("MASK", "unknown")
"""The tag of a file whose mask is not known: a zero in it may be data or a masked pixel."""

WIDER = {
    "int8": "int16",
    "uint8": "uint16",
    "int16": "int32",
    "uint16": "uint32",
    "int32": "float64",
    "uint32": "float64",
    "float32": "float64",
}
"""The next dtype that holds all values of the first and more (a `Raster` cannot hold 64-bit integers)."""


PLANNED = {"int8": "int16", "uint8": "int16", "int16": "float32", "uint16": "float32"}
"""The dtype of a set of files, by the integer dtype of its pixels. It is float64 for 32 bits. It holds all values, and
another for nodata. It is never int32 or uint32: in files of several bands, GDAL's warper misses nodata of these."""


@dataclass(frozen=True, kw_only=True)
class MaskFacts:
    """The facts about all pixels of a file that decide how its mask is stored, before the first pixel is written."""

    dtype: np.dtype[np.generic]
    """Dtype of the pixels."""
    known: bool
    """Whether the mask is known everywhere."""
    full: bool
    """Whether every pixel of every band is valid (or of unknown validity)."""
    uniform: bool
    """Whether all bands have the same mask."""
    low: float | None = None
    """Lowest valid value that is not NaN; None if there is none."""
    high: float | None = None
    """Highest valid value that is not NaN; None if there is none."""
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
    """How the mask is stored.

    - ``none``: not stored, since all pixels are valid.
    - ``unknown``: not stored, since it is not known. A tag of the file marks this.
    - ``internal``: GDAL's internal mask, one for all bands.
    - ``nodata``: a value that no valid pixel has.
    """
    dtype: np.dtype[np.generic]
    """Dtype of the file. It is wider than that of the pixels if their dtype has no free value for nodata."""
    nodata: float | None = None
    """The nodata value of kind ``nodata``; None for the other kinds."""


def mask_facts(raster: Raster) -> MaskFacts:
    """Return the mask facts of one raster."""
    full, uniform = _uniformity(raster)
    bands = [band_range(raster, i) for i in range(len(raster.bands))]
    return MaskFacts(
        dtype=raster.values.dtype,
        known=raster.valid is not None,
        full=full,
        uniform=uniform,
        low=min((band.low for band in bands if band.low is not None), default=None),
        high=max((band.high for band in bands if band.high is not None), default=None),
        nan=any(band.counted < band.valid for band in bands),
    )


def planned_storage(dtypes: Iterable[DTypeLike], *, lowest_is_free: bool = False) -> MaskStorage:
    """Return how masks are stored in every file of a set, given the dtypes of its bands alone.

    It is a nodata value, which every reader knows: -32768 for integers of 8 bits, and NaN for all others. Integers get
    a dtype that holds all their values and nodata. A valid NaN of a float band reads as masked.

    Args:
        dtypes: Dtypes of the bands.
        lowest_is_free: Whether no valid pixel has the lowest value of its dtype. Files of int16 then keep it.
    """
    common = common_dtype(dtypes)
    if common.kind != "f" and not (lowest_is_free and common == np.int16):
        common = np.dtype(PLANNED.get(common.name, "float64"))
    return MaskStorage(
        kind="nodata", dtype=common, nodata=math.nan if common.kind == "f" else float(np.iinfo(common.name).min)
    )


def raster_storage(raster: Raster) -> MaskStorage:
    """Return how the mask of a raster is stored in its own file. Values are read only if the choice depends on them.

    Raises:
        ValueError: see `choose_nodata`.
    """
    full, uniform = _uniformity(raster)
    if not uniform:
        return mask_storage(mask_facts(raster))
    known = raster.valid is not None
    return mask_storage(MaskFacts(dtype=raster.values.dtype, known=known, full=full, uniform=True))


def _uniformity(raster: Raster) -> tuple[bool, bool]:
    """Return whether all pixels are valid (or the mask is not known), and whether all bands have the same mask."""
    if raster.valid is None or raster.full:
        return True, True
    valid = unrepeated(raster.valid)
    return False, len(valid) == 1 or bool((valid[1:] == valid[:1]).all())


def merged_facts(facts: Iterable[MaskFacts]) -> MaskFacts:
    """Return the mask facts of many rasters that are written to one file.

    Raises:
        TypeError: There are no facts.
    """
    return functools.reduce(MaskFacts.__or__, facts)


def mask_storage(facts: MaskFacts) -> MaskStorage:
    """Return how the mask of a file is stored, given its mask facts.

    Raises:
        ValueError: see `choose_nodata`.
    """
    if facts.uniform:
        # If only some tiles have a known mask, the known part is stored, and the tag marks the file.
        kind: Literal["none", "unknown", "internal"] = "internal"
        if facts.full:
            kind = "none" if facts.known else "unknown"
        return MaskStorage(kind=kind, dtype=facts.dtype)
    dtype, nodata = choose_nodata(facts.dtype, facts.low, facts.high, nan=facts.nan)
    return MaskStorage(kind="nodata", dtype=dtype, nodata=nodata)


def choose_nodata(
    dtype: np.dtype[np.generic], low: float | None, high: float | None, *, nan: bool = False
) -> tuple[np.dtype[np.generic], float]:
    """Return a nodata value that no valid pixel has, and a dtype that holds it and all valid values.

    For floats it is NaN, or else an infinity. For integers it is the lower end of the range (0 for unsigned integers,
    as in Landsat and Sentinel-2 products), or else the upper end. If none of these is free, the next wider dtype has a
    free one.

    Args:
        dtype: Dtype of the values, one of `tasks.raster.raster.DTYPES`.
        low: Lowest valid value that is not NaN; None = there is none.
        high: Highest valid value that is not NaN; None = there is none.
        nan: Whether NaN is among the valid values.

    Returns:
        The dtype, then the nodata value.

    Raises:
        ValueError: Valid float64 values include NaN and both infinities, so that no value is free.
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
                "nodata: no value is free, because valid pixels include NaN and both infinities and the masks of the "
                "bands differ. In the expression, mask the infinities (updateMask), so that one of them is free."
            )
        wide = np.dtype(WIDER[wide.name])

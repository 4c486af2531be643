"""The values that all parts of the sandbox speak: grids, band types, lazy images, assets.

An image is lazy: a band is a function from a grid to pixels, so that an expression costs only the pixels
that a request asks for. Nothing here does I/O.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

Resampling = Literal["nearest", "bilinear", "bicubic"]
PyramidingPolicy = Literal["MEAN", "SAMPLE", "MIN", "MAX", "MODE", "MEDIAN"]

# GDAL and PROJ cannot resolve Earth Engine's code of the MODIS sinusoidal grid (earth-engine.md, 7).
SINUSOIDAL = "SR-ORG:6974"
SINUSOIDAL_PROJ = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"


@functools.lru_cache(maxsize=256)
def crs_of(text: str) -> CRS:
    """Return the CRS of an authority code or WKT, as Earth Engine would understand it.

    Raises:
        pyproj.exceptions.CRSError: the text is no CRS.
    """
    return CRS.from_user_input(SINUSOIDAL_PROJ if text == SINUSOIDAL else text)


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A CRS with the affine transform of a pixel grid that has no end."""

    crs: str
    """Authority code such as ``EPSG:32621``, or WKT."""
    transform: Affine
    """From (column, row) to CRS units; (0, 0) is the top-left corner of the top-left pixel."""


@dataclass(frozen=True, kw_only=True)
class Grid(Projection):
    """A pixel grid with a size: what a request asks for."""

    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""
        return (self.height, self.width)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """``(left, bottom, right, top)`` in CRS units, also for sheared grids."""
        corners = [(0, 0), (self.width, 0), (0, self.height), (self.width, self.height)]
        xs, ys = zip(*(self.transform @ corner for corner in corners), strict=True)
        return (min(xs), min(ys), max(xs), max(ys))


@dataclass(frozen=True, kw_only=True)
class DataType:
    """Earth Engine's type of a band: a precision, and for integers a range."""

    precision: Literal["INT", "FLOAT", "DOUBLE"]
    min: float | None = None
    max: float | None = None

    @property
    def numpy(self) -> np.dtype[Any]:
        """The smallest NumPy type on the wire: by range for integers, f4 or f8 else (earth-engine.md, 5)."""
        if self.precision == "FLOAT":
            return np.dtype("<f4")
        if self.precision == "DOUBLE" or self.min is None or self.max is None:
            return np.dtype("<f8")
        for code in ("i1", "u1", "i2", "u2", "i4", "u4"):
            info = np.iinfo(code)
            if info.min <= self.min and self.max <= info.max:
                return np.dtype(code).newbyteorder("<")
        return np.dtype("<f8")  # 64-bit integers come as doubles

    def json(self) -> dict[str, Any]:
        """Return the REST form: zero defaults are omitted, as in proto-JSON."""
        limits = {"min": self.min, "max": self.max}
        given = {k: int(v) if float(v).is_integer() else v for k, v in limits.items() if v}
        return {"precision": self.precision} | ({"range": given} if given else {})


def integer(low: int, high: int) -> DataType:
    """Return the integer type that holds ``low`` to ``high``."""
    return DataType(precision="INT", min=low, max=high)


INT8, UINT8 = integer(-(2**7), 2**7 - 1), integer(0, 2**8 - 1)
INT16, UINT16 = integer(-(2**15), 2**15 - 1), integer(0, 2**16 - 1)
INT32, UINT32 = integer(-(2**31), 2**31 - 1), integer(0, 2**32 - 1)
INT64 = integer(-(2**63), 2**63 - 1)
FLOAT = DataType(precision="FLOAT")
DOUBLE = DataType(precision="DOUBLE")


@dataclass(frozen=True)
class Pixels:
    """What one band holds on one grid."""

    values: NDArray[Any]
    """Values with shape (height, width); anything where masked (it is zeroed on the wire)."""
    mask: NDArray[np.float32]
    """Validity with shape (height, width), 0 = masked to 1 = valid; fractions are partial pixels."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """One band of a lazy image."""

    id: str
    type: DataType
    projection: Projection
    """Its default projection: the native grid of stored pixels, EPSG:4326 at 1 degree for composites."""
    read: Callable[[Grid], Pixels]
    """Pixels on any grid. Outside its footprint everything is masked."""
    dimensions: tuple[int, int] | None = None
    """``(width, height)`` of its pixels, if it has an end."""
    origin: tuple[int, int] = (0, 0)
    """``(column, row)`` of the first of these pixels on the grid of ``projection``: not zero where it was clipped."""
    pyramiding: PyramidingPolicy = "MEAN"
    resampled: Callable[[Resampling], Band] | None = None
    """The same band read with another interpolation; None where the sandbox cannot."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """A lazy image: bands, metadata, footprint."""

    bands: tuple[Band, ...]
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Metadata such as ``system:time_start`` (milliseconds) and ``system:index``."""
    footprint: BaseGeometry | None = None
    """Longitude/latitude; None = unbounded."""
    id: str | None = None
    version: int | None = None
    """``system:version``: microseconds since 1970 of the last update."""


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A named thing of the catalogue."""

    name: str
    """Full resource name: ``projects/earthengine-public/assets/MODIS/061/MOD13Q1/2023_01_01``."""
    id: str
    """The id that users write: ``MODIS/061/MOD13Q1/2023_01_01``, or the name for project assets."""
    type: Literal["IMAGE", "IMAGE_COLLECTION", "FOLDER"]
    update_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    geometry: BaseGeometry | None = None
    """Footprint in longitude/latitude; None = global."""
    image: Image | None = None
    """The pixels of an IMAGE."""
    size_bytes: int = 0

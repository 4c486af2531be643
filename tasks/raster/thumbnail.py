"""Thumbnails: the pixels of rasters at reduced resolution, for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader

from tasks.raster.cog import CACHE
from tasks.raster.encode import ENVIRONMENT
from tasks.raster.raster import Raster

Source = Path | IO[bytes] | Raster
LEAST = 40
"""Pixels of a side that are read, if there are so many: a long and narrow raster keeps something to see."""

# Names of the red, green and blue bands of common sensors. If none match, the first three bands are shown.
NATURAL_COLOUR = (("B4", "B3", "B2"), ("SR_B4", "SR_B3", "SR_B2"), ("B3", "B2", "B1"))


class Thumbnail(NamedTuple):
    """Some bands of one raster at reduced resolution."""

    values: NDArray[np.generic]
    """Pixels, shape (band, y, x)."""
    valid: NDArray[np.bool_]
    """Their mask, True = valid, the same shape. NaN and infinities are masked."""
    shape: tuple[int, int]
    """Height and width of the whole raster, pixels."""


def shown_bands(bands: Sequence[str]) -> list[str]:
    """Return the bands to show: red, green and blue if they are found, else the first three, else the first one.

    >>> shown_bands(["B2", "B3", "B4", "B8"])
    ['B4', 'B3', 'B2']
    """
    for triple in NATURAL_COLOUR:
        if set(triple) <= set(bands):
            return list(triple)
    return list(bands[:3]) if len(bands) >= 3 else list(bands[:1])


def thumbnail(source: Source, *, bands: Sequence[str] | None = None, max_size: int = 1024) -> Thumbnail:
    """Return bands of a raster at reduced resolution. A file is read from its overviews, if it has any.

    Args:
        source: A raster, the path of a GeoTIFF of any size, or a GeoTIFF that is open for reading.
        bands: Names of one or three bands; None = the first three, or the first if there are fewer than three.
        max_size: Longest side of the thumbnail, pixels. Smaller rasters are not enlarged.

    Raises:
        ValueError: There is no such band, or the number of bands is neither one nor three.
    """
    if isinstance(source, Raster):
        values, valid = _thinned(source, _chosen(source.bands, bands), max_size)
        height, width = source.geobox.shape
    else:
        values, valid, (height, width) = _read(source, bands, max_size)
    return Thumbnail(values, valid & np.isfinite(values) if values.dtype.kind == "f" else valid, (height, width))


def _chosen(names: Sequence[str], bands: Sequence[str] | None) -> list[int]:
    if bands is None:
        return [0, 1, 2] if len(names) >= 3 else [0]
    if len(bands) not in {1, 3}:
        raise ValueError(f"bands = {list(bands)}: a picture shows one band or three. Name one or three bands.")
    for band in bands:
        if band not in names:
            raise ValueError(f"bands = {list(bands)}: there is no band {band!r}. Choose among {', '.join(names)}.")
    return [list(names).index(band) for band in bands]


def _thinned(raster: Raster, chosen: list[int], max_size: int) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    step = -(-max(raster.geobox.shape) // max_size)
    down, across = (min(step, max(1, side // LEAST)) for side in raster.geobox.shape)
    values = raster.values[chosen, ::down, ::across]
    if raster.valid is None:
        return values, np.ones(values.shape, dtype=bool)
    return values, raster.valid[chosen, ::down, ::across]


def _read(
    path: Path | IO[bytes], bands: Sequence[str] | None, max_size: int
) -> tuple[NDArray[np.generic], NDArray[np.bool_], tuple[int, int]]:
    with rasterio.Env(**ENVIRONMENT, GDAL_CACHEMAX=CACHE), rasterio.open(path, driver="GTiff") as file:
        names = [name or f"B{i}" for i, name in enumerate(file.descriptions, start=1)]
        indexes = [i + 1 for i in _chosen(names, bands)]
        factor = min(1.0, max_size / max(file.shape))
        shape = (len(indexes), *(max(min(side, LEAST), round(side * factor)) for side in file.shape))
        values = file.read(indexes, out_shape=shape)
        return values, _mask(file, indexes, shape), file.shape


def _mask(file: DatasetReader, indexes: Sequence[int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of some bands, of the shape (band, y, x), True = valid."""
    flags = {flag for index in indexes for flag in file.mask_flag_enums[index - 1]}
    if flags == {MaskFlags.all_valid}:  # GDAL would read the ones of each pixel of the file
        return np.ones(shape, dtype=bool)
    if MaskFlags.per_dataset in flags:
        return np.broadcast_to(file.read_masks(indexes[0], out_shape=shape[1:]) > 0, shape)
    return np.asarray(file.read_masks(indexes, out_shape=shape) > 0)

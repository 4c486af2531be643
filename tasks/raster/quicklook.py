"""Quicklooks: small pictures of rasters for display."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader

from tasks.raster.cog import CACHE
from tasks.raster.encode import ENVIRONMENT
from tasks.raster.raster import Raster

Source = Path | IO[bytes] | Raster
STRETCH = (2, 98)
"""Percentiles of the valid pixels that are drawn black and white (or as the ends of the colour map)."""


def quicklook(source: Source, *, bands: Sequence[str] | None = None, max_size: int = 1024) -> bytes:
    """Return a PNG picture: three bands as red, green and blue, or one band in the colour map viridis.

    Each band is stretched between its 2nd and 98th percentile over valid pixels. Masked pixels are transparent. A file
    is read at reduced resolution, from its overviews if it has any.

    Args:
        source: A raster, the path of a GeoTIFF of any size, or a GeoTIFF that is open for reading.
        bands: Names of one or three bands; None = the first three, or the first if there are fewer than three.
        max_size: Longest side of the picture, pixels. Smaller rasters are not enlarged.

    Raises:
        ValueError: There is no such band, or the number of bands is neither one nor three.
    """
    with io.BytesIO() as file:
        quicklooks([source], bands=bands, max_size=max_size)[0].save(file, "PNG")
        return file.getvalue()


def quicklooks(
    sources: Sequence[Source], *, bands: Sequence[str] | None = None, max_size: int = 1024
) -> list[Image.Image]:
    """Return comparable RGBA pictures: see `quicklook`, but with one stretch over the valid pixels of all sources."""
    return draw_thumbnails([thumbnail(source, bands=bands, max_size=max_size) for source in sources])


Thumbnail = tuple[NDArray[np.generic], NDArray[np.bool_]]
"""Values and mask (True = valid) of one source, both of shape (band, y, x)."""
Limits = tuple[float, float]
"""Values that are drawn black and white."""


def thumbnail(source: Source, *, bands: Sequence[str] | None = None, max_size: int = 1024) -> Thumbnail:
    """Return the bands of a source that `quicklooks` shows, at reduced resolution. NaN and infinities are masked."""
    if isinstance(source, Raster):
        values, valid = _thinned(source, _chosen(source.bands, bands), max_size)
    else:
        values, valid = _read(source, bands, max_size)
    return values, valid & np.isfinite(values) if values.dtype.kind == "f" else valid


def draw_thumbnails(looks: Sequence[Thumbnail]) -> list[Image.Image]:
    """Return RGBA pictures of thumbnails, with one stretch over the valid pixels of all of them."""
    limits = [_limits([(values[n], valid[n]) for values, valid in looks]) for n in range(len(looks[0][0]))]
    return [_draw(values, valid, limits) for values, valid in looks]


def _limits(shown: Sequence[Thumbnail]) -> Limits | None:
    """Return the values that are drawn black and white; None if no pixel is valid."""
    data = np.concatenate([values[valid] for values, valid in shown])
    if not data.size:
        return None
    low, high = np.percentile(data.astype(np.float64), STRETCH)  # differences of float32 may be beyond float32
    return float(low), float(high)


def _draw(values: NDArray[np.generic], valid: NDArray[np.bool_], limits: Sequence[Limits | None]) -> Image.Image:
    opaque: NDArray[np.bool_] = np.logical_and.reduce(valid)
    grey = np.stack([_stretched(*band) for band in zip(values, valid, limits, strict=True)])
    colours = grey if len(grey) == 3 else _viridis(grey[0])
    picture = np.concatenate([colours, opaque[np.newaxis] * np.uint8(255)])
    picture[:, ~opaque] = 0
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(picture, 0, -1)))


def _chosen(names: Sequence[str], bands: Sequence[str] | None) -> list[int]:
    if bands is None:
        return [0, 1, 2] if len(names) >= 3 else [0]
    if len(bands) not in {1, 3}:
        raise ValueError(f"bands = {list(bands)}: a picture shows one band or three. Name one or three bands.")
    for band in bands:
        if band not in names:
            raise ValueError(f"bands = {list(bands)}: there is no band {band!r}. Choose among {', '.join(names)}.")
    return [list(names).index(band) for band in bands]


def _thinned(raster: Raster, chosen: list[int], max_size: int) -> Thumbnail:
    step = -(-max(raster.geobox.shape) // max_size)
    values = raster.values[chosen, ::step, ::step]
    if raster.valid is None:
        return values, np.ones(values.shape, dtype=bool)
    return values, raster.valid[chosen, ::step, ::step]


def _read(path: Path | IO[bytes], bands: Sequence[str] | None, max_size: int) -> Thumbnail:
    with rasterio.Env(**ENVIRONMENT, GDAL_CACHEMAX=CACHE), rasterio.open(path, driver="GTiff") as file:
        names = [name or f"B{i}" for i, name in enumerate(file.descriptions, start=1)]
        indexes = [i + 1 for i in _chosen(names, bands)]
        factor = min(1.0, max_size / max(file.shape))
        shape = (len(indexes), *(max(1, round(side * factor)) for side in file.shape))
        values = file.read(indexes, out_shape=shape)
        return values, _mask(file, indexes, shape)


def _mask(file: DatasetReader, indexes: Sequence[int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of some bands, of the shape (band, y, x), True = valid."""
    flags = {flag for index in indexes for flag in file.mask_flag_enums[index - 1]}
    if flags == {MaskFlags.all_valid}:  # GDAL would read the ones of each pixel of the file
        return np.ones(shape, dtype=bool)
    if MaskFlags.per_dataset in flags:
        return np.broadcast_to(file.read_masks(indexes[0], out_shape=shape[1:]) > 0, shape)
    return np.asarray(file.read_masks(indexes, out_shape=shape) > 0)


def _stretched(band: NDArray[np.generic], valid: NDArray[np.bool_], limits: Limits | None) -> NDArray[np.uint8]:
    if limits is None:
        return np.zeros(band.shape, dtype=np.uint8)
    data = band.astype(np.float64)
    low, high = limits
    if low == high:  # a constant band, such as one class that fills the picture
        return np.full(band.shape, 127, dtype=np.uint8)
    shares = np.clip((np.where(valid, data, low) - low) / (high - low), 0, 1)
    return np.asarray(np.round(shares * 255), dtype=np.uint8)


def _viridis(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a grey picture, shape (y, x), in the colour map viridis: red, green and blue, shape (3, y, x)."""
    import matplotlib as mpl

    table = np.round(mpl.colormaps["viridis"](np.arange(256))[:, :3] * 255).astype(np.uint8)
    return np.moveaxis(table[grey], -1, 0)

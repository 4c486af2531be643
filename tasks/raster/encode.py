"""Write and read GeoTIFF: exact masks, and the same bytes for the same raster."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.types import Shape2d
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader, MemoryFile

from tasks.raster.crs import canonical_crs, crs_of
from tasks.raster.masks import UNKNOWN_TAG, MaskStorage, raster_storage
from tasks.raster.raster import DTYPES, Raster, common_dtype, converted
from tasks.raster.tiff_header import check_tiff

Codec = Literal["zstd", "deflate", "none"]

BLOCK = 256
"""Side of a block (internal tile) of the file, pixels."""

MOST_BANDS = 1_024
"""Most bands of a tile: Earth Engine's limit on a request."""

NO_TAGS: Mapping[str, str] = MappingProxyType({})

ENVIRONMENT = {
    "GDAL_TIFF_INTERNAL_MASK": True,
    # A tile is one file: GDAL must neither look for sidecar files nor write any.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
}


@contextlib.contextmanager
def encoded_geotiff(
    raster: Raster, *, tags: Mapping[str, str] = NO_TAGS, codec: Codec = "zstd", storage: MaskStorage | None = None
) -> Iterator[memoryview]:
    """Encode a raster as a tiled GeoTIFF; yields a memoryview that is valid inside the ``with`` block.

    The same raster gives the same bytes. They are not copied out of GDAL, because for a large uncompressed tile the
    copy takes as long as the encoding.

    The mask is stored as `storage` has it, or else exactly, in one of these ways:

    - If all pixels are valid, there is no mask.
    - If all bands have the same mask, it is GDAL's internal mask.
    - If the masks of the bands differ, it is a nodata value that no valid pixel has. Integers without such a value are
      promoted to the next wider dtype.
    - If the mask is not known, there is no mask, and the file gets the tag ``MASK=unknown``.

    Args:
        raster: The raster to write.
        tags: Metadata of the file.
        codec: Compression: ``zstd`` is level 1 with a predictor; ``deflate``, also level 1 with a predictor, is for
            readers without ZSTD; ``none`` is uncompressed.
        storage: How the mask is stored, as a nodata value that the caller has chosen. None = as the raster needs it.

    Raises:
        ValueError: The mask cannot be stored, see `tasks.raster.masks.choose_nodata`, or the dtype of `storage` cannot
            hold the values.
    """
    if storage is None:
        storage = raster_storage(raster)
    elif not np.can_cast(raster.values.dtype, storage.dtype):
        raise ValueError(
            f"dtype = {raster.values.dtype}: {storage.dtype} cannot hold it. Cast the band in the expression."
        )
    values = raster.values.astype(storage.dtype, copy=False)
    if storage.kind == "nodata" and raster.valid is not None:
        values = np.where(raster.valid, values, storage.dtype.type(storage.nodata))
    if storage.kind == "unknown":
        tags = {**tags, UNKNOWN_TAG[0]: UNKNOWN_TAG[1]}
    profile = geotiff_profile(
        raster.geobox, count=len(raster.bands), dtype=storage.dtype, nodata=storage.nodata, codec=codec
    )
    with MemoryFile() as memory:
        # GDAL's settings belong to one thread. They end before the yield, since another thread may leave this block.
        with rasterio.Env(**ENVIRONMENT), memory.open(**profile) as file:
            file.descriptions = raster.bands
            file.update_tags(**tags)
            file.write(values)
            if storage.kind == "internal":
                assert raster.valid is not None
                file.write_mask(raster.valid[0])
        yield memory.getbuffer()


def geotiff_profile(
    geobox: GeoBox, *, count: int, dtype: np.dtype[np.generic], nodata: float | None, codec: Codec
) -> dict[str, Any]:
    """Return rasterio's profile of a tiled GeoTIFF with interleave=band, the order of arrays (band, y, x)."""
    height, width = geobox.shape
    return {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": count,
        "dtype": dtype.name,
        "nodata": nodata,
        "crs": _rasterio_crs(str(geobox.crs)),
        "transform": geobox.affine,
        "tiled": True,
        "blockxsize": block_size(width),
        "blockysize": block_size(height),
        "interleave": "band",
        "bigtiff": "IF_SAFER",
        # Otherwise GDAL takes the fourth of four uint8 bands for an alpha band, and so for the mask.
        "photometric": "MINISBLACK",
        **compression(dtype, codec),
    }


def compression(dtype: np.dtype[np.generic], codec: Codec) -> dict[str, Any]:
    """Return GDAL's creation options for a codec. Predictor 3 is for floats, 2 for integers."""
    predictor = 3 if dtype.kind == "f" else 2
    options: dict[Codec, dict[str, Any]] = {
        "zstd": {"compress": "ZSTD", "zstd_level": 1, "predictor": predictor},
        "deflate": {"compress": "DEFLATE", "zlevel": 1, "predictor": predictor},
        "none": {},
    }
    return options[codec]


def block_size(pixels: int) -> int:
    """Return the side of a block for a side of the file, pixels: at most 256, and a multiple of 16 as TIFF requires."""
    return min(BLOCK, -(-pixels // 16) * 16)


def read_geotiff(source: str | Path | bytes, *, shape: Shape2d | None = None) -> Raster:
    """Read a whole GeoTIFF with its mask: the inverse of `encoded_geotiff`.

    No other driver of GDAL is tried: a file of another format could name files to read. Sidecar files (.msk, .aux.xml)
    are ignored. Bands without a name are named B1, B2, ...

    Args:
        source: The path of the file, or its bytes.
        shape: Largest height and width, pixels. It is checked before memory is taken for what the file declares. None =
            any size.

    Raises:
        rasterio.errors.RasterioIOError: The file is missing or not a raster.
        ValueError: The file has no CRS, its dtype is one that a `Raster` cannot hold, or it is larger than `shape`.
    """
    if shape is not None:
        source = source if isinstance(source, bytes) else Path(source).read_bytes()
        check_tiff(source, shape, MOST_BANDS)
    with rasterio.Env(**ENVIRONMENT):
        if isinstance(source, bytes):
            with MemoryFile(source) as memory, memory.open(driver="GTiff") as file:
                return read_dataset(file)
        with rasterio.open(source, driver="GTiff") as file:
            return read_dataset(file)


def tagged_geotiff(data: bytes) -> tuple[dict[str, str], Raster]:
    """Return the tags (metadata) and the raster of a GeoTIFF, see `read_geotiff`."""
    with rasterio.Env(**ENVIRONMENT), MemoryFile(data) as memory, memory.open(driver="GTiff") as file:
        return file.tags(), read_dataset(file)


def read_dataset(file: DatasetReader) -> Raster:
    """Read a whole open dataset; see `read_geotiff`."""
    dtype = common_dtype(file.dtypes)
    values = converted(file.read(), dtype)
    names = (name or f"B{i}" for i, name in enumerate(file.descriptions, start=1))
    return Raster(values=values, valid=read_valid(file, values), bands=tuple(names), geobox=dataset_geobox(file))


def read_valid(file: DatasetReader, values: NDArray[np.generic]) -> NDArray[np.bool_] | None:
    """Return the mask of a whole dataset, shape (band, y, x), True = valid; None = not known."""
    if file.tags().get(UNKNOWN_TAG[0]) == UNKNOWN_TAG[1]:
        return None
    flags = {flag for band in file.mask_flag_enums for flag in band}
    if flags == {MaskFlags.all_valid}:
        return np.broadcast_to(np.True_, values.shape)
    # GDAL compares floats with nodata with a tolerance, which would mask valid values close to nodata. (rasterio 1.4
    # misreads the nodata value of 64-bit integers, so GDAL masks those.)
    if flags == {MaskFlags.nodata} and _one_value(file.nodatavals) and set(file.dtypes) <= set(DTYPES):
        return ~_is_nodata(values, file.nodata)
    if MaskFlags.per_dataset in flags:
        return np.broadcast_to(file.read_masks(1) > 0, values.shape)
    return np.asarray(file.read_masks() > 0)


def _one_value(values: tuple[float, ...]) -> bool:
    return len({str(value) for value in values}) == 1  # compared as text, because NaN is not equal to itself


def _is_nodata(values: NDArray[np.generic], nodata: float) -> NDArray[np.bool_]:
    return np.isnan(values) if np.isnan(nodata) else np.asarray(values == nodata)


def dataset_geobox(file: DatasetReader) -> GeoBox:
    """Return the grid of an open dataset.

    Raises:
        ValueError: The dataset has no CRS.
    """
    if file.crs is None:
        raise ValueError(f"{file.name} has no CRS. Give a georeferenced raster.")
    return GeoBox(file.shape, Affine(*tuple(file.transform)[:6]), crs_of(canonical_crs(file.crs.to_wkt())))


@functools.lru_cache(maxsize=256)
def _rasterio_crs(name: str) -> rasterio.crs.CRS:
    return rasterio.crs.CRS.from_wkt(crs_of(name).to_wkt())

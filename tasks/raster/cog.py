"""Mosaics: stream tiles into one Cloud Optimized GeoTIFF, without ever holding the whole raster in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio import windows
from rasterio.io import DatasetWriter

from tasks.raster.disk import check_whole, disk_errors
from tasks.raster.encode import ENVIRONMENT, NO_TAGS, Codec, geotiff_profile, read_geotiff
from tasks.raster.masks import (
    UNKNOWN_TAG,
    MaskFacts,
    MaskStorage,
    mask_facts,
    mask_storage,
    merged_facts,
    planned_storage,
)
from tasks.raster.raster import Raster
from tasks.raster.window import Window, overlap

CACHE = 128 << 20
"""Size of GDAL's block cache while a mosaic is written, bytes. GDAL's default is 5 % of the machine's memory."""

Overviews = Literal["nearest", "average", "mode"]


@dataclass(frozen=True, kw_only=True)
class MosaicTile:
    """One tile of a mosaic."""

    window: Window
    """The rows and columns of the mosaic that the tile fills."""
    source: Path | Callable[[], Raster]
    """A GeoTIFF, or a function that reads the tile. The tile is read twice, or once if ``facts`` are given."""
    facts: MaskFacts | None = None
    """The result of `tasks.raster.masks.mask_facts` for the tile, if it is known already."""

    def read(self) -> Raster:
        """Read the tile."""
        return self.source() if callable(self.source) else read_geotiff(self.source, shape=self.window.shape)


def write_mosaic(
    pieces: Iterable[MosaicTile],
    geobox: GeoBox,
    destination: Path,
    *,
    bands: Sequence[str],
    dtype: np.dtype[np.generic] | str | None = None,
    tags: Mapping[str, str] = NO_TAGS,
    codec: Codec = "zstd",
    overviews: Overviews | None = None,
) -> Path:
    """Write tiles as one Cloud Optimized GeoTIFF, and move it to its destination in one atomic step.

    Pixels that no piece covers are masked. The mask is as exact as in a single tile (`encoded_geotiff`). The same
    rules choose one way to store it for all tiles together, but a mosaic of 32-bit integers that needs a nodata value
    is float64 with NaN. If the mask of any piece is not known, the file gets the tag ``MASK=unknown``. Memory holds one
    tile and GDAL's block cache of 128 MiB. Until the file is finished, the folder of the destination also holds an
    uncompressed copy.

    Args:
        pieces: The tiles, without overlap. Each is read once for its pixels, and before that once for its mask
            unless its ``facts`` are given.
        geobox: The grid of the mosaic.
        destination: The file to write. An existing file is replaced. Its folder must exist.
        bands: Names of the bands. All pieces must have these bands.
        dtype: Dtype of a mosaic without any piece. Otherwise the dtype follows from the pieces.
        tags: Metadata of the file, such as dates.
        codec: Compression, see `encoded_geotiff`.
        overviews: Resampling of the overviews: ``average`` for continuous values, ``nearest`` or ``mode`` for classes
            and bit fields. None = ``average`` for floats and ``nearest`` for integers, because an average of class
            codes or flags has no meaning.

    Returns:
        The destination.

    Raises:
        ValueError: A piece has other bands than the mosaic or another size than its window, lies outside the grid or
            overlaps another piece, or there is neither a piece nor a dtype.
        OSError: The destination cannot be written. It has the number of the disk's error, if that can be found.
    """
    tiles = sorted(pieces, key=lambda piece: (piece.window.rows.start, piece.window.columns.start))
    facts = _facts(tiles, geobox, dtype)
    storage = _storage(facts, bands)
    if not facts.known:
        tags = {**tags, UNKNOWN_TAG[0]: UNKNOWN_TAG[1]}
    profile = geotiff_profile(geobox, count=len(bands), dtype=storage.dtype, nodata=storage.nodata, codec="none") | {
        "sparse_ok": True
    }
    with (
        tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as folder,
        rasterio.Env(**ENVIRONMENT, GDAL_CACHEMAX=CACHE),
        disk_errors(Path(folder)),
    ):
        plain, finished = Path(folder, "plain.tif"), Path(folder, "cog.tif")
        with rasterio.open(plain, "w", **profile) as file:
            file.descriptions = tuple(bands)
            file.update_tags(**tags)
            if storage.kind == "internal" and not tiles:
                file.write_mask(np.zeros((1, 1), dtype=bool), window=windows.Window(0, 0, 1, 1))
            for tile in tiles:
                _write(file, tile, tuple(bands), storage)
        rasterio.shutil.copy(plain, finished, **_cog_options(storage, codec, overviews))
        check_whole(finished)
        _sync(finished)
        finished.replace(destination)
        _sync(destination.parent)
    return destination


def _facts(tiles: Sequence[MosaicTile], geobox: GeoBox, dtype: np.dtype[np.generic] | str | None) -> MaskFacts:
    """Return the mask facts of the whole mosaic. Pixels that no tile covers count as masked."""
    whole = Window.of(geobox.shape)
    area = 0
    for window in (tile.window for tile in tiles):
        if not window.within(geobox.shape):
            raise ValueError(
                f"window = {window}: the piece lies outside the grid of {whole.width} x {whole.height} pixels. "
                "Give pieces inside the grid."
            )
        area += window.pixels
    if overlap(tile.window for tile in tiles):
        raise ValueError("pieces: two pieces of the mosaic overlap. Give each tile once.")
    if not tiles:
        if dtype is None:
            raise ValueError("dtype = None: a mosaic without any piece needs a dtype. Give the dtype of its pixels.")
        return MaskFacts(dtype=np.dtype(dtype), known=True, full=False, uniform=True)
    facts = merged_facts(tile.facts or mask_facts(tile.read()) for tile in tiles)
    if area < whole.pixels:
        return facts | MaskFacts(dtype=facts.dtype, known=True, full=False, uniform=True)
    return facts


def _storage(facts: MaskFacts, bands: Sequence[str]) -> MaskStorage:
    """Return how the mosaic stores its mask.

    GDAL's warper takes masked pixels for valid in files of several bands of 32-bit integers with a nodata value: where
    another band is valid, it changes nodata to the number beside it. Desktop programs warp mosaics whenever they draw.
    """
    storage = mask_storage(facts)
    warps_wrong = storage.kind == "nodata" and storage.dtype.name in {"int32", "uint32"} and len(bands) > 1
    return planned_storage([storage.dtype]) if warps_wrong else storage


def _write(file: DatasetWriter, tile: MosaicTile, bands: tuple[str, ...], storage: MaskStorage) -> None:
    raster = tile.read()
    window, shape = windows.Window.from_slices(tile.window.rows, tile.window.columns), tuple(tile.window.shape)
    if raster.geobox.shape != shape or raster.bands != bands:
        raise ValueError(
            f"window = {tile.window}: the piece has shape {tuple(raster.geobox.shape)} and bands {raster.bands}, but "
            f"the mosaic needs {shape} and {bands}. Give a piece with these."
        )
    values = raster.values.astype(storage.dtype, copy=False)
    if storage.kind == "nodata" and raster.valid is not None:
        values = np.where(raster.valid, values, storage.dtype.type(storage.nodata))
    file.write(values, window=window)
    if storage.kind == "internal":
        valid = np.ones(shape, dtype=bool) if raster.valid is None else raster.valid[0]
        file.write_mask(valid, window=window)


def _cog_options(storage: MaskStorage, codec: Codec, overviews: Overviews | None) -> dict[str, Any]:
    chosen = overviews or ("average" if storage.dtype.kind == "f" else "nearest")
    options: dict[str, Any] = {
        "driver": "COG",
        "blocksize": 512,
        "bigtiff": "IF_SAFER",
        "overview_resampling": chosen.upper(),
        "num_threads": "ALL_CPUS",
        "compress": codec.upper(),
    }
    if codec != "none":
        options |= {"level": 1, "predictor": "YES"}
    return options


def _sync(path: Path) -> None:
    """Flush a file or folder to disk, so that no crash leaves a name in place without the data behind it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

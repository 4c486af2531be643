"""Bands of raster files."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window as RasterioWindow

from deployments.sandbox.pyramid import StoredBand, Window
from deployments.sandbox.raster import (
    DOUBLE,
    FLOAT,
    DataType,
    Pixels,
    Projection,
    PyramidingPolicy,
    integer,
)


@dataclass(frozen=True)
class _Handle:
    """An open file. GDAL's datasets are not safe between threads: reads hold the lock."""

    dataset: Any
    lock: threading.Lock


@functools.lru_cache(maxsize=64)
def _open(path: Path, stamp: int) -> _Handle:  # noqa: ARG001 - a file that was changed is another entry
    return _Handle(rasterio.open(path), threading.Lock())


def exact_crs(wkt: str) -> str:
    """Return the EPSG code of a CRS if it exactly is that one, and else the WKT as it was given.

    GDAL's own guess is fuzzy: it takes a Lambert conic of North Carolina with its own name, datum and rounded
    parallels for EPSG:32119.
    """
    crs = CRS.from_wkt(wkt)
    authority = crs.to_authority(min_confidence=100)
    if authority is None or not crs.equals(CRS.from_authority(*authority), ignore_axis_order=True):
        return wkt
    return ":".join(authority)


def file_bands(path: Path, stamp: int, pyramiding: PyramidingPolicy = "MEAN") -> tuple[StoredBand, ...]:
    """Return the bands of a raster file; only the windows that are asked for are ever read.

    Nodata values, internal masks and alpha bands are the mask; an alpha band is no band of its own. Bands are
    named by their descriptions where these are all different, and ``B1``, ``B2``... else.

    Args:
        path: Anything that rasterio opens.
        stamp: Changes when the file does: its modification time in nanoseconds.
        pyramiding: How coarser levels are made.

    Raises:
        ValueError: the file has no CRS, or pixels of a type that Earth Engine has not.
        rasterio.errors.RasterioIOError: the file cannot be read.
    """
    dataset = _open(path, stamp).dataset
    if dataset.crs is None:
        raise ValueError(f"{path.name} has no coordinate reference system")
    crs = exact_crs(dataset.crs.to_wkt())
    alpha = [i for i, kind in enumerate(dataset.colorinterp, start=1) if kind == ColorInterp.alpha]
    indexes = [i for i in dataset.indexes if i not in alpha]
    names = [dataset.descriptions[i - 1] or "" for i in indexes]
    if len(set(names)) < len(names) or not all(names):
        names = [f"B{n}" for n in range(1, len(indexes) + 1)]
    return tuple(
        StoredBand(
            id=name,
            type=_type(np.dtype(dataset.dtypes[index - 1])),
            projection=Projection(crs=crs, transform=dataset.transform),
            dimensions=(dataset.width, dataset.height),
            load=functools.partial(_load, path, stamp, index),
            pyramiding=pyramiding,
        )
        for name, index in zip(names, indexes, strict=True)
    )


def _load(path: Path, stamp: int, index: int, window: Window) -> Pixels:
    handle = _open(path, stamp)
    left, top, right, bottom = window
    where = RasterioWindow(left, top, right - left, bottom - top)
    with handle.lock:
        values = handle.dataset.read(index, window=where)
        if MaskFlags.all_valid in handle.dataset.mask_flag_enums[index - 1]:
            mask = np.ones(values.shape, np.float32)
        else:
            mask = handle.dataset.read_masks(index, window=where).astype(np.float32) / np.float32(255)
    return Pixels(values.astype(_type(values.dtype).numpy, copy=False), mask)


def _type(dtype: np.dtype[Any]) -> DataType:
    """Return Earth Engine's type of a NumPy dtype."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return integer(int(info.min), int(info.max))
    if dtype.kind == "f":
        return FLOAT if dtype.itemsize <= 4 else DOUBLE
    raise ValueError(f"pixels of type {dtype} have no counterpart in Earth Engine")

"""The file formats that pixel requests answer with (Google's doc page ImageFileFormat).

NPY has no mask: masked pixels are zero. GEO_TIFF has a nodata value that depends on the type, as geedim's tests
against the live service record (``test_ee_geotiff_nodata``). The display formats are 8-bit colours.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from deployments.sandbox.display import colours
from deployments.sandbox.raster import UINT8, Band, DataType, Grid, Pixels, crs_of
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.request import FileFormat, Visualization

MEDIA_TYPES = {
    "NPY": "application/octet-stream",
    "GEO_TIFF": "image/tiff",
    "PNG": "image/png",
    "JPEG": "image/jpeg",
}
NODATA = {
    "u1": 0,
    "u2": 0,
    "u4": 0,
    "i1": -(2**7),
    "i2": -(2**15),
    "i4": -(2**31),
    "f4": -np.inf,
    "f8": -np.inf,
}
"""The nodata tag of GEO_TIFF by NumPy type."""


COLOURS = ("vis-red", "vis-green", "vis-blue")
"""The names of the bands of a visualization."""


@dataclass(frozen=True)
class Picture:
    """An encoded image."""

    body: bytes
    media_type: str


def encode(
    pixels: Sequence[Pixels],
    bands: Sequence[Band],
    grid: Grid,
    file_format: FileFormat,
    visualization: Visualization | None = None,
) -> Picture:
    """Return the bytes of an image.

    Args:
        pixels: One for each band, of shape (height, width).
        bands: Their ids and types.
        grid: Where they lie.
        file_format: How to write them.
        visualization: How data become colours. NPY and GEO_TIFF then hold three bands of bytes, as Google's doc page
            getPixels has it: "an 8-bit RGB visualization of the data, rather than [...] the raw data".

    Raises:
        Refusal: 400, when the format cannot hold these bands.
    """
    if visualization is not None and file_format in {"NPY", "GEO_TIFF"}:
        pixels, bands = _shown(pixels, bands, visualization)
    if file_format == "NPY":
        return Picture(_npy(pixels, bands, grid), MEDIA_TYPES["NPY"])
    if file_format == "GEO_TIFF":
        return Picture(_geotiff(pixels, bands, grid), MEDIA_TYPES["GEO_TIFF"])
    rgba = colours(pixels, [band.type for band in bands], visualization)
    kind = file_format
    if kind == "AUTO_JPEG_PNG":
        kind = "JPEG" if bool((rgba[3] == 255).all()) else "PNG"
    if kind == "JPEG":  # it has no transparency: masked pixels are black
        rgba = (rgba[:3].astype("u2") * rgba[3] // 255).astype("u1")
    # Pictures lie nowhere, but rasterio would warn of it; their drivers do not write the transform.
    options: dict[str, Any] = {"transform": Affine.scale(2)} | ({"QUALITY": 90} if kind == "JPEG" else {})
    return Picture(_gdal(rgba, kind, options), MEDIA_TYPES[kind])


def _shown(
    pixels: Sequence[Pixels], bands: Sequence[Band], visualization: Visualization
) -> tuple[list[Pixels], list[Band]]:
    """Return colours as bands of data, with the names that ``Image.visualize`` gives them."""
    rgba = colours(pixels, [band.type for band in bands], visualization)
    mask = rgba[3].astype(np.float32) / 255
    shown = [Pixels(channel, mask) for channel in rgba[:3]]
    return shown, [replace(bands[0], id=name, type=UINT8) for name in COLOURS]


def _filled(pixels: Pixels, kind: np.dtype[Any], fill: float) -> NDArray[Any]:
    """Return values (height, width) of a type, with a fill value wherever the mask is zero."""
    valid = pixels.mask > 0
    if valid.all():
        return pixels.values.astype(kind, copy=False)
    # Masked values may be anything, so they are replaced before they are cast.
    values = np.where(valid, pixels.values, np.zeros((), pixels.values.dtype)).astype(kind, copy=False)
    if fill != 0:
        values[~valid] = fill
    return values


def _npy(pixels: Sequence[Pixels], bands: Sequence[Band], grid: Grid) -> bytes:
    array = np.empty(grid.shape, dtype=[(band.id, band.type.numpy) for band in bands])
    for band, held in zip(bands, pixels, strict=True):
        array[band.id] = _filled(held, band.type.numpy, 0)
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def _geotiff(pixels: Sequence[Pixels], bands: Sequence[Band], grid: Grid) -> bytes:
    kinds = [band.type.numpy for band in bands]
    if len(set(kinds)) > 1:
        names = sorted({kind.name.capitalize().replace("Ui", "UI") for kind in kinds})
        raise Refusal(
            "Exported bands must have compatible data types; found inconsistent types: "
            f"{', '.join(names[:-1])} and {names[-1]}."
        )
    nodata = NODATA[kinds[0].str[1:]]
    stack = np.stack(
        [
            _filled(held, kind, 0 if _is_long(band.type) else nodata)
            for held, kind, band in zip(pixels, kinds, bands, strict=True)
        ]
    )
    options = {"nodata": nodata, "crs": _rasterio_crs(grid.crs), "transform": grid.transform}
    return _gdal(stack, "GTiff", options, tuple(band.id for band in bands))


def _is_long(kind: DataType) -> bool:
    """64-bit integers come as doubles, tagged -inf, and yet zero where masked (geedim/image.py)."""
    return kind.precision == "INT" and kind.numpy.kind == "f"


@functools.lru_cache(maxsize=256)
def _rasterio_crs(text: str) -> Any:
    return rasterio.CRS.from_wkt(crs_of(text).to_wkt())


def _gdal(stack: NDArray[Any], driver: str, options: dict[str, Any], names: tuple[str, ...] = ()) -> bytes:
    """Return an array (band, y, x) as a file of a GDAL driver."""
    count, height, width = stack.shape
    with MemoryFile() as file:
        with file.open(
            driver=driver, count=count, height=height, width=width, dtype=stack.dtype.name, **options
        ) as dataset:
            dataset.write(stack)
            if names:
                dataset.descriptions = names
        return bytes(file.read())

"""Decode the NPY and GeoTIFF responses of Earth Engine to rasters, and check their size, shape, bands and grid."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Mapping

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader, MemoryFile

from tasks.errors import QuarryError
from tasks.errors.input import brief
from tasks.raster.crs import crs_name, transformer
from tasks.raster.encode import ENVIRONMENT, dataset_geobox, read_valid
from tasks.raster.raster import Raster, common_dtype, converted
from tasks.raster.tiff_header import check_tiff

VALIDITY = "valid_"
"""Prefix of the uint8 fields that carry the mask: bit k of ``valid_g`` is 1 where band 8 * g + k is valid."""

HEADER_LIMIT = 1 << 20
"""Largest NPY header that is written, bytes. 1024 bands with long names need more than NumPy's 10,000."""
SHORT_HEADER = 4_096
"""Bytes that a header may have for any bands."""
LONGEST_ESCAPE = "\\U0001f6f0"
"""The longest that a header makes of one character of a name."""
CACHED = 512 << 10
"""Bytes of a response that are converted at a time, so that they fit the second-level cache of a core."""


class CorruptPixelsError(QuarryError, ValueError):
    """A response without the requested pixels: it is truncated, or has another shape, other bands or another grid."""


def validity_fields(count: int) -> tuple[str, ...]:
    """Return the names of the fields that carry the masks of ``count`` bands, eight bands in a field."""
    return tuple(f"{VALIDITY}{group}" for group in range(-(-count // 8)))


def decode_npy(data: bytes, bands: tuple[str, ...], geobox: GeoBox) -> Raster:
    """Return the pixels of an NPY response: a structured array of shape (y, x) with one field for each band.

    Earth Engine encodes masked pixels as zeros (source: REST reference, ImageFileFormat and getPixels). The mask is
    therefore known only if it was requested too, as uint8 fields ``valid_0``, ``valid_1``, ... after the bands: bit k
    of ``valid_g`` is 1 where band 8 * g + k is valid.

    Args:
        data: The whole file.
        bands: The requested bands, in order.
        geobox: The requested grid.

    Raises:
        CorruptPixelsError: The file is truncated or not an NPY file, or has another shape or other bands.
        ValueError: A 64-bit integer is beyond 2**53, so that float64 cannot hold it exactly.
    """
    pixels = _read_npy(data, bands)
    if pixels.shape != geobox.shape:
        raise CorruptPixelsError(f"the response has shape {pixels.shape}, but {tuple(geobox.shape)} was requested")
    fields = pixels.dtype.names or ()
    masks = validity_fields(len(bands))
    if fields not in {bands, bands + masks}:
        raise CorruptPixelsError(f"the response has the bands {fields}, but {bands} were requested")
    dtype = common_dtype(pixels.dtype[name] for name in bands)
    carried = fields[len(bands) :]
    for name in carried:
        if pixels.dtype[name] != np.uint8:
            raise CorruptPixelsError(f"the mask {name!r} is {pixels.dtype[name]}, not uint8")
    values = np.empty((len(bands), *pixels.shape), dtype=dtype)
    bits = np.empty((len(carried), *pixels.shape), dtype=np.uint8)
    # Fields are interleaved by pixel. A few rows at a time fit the cache, so memory is read once, not once a field.
    step = max(1, CACHED // max(1, pixels.strides[0]))
    for top in range(0, pixels.shape[0], step):
        rows = pixels[top : top + step]
        for i, name in enumerate(bands):
            values[i, top : top + step] = converted(rows[name], dtype)
        for group, name in enumerate(carried):
            bits[group, top : top + step] = rows[name]
    return Raster(values=values, valid=_valid(bits, values.shape) if carried else None, bands=bands, geobox=geobox)


def renamed_npy(data: bytes, names: Mapping[str, str]) -> bytes:
    """Return an NPY file with other names of its fields. Names that are not among the keys of `names` stay.

    Raises:
        CorruptPixelsError: The file is truncated or not an NPY file.
    """
    pixels = _read_npy(data, tuple(names))
    held = {name: pixels.dtype[name] for name in pixels.dtype.names or ()}
    array = pixels.view(np.dtype([(names.get(name, name), kind) for name, kind in held.items()]))
    with io.BytesIO() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that version 3.0, for names beyond Latin-1, needs NumPy 1.17
        np.lib.format.write_array(file, array, allow_pickle=False)
        return file.getvalue()


def _valid(bits: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask, shape (band, y, x), True = valid, from its bits, shape (group, y, x).

    In most tiles all pixels are valid. The mask is then a read-only view of a single True.
    """
    count = shape[0]
    wanted = np.packbits(np.ones(count, dtype=bool), bitorder="little")
    if np.array_equal(np.bitwise_and.reduce(bits, axis=(1, 2)) & wanted, wanted):
        return np.broadcast_to(np.True_, shape)
    valid = np.empty(shape, dtype=bool)
    for i in range(count):
        np.not_equal(bits[i // 8] & np.uint8(1 << i % 8), 0, out=valid[i])
    return valid


def _read_npy(data: bytes, bands: tuple[str, ...]) -> NDArray[np.void]:
    """Return the array of an NPY file as a view of its bytes. Nothing is ever unpickled.

    The header is only parsed if it is no longer than these bands can make it.
    """
    if not data.startswith(np.lib.format.MAGIC_PREFIX):
        raise CorruptPixelsError("the response is not an NPY file (it begins otherwise)")
    size = (
        10 + int.from_bytes(data[8:10], "little") if data[6:7] == b"\1" else 12 + int.from_bytes(data[8:12], "little")
    )
    if size > SHORT_HEADER:
        longest = SHORT_HEADER + sum(64 + len(LONGEST_ESCAPE) * len(name) for name in bands)
        if size > longest:
            raise CorruptPixelsError(f"the response has an NPY header of {size:,} bytes, but {longest:,} are enough")
    try:
        shape, numbers, dtype, offset = _header(data[:size])
    except Exception as error:  # NumPy parses Python source, and raises a dozen types for a damaged one
        raise CorruptPixelsError(f"the response is not an NPY file ({brief(error)})") from error
    if not numbers:
        raise CorruptPixelsError(f"the response is an NPY file of {brief(dtype)}, not of one field for each band")
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    found = len(data) - offset
    if found != expected or min(shape, default=0) < 1:
        raise CorruptPixelsError(f"the response holds {found} bytes of pixels, but its header declares {expected}")
    return np.frombuffer(data, dtype=dtype, offset=offset).reshape(shape)


# Cached: tiles of one size have the same header, and NumPy parses it as Python source, a tenth of a small tile's time.
@functools.lru_cache(maxsize=64)
def _header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[np.void], int]:
    length = len(head)
    if head[6:8] == b"\3\0":  # 2.0 in UTF-8, for which NumPy has no public reader: made a literal of ASCII
        text = head[12:].decode().encode("ascii", "backslashreplace")
        head = head[:6] + b"\2\0" + len(text).to_bytes(4, "little") + text
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream, max_header_size=HEADER_LIMIT)
    fields = [dtype[name] for name in dtype.names or ()]
    numbers = bool(fields) and not fortran and all(each.kind in "iuf" and each.itemsize <= 8 for each in fields)
    return shape, numbers, dtype, length


def decode_geotiff(data: bytes, bands: tuple[str, ...], geobox: GeoBox) -> Raster:
    """Return the pixels of a GEO_TIFF response.

    Earth Engine sets masked pixels to the lowest value of signed integers and to -inf in floats (source: geedim's
    integration test against the service). In unsigned types it sets them to 0, which can also be data. The mask is
    then not known, unless the file has a mask of its own. A band of 64-bit integers arrives as float64 with zeros where
    it is masked, and nothing in the file marks these zeros. Cast such a band, or request NPY.

    Args:
        data: The whole file.
        bands: The requested bands, in order.
        geobox: The requested grid.

    Raises:
        CorruptPixelsError: The file is truncated or not a GeoTIFF, or has another shape, other bands or another grid.
        ValueError: A 64-bit integer is beyond 2**53, so that float64 cannot hold it exactly.
    """
    try:
        # Nothing that the file declares is read before its header was compared with the request.
        check_tiff(data, geobox.shape, len(bands))
        with rasterio.Env(**ENVIRONMENT), MemoryFile(data) as memory, memory.open(driver="GTiff") as file:
            _check_file(file, bands, geobox)
            dtype = common_dtype(file.dtypes)
            values = file.read()
            valid = _answered_valid(file, values)
    except CorruptPixelsError:
        raise
    except Exception as error:  # GDAL, PROJ and pyproj raise a dozen types for a damaged file
        raise CorruptPixelsError(f"the response is not a complete GeoTIFF ({brief(error)})") from error
    return Raster(values=converted(values, dtype), valid=valid, bands=bands, geobox=geobox)


def _check_file(file: DatasetReader, bands: tuple[str, ...], geobox: GeoBox) -> None:
    if file.shape != geobox.shape:
        raise CorruptPixelsError(f"the response has shape {file.shape}, but {tuple(geobox.shape)} was requested")
    if file.count != len(bands):
        raise CorruptPixelsError(f"the response has {file.count} bands, but {bands} were requested")
    # It is not known whether Earth Engine names the bands in a GeoTIFF. If it does, the names must agree.
    named = [(got, asked) for got, asked in zip(file.descriptions, bands, strict=True) if got]
    if any(got != asked for got, asked in named):
        raise CorruptPixelsError(f"the response has the bands {file.descriptions}, but {bands} were requested")
    if file.crs is None:
        raise CorruptPixelsError("the response has no CRS")
    if not same_grid(dataset_geobox(file), geobox):
        raise CorruptPixelsError(
            f"the response has the grid {tuple(file.transform)[:6]} in {file.crs}, but "
            f"{tuple(geobox.affine)[:6]} in {geobox.crs} was requested"
        )


def _answered_valid(file: DatasetReader, values: NDArray[np.generic]) -> NDArray[np.bool_] | None:
    flags = {flag for band in file.mask_flag_enums for flag in band}
    own = MaskFlags.per_dataset in flags
    ambiguous = flags == {MaskFlags.all_valid} or any(np.dtype(dtype).kind == "u" for dtype in file.dtypes)
    return None if ambiguous and not own else read_valid(file, values)


def same_grid(one: GeoBox, other: GeoBox, *, tolerance: float = 1e-3) -> bool:
    """Return whether two grids have the same shape and their corners at the same places.

    A GeoTIFF may describe the same CRS in another way. If the names of the CRS differ, the corners are therefore
    transformed and compared.

    Args:
        one: The first grid.
        other: The second grid.
        tolerance: Largest distance between two corners on either axis, pixels.
    """
    if one.shape != other.shape:
        return False
    assert one.crs is not None
    assert other.crs is not None
    height, width = one.shape
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], dtype=float).T
    xs, ys = one.affine @ corners
    names = crs_name(one.crs), crs_name(other.crs)
    if names[0] != names[1]:
        xs, ys = transformer(*names).transform(xs, ys)
    columns, rows = ~other.affine @ (xs, ys)
    offsets = np.abs(np.array([columns, rows]) - corners)
    return bool((offsets <= tolerance).all())

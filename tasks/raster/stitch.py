"""Stitching: the pieces of a tile that was fetched in parts become what it would have been whole."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from tasks.raster.decode import HEADER_LIMIT
from tasks.raster.raster import Raster, common_dtype, converted

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Piece(Generic[T]):
    """What was fetched for one part of a tile."""

    rows: slice
    """Rows of the tile that it covers."""
    columns: slice
    """Columns of the tile that it covers."""
    content: T

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, in pixels."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def stitch_rasters(pieces: Sequence[Piece[Raster]], geobox: GeoBox) -> Raster:
    """Return the raster of a whole tile.

    If the mask of any piece is not known, neither is that of the whole: a mask is never made up. Pieces of several
    dtypes get the one that holds them all, as an answer typed by the range of its values would have had.

    Args:
        pieces: Parts of the tile without gap or overlap, such as `fetch_in_parts` gives.
        geobox: The grid of the tile.

    Raises:
        ValueError: the pieces do not make up the tile, or have other bands than each other.
    """
    first = pieces[0].content
    if len(pieces) == 1 and first.geobox == geobox:
        return first
    height, width = geobox.shape
    _check_cover(pieces, (height, width))
    for piece in pieces:
        if piece.content.geobox.shape != piece.shape or piece.content.bands != first.bands:
            raise ValueError(
                f"a piece has the bands {piece.content.bands} and the shape {tuple(piece.content.geobox.shape)}, but "
                f"{first.bands} and {piece.shape} belong there"
            )
    shape = (len(first.bands), height, width)
    values = np.empty(shape, common_dtype(piece.content.values.dtype for piece in pieces))
    for piece in pieces:
        values[:, piece.rows, piece.columns] = piece.content.values
    masks = [(piece, piece.content.valid) for piece in pieces]
    valid: NDArray[np.bool_] | None = None
    if all(mask is not None for _, mask in masks):
        valid = np.empty(shape, dtype=bool)
        for piece, mask in masks:
            valid[:, piece.rows, piece.columns] = mask
    return Raster(values=values, valid=valid, bands=first.bands, geobox=geobox)


def stitch_npy(pieces: Sequence[Piece[bytes]], shape: tuple[int, int]) -> bytes:
    """Return the NPY file of a whole tile: that of NumPy's own writer, in the version that the pieces came in.

    A tile in one piece is returned as it was sent. Fields of several dtypes are widened as in `stitch_rasters`. Whether
    Earth Engine pads its header as NumPy does is not established; if not, a stitched header differs in spaces.

    Args:
        pieces: NPY files of one field a band, which `decode_npy` has found to be whole; no gap, no overlap.
        shape: Rows and columns of the tile.

    Raises:
        ValueError: the pieces do not make up the tile, have other bands than each other, or are no NPY files.
    """
    if len(pieces) == 1 and pieces[0].shape == shape:
        return pieces[0].content
    _check_cover(pieces, shape)
    arrays = [_array(piece) for piece in pieces]
    whole = np.empty(shape, _common_fields([array.dtype for array in arrays]))
    for piece, array in zip(pieces, arrays, strict=True):
        for name in whole.dtype.names or ():
            field, dtype = array[name], whole.dtype[name]
            whole[name][piece.rows, piece.columns] = field if field.dtype == dtype else converted(field, dtype)
    version = np.lib.format.read_magic(io.BytesIO(pieces[0].content))
    with io.BytesIO() as file:
        np.lib.format.write_array(file, whole, version=version, allow_pickle=False)
        return file.getvalue()


def _array(piece: Piece[bytes]) -> NDArray[np.void]:
    array: NDArray[np.void] = np.lib.format.read_array(
        io.BytesIO(piece.content), allow_pickle=False, max_header_size=HEADER_LIMIT
    )
    if array.shape != piece.shape:
        raise ValueError(f"a piece has the shape {array.shape}, but {piece.shape} belongs there")
    return array


def _common_fields(dtypes: Sequence[np.dtype[np.void]]) -> np.dtype[np.void]:
    """Return a dtype of the fields that all have; what all agree on stays as it was sent."""
    first = dtypes[0]
    if all(dtype == first for dtype in dtypes):
        return first
    if len({dtype.names for dtype in dtypes}) > 1 or first.names is None:
        raise ValueError(f"pieces have the bands {[dtype.names for dtype in dtypes]}: they are not of one image")
    return np.dtype([(name, _common([dtype[name] for dtype in dtypes])) for name in first.names])


def _common(dtypes: Sequence[np.dtype[np.generic]]) -> np.dtype[np.generic]:
    return dtypes[0] if all(dtype == dtypes[0] for dtype in dtypes) else common_dtype(dtypes)


def _check_cover(pieces: Iterable[Piece[T]], shape: tuple[int, int]) -> None:
    covered = np.zeros(shape, dtype=np.uint8)
    for piece in pieces:
        covered[piece.rows, piece.columns] += 1
    if (covered != 1).any():
        raise ValueError("the pieces leave a gap in the tile, or overlap")

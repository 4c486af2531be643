"""Stitching: the pieces of a tile that was fetched in parts become what it would have been whole."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.types import Shape2d

from tasks.raster.decode import HEADER_LIMIT
from tasks.raster.raster import Raster, common_dtype, converted
from tasks.raster.window import Window

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Piece(Generic[T]):
    """What was fetched for one part of a tile."""

    window: Window
    """Of the tile."""
    content: T


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
    _check_cover(pieces, geobox.shape)
    for piece in pieces:
        if piece.content.geobox.shape != piece.window.shape or piece.content.bands != first.bands:
            raise ValueError(
                f"a piece has the bands {piece.content.bands} and the shape {tuple(piece.content.geobox.shape)}, but "
                f"{first.bands} and {tuple(piece.window.shape)} belong there"
            )
    shape = (len(first.bands), *geobox.shape)
    values = np.empty(shape, common_dtype(piece.content.values.dtype for piece in pieces))
    for piece in pieces:
        piece.window.of_array(values)[...] = piece.content.values
    masks = [(piece, piece.content.valid) for piece in pieces]
    valid: NDArray[np.bool_] | None = None
    if all(mask is not None for _, mask in masks):
        valid = np.empty(shape, dtype=bool)
        for piece, mask in masks:
            piece.window.of_array(valid)[...] = mask
    return Raster(values=values, valid=valid, bands=first.bands, geobox=geobox)


def stitch_npy(pieces: Sequence[Piece[bytes]], shape: Shape2d) -> bytes:
    """Return the NPY file of a whole tile: that of NumPy's own writer, in the version that the pieces came in.

    A tile in one piece is returned as it was sent. Fields of several dtypes are widened as in `stitch_rasters`. Whether
    Earth Engine pads its header as NumPy does is not established; if not, a stitched header differs in spaces.

    Args:
        pieces: NPY files of one field a band, which `decode_npy` has found to be whole; no gap, no overlap.
        shape: Of the tile.

    Raises:
        ValueError: the pieces do not make up the tile, have other bands than each other, or are no NPY files.
    """
    if len(pieces) == 1 and pieces[0].window.shape == shape:
        return pieces[0].content
    _check_cover(pieces, shape)
    arrays = [_array(piece) for piece in pieces]
    whole = np.empty(tuple(shape), _common_fields([array.dtype for array in arrays]))
    for piece, array in zip(pieces, arrays, strict=True):
        for name in whole.dtype.names or ():
            field, dtype = array[name], whole.dtype[name]
            piece.window.of_array(whole[name])[...] = field if field.dtype == dtype else converted(field, dtype)
    version = np.lib.format.read_magic(io.BytesIO(pieces[0].content))
    with io.BytesIO() as file:
        np.lib.format.write_array(file, whole, version=version, allow_pickle=False)
        return file.getvalue()


def _array(piece: Piece[bytes]) -> NDArray[np.void]:
    array: NDArray[np.void] = np.lib.format.read_array(
        io.BytesIO(piece.content), allow_pickle=False, max_header_size=HEADER_LIMIT
    )
    if array.shape != piece.window.shape:
        raise ValueError(f"a piece has the shape {array.shape}, but {tuple(piece.window.shape)} belongs there")
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


def _check_cover(pieces: Iterable[Piece[T]], shape: Shape2d) -> None:
    covered = np.zeros(tuple(shape), dtype=np.uint8)
    for piece in pieces:
        piece.window.of_array(covered)[...] += 1
    if (covered != 1).any():
        raise ValueError("the pieces leave a gap in the tile, or overlap")

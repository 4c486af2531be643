"""Stitching: join the pieces of a tile that was fetched in parts, as if it had been fetched whole."""

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
    """One part of a tile, as it was fetched."""

    window: Window
    """The rows and columns of the tile that the piece fills."""
    content: T
    """A raster, or the bytes of a file."""


def stitch_rasters(pieces: Sequence[Piece[Raster]], geobox: GeoBox) -> Raster:
    """Return the raster of a whole tile.

    If the mask of any piece is not known, the mask of the tile is not known. A mask is never invented. If the dtypes of
    the pieces differ, the tile gets the smallest dtype that holds them all. A response for the whole tile would have
    the same dtype, if its dtype follows from the range of its values.

    Args:
        pieces: Parts of the tile without gap or overlap, such as the result of `fetch_in_parts`.
        geobox: The grid of the tile.

    Raises:
        ValueError: The pieces do not cover the tile exactly once, or their bands differ.
    """
    first = pieces[0].content
    if len(pieces) == 1 and first.geobox == geobox:
        return first
    _check_cover(pieces, geobox.shape)
    for piece in pieces:
        if piece.content.geobox.shape != piece.window.shape or piece.content.bands != first.bands:
            raise ValueError(
                f"window = {piece.window}: the piece has the bands {piece.content.bands} and the shape "
                f"{tuple(piece.content.geobox.shape)}, but {first.bands} and {tuple(piece.window.shape)} are needed"
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
    """Return the NPY file of a whole tile, written by NumPy in the NPY version of the first piece.

    A single piece that is the whole tile is returned unchanged. If the dtypes of a field differ, they are widened as
    in `stitch_rasters`. It is not known whether Earth Engine pads the NPY header as NumPy does. If not, the header of
    a stitched file differs from Earth Engine's in the number of spaces.

    Args:
        pieces: NPY files with one field for each band, checked by `decode_npy`, without gap or overlap.
        shape: Height and width of the tile, pixels.

    Raises:
        ValueError: The pieces do not cover the tile exactly once, their bands differ, or one is not an NPY file.
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
        raise ValueError(
            f"window = {piece.window}: the piece has the shape {array.shape}, but {tuple(piece.window.shape)} is needed"
        )
    return array


def _common_fields(dtypes: Sequence[np.dtype[np.void]]) -> np.dtype[np.void]:
    """Return the structured dtype that holds all given ones. A field with the same dtype in all of them keeps it."""
    first = dtypes[0]
    if all(dtype == first for dtype in dtypes):
        return first
    if len({dtype.names for dtype in dtypes}) > 1 or first.names is None:
        raise ValueError(f"pieces: their bands are {[dtype.names for dtype in dtypes]}, so they are not of one image")
    return np.dtype([(name, _common([dtype[name] for dtype in dtypes])) for name in first.names])


def _common(dtypes: Sequence[np.dtype[np.generic]]) -> np.dtype[np.generic]:
    return dtypes[0] if all(dtype == dtypes[0] for dtype in dtypes) else common_dtype(dtypes)


def _check_cover(pieces: Iterable[Piece[T]], shape: Shape2d) -> None:
    covered = np.zeros(tuple(shape), dtype=np.uint8)
    for piece in pieces:
        piece.window.of_array(covered)[...] += 1
    if (covered != 1).any():
        raise ValueError("pieces: they leave a gap in the tile, or overlap")

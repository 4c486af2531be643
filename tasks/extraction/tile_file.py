"""Make the file of a tile from the answers for it: decode, stitch, clip, measure, encode. Pure functions.

answers --decode--> pixels of the parts --assemble--> pixels of the tile --encode--> objects and their summary
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tasks.earthengine.errors import Rejected, Transient
from tasks.errors.input import brief
from tasks.plan.plan import Plan
from tasks.plan.tiles import PixelGrid
from tasks.raster.clip import clipped, inside
from tasks.raster.decode import CorruptPixelsError, decode_geotiff, decode_npy, renamed_npy
from tasks.raster.encode import encoded_geotiff, tagged_geotiff
from tasks.raster.masks import MaskStorage, planned_storage
from tasks.raster.picture_header import picture_shape
from tasks.raster.raster import Raster
from tasks.raster.statistics import band_statistics
from tasks.raster.stitch import Piece, stitch_npy, stitch_rasters
from tasks.raster.tiff_header import check_tiff
from tasks.storage.band_summary import Bands, BandSummary, summarized

T = TypeVar("T")
# First and last bytes of files that are stored as they were received: a truncated file is never accepted.
FRAMES = {"PNG": (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"), "JPEG": (b"\xff\xd8", b"\xff\xd9")}


@dataclass(frozen=True)
class TilePixels:
    """The pixels of an answer: its bytes, and the decoded raster. The raster of a picture is None."""

    raster: Raster | None
    data: bytes


@dataclass(frozen=True, kw_only=True)
class TileFile:
    """What is stored of a tile: its objects, and a summary of its pixels."""

    objects: tuple[tuple[str, bytes | memoryview], ...]
    """Keys with their bytes: one file, or several objects. Empty for a tile without a valid pixel."""
    pixels: int
    """Number of requested pixels of one band. If the tile is clipped, only pixels inside the region count."""
    bands: Bands
    """Summary of the valid pixels of each band, in the order of the plan. Empty for pictures."""


def decode(plan: Plan, index: int, data: bytes, part: PixelGrid | None = None) -> TilePixels:
    """Decode an answer for a tile, or for a part of it. Its bands get the names of the plan.

    Raises:
        Transient: The answer is incomplete.
        Rejected: The answer does not show which pixels are masked, or holds numbers that no raster can hold.
    """
    source, grid = plan.locate(index)[0], part or plan.grid(index)
    if source.wire in FRAMES:
        head, tail = FRAMES[source.wire]
        if not data.startswith(head) or not data.rstrip(b"\0").endswith(tail):
            raise Transient(f"The answer is not a complete {source.wire} file ({len(data)} bytes).")
        try:
            shape = picture_shape(data, source.wire)
        except ValueError as error:
            raise Transient(f"The answer is not a complete {source.wire} file: {error}") from error
        if shape != tuple(grid.shape):
            raise Transient(f"The answer has shape {shape}, but {tuple(grid.shape)} was requested.")
        return TilePixels(None, data)
    bands = tuple(band.id for band in plan.bands)
    sent = source.wire_bands[: len(bands)]
    read = decode_npy if source.wire == "NPY" else decode_geotiff
    try:
        if sent != bands and plan.tile_format.file_format == "NPY":
            data, sent = renamed_npy(data, dict(zip(sent, bands, strict=True))), bands
        raster = replace(read(data, sent, grid.geobox), bands=bands)
    except CorruptPixelsError as error:
        raise Transient(f"The answer is not a complete {source.wire} file: {error}") from error
    except MemoryError as error:
        raise Transient("There was not enough memory for the pixels. Lower requests_in_flight.") from error
    except ValueError as error:  # numbers that no raster can hold
        raise Rejected(str(error)) from error
    if raster.valid is None and plan.tile_format.masks != "unknown":
        raise Rejected("The answer does not show which pixels are masked. Use masks=exact, or masks=unknown.")
    return TilePixels(replace(raster, geobox=grid.geobox), data)


def assemble(plan: Plan, index: int, pieces: Sequence[Piece[TilePixels]]) -> TilePixels:
    """Return the pixels of a tile: stitch its parts, and mask the pixels outside the region of the plan."""
    pixels = pieces[0].content if len(pieces) == 1 else _stitched(plan, pieces, plan.grid(index))
    within = _within(plan, index)
    return pixels if within is None or pixels.raster is None else TilePixels(clipped(pixels.raster, within), b"")


@contextlib.contextmanager
def encode(plan: Plan, index: int, fingerprint: str, pixels: TilePixels) -> Iterator[TileFile]:
    """Encode and measure the pixels of a tile. Yield what is stored; its bytes are valid inside the `with` block."""
    summary = measure(plan, index, pixels.raster)
    if pixels.raster is not None and pixels.raster.empty:
        yield summary
        return
    with _file(plan, index, fingerprint, pixels) as file:
        yield TileFile(objects=((plan.key(index, fingerprint), file),), pixels=summary.pixels, bands=summary.bands)


def measure(plan: Plan, index: int, raster: Raster | None) -> TileFile:
    """Return the pixel count and the band summaries of a tile, without its file."""
    bands = Bands(() if raster is None else summaries(raster))
    return TileFile(objects=(), pixels=pixels_wanted(plan, index), bands=bands)


def read_back(plan: Plan, index: int, fingerprint: str, data: bytes) -> TileFile:
    """Measure a stored file that no receipt lists.

    Raises:
        CorruptPixelsError: The file holds another tile, or is damaged.
        EarthEngineError: See `decode`.
    """
    if plan.tile_format.file_format != "GEO_TIFF":
        raster = decode(plan, index, data).raster
    else:
        raster = _geotiff_read_back(plan, index, fingerprint, data)
    return measure(plan, index, raster)


def pixels_wanted(plan: Plan, index: int) -> int:
    """Return the number of requested pixels of one band. If the plan clips, only pixels inside the region count."""
    within, grid = _within(plan, index), plan.grid(index)
    return grid.width * grid.height if within is None else int(within.sum())


def _geotiff_read_back(plan: Plan, index: int, fingerprint: str, data: bytes) -> Raster:
    try:
        check_tiff(data, plan.grid(index).shape, len(plan.bands))
        tags, raster = tagged_geotiff(data)
    except Exception as error:  # GDAL, PROJ and pyproj raise a dozen types for a damaged file
        raise CorruptPixelsError(brief(error)) from error
    bands, geobox = tuple(band.id for band in plan.bands), plan.grid(index).geobox
    if tags.get("FINGERPRINT") != fingerprint or raster.bands != bands or raster.geobox != geobox:
        raise CorruptPixelsError("the file holds another tile")
    # GDAL ignores a mask whose directory is cut off. So the raster is encoded again: an intact file has the same bytes.
    own = {name: value for name, value in tags.items() if name != "AREA_OR_POINT"}
    with encoded_geotiff(raster, tags=own, codec=plan.tile_format.codec, storage=planned(plan)) as again:
        if memoryview(again) != data:
            raise CorruptPixelsError("the file is damaged")
    return raster


def _stitched(plan: Plan, pieces: Sequence[Piece[TilePixels]], grid: PixelGrid) -> TilePixels:
    def pieces_of(kind: Callable[[TilePixels], T]) -> list[Piece[T]]:
        return [Piece(window=piece.window, content=kind(piece.content)) for piece in pieces]

    data = b""
    if plan.tile_format.file_format == "NPY":
        data = stitch_npy(pieces_of(lambda pixels: pixels.data), grid.shape)
    return TilePixels(stitch_rasters(pieces_of(_raster), grid.geobox), data)


def _raster(pixels: TilePixels) -> Raster:
    assert pixels.raster is not None  # pictures are never split
    return pixels.raster


def _file(
    plan: Plan, index: int, fingerprint: str, pixels: TilePixels
) -> contextlib.AbstractContextManager[bytes | memoryview]:
    if pixels.raster is None or plan.tile_format.file_format != "GEO_TIFF":
        return contextlib.nullcontext(pixels.data)
    tags = plan.locate(index)[0].tags(fingerprint)
    return encoded_geotiff(pixels.raster, tags=tags, codec=plan.tile_format.codec, storage=planned(plan))


def planned(plan: Plan) -> MaskStorage | None:
    """Return how every file of the plan stores its mask; None = each file as its own pixels need it."""
    if not plan.tile_format.alike:
        return None
    return planned_storage([band.dtype for band in plan.bands], lowest_is_free=plan.tile_format.masks == "nodata")


def _within(plan: Plan, index: int) -> NDArray[np.bool_] | None:
    clip = plan.tile_format.clip
    return None if clip is None else _inside(clip, plan.grid(index))


# Called twice for each tile: for its mask, and for the number of pixels in its receipt.
@functools.lru_cache(maxsize=64)
def _inside(wkt: str, grid: PixelGrid) -> NDArray[np.bool_]:
    return inside(_geometry(wkt), grid.geobox)


@functools.lru_cache(maxsize=4)
def _geometry(wkt: str) -> BaseGeometry:
    return shapely.from_wkt(wkt)


def summaries(raster: Raster) -> Iterator[BandSummary]:
    """Yield the summary of the valid pixels of each band."""
    for band in band_statistics(raster):
        yield summarized(valid=band.valid, counted=band.counted, sums=band.sums, low=band.min, high=band.max)

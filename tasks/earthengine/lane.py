"""A lane: the tiles of one batch, each from its request to stored bytes and a receipt."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import rasterio.errors
import shapely
import tenacity
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tasks.earthengine.batch import Batch
from tasks.earthengine.checkpoint import Checkpoint
from tasks.earthengine.errors import (
    BudgetExhausted,
    Denied,
    EarthEngineError,
    Rejected,
    Stopped,
    Throttled,
    TooHeavy,
    Transient,
)
from tasks.earthengine.plan import Plan
from tasks.earthengine.policy import GivenUp, RetryPolicy
from tasks.earthengine.run import Run
from tasks.earthengine.splitting import fetch_in_parts
from tasks.earthengine.tiles import PixelGrid
from tasks.earthengine.transport import Answer, PixelRequest
from tasks.raster.clip import clipped, inside
from tasks.raster.decode import CorruptPixelsError, decode_geotiff, decode_npy
from tasks.raster.encode import encoded_geotiff, tagged_geotiff
from tasks.raster.raster import Raster
from tasks.raster.statistics import band_statistics
from tasks.raster.stitch import Piece, stitch_npy, stitch_rasters
from tasks.storage.receipt import Bands, BandSummary, Receipt, TileReceipt, crc32c
from tasks.storage.store import Store, Stored

T = TypeVar("T")
Fetch = Callable[[PixelRequest], Answer]
# Beginnings and ends of files that are stored as they were sent: a part is never taken for a whole.
_FRAMES = {"PNG": (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"), "JPEG": (b"\xff\xd8", b"\xff\xd9")}
RETRY = RetryPolicy()
NOTHING = Checkpoint()
# These end the run: no other tile can do better.
FATAL = (Denied, BudgetExhausted, GivenUp)


@dataclass(frozen=True)
class Pixels:
    """An answer: its bytes, and what they hold unless it is a picture."""

    raster: Raster | None
    data: bytes

    @property
    def decoded(self) -> Raster:
        """The raster, where there is one."""
        assert self.raster is not None
        return self.raster


@dataclass(frozen=True)
class Outcome:
    """What a lane leaves: a receipt of the tiles that ended, and what stopped it before the rest."""

    receipt: Receipt
    error: BaseException | None


@dataclass(frozen=True, kw_only=True)
class Lane:
    """What a batch needs besides its numbers."""

    plan: Plan
    fetch: Fetch
    """One request to an answer or a typed error."""
    run: Run
    """What it shares with the other lanes of its run."""
    store: Store
    checkpoint: Checkpoint = NOTHING
    """What is stored already."""
    retry: RetryPolicy = RETRY

    def begin(self, start: int, stop: int) -> Batch:
        """Let the threads of the run begin with what is missing of [start, stop), after others; `extract` waits."""
        missing = tuple(self.checkpoint.missing(start, stop))
        batch = Batch(missing, fetch=self._counted, over=self.run.stop)
        self.run.begin(batch, threads=len(missing))
        self.run.begun[start, stop] = batch
        return batch

    def extract(self, start: int, stop: int, *, keep: Callable[[Receipt], None] = lambda _: None) -> Outcome:
        """Fetch what is missing of the tiles [start, stop), and store it.

        Args:
            start: The first.
            stop: That after the last.
            keep: Called now and then with a receipt of the tiles that are stored by then.

        The error of the outcome is one that ends the run: ``Denied``, ``BudgetExhausted`` or ``GivenUp``, since no
        other tile can do better; ``StorageError``; or ``Stopped``, where another lane met one of these.
        """
        known = [self.checkpoint.tiles[i] for i in range(start, stop) if i in self.checkpoint.tiles]

        def receipt(fetched: Iterable[TileReceipt]) -> Receipt:
            tiles = tuple(sorted([*known, *fetched], key=lambda tile: tile.index))
            return Receipt(plan=self.plan.fingerprint, start=start, stop=stop, tiles=tiles)

        batch = self.run.begun.get((start, stop)) or self.begin(start, stop)
        fetched, error = batch.wait(lambda fetched: keep(receipt(fetched)))
        del self.run.begun[start, stop]
        return Outcome(receipt(fetched), error)

    def _counted(self, index: int) -> TileReceipt:
        receipt = self.tile(index)
        self.run.tally.tile(failed=receipt.status == "failed")
        return receipt

    def tile(self, index: int) -> TileReceipt:
        """Fetch one tile and store it. A tile that Earth Engine refuses is a receipt, not an exception."""
        begun = time.monotonic()
        fingerprint = self.plan.tile_fingerprint(index)
        if found := self._found(index, fingerprint, begun):
            return found
        tries: list[PixelGrid] = []
        try:
            pixels = self._pixels(index, tries)
            receipt = self._stored(index, fingerprint, pixels, len(tries), begun)
        except (*FATAL, Stopped):
            raise
        except (EarthEngineError, ValueError) as error:  # ValueError: pixels that no GeoTIFF can hold with their mask
            self.run.verdict.failed(error)
            return TileReceipt(
                index=index,
                fingerprint=fingerprint,
                status="failed",
                pixels=self._pixels_wanted(index),
                attempts=max(1, len(tries)),
                seconds=round(time.monotonic() - begun, 3),
                reason=f"{type(error).__name__}: {error}",
            )
        self.run.verdict.succeeded()  # first: what the window lets out from now on may fail sooner
        self.run.permits.prove()
        return receipt

    def _found(self, index: int, fingerprint: str, begun: float) -> TileReceipt | None:
        """Return the receipt of a tile that was stored before its process was killed, if it is such a tile."""
        stored = self.checkpoint.untold(index)
        # In a folder, only a GeoTIFF itself says which tile it is.
        says = (fingerprint, None) if self.plan.output.file_format == "GEO_TIFF" else (fingerprint,)
        if stored is None or stored.fingerprint not in says:
            return None
        try:
            data = self.store.get(stored.key)
            plain = self.plan.output.file_format != "GEO_TIFF"
            raster = self._decode(index, data) if plain else self._read_back(index, fingerprint, data)
        except (KeyError, EarthEngineError, ValueError):  # ValueError: values or types that no raster holds
            return None
        receipt = self._receipt(index, fingerprint, raster, attempts=0)
        return self._as_stored(receipt, stored, crc32c(data), begun)

    def _read_back(self, index: int, fingerprint: str, data: bytes) -> Raster:
        """Read a GeoTIFF of ours.

        Raises:
            CorruptPixelsError: it is another, or damaged.
        """
        try:
            tags, raster = tagged_geotiff(data)
        except (rasterio.errors.RasterioError, ValueError) as error:
            raise CorruptPixelsError(str(error)) from error
        bands, geobox = tuple(band.id for band in self.plan.bands), self.plan.grid(index).geobox
        if tags.get("FINGERPRINT") != fingerprint or raster.bands != bands or raster.geobox != geobox:
            raise CorruptPixelsError("it is another tile")
        # GDAL passes over a mask whose directory is cut off: the same raster gives the same bytes, if it is whole.
        own = {name: value for name, value in tags.items() if name != "AREA_OR_POINT"}
        with encoded_geotiff(raster, tags=own, codec=self.plan.output.codec) as again:
            if memoryview(again) != data:
                raise CorruptPixelsError("it is damaged")
        return raster

    def _pixels(self, index: int, tries: list[PixelGrid]) -> Pixels:
        grid = self.plan.grid(index)
        if self.plan.locate(index)[0].wire in _FRAMES:
            return self._ask(index, grid, tries)
        pieces = fetch_in_parts(grid, lambda part: self._ask(index, part, tries), self.run.sizes)
        pixels = pieces[0].content if len(pieces) == 1 else self._stitched(pieces, grid)
        within = self._within(index)
        return pixels if within is None or pixels.raster is None else Pixels(clipped(pixels.raster, within), b"")

    def _stitched(self, pieces: Sequence[Piece[Pixels]], grid: PixelGrid) -> Pixels:
        def pieces_of(kind: Callable[[Pixels], T]) -> list[Piece[T]]:
            return [Piece(rows=piece.rows, columns=piece.columns, content=kind(piece.content)) for piece in pieces]

        data = b""
        if self.plan.output.file_format == "NPY":
            data = stitch_npy(pieces_of(lambda pixels: pixels.data), (grid.height, grid.width))
        return Pixels(stitch_rasters(pieces_of(lambda pixels: pixels.decoded), grid.geobox), data)

    def _ask(self, index: int, grid: PixelGrid, tries: list[PixelGrid]) -> Pixels:
        """Send one request, again where that may help."""
        request = self.plan.request(index, grid)

        def call() -> Pixels:
            with self.run.permits.permit(self.run.stop):
                tries.append(grid)
                try:
                    answer = self._answer(request)
                except Throttled:
                    tries.pop()
                    raise
            return Pixels(self._decode(index, answer.body, grid), answer.body)

        return self.retry.run(call, sleep=tenacity.sleep_using_event(self.run.stop))

    def _answer(self, request: PixelRequest) -> Answer:
        """Send a request under its permit, and let the permits know how it went."""
        permits, sent = self.run.permits, time.monotonic()
        try:
            answer = self.fetch(request)
        except EarthEngineError as error:
            throttled = isinstance(error, Throttled)
            if throttled:
                permits.throttled(sent, wait_s=error.retry_after)
            elif not isinstance(error, TooHeavy):  # which takes its time, and says nothing of smaller parts
                permits.failed()
            if error.may_compute_s > 0:
                permits.linger(error.may_compute_s)
            self.run.tally.request(time.monotonic() - sent, throttled=throttled)
            raise
        permits.succeeded()
        if answer.restricted and not self.run.tally.restricted:
            permits.throttled(sent, pause=False)  # once: how many are allowed then, only throttling can tell
        self.run.tally.restricted = answer.restricted
        self.run.tally.request(time.monotonic() - sent, throttled=False)
        return answer

    def _decode(self, index: int, data: bytes, part: PixelGrid | None = None) -> Raster | None:
        source, grid = self.plan.locate(index)[0], part or self.plan.grid(index)
        if source.wire in _FRAMES:
            head, tail = _FRAMES[source.wire]
            if not data.startswith(head) or not data.rstrip(b"\0").endswith(tail):
                raise Transient(f"The answer is no whole {source.wire} file ({len(data)} bytes).")
            return None
        bands = tuple(band.id for band in self.plan.bands)
        decode = decode_npy if source.wire == "NPY" else decode_geotiff
        try:
            raster = decode(data, bands, grid.geobox)
        except CorruptPixelsError as error:
            raise Transient(f"The answer is no whole {source.wire} file: {error}") from error
        if raster.valid is None and self.plan.output.masks != "unknown":
            raise Rejected("The answer does not say which pixels are masked. Use masks=exact, or masks=unknown.")
        return raster

    def _within(self, index: int) -> NDArray[np.bool_] | None:
        clip = self.plan.output.clip
        return None if clip is None else _inside(clip, self.plan.grid(index))

    def _pixels_wanted(self, index: int) -> int:
        within, grid = self._within(index), self.plan.grid(index)
        return grid.width * grid.height if within is None else int(within.sum())

    def _stored(self, index: int, fingerprint: str, pixels: Pixels, attempts: int, begun: float) -> TileReceipt:
        receipt = self._receipt(index, fingerprint, pixels.raster, attempts=attempts)
        if pixels.raster is not None and pixels.raster.empty:
            return replace(receipt, seconds=round(time.monotonic() - begun, 3))
        seen = self.checkpoint.there.get(index)
        with self._file(index, fingerprint, pixels) as file:
            stored = self.store.commit(
                self.plan.key(index, fingerprint), file, fingerprint=fingerprint, seen=seen.version if seen else None
            )
            return self._as_stored(receipt, stored, crc32c(file), begun)

    def _receipt(self, index: int, fingerprint: str, raster: Raster | None, *, attempts: int) -> TileReceipt:
        """The receipt of a tile without a valid pixel, for which nothing is stored."""
        grid = self.plan.grid(index)
        return TileReceipt(
            index=index,
            fingerprint=fingerprint,
            status="empty",
            pixels=self._pixels_wanted(index),
            bands=Bands(_summaries(raster, grid.width * grid.height) if raster is not None else ()),
            attempts=attempts,
        )

    @staticmethod
    def _as_stored(receipt: TileReceipt, stored: Stored, checksum: str, begun: float) -> TileReceipt:
        return replace(
            receipt,
            status="stored",
            key=stored.key,
            size=stored.size,
            crc32c=checksum,
            version=stored.version,
            seconds=round(time.monotonic() - begun, 3),
        )

    def _file(self, index: int, fingerprint: str, pixels: Pixels) -> AbstractContextManager[bytes | memoryview]:
        output = self.plan.output
        if pixels.raster is None or output.file_format != "GEO_TIFF":
            return nullcontext(pixels.data)
        tags = self.plan.locate(index)[0].tags(fingerprint)
        return encoded_geotiff(pixels.raster, tags=tags, codec=output.codec)


# A tile asks twice: for its mask, and for the number of pixels in its receipt.
@functools.lru_cache(maxsize=64)
def _inside(wkt: str, grid: PixelGrid) -> NDArray[np.bool_]:
    return inside(_geometry(wkt), grid.geobox)


@functools.lru_cache(maxsize=4)
def _geometry(wkt: str) -> BaseGeometry:
    return shapely.from_wkt(wkt)


def _summaries(raster: Raster, pixels: int) -> Iterable[BandSummary]:
    for band in band_statistics(raster):
        valid = None if band.valid_share is None else round(band.valid_share * pixels)
        yield BandSummary(
            valid=valid,
            counted=band.counted,
            mean=_finite(band.mean),
            min=_finite(band.min),
            max=_finite(band.max),
        )


def _finite(value: float | None) -> float | None:
    """Receipts are JSON, which has no infinity."""
    return value if value is not None and math.isfinite(value) else None

"""A lane: the tiles of one batch, several requests in flight, each to stored bytes and a receipt."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import shapely
import tenacity
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tasks.earthengine.errors import (
    BudgetExhausted,
    Denied,
    EarthEngineError,
    Rejected,
    Stopped,
    Throttled,
    Transient,
)
from tasks.earthengine.plan import Plan
from tasks.earthengine.tiles import PixelGrid
from tasks.earthengine.transport import PixelRequest
from tasks.raster.clip import clipped, inside
from tasks.raster.decode import CorruptPixelsError, decode_geotiff, decode_npy
from tasks.raster.encode import encode_geotiff
from tasks.raster.raster import Raster
from tasks.raster.statistics import band_statistics
from tasks.storage.receipt import BandSummary, Receipt, TileReceipt, crc32c
from tasks.storage.store import Store

Fetch = Callable[[PixelRequest], bytes]
Permit = Callable[[], AbstractContextManager[None]]
# Beginnings and ends of files that are stored as they were sent: a part is never taken for a whole.
_FRAMES = {"PNG": (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"), "JPEG": (b"\xff\xd8", b"\xff\xd9")}
# These end the run: no other tile can do better.
FATAL = (Denied, BudgetExhausted)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently one request is repeated. Throttling counts apart: it is no fault of the request."""

    attempts: int = 5
    """Tries of a request that meets passing faults: bridges a restart of a back end, gives up on an outage."""
    throttled: int = 50
    """Tries of a request that is throttled, at the longest wait about 25 minutes."""
    first_wait_s: float = 1.0
    """Upper bound of the first wait; doubled each time, with full jitter so that lanes do not return together."""
    longest_wait_s: float = 30.0
    """Upper bound of a wait: a quota frees up within seconds."""
    longest_asked_s: float = 300.0
    """Upper bound of what a server may ask for by Retry-After: a day would be a hang."""

    def run(self, call: Callable[[], bytes], *, sleep: Callable[[float], None] = time.sleep) -> tuple[bytes, int]:
        """Return what the call gave, and the number of tries.

        Raises:
            EarthEngineError: the last error, when it is not one that passes or tries are used up.
        """
        counts = {Transient: 0, Throttled: 0}

        def used_up(state: tenacity.RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            kind = Throttled if isinstance(error, Throttled) else Transient
            counts[kind] += 1
            return counts[kind] >= (self.throttled if kind is Throttled else self.attempts)

        backoff = tenacity.wait_random_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s)

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after if isinstance(error, EarthEngineError) else None
            return max(min(asked or 0.0, self.longest_asked_s), backoff(state))

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((Transient, Throttled)),
            stop=used_up,
            wait=pause,
            sleep=sleep,
            reraise=True,
        )
        data = retrying(call)
        return data, int(retrying.statistics["attempt_number"])


@dataclass(frozen=True, kw_only=True)
class Lane:
    """What a batch needs besides its numbers."""

    plan: Plan
    fetch: Fetch
    """One request to bytes or a typed error."""
    permit: Permit
    """Held while a request is in flight."""
    store: Store
    retry: RetryPolicy = RetryPolicy()
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when nothing more is to be sent; lanes of one run share it."""

    def run(self, start: int, stop: int, *, threads: int) -> Receipt:
        """Fetch the tiles [start, stop) and store them.

        Raises:
            Denied, BudgetExhausted: no other tile can do better; what was stored stays.
            StorageError: the output can't be written.
            Stopped: another lane met one of these.
        """
        with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="lane") as pool:
            futures = [pool.submit(self._unless_stopped, index) for index in range(start, stop)]
            # Whichever fails first, not whichever stands first: a slow tile must not let the rest be sent.
            wait(futures, return_when=FIRST_EXCEPTION)
            if any(future.done() and future.exception() for future in futures):
                self.stop.set()
        errors = [error for future in futures if (error := future.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
            raise error  # the cause before its consequences
        tiles = tuple(future.result() for future in futures)
        return Receipt(plan=self.plan.fingerprint, start=start, stop=stop, tiles=tiles)

    def _unless_stopped(self, index: int) -> TileReceipt:
        if self.stop.is_set():
            raise Stopped("The run was stopped.")
        try:
            return self.tile(index)
        except BaseException:
            self.stop.set()
            raise

    def tile(self, index: int) -> TileReceipt:
        """Fetch one tile and store it. A tile that Earth Engine refuses is a receipt, not an exception."""
        fingerprint = self.plan.tile_fingerprint(index)
        begun = time.monotonic()
        try:
            content, attempts = self._pixels(index)
            return self._stored(index, fingerprint, content, attempts, begun)
        except FATAL:
            raise
        except (EarthEngineError, ValueError) as error:  # ValueError: pixels that no GeoTIFF can hold with their mask
            seconds = round(time.monotonic() - begun, 3)
            reason = f"{type(error).__name__}: {error}"
            pixels = self._pixels_wanted(index)
            return TileReceipt(
                index=index, fingerprint=fingerprint, status="failed", pixels=pixels, seconds=seconds, reason=reason
            )

    def _pixels(self, index: int) -> tuple[tuple[Raster | None, bytes], int]:
        request = self.plan.request(index)
        decoded: Raster | None = None

        def call() -> bytes:
            nonlocal decoded
            with self.permit():
                data = self.fetch(request)
            decoded = self._decode(index, data)
            return data

        data, attempts = self.retry.run(call)
        return (decoded, data), attempts

    def _decode(self, index: int, data: bytes) -> Raster | None:
        source, _ = self.plan.locate(index)
        if source.wire in _FRAMES:
            head, tail = _FRAMES[source.wire]
            if not data.startswith(head) or not data.rstrip(b"\0").endswith(tail):
                raise Transient(f"The answer is no whole {source.wire} file ({len(data)} bytes).")
            return None
        bands = tuple(band.id for band in self.plan.bands)
        decode = decode_npy if source.wire == "NPY" else decode_geotiff
        try:
            raster = decode(data, bands, self.plan.grid(index).geobox)
        except CorruptPixelsError as error:
            raise Transient(f"The answer is no whole {source.wire} file: {error}") from error
        if raster.valid is None and self.plan.output.masks != "unknown":
            raise Rejected("The answer does not say which pixels are masked. Use masks=exact, or masks=unknown.")
        within = self._within(index)
        return raster if within is None else clipped(raster, within)

    def _within(self, index: int) -> NDArray[np.bool_] | None:
        clip = self.plan.output.clip
        return None if clip is None else _inside(clip, self.plan.grid(index))

    def _pixels_wanted(self, index: int) -> int:
        within, grid = self._within(index), self.plan.grid(index)
        return grid.width * grid.height if within is None else int(within.sum())

    def _stored(
        self, index: int, fingerprint: str, content: tuple[Raster | None, bytes], attempts: int, begun: float
    ) -> TileReceipt:
        raster, data = content
        grid = self.plan.grid(index)
        empty = raster is not None and raster.empty
        key: str | None = None
        if not empty:
            key = self.plan.key(index)
            if raster is not None and self.plan.output.file_format == "GEO_TIFF":
                data = encode_geotiff(
                    raster, tags=self.plan.locate(index)[0].tags(fingerprint), codec=self.plan.output.codec
                )
            self.store.put(key, data)
        return TileReceipt(
            index=index,
            fingerprint=fingerprint,
            status="empty" if empty else "stored",
            key=key,
            size=0 if empty else len(data),
            crc32c=None if empty else crc32c(data),
            pixels=self._pixels_wanted(index),
            bands=tuple(_summaries(raster, grid.width * grid.height)) if raster is not None else (),
            attempts=attempts,
            seconds=round(time.monotonic() - begun, 3),
        )


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

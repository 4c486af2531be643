"""Fetch one tile: from its request to stored bytes and a receipt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import tenacity

from tasks.earthengine.errors import (
    BudgetExhausted,
    Denied,
    EarthEngineError,
    GivenUp,
    Stopped,
    Throttled,
    TooHeavy,
)
from tasks.earthengine.line import Line
from tasks.earthengine.transport import Answer, PixelRequest
from tasks.extraction.checkpoint import Checkpoint
from tasks.extraction.retry_policy import RetryPolicy
from tasks.extraction.session import FetchSession
from tasks.extraction.splitting import fetch_in_parts
from tasks.extraction.tile_file import FRAMES, TileFile, TilePixels, assemble, decode, encode, pixels_wanted, read_back
from tasks.plan.choices import FileFormat
from tasks.plan.map_edge import edge_of, windows
from tasks.plan.plan import Plan
from tasks.plan.tiles import PixelGrid
from tasks.raster.stitch import Piece
from tasks.raster.window import Window
from tasks.storage.checksum import crc32c
from tasks.storage.receipt import TileObject, TileReceipt
from tasks.storage.store import Store, TileLost

RETRY = RetryPolicy()
NOTHING = Checkpoint()
# The format that GDAL reads and writes, in a few threads: see `FetchSession.in_pool`.
GDALS: FileFormat = "GEO_TIFF"
# Errors that end the run, since every other tile would fail, too.
FATAL = (Denied, BudgetExhausted, GivenUp)


@dataclass(frozen=True, kw_only=True)
class TileFetcher:
    """Fetches the tiles of a plan, one in each call. The threads of a session share it."""

    plan: Plan
    ask: Callable[[PixelRequest], Answer]
    """Sends one request, and returns its answer or raises a typed error."""
    session: FetchSession
    store: Store
    checkpoint: Checkpoint = NOTHING
    """What is already stored of the plan."""
    retry: RetryPolicy = RETRY

    def fetch(self, index: int) -> TileReceipt:
        """Fetch one tile, store it, and return its receipt. A tile that Earth Engine refuses gets a receipt, too.

        Raises:
            EarthEngineError: An error that ends the run: ``Denied``, ``BudgetExhausted``, ``GivenUp`` or ``Stopped``.
            StorageError: The tile cannot be stored.
        """
        begun = time.monotonic()
        fingerprint = self.plan.tile_fingerprint(index)
        if found := self._found(index, fingerprint, begun):
            return found
        tries: list[PixelGrid] = []
        try:
            pixels = assemble(self.plan, index, self._pieces(index, tries))
            receipt = self._stored(index, fingerprint, pixels, len(tries), begun)
        except (*FATAL, Stopped):
            raise
        except (EarthEngineError, ValueError) as error:  # ValueError: no GeoTIFF can hold these pixels and their mask
            self.session.failure_streak.failed(error)
            return TileReceipt(
                index=index,
                fingerprint=fingerprint,
                status="failed",
                pixels=pixels_wanted(self.plan, index),
                attempts=max(1, len(tries)),
                seconds=_since(begun),
                error_kind=type(error).__name__,
                reason=f"{type(error).__name__}: {error}",
            )
        self.session.failure_streak.succeeded()  # before `prove`: it releases more requests, and they may fail first
        self.session.permits.prove()
        return receipt

    def _found(self, index: int, fingerprint: str, begun: float) -> TileReceipt | None:
        """Return the receipt of a tile whose process was killed after it stored the tile; None if there is none."""
        stored = self.checkpoint.unreceipted(index)
        # A folder has no fingerprint beside the bytes (None). There, only a GeoTIFF holds its own fingerprint.
        accepted = (fingerprint, None) if self.plan.tile_format.file_format == "GEO_TIFF" else (fingerprint,)
        if stored is None or stored.fingerprint not in accepted:
            return None
        try:
            data = self.store.get(stored.key, most=stored.size)
            made = read_back(self.plan, index, fingerprint, data)
        except (
            KeyError,
            TileLost,
            EarthEngineError,
            ValueError,
        ):  # ValueError: no raster can hold it
            return None
        kept = TileObject(key=stored.key, size=stored.size, crc32c=crc32c(data), version=stored.version)
        return _receipt(index, fingerprint, made, (kept,), attempts=0, begun=begun)

    def _pieces(self, index: int, tries: list[PixelGrid]) -> list[Piece[TilePixels]]:
        grid = self.plan.grid(index)
        if self.plan.locate(index)[0].wire in FRAMES:
            return [Piece(window=Window.of(grid.shape), content=self._ask(index, grid, tries))]
        sides = windows(grid, edge_of(self.plan.tiles, self.plan.locate(index)[1]))
        return fetch_in_parts(grid, lambda part: self._ask(index, part, tries), self.session.sizes, sides)

    def _ask(self, index: int, grid: PixelGrid, tries: list[PixelGrid]) -> TilePixels:
        """Send one request for a tile or a part of it, and repeat it if that may help."""
        request = self.plan.request(index, grid)

        def send(line: Line) -> Answer:
            with self.session.permits.permit(self.session.stop, line):
                return self._answer(request, line)

        def call() -> TilePixels:
            tries.append(grid)
            try:
                answer = self.session.races.answer(send)
            except Throttled:
                tries.pop()
                raise
            if self.plan.locate(index)[0].wire == GDALS:
                return self.session.in_pool(decode, self.plan, index, answer.body, grid)
            return decode(self.plan, index, answer.body, grid)

        return self.retry.run(call, sleep=tenacity.sleep_using_event(self.session.stop))

    def _answer(self, request: PixelRequest, line: Line) -> Answer:
        """Send a request under its permit, and report the outcome to the permits and the tally."""
        permits, tally, sent = self.session.permits, self.session.tally, time.monotonic()
        try:
            with line.used():
                answer = self.ask(request)
        except EarthEngineError as error:
            throttled = isinstance(error, Throttled)
            if throttled:
                permits.throttled(sent, wait_s=error.retry_after)
            # TooHeavy comes late, and smaller parts may succeed. A request that was given up shows nothing.
            elif not (line.is_set() or isinstance(error, TooHeavy)):
                permits.failed()
            if error.may_compute_s > 0:
                permits.linger(error.may_compute_s)
            tally.request(time.monotonic() - sent, throttled=throttled)
            raise
        permits.succeeded()
        if answer.restricted and not tally.restricted:
            permits.throttled(sent, pause=False)  # only once: after it, throttling shows how many are allowed
        tally.restricted = answer.restricted
        seconds = time.monotonic() - sent
        tally.request(seconds, throttled=False)
        self.session.races.latencies.add(seconds)
        return answer

    def _stored(self, index: int, fingerprint: str, pixels: TilePixels, attempts: int, begun: float) -> TileReceipt:
        """Encode and store the pixels of a tile. Stored bytes are replaced only if they are the version seen before."""
        seen = self.checkpoint.unverified.get(index)
        making = encode(self.plan, index, fingerprint, pixels)
        with self.session.entered_in_pool(making) if self.plan.tile_format.file_format == GDALS else making as made:
            kept = []
            for key, data in made.objects:
                version = seen.version if seen and seen.key == key else None
                stored = self.store.commit(key, data, fingerprint=fingerprint, seen=version)
                kept.append(TileObject(key=stored.key, size=stored.size, crc32c=crc32c(data), version=stored.version))
            return _receipt(index, fingerprint, made, tuple(kept), attempts=attempts, begun=begun)


def _receipt(
    index: int, fingerprint: str, made: TileFile, objects: tuple[TileObject, ...], *, attempts: int, begun: float
) -> TileReceipt:
    return TileReceipt(
        index=index,
        fingerprint=fingerprint,
        status="stored" if objects else "empty",
        objects=objects,
        pixels=made.pixels,
        bands=made.bands,
        attempts=attempts,
        seconds=_since(begun),
    )


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)

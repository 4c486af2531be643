"""Splitting: a tile that is too heavy for one request is fetched in parts, and the run learns which size fits."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

from affine import Affine

from tasks.earthengine.errors import TooHeavy
from tasks.plan.tiles import PixelGrid
from tasks.raster.stitch import Piece
from tasks.raster.window import Window

T = TypeVar("T")

LEAST_SIDE = 16
"""Pixels a side that no cut goes below: what 16 x 16 pixels are too heavy for depends on the expression, not on the
size, and a request for them is nearly all overhead. It is the block of TIFF too."""

MEMORY = 32
"""Outcomes of a size that are remembered: enough to tell a share of a half from one of a third, few enough that the
light half of a region is not judged by the heavy one."""

KIN = 1.5
"""Sizes up to this ratio speak for each other: uneven halves and clipped tiles do, a tile and its halves do not. The
halves of a tile that was heavy say nothing new about tiles."""


def part(grid: PixelGrid, window: Window) -> PixelGrid:
    """Return the grid of some rows and columns: the same pixels, to the bit where the grid's numbers allow it."""
    if window == Window.of(grid.shape):
        return grid
    affine = grid.affine @ Affine.translation(window.columns.start, window.rows.start)
    return replace(grid, affine=affine, width=window.width, height=window.height)


def halves(window: Window) -> tuple[Window, Window] | None:
    """Return both halves along the longer side, rows if they are equal, the smaller half first; None = too small.

    The smaller goes first since its failure settles that of the other, too.
    """
    rows, columns = window.rows, window.columns
    if max(window.height, window.width) // 2 < LEAST_SIDE:
        return None
    if window.height >= window.width:
        middle = rows.start + window.height // 2
        return replace(window, rows=slice(rows.start, middle)), replace(window, rows=slice(middle, rows.stop))
    middle = columns.start + window.width // 2
    return (
        replace(window, columns=slice(columns.start, middle)),
        replace(window, columns=slice(middle, columns.stop)),
    )


class Evidence(NamedTuple):
    """How requests of about one size ended."""

    failures: int
    fits: int

    def gives_up(self, parts: float) -> bool:
        """Return whether so many parts are expected to cost less than the whole."""
        return self.failures > (parts - 1) * (self.fits + 1)


class Sizes:
    """What a run has learned about how many pixels one request may have. Safe in threads; lanes of one run share it.

    Asking for n parts costs n requests; asking for the whole first costs 1 + p * n, if a share p of such requests
    fails. So the whole is not asked for once p > 1 - 1/n: once there are more than n - 1 failures to a fit. One fit
    is assumed before any was seen, since a wrong split costs n requests and a wrong try only one.

    A size that was given up is tried again, the more rarely the more often it failed: a light region may follow.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: defaultdict[int, deque[bool]] = defaultdict(partial(deque, maxlen=MEMORY))
        self._passed_over: Counter[int] = Counter()

    def fitted(self, pixels: int) -> None:
        """Note that a request for so many pixels was answered."""
        with self._lock:
            self._seen[pixels].append(True)

    def failed(self, pixels: int) -> None:
        """Note that a request for so many pixels was too heavy."""
        with self._lock:
            self._seen[pixels].append(False)

    def asks_whole(self, window: Window) -> bool:
        """Return whether a window is to be asked for in one request, or in halves at once."""
        with self._lock:
            parts = self._cost_of_parts(window)
            size = window.pixels
            evidence = self._evidence(size)
            if not evidence.gives_up(parts):
                return True
            self._passed_over[size] += 1
            if self._passed_over[size] <= evidence.failures:
                return False
            self._passed_over[size] = 0
            return True

    @property
    def suggested_side(self) -> int | None:
        """Tile size that fits, a multiple of 16 pixels; None if the largest fitted at least as often as not."""
        with self._lock:
            failing = {size: seen.count(False) > seen.count(True) for size, seen in self._seen.items()}
        fits = [size for size, fails in failing.items() if not fails]
        if not fits or not failing[max(failing)]:
            return None
        side = math.isqrt(max(fits)) // LEAST_SIDE * LEAST_SIDE
        return side or None

    def _evidence(self, size: int) -> Evidence:
        """Return failures of this size or somewhat less, and fits of this size or somewhat more."""
        failures = sum(seen.count(False) for other, seen in self._seen.items() if other <= size < other * KIN)
        fits = sum(seen.count(True) for other, seen in self._seen.items() if size <= other < size * KIN)
        return Evidence(failures=failures, fits=fits)

    def _cost_of_parts(self, window: Window) -> float:
        """Return how many requests both halves are expected to take; infinite where there are none."""
        parts = halves(window)
        return math.inf if parts is None else 2 * self._cost(parts[0])

    def _cost(self, window: Window) -> float:
        evidence = self._evidence(window.pixels)
        if evidence.failures == 0:
            return 1.0
        parts = self._cost_of_parts(window)
        if math.isinf(parts):
            return 1.0
        if evidence.gives_up(parts):
            return parts
        return 1.0 + parts * evidence.failures / (evidence.failures + evidence.fits + 1)


def fetch_in_parts(grid: PixelGrid, ask: Callable[[PixelGrid], T], sizes: Sizes) -> list[Piece[T]]:
    """Fetch a tile in as few requests as it takes, one after the other, and return what was asked for piece by piece.

    Args:
        grid: The tile.
        ask: Sends one request for a part of it. Called with the grid itself if the tile is asked for whole.
        sizes: What the run knows; it learns from this tile.

    Raises:
        TooHeavy: a part that can't be halved is too heavy.
        Exception: whatever else `ask` raises.
    """
    waiting, pieces = [Window.of(grid.shape)], []
    while waiting:
        window = waiting.pop()
        parts = halves(window)
        if parts is None or sizes.asks_whole(window):
            try:
                content = ask(part(grid, window))
            except TooHeavy:
                sizes.failed(window.pixels)
                if parts is None:
                    raise
            else:
                sizes.fitted(window.pixels)
                pieces.append(Piece(window=window, content=content))
                continue
        waiting.extend(reversed(parts))
    return pieces

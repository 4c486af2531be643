"""Splitting: fetch a tile that is too heavy for one request in parts, and learn which size fits."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
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
"""Smallest side of a part, in pixels. If 16 x 16 pixels are too heavy, the cause is the expression and not the size,
and a request for so few pixels is nearly all overhead. The sides of blocks in a TIFF are multiples of 16, too."""

MEMORY = 32
"""Number of outcomes that are remembered for each size. They are enough to distinguish a share of one half from one
third, and few enough that the light half of a region is not judged by the heavy half."""

KIN = 1.5
"""Largest ratio of two sizes whose outcomes count for each other. Uneven halves and clipped tiles are within it, a tile
and its halves are not: the halves of a heavy tile show nothing new about whole tiles."""


def part(grid: PixelGrid, window: Window) -> PixelGrid:
    """Return the grid of a window: the same pixels, exact to the bit if the numbers of the grid allow it."""
    if window == Window.of(grid.shape):
        return grid
    affine = grid.affine @ Affine.translation(window.columns.start, window.rows.start)
    return replace(grid, affine=affine, width=window.width, height=window.height)


def halves(window: Window) -> tuple[Window, Window] | None:
    """Return both halves of a window, the smaller half first; None if the window is too small to divide.

    The longer side is divided; if the sides are equal, the rows. The smaller half goes first: if it is too heavy, the
    larger half is too heavy as well.
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
    """How requests of about the same size ended: the number of failures and the number of fits."""

    failures: int
    fits: int

    def gives_up(self, parts: float) -> bool:
        """Return whether this number of parts is expected to cost fewer requests than asking for the whole first."""
        return self.failures > (parts - 1) * (self.fits + 1)


class Sizes:
    """What a run has learned about how many pixels one request may have. Thread-safe: all threads of a run share it.

    Asking for n parts costs n requests. Asking for the whole first costs 1 + p * n requests, if a share p of such
    requests fails. So the whole is no longer requested once p > 1 - 1/n, that is, once there are more than n - 1
    failures for each fit. One fit is assumed from the start, since a wrong split costs n requests and a wrong attempt
    only one.

    A size that was given up is tried again from time to time, since a light region may follow. The more often it
    failed, the more rarely it is tried.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: defaultdict[int, deque[bool]] = defaultdict(partial(deque, maxlen=MEMORY))
        self._passed_over: Counter[int] = Counter()

    def fitted(self, pixels: int) -> None:
        """Record that a request for this number of pixels was answered."""
        with self._lock:
            self._seen[pixels].append(True)

    def failed(self, pixels: int) -> None:
        """Record that a request for this number of pixels was too heavy."""
        with self._lock:
            self._seen[pixels].append(False)

    def asks_whole(self, window: Window) -> bool:
        """Return whether to ask for a window in one request. If not, it is divided into halves at once."""
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
        """Side of a tile that fits, a multiple of 16 pixels. None if no side fits, or none needs to be smaller.

        A size fits if it was answered at least as often as it was too heavy.
        """
        with self._lock:
            failing = {size: seen.count(False) > seen.count(True) for size, seen in self._seen.items()}
        fits = [size for size, fails in failing.items() if not fails]
        if not fits or not failing[max(failing)]:
            return None
        side = math.isqrt(max(fits)) // LEAST_SIDE * LEAST_SIDE
        return side or None

    def _evidence(self, size: int) -> Evidence:
        """Return the failures of this size or a slightly smaller one, and the fits of this or a slightly larger one."""
        failures = sum(seen.count(False) for other, seen in self._seen.items() if other <= size < other * KIN)
        fits = sum(seen.count(True) for other, seen in self._seen.items() if size <= other < size * KIN)
        return Evidence(failures=failures, fits=fits)

    def _cost_of_parts(self, window: Window) -> float:
        """Return the expected number of requests for both halves; infinite if the window is too small to divide."""
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


def fetch_in_parts(
    grid: PixelGrid, ask: Callable[[PixelGrid], T], sizes: Sizes, windows: Sequence[Window] | None = None
) -> list[Piece[T]]:
    """Fetch a tile in as few requests as possible, one after the other, and return its pieces.

    Args:
        grid: The grid of the tile.
        ask: Sends one request for a part of the tile. If the whole tile is requested, it is called with `grid` itself.
        sizes: What the run has learned so far. It learns from this tile, too.
        windows: Parts that no request may span. None = the whole tile.

    Raises:
        TooHeavy: A part is too heavy and too small to divide.
        Exception: Any other error of `ask`.
    """
    waiting, pieces = [Window.of(grid.shape)] if windows is None else [*reversed(windows)], []
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

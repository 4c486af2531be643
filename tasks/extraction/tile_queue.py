"""The queue of a batch: the threads of a session take its tiles one by one, and the caller of the batch waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from tasks.earthengine.errors import Stopped
from tasks.extraction.stop_event import StopEvent
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import StorageError

# Seconds between two checks whether the session was stopped elsewhere.
LOOK_S = 1.0
# Longest time in seconds between two receipts of a running batch. Tiles that a killed process stored after its last
# receipt are not lost: the next run finds them, but must read each of them.
KEEP_S = 10.0
# Seconds between two checks whether the time of the tiles in work was cut.
LEAVING_S = 0.2


class TileQueue:
    """The tiles of a batch. They are only numbers until a thread takes them. Thread-safe.

    Args:
        tiles: Numbers of the tiles, each once.
        fetch: Fetches a tile and returns its receipt. An exception stops the session.
        over: Set when the session is stopped, here or elsewhere. After that, no tile is taken.
    """

    def __init__(self, tiles: Sequence[int], *, fetch: Callable[[int], TileReceipt], over: StopEvent) -> None:
        self._fetch, self._over = fetch, over
        self._changed = threading.Condition()  # guards all attributes below
        self._untaken = iter(tiles)
        self._left = len(tiles)
        self._in_work = 0
        self._tiles: list[TileReceipt] = []
        self._error: BaseException | None = None

    def work(self) -> None:
        """Take and fetch tiles until none is left. The threads of the session call this."""
        while (index := self._take()) is not None:
            try:
                self._end(self._fetch(index))
            except BaseException as error:  # noqa: BLE001 - the thread that waits for the batch raises it
                self._fail(error)

    @property
    def ended(self) -> bool:
        """Whether no tile is in work, and none will be taken any more."""
        with self._changed:
            return not self._left or (self._over.is_set() and not self._in_work)

    def wait(self, keep: Callable[[Sequence[TileReceipt]], None]) -> tuple[Sequence[TileReceipt], BaseException | None]:
        """Wait until all tiles have ended. After a stop, the tiles in work have the time of its event.

        Args:
            keep: Called now and then with the receipts of the tiles that have ended, so that a killed process loses
                little.

        Returns:
            The receipts of the tiles that ended, and the error that stopped the session, or None. If there are several
            errors, it is the cause and not a consequence. It is ``Stopped`` if the session was stopped elsewhere.
        """
        begun = kept = time.monotonic()
        known = 0
        while self._goes_on():
            due = kept + min(KEEP_S, max(LOOK_S, (kept - begun) / 2))  # more often at first: the receipt is small
            ended = self._ended() if time.monotonic() >= due else ()
            if len(ended) > known:
                kept, known = time.monotonic(), len(ended)
                try:
                    keep(ended)
                except StorageError as failure:
                    self._stop(failure)
        with self._changed:
            while self._in_work and (left := self._over.left_s):
                self._changed.wait(min(left, LEAVING_S))
            error = self._error or (Stopped("The run was stopped.") if self._left else None)
            return tuple(self._tiles), error

    def _ended(self) -> Sequence[TileReceipt]:
        with self._changed:
            return tuple(self._tiles)

    def _goes_on(self) -> bool:
        with self._changed:
            if self._left and not self._over.is_set():
                self._changed.wait(LOOK_S)
            return self._left > 0 and not self._over.is_set()

    def _take(self) -> int | None:
        with self._changed:
            index = None if self._over.is_set() else next(self._untaken, None)
            self._in_work += index is not None
            return index

    def _end(self, tile: TileReceipt) -> None:
        with self._changed:
            self._tiles.append(tile)
            self._left -= 1
            self._leave()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._stop(error)
            self._leave()

    def _stop(self, error: BaseException) -> None:
        with self._changed:  # a thread that holds the lock of a condition may take it again
            self._over.set()
            if self._error is None or isinstance(self._error, Stopped):
                self._error = error

    def _leave(self) -> None:
        self._in_work -= 1
        if not self._left or self._over.is_set():
            self._changed.notify_all()

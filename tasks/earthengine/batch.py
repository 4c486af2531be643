"""A batch on its way: the threads of a run take its tiles one by one, and a lane waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from tasks.earthengine.errors import Stopped
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import StorageError

# Seconds between looks whether the run was stopped elsewhere.
LOOK_S = 1.0
# Seconds at the most between two receipts of a batch that goes on. What a killed process loses of them is not lost: its
# tiles are found again, but each must be read for that.
KEEP_S = 10.0
# Requests that are in flight when a run stops have so long to end, and to be stored.
GRACE_S = 20.0


class Batch:
    """Some tiles. None waits in a queue: they are numbers until a thread takes them.

    Args:
        tiles: Their numbers, each once.
        fetch: Returns the receipt of a tile; what it raises stops the run.
        over: Set when the run is stopped, here or elsewhere: no tile is taken any more.
    """

    def __init__(self, tiles: Sequence[int], *, fetch: Callable[[int], TileReceipt], over: threading.Event) -> None:
        self._fetch, self._over = fetch, over
        self._changed = threading.Condition()
        self._untaken = iter(tiles)
        self._left = len(tiles)
        self._in_work = 0
        self._tiles: list[TileReceipt] = []
        self._error: BaseException | None = None

    def work(self) -> None:
        """Take tiles until there are no more: what a thread of the run does."""
        while (index := self._take()) is not None:
            try:
                self._end(self._fetch(index))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the lane that waits shall raise it
                self._fail(error)

    def wait(self, keep: Callable[[Sequence[TileReceipt]], None]) -> tuple[Sequence[TileReceipt], BaseException | None]:
        """Wait until all tiles have ended, or the run is over and those in work had time to end.

        Args:
            keep: Called now and then with the receipts of the tiles that have ended, so that little is lost with the
                process.

        Returns:
            The receipts of the tiles that ended, and what stopped the run before the rest: the cause before
            its consequences, ``Stopped`` where it lies elsewhere.
        """
        begun = kept = time.monotonic()
        known = 0
        while self._goes_on():
            due = kept + min(KEEP_S, max(LOOK_S, (kept - begun) / 2))  # often at first, when there is little to write
            if time.monotonic() >= due and len(self._tiles) > known:
                kept, known = time.monotonic(), len(self._tiles)
                try:
                    keep(self._tiles[:known])
                except StorageError as failure:
                    self._stop(failure)
        with self._changed:
            self._changed.wait_for(lambda: not self._in_work, timeout=GRACE_S)
            error = self._error or (Stopped("The run was stopped.") if self._left else None)
            return tuple(self._tiles), error

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
        self._over.set()
        if self._error is None or isinstance(self._error, Stopped):
            self._error = error

    def _leave(self) -> None:
        self._in_work -= 1
        if not self._left or self._over.is_set():
            self._changed.notify_all()

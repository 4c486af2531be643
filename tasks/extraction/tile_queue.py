"""The tiles of a batch on their way: threads of a session take them one by one, and whoever runs the batch waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from tasks.earthengine.errors import Stopped
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import StorageError

# Seconds between looks whether the session was stopped elsewhere.
LOOK_S = 1.0
# Seconds at the most between two receipts of a batch that goes on. What a killed process loses of them is not lost: its
# tiles are found again, but each must be read for that.
KEEP_S = 10.0
# Requests that are in flight when a session stops have so long to end, and to be stored.
GRACE_S = 20.0


class TileQueue:
    """Some tiles. None waits in a list of work: they are numbers until a thread takes them. Safe in threads.

    Args:
        tiles: Their numbers, each once.
        fetch: Returns the receipt of a tile; what it raises stops the session.
        over: Set when the session is stopped, here or elsewhere: no tile is taken any more.
    """

    def __init__(self, tiles: Sequence[int], *, fetch: Callable[[int], TileReceipt], over: threading.Event) -> None:
        self._fetch, self._over = fetch, over
        self._changed = threading.Condition()  # guards all below
        self._untaken = iter(tiles)
        self._left = len(tiles)
        self._in_work = 0
        self._tiles: list[TileReceipt] = []
        self._error: BaseException | None = None

    def work(self) -> None:
        """Take tiles until there are no more: what a thread of the session does."""
        while (index := self._take()) is not None:
            try:
                self._end(self._fetch(index))
            except BaseException as error:  # noqa: BLE001 - whatever it is, who waits for the batch shall raise it
                self._fail(error)

    def wait(self, keep: Callable[[Sequence[TileReceipt]], None]) -> tuple[Sequence[TileReceipt], BaseException | None]:
        """Wait until all tiles have ended, or the session is over and those in work had time to end.

        Args:
            keep: Called now and then with the receipts of the tiles that have ended, so that little is lost with the
                process.

        Returns:
            The receipts of the tiles that ended, and what stopped the session before the rest: the cause before
            its consequences, ``Stopped`` where it lies elsewhere.
        """
        begun = kept = time.monotonic()
        known = 0
        while self._goes_on():
            due = kept + min(KEEP_S, max(LOOK_S, (kept - begun) / 2))  # often at first, when there is little to write
            ended = self._ended() if time.monotonic() >= due else ()
            if len(ended) > known:
                kept, known = time.monotonic(), len(ended)
                try:
                    keep(ended)
                except StorageError as failure:
                    self._stop(failure)
        with self._changed:
            self._changed.wait_for(lambda: not self._in_work, timeout=GRACE_S)
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
        with self._changed:  # a condition's lock may be taken again by the thread that has it
            self._over.set()
            if self._error is None or isinstance(self._error, Stopped):
                self._error = error

    def _leave(self) -> None:
        self._in_work -= 1
        if not self._left or self._over.is_set():
            self._changed.notify_all()

"""Progress of a run: a bar in the Prefect UI, lines in the log, and watchers in this process (the terminal's bar)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

from humanize import precisedelta
from prefect import get_run_logger
from prefect.artifacts import update_progress_artifact

from tasks.extraction.session import FetchSession
from tasks.prefect_io.impatience import ignoring_server_errors, progress_artifact

# A function that is called with the tiles done, the tiles in total, and the line of the log.
Watcher = Callable[[int, int, str], None]
_watchers: list[Watcher] = []


@contextlib.contextmanager
def watched(by: Watcher) -> Iterator[None]:
    """Call a watcher with the progress of this process's runs, about twice a second, during the `with` block."""
    _watchers.append(by)
    try:
        yield
    finally:
        _watchers.remove(by)


def report_stop(session: FetchSession, *, by_hand: bool) -> None:
    """Log that a run stops, and how long that may take.

    Args:
        session: The session, which was stopped.
        by_hand: Whether it was Ctrl-C, so that another one is possible.
    """
    count, again = session.permits.awaited, " To end at once, press Ctrl-C again." if by_hand else ""
    requests = "no request is in flight" if not count else f"up to {session.stop.left_s:.0f} s for {in_flight(count)}"
    get_run_logger().info("Stopping: %s.%s", requests, again)


def in_flight(count: int) -> str:
    """Return a number of requests in flight as text."""
    return f"{count} request{'s'[: count != 1]} in flight"


class Progress:
    """The progress bar in the UI and the lines in the log while tiles are fetched. A server that is away stops neither.

    While a run stops, the bar goes on: stored tiles count.

    Args:
        total: Number of tiles.
        show: Function that publishes other artifacts before the bar, such as the plan.
    """

    ARTIFACT_S, STOPPING_S, LOG_S, PAUSE_S = 5.0, 2.0, 30.0, 60.0

    def __init__(self, total: int, show: Callable[[], None]) -> None:
        self._total = total
        self._shown = self._logged = time.monotonic()
        self._artifact: UUID | None = None
        self._failing = self._stopping = False
        self._every = self.ARTIFACT_S
        with ignoring_server_errors():
            show()
            self._artifact = progress_artifact(key="progress", description=f"{total} tiles")

    def show(self, session: FetchSession, *, last: bool = False) -> None:
        """Show the progress of a session: every 5 s in the UI, every 30 s in the log, at each call to watchers.

        Args:
            session: The session.
            last: Whether the run has stopped, so that the bar does not change any more.
        """
        tally, now, words = session.tally, time.monotonic(), self._words(session)
        if last:
            words = f"Stopped: {tally.done:,} of {self._total:,} tiles"
        for watcher in _watchers:
            watcher(tally.done, self._total, words)
        over, stopping = tally.done >= self._total or last, session.stop.is_set()
        if stopping and not self._stopping:
            self._stopping, self._every = True, self.STOPPING_S
            self._shown = self._shown if self._failing else now - self._every  # at once
        if self._artifact and ((over and not (last and self._failing)) or now - self._shown >= self._every):
            self._failing = True
            with ignoring_server_errors():
                update_progress_artifact(self._artifact, 100 * tally.done / self._total, description=words)
                self._failing = False
            self._artifact = None if over else self._artifact  # the bar is complete
            self._shown = time.monotonic() + (self.PAUSE_S if self._failing else 0)
        if now - self._logged >= self.LOG_S and not stopping:
            self._logged = now
            get_run_logger().info("%s", words)

    def _words(self, session: FetchSession) -> str:
        """Return the line of the log."""
        tally, per_second = session.tally, session.tally.per_second
        tiles = f"{tally.done:,} of {self._total:,} tiles"
        if session.stop.is_set():
            return f"Stopping: {tiles}, {in_flight(session.permits.awaited)}"
        words = [
            tiles,
            f"{per_second or 0:.1f} tiles a second",
            f"{session.permits.in_flight} of {session.permits.slots} slots in use",
            f"{tally.throttled} requests throttled",
        ]
        if tally.hedged:
            words.append(f"{tally.hedged} requests sent a second time")
        if tally.restricted:
            words.append("project in restricted mode")
        if tally.failed:
            words.append(f"{tally.failed} tiles failed")
        if per_second and tally.done < self._total:
            words.append(f"{duration_text((self._total - tally.done) / per_second)} left")
        return ", ".join(words)


def duration_text(seconds: float) -> str:
    """Return a duration as text: `12.5 s`, `1 minute and 45 seconds`, from ten minutes `3 hours and 20 minutes`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    unit = "seconds" if seconds < 600 else "minutes"
    return str(precisedelta(timedelta(seconds=round(seconds)), minimum_unit=unit, format="%d"))

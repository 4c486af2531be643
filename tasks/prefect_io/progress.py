"""Progress of a run: a bar in the Prefect UI, lines in the log, and watchers in this process (the terminal's bar)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import cast
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


class Progress:
    """The progress bar in the UI and the lines in the log while tiles are fetched. A server that is away stops neither.

    Args:
        total: Number of tiles.
        show: Function that publishes other artifacts before the bar, such as the plan.
    """

    ARTIFACT_S, LOG_S, PAUSE_S = 5.0, 30.0, 60.0

    def __init__(self, total: int, show: Callable[[], None]) -> None:
        self._total = total
        self._shown = self._logged = time.monotonic()
        self._artifact: UUID | None = None
        self._failing = False
        with ignoring_server_errors():
            show()
            self._artifact = cast("UUID | None", progress_artifact(0.0, key="progress", description=f"{total} tiles"))

    def show(self, session: FetchSession) -> None:
        """Show the progress of a session: every 5 s in the UI, every 30 s in the log, at each call to watchers."""
        tally, now = session.tally, time.monotonic()
        for watcher in _watchers:
            watcher(tally.done, self._total, self._words(session))
        over = tally.done >= self._total
        if self._artifact and (over or now - self._shown >= self.ARTIFACT_S):
            self._failing = True
            with ignoring_server_errors():
                update_progress_artifact(
                    self._artifact, 100 * tally.done / self._total, description=self._words(session)
                )
                self._failing = False
            self._artifact = None if over else self._artifact  # the bar is complete
            self._shown = time.monotonic() + (self.PAUSE_S if self._failing else 0)
        if now - self._logged >= self.LOG_S:
            self._logged = now
            get_run_logger().info("%s", self._words(session))

    def _words(self, session: FetchSession) -> str:
        tally, per_second = session.tally, session.tally.per_second
        words = [
            f"{tally.done:,} of {self._total:,} tiles",
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

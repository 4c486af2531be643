"""How far a run is, while lanes run: in the UI, in the log, and for whoever watches in this process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import cast
from uuid import UUID

from humanize import precisedelta
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.extraction.session import FetchSession

# What is told how far a run is: done, total, and the same in words.
Watcher = Callable[[int, int, str], None]
_watchers: list[Watcher] = []


@contextlib.contextmanager
def watched(by: Watcher) -> Iterator[None]:
    """Tell somebody in this process how far runs are, twice a second, for as long as the block."""
    _watchers.append(by)
    try:
        yield
    finally:
        _watchers.remove(by)


class Progress:
    """A progress bar in the UI and lines in the log, while lanes run. A server that is away stops neither them nor us.

    Args:
        total: Tiles.
        show: Shows what comes before it.
    """

    ARTIFACT_S, LOG_S = 5.0, 30.0

    def __init__(self, total: int, show: Callable[[], None]) -> None:
        self._total = total
        self._shown = self._logged = time.monotonic()
        self._artifact: UUID | None = None
        with ignoring_server_errors():
            show()
            # Called in a flow or task without an event loop, the client's functions are synchronous.
            self._artifact = cast("UUID", create_progress_artifact(0.0, key="progress", description=f"{total} tiles"))

    def show(self, session: FetchSession) -> None:
        """Show how far it is, unless that was just done."""
        tally, now = session.tally, time.monotonic()
        for tell in _watchers:
            tell(tally.done, self._total, self._words(session))
        over = tally.done >= self._total
        if self._artifact and (over or now - self._shown >= self.ARTIFACT_S):
            with ignoring_server_errors():
                update_progress_artifact(
                    self._artifact, 100 * tally.done / self._total, description=self._words(session)
                )
                self._artifact = None if over else self._artifact  # it is complete
            self._shown = time.monotonic()
        if now - self._logged >= self.LOG_S:
            self._logged = now
            get_run_logger().info("%s", self._words(session))

    def _words(self, session: FetchSession) -> str:
        tally, per_second = session.tally, session.tally.per_second
        words = [
            f"{tally.done:,} of {self._total:,} tiles",
            f"{per_second or 0:.1f} a second",
            f"{session.permits.in_flight} of {session.permits.slots} slots in flight",
            f"{tally.throttled} throttled",
        ]
        if tally.restricted:
            words.append("in restricted mode")
        if tally.failed:
            words.append(f"{tally.failed} failed")
        if per_second and tally.done < self._total:
            words.append(f"{duration_text((self._total - tally.done) / per_second)} to go")
        return ", ".join(words)


@contextlib.contextmanager
def ignoring_server_errors() -> Iterator[None]:
    """Let a server that is away cost an artifact, and not the run."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - pixels matter more than a picture of their progress
        get_run_logger().warning("The Prefect server did not take an artifact: %r", error)


def duration_text(seconds: float) -> str:
    """Return a time as a person says it: `12.5 s`, `3 hours and 20 minutes`."""
    return (
        f"{seconds:.1f} s"
        if seconds < 60
        else precisedelta(timedelta(seconds=seconds), minimum_unit="minutes", format="%d")
    )

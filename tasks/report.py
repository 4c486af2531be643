"""What a run leaves in the Prefect UI: its plan, its progress, its summary and a picture."""

from __future__ import annotations

import base64
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import cast
from uuid import UUID

from humanize import naturalsize, precisedelta
from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from tasks.earthengine.errors import Throttled, Transient
from tasks.earthengine.plan import Estimate, Plan
from tasks.earthengine.run import Run
from tasks.earthengine.tiles import is_code
from tasks.raster.crs import crs_of
from tasks.storage.receipt import TileReceipt

FAILURES_SHOWN = 100
# What the reasons of failed tiles begin with that may succeed a while later.
PASSING = (f"{Transient.__name__}:", f"{Throttled.__name__}:")


class ExtractionFailedError(RuntimeError):
    """Tiles are missing: the message says how many, why, and where the rest is.

    Args:
        message: That.
        passing: Whether all of them failed for reasons that pass by themselves.
    """

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message, passing)
        self.passing = passing

    def __str__(self) -> str:
        return str(self.args[0])


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
        with _forgiving():
            show()
            # Called in a flow or task without an event loop, the client's functions are synchronous.
            self._artifact = cast("UUID", create_progress_artifact(0.0, key="progress", description=f"{total} tiles"))

    def show(self, run: Run) -> None:
        """Show how far it is, unless that was just done."""
        tally, now = run.tally, time.monotonic()
        over = tally.done >= self._total
        if self._artifact and (over or now - self._shown >= self.ARTIFACT_S):
            with _forgiving():
                update_progress_artifact(self._artifact, 100 * tally.done / self._total, description=self._words(run))
                self._artifact = None if over else self._artifact  # it is complete
            self._shown = time.monotonic()
        if now - self._logged >= self.LOG_S:
            self._logged = now
            get_run_logger().info("%s", self._words(run))

    def _words(self, run: Run) -> str:
        tally, per_second = run.tally, run.tally.per_second
        words = [
            f"{tally.done:,} of {self._total:,} tiles",
            f"{per_second or 0:.1f} a second",
            f"{run.permits.in_flight} of {run.permits.slots} slots in flight",
            f"{tally.throttled} throttled",
        ]
        if tally.restricted:
            words.append("in restricted mode")
        if tally.failed:
            words.append(f"{tally.failed} failed")
        if per_second and tally.done < self._total:
            words.append(f"{in_words((self._total - tally.done) / per_second)} to go")
        return ", ".join(words)


@contextlib.contextmanager
def _forgiving() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - pixels matter more than a picture of their progress
        get_run_logger().warning("The Prefect server did not take an artifact: %r", error)


def show_plan(plan: Plan, cost: Estimate, *, in_flight: int, stored: int) -> None:
    """Show what a run does; `stored` tiles of it are there already."""
    first, seconds = plan.grid(0), max(cost.requests / in_flight, cost.best_seconds)
    crs = first.crs if is_code(first.crs) else crs_of(first.crs).proj.name
    rows = [
        ("requests", f"{cost.requests:,}"),
        ("stored already", f"{stored:,}"),
        ("images", f"{len(plan.sources):,}"),
        ("tiles an image", f"{len(plan.tiles):,}, the first {first.width} x {first.height} px in {crs}"),
        ("bands", ", ".join(f"{band.id} ({band.dtype})" for band in plan.bands)),
        ("bytes, uncompressed, as Earth Engine counts them", naturalsize(cost.bytes, binary=True)),
        ("best time at the rate limit", in_words(cost.best_seconds)),
        ("time at 1 s a request", f"{in_words(seconds)} with {in_flight} in flight"),
        ("fingerprint", plan.fingerprint[:12]),
    ]
    text = "\n".join(f"| {name} | {value} |" for name, value in rows)
    create_markdown_artifact(f"# Plan\n\n| | |\n|---|---|\n{text}\n", key="plan", description="What will be fetched")


def log_plan(plan: Plan, cost: Estimate, *, in_flight: int) -> None:
    """Say what a run is going to do, before anything is spent."""
    get_run_logger().info(
        "plan %s: %d requests, %s, at 1 s a request %s",
        plan.fingerprint[:12],
        cost.requests,
        naturalsize(cost.bytes, binary=True),
        in_words(max(cost.requests / in_flight, cost.best_seconds)),
    )


def in_words(seconds: float) -> str:
    """Return a time as a person says it: `12.5 s`, `3 hours and 20 minutes`."""
    return (
        f"{seconds:.1f} s"
        if seconds < 60
        else precisedelta(timedelta(seconds=seconds), minimum_unit="minutes", format="%d")
    )


def show_picture(png: bytes) -> None:
    """Show a quicklook. The picture is part of the artifact, so that it is seen wherever the UI is."""
    create_image_artifact("data:image/png;base64," + base64.b64encode(png).decode(), key="quicklook")


def show_summary(
    plan: Plan,
    tiles: Sequence[TileReceipt],
    *,
    seconds: float,
    best_seconds: float,
    output: str,
    suggested_side: int | None = None,
) -> None:
    """Show what became of a plan, and its failures with their reasons."""
    counts = Counter(tile.status for tile in tiles)
    stored = sum(tile.size for tile in tiles)
    text = (
        f"# {plan.name} {plan.fingerprint[:12]}\n\n"
        f"| tiles | stored | empty | failed | bytes stored | requests repeated | seconds | best possible |\n"
        f"|---|---|---|---|---|---|---|---|\n"
        f"| {len(tiles)} | {counts['stored']} | {counts['empty']} | {counts['failed']} "
        f"| {naturalsize(stored, binary=True)} "
        f"| {sum(tile.attempts - 1 for tile in tiles)} | {seconds:.1f} | {best_seconds:.1f} |\n\n"
        f"Output: `{output}`\n"
    )
    if suggested_side is not None:
        field = "size" if plan.name == "patches" else "tile_size"
        text += f"\nTiles were too heavy for one request and came in parts: `{field}={suggested_side}` fits.\n"
        get_run_logger().info("Tiles came in parts: next time, %s=%d fits.", field, suggested_side)
    create_markdown_artifact(text, key="summary", description="What became of the plan")
    if counts["empty"] == len(tiles):
        get_run_logger().warning("No pixel of it is valid: is it the right place and time?")
    failures = [{"tile": tile.index, "reason": tile.reason or ""} for tile in failed_tiles(tiles)[:FAILURES_SHOWN]]
    if failures:
        create_table_artifact(failures, key="failures", description=f"{counts['failed']} tiles failed")


def failed_tiles(tiles: Iterable[TileReceipt]) -> list[TileReceipt]:
    """The tiles that failed."""
    return [tile for tile in tiles if tile.status == "failed"]


def check_complete(tiles: Sequence[TileReceipt], *, expected: int, output: str, allow_failures: bool) -> None:
    """Hold the run against its plan: expected = stored + empty + failed.

    Raises:
        ExtractionFailedError: a tile is missing, or one failed and the caller does not allow it.
    """
    failed = failed_tiles(tiles)
    seen = {tile.index for tile in tiles}
    if seen == set(range(expected)) and (allow_failures or not failed):
        return
    reasons = Counter(tile.reason or "" for tile in failed)
    lines = [f"  {count} x {reason}" for reason, count in reasons.most_common(5)]
    raise ExtractionFailedError(
        "\n".join(
            [
                f"{len(failed)} of {expected} tiles failed, {expected - len(seen)} are missing:",
                *lines,
                (
                    f"{len(tiles) - len(failed)} tiles are in {output}. Mend the cause and run the same again: only "
                    "the others are fetched. Or set allow_failures to leave holes."
                ),
            ]
        ),
        passing=bool(failed) and all((tile.reason or "").startswith(PASSING) for tile in failed),
    )

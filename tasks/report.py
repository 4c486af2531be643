"""What a run leaves in the Prefect UI: its plan, its progress, its summary and a picture."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from tasks.earthengine.plan import Estimate, Plan
from tasks.storage.receipt import TileReceipt

MEBIBYTE = 2**20
FAILURES_SHOWN = 100


class ExtractionFailedError(RuntimeError):
    """Tiles are missing: the message says how many, why, and where the rest is."""


class Progress:
    """A progress bar in the UI and a line in the log, moved as batches end."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        # Called in a flow or task without an event loop, the client's functions are synchronous.
        self._artifact = cast("UUID", create_progress_artifact(0.0, description=f"{total} tiles"))

    def add(self, tiles: Sequence[TileReceipt]) -> None:
        """Count tiles that are done."""
        self._done += len(tiles)
        share = 100 * self._done / self._total
        update_progress_artifact(self._artifact, share)
        get_run_logger().info("%d of %d tiles (%.0f %%)", self._done, self._total, share)


def show_plan(plan: Plan, cost: Estimate, *, in_flight: int) -> None:
    """Show what a run is going to do, before anything is spent."""
    first = plan.grid(0)
    rows = [
        ("requests", f"{cost.requests:,}"),
        ("images", f"{len(plan.sources):,}"),
        ("tiles an image", f"{len(plan.tiles):,}, the first {first.width} x {first.height} px in {first.crs[:40]}"),
        ("bands", ", ".join(f"{band.id} ({band.dtype})" for band in plan.bands)),
        ("bytes, uncompressed, as Earth Engine counts them", f"{cost.bytes / MEBIBYTE:,.1f} MiB"),
        ("best time at the rate limit", f"{cost.best_seconds:,.1f} s"),
        ("time at 1 s a request", f"{cost.requests / in_flight:,.1f} s with {in_flight} in flight"),
        ("fingerprint", plan.fingerprint[:12]),
    ]
    text = "\n".join(f"| {name} | {value} |" for name, value in rows)
    create_markdown_artifact(f"# Plan\n\n| | |\n|---|---|\n{text}\n", key="plan", description="What will be fetched")
    get_run_logger().info(
        "plan %s: %d requests, %.1f MiB, at least %.1f s",
        plan.fingerprint[:12],
        cost.requests,
        cost.bytes / MEBIBYTE,
        cost.best_seconds,
    )


def show_picture(png: bytes) -> None:
    """Show a quicklook. The picture is part of the artifact, so that it is seen wherever the UI is."""
    create_image_artifact("data:image/png;base64," + base64.b64encode(png).decode(), key="quicklook")


def show_summary(plan: Plan, tiles: Sequence[TileReceipt], *, seconds: float, best_seconds: float, output: str) -> None:
    """Show what became of a plan, and its failures with their reasons."""
    counts = Counter(tile.status for tile in tiles)
    stored = sum(tile.size for tile in tiles)
    text = (
        f"# {plan.name} {plan.fingerprint[:12]}\n\n"
        f"| tiles | stored | empty | failed | MiB stored | requests repeated | seconds | best possible |\n"
        f"|---|---|---|---|---|---|---|---|\n"
        f"| {len(tiles)} | {counts['stored']} | {counts['empty']} | {counts['failed']} | {stored / MEBIBYTE:.1f} "
        f"| {sum(tile.attempts - 1 for tile in tiles)} | {seconds:.1f} | {best_seconds:.1f} |\n\n"
        f"Output: `{output}`\n"
    )
    create_markdown_artifact(text, key="summary", description="What became of the plan")
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
                    f"{len(tiles) - len(failed)} tiles are in {output}. Mend the cause and run again, "
                    "or set allow_failures to leave holes."
                ),
            ]
        )
    )

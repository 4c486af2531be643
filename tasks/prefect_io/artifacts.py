"""Artifacts of a flow run in the Prefect UI: plan, map, pictures, summary, failures, files."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from humanize import naturalsize
from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from tasks.extraction.audit import KINDS, Audit
from tasks.extraction.completeness import failed_tiles
from tasks.extraction.cost import Cost, remaining, seconds_at_one_each
from tasks.extraction.permits import Pace
from tasks.plan.plan import Plan
from tasks.plan.tiles import is_code
from tasks.prefect_io.progress import duration_text, ignoring_server_errors
from tasks.products.coverage import draw
from tasks.raster.crs import crs_of
from tasks.raster.tile_map import Status
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store

FAULTS_SHOWN = 1000


def show_audit(audit: Audit, store: Store) -> None:
    """Show what is stored of each plan, and each fault with its file."""
    log = get_run_logger()
    rows = []
    for plan in audit.plans:
        counts, folder = plan.counts(), plan.plan.folder
        state = "superseded" if folder in audit.superseded else "complete" if plan.complete else "incomplete"
        rows.append(
            f"| {folder} | {state} | {len(plan.plan):,} | " + " | ".join(f"{counts[k]:,}" for k in KINDS) + " |"
        )
        words = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
        log.info("%s is %s: %s", folder, state, words)
    notes = [f"- {folder}: {reason}" for folder, reason in audit.unreadable.items()]
    if audit.unclaimed:
        size = naturalsize(sum(stored.size for stored in audit.unclaimed))
        notes.append(
            f"- {len(audit.unclaimed):,} tiles ({size}) that no plan, or only a superseded one, holds: `prune` them"
        )
    if audit.foreign:
        notes.append(
            f"- {len(audit.foreign):,} foreign files among the tiles, such as `{audit.foreign[0]}`: left alone"
        )
    for note in notes:
        log.warning("%s", note.removeprefix("- "))
    head = f"| plan | state | tiles | {' | '.join(KINDS)} |\n|{'---|' * (len(KINDS) + 3)}"
    text = "\n".join([f"# Audit\n\nOutput: `{store.uri}`\n\n{head}", *rows, "", *notes])
    create_markdown_artifact(f"{text}\n", key="audit", description="What is stored")
    faults = [
        {"plan": tile.plan, "tile": tile.tile, "file": tile.key, "fault": str(tile.fault)}
        for tile in audit.faults[:FAULTS_SHOWN]
    ]
    if faults:
        create_table_artifact(faults, key="faults", description=f"{len(audit.faults)} tiles are not as they should be")


def show_grid(plan: Plan, stored: Sequence[TileReceipt]) -> None:
    """Show the grid of a plan, and which of its tiles are stored already."""
    with ignoring_server_errors():
        png = draw(plan, stored, without=Status.PLANNED)
        show_picture(png, key="grid", description="Tiles to fetch, and those that are stored already")


FAILURES_SHOWN = 100
# Of the files of a series.
FILES_SHOWN = 50


def show_plan(plan: Plan, *, stored: int, pace: Pace) -> None:
    """Show what a run does; `stored` tiles of it are there already."""
    cost, first = remaining(plan, stored=stored, pace=pace), plan.grid(0)
    crs = first.crs if is_code(first.crs) else crs_of(first.crs).proj.name
    rows = [
        ("tiles", f"{len(plan):,}"),
        ("stored already", f"{stored:,}"),
        ("requests to make", f"{cost.requests:,}"),
        ("images", f"{len(plan.sources):,}"),
        ("tiles an image", f"{len(plan.tiles):,}, the first {first.width} x {first.height} px in {crs}"),
        ("bands", ", ".join(f"{band.id} ({band.dtype})" for band in plan.bands)),
        ("bytes to come, uncompressed, as Earth Engine counts them", naturalsize(cost.bytes, binary=True)),
        ("best time at the rate limit", duration_text(cost.best_seconds)),
        ("time at 1 s a request", f"{duration_text(seconds_at_one_each(cost, pace))} with {pace.in_flight} in flight"),
        ("fingerprint", plan.fingerprint[:12]),
    ]
    text = "\n".join(f"| {name} | {value} |" for name, value in rows)
    create_markdown_artifact(f"# Plan\n\n| | |\n|---|---|\n{text}\n", key="plan", description="What will be fetched")


def log_plan(plan: Plan, *, stored: int, pace: Pace) -> None:
    """Say what a run is going to do, before anything is spent."""
    cost = remaining(plan, stored=stored, pace=pace)
    get_run_logger().info(
        "plan %s: %d requests, %s, at 1 s a request %s",
        plan.fingerprint[:12],
        cost.requests,
        naturalsize(cost.bytes, binary=True),
        duration_text(seconds_at_one_each(cost, pace)),
    )


def show_picture(png: bytes, *, key: str = "quicklook", description: str = "What the pixels show") -> None:
    """Show a picture. It is part of the artifact, so that it is seen wherever the UI is."""
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    create_image_artifact(url, key=key, description=description)


def show_summary(
    plan: Plan, tiles: Sequence[TileReceipt], spent: Cost, *, output: str, suggested_side: int | None = None
) -> None:
    """Show what became of a plan, the time beside the best possible, and its failures with their reasons."""
    counts = Counter(tile.status for tile in tiles)
    best = spent.best_seconds
    rows = [
        ("tiles", f"{len(tiles):,} of {len(plan):,}"),
        ("stored", f"{counts['stored']:,} ({naturalsize(sum(tile.size for tile in tiles), binary=True)})"),
        ("empty: no valid pixel", f"{counts['empty']:,}"),
        ("failed", f"{counts['failed']:,}"),
        ("fetched by this run", f"{len(spent.fetched):,}"),
        ("requests repeated", f"{sum(max(tile.attempts - 1, 0) for tile in spent.fetched):,}"),
        ("time", duration_text(spent.seconds)),
        (
            "best possible at the quota, with requests as slow as these",
            f"{duration_text(best)} ({best / spent.seconds:.0%})" if spent.fetched else "0.0 s",
        ),
    ]
    text = f"# {plan.folder}\n\n| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)
    text += f"\nOutput: `{output}`\n"
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


def show_outputs(result: Mapping[str, object]) -> None:
    """Show where the files of a result are; those of a bucket as links that a browser opens."""
    rows = []
    for name, value in result.items():
        files = value if isinstance(value, Mapping) else {"": value}
        for label, path in list(files.items())[:FILES_SHOWN]:
            if isinstance(path, str) and name != "fingerprint":
                rows.append(f"| {' '.join(filter(None, (name, label)))} | {_link(path)} |\n")
        if len(files) > FILES_SHOWN:
            rows.append(f"| {name} | and {len(files) - FILES_SHOWN:,} more |\n")
    text = "# Output\n\n| | |\n|---|---|\n" + "".join(rows)
    create_markdown_artifact(text, key="output", description="Where it is")


def _link(path: str) -> str:
    bucket = re.match(r"gs://([^/]+)/?(.*)", path)
    if not bucket:
        return f"`{path}`"
    kind = "_details/" if re.search(r"\.[a-z]+$", path) else ""
    return f"[{path}](https://console.cloud.google.com/storage/browser/{kind}{bucket[1]}/{quote(bucket[2])})"

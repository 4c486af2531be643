"""Artifacts of a flow run in the Prefect UI: plan, map, pictures, summary, failures, output, audit."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, islice

from humanize import naturalsize
from prefect import get_run_logger

from tasks.errors.shown_text import markdown, markdown_code
from tasks.extraction.audit import KINDS, Audit
from tasks.extraction.completeness import NO_NAMES, failed_tiles
from tasks.extraction.cost import Cost, remaining, seconds_at_one_each
from tasks.extraction.faulty_tiles import FaultyTile
from tasks.extraction.permits import Pace
from tasks.extraction.tile_file import planned
from tasks.plan.plan import Plan
from tasks.plan.tiles import is_code
from tasks.prefect_io.impatience import ignoring_server_errors, image_artifact, markdown_artifact, table_artifact
from tasks.prefect_io.progress import duration_text
from tasks.products.coverage import draw
from tasks.raster.crs import crs_of
from tasks.raster.tile_map import Status
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store

FAULTS_SHOWN = 1000


def show_audit(audit: Audit, store: Store, *, before: Audit | None = None) -> None:
    """Publish the artifacts `audit` (tiles of each plan, by status) and `faults` (tile, file and fault).

    At most 1,000 faults are listed.

    Args:
        audit: What was found.
        store: The output.
        before: What had been found before a repair. Its faults are listed, too, each as repaired if it is gone.
    """
    log = get_run_logger()
    rows = []
    for plan in audit.plans:
        counts, folder = plan.counts(), plan.plan.folder
        state = "superseded" if folder in audit.superseded else "complete" if plan.complete else "incomplete"
        rows.append(
            f"| {markdown(folder)} | {state} | {len(plan.plan):,} | "
            + " | ".join(f"{counts[k]:,}" for k in KINDS)
            + " |"
        )
        words = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
        log.info("%s is %s: %s", folder, state, words)
    unusable = [*audit.unreadable.items(), *audit.refused.items()]
    notes = []
    if audit.unclaimed:
        size = naturalsize(sum(stored.size for stored in audit.unclaimed))
        notes.append(
            f"- {len(audit.unclaimed):,} tiles ({size}) belong to no plan, or only to a superseded one: "
            "`prune` removes them"
        )
    if audit.foreign:
        notes.append(
            f"- {len(audit.foreign):,} files among the tiles are not from Pixel Quarry, such as "
            f"{markdown_code(audit.foreign[0])}: they are never changed"
        )
    for folder, reason in unusable:
        log.warning("%s: %s", folder, reason)
    for note in notes:
        log.warning("%s", note.removeprefix("- "))
    notes = [f"- {markdown(folder)}: {markdown(reason)}" for folder, reason in unusable] + notes
    head = f"| plan | state | tiles | {' | '.join(KINDS)} |\n|{'---|' * (len(KINDS) + 3)}"
    text = "\n".join([f"# Audit\n\nOutput: {markdown_code(store.uri)}\n\n{head}", *rows, "", *notes])
    markdown_artifact(f"{text}\n", key="audit", description="What is stored")
    there = [_fault_row(tile) for tile in islice(audit.faults, FAULTS_SHOWN)]
    shown = f"{audit.fault_count:,} tiles have a fault"
    if before is not None:
        repaired = audit.repaired_since(before)
        there = [{"now": "not repaired"} | row for row in there]
        gone = islice(chain.from_iterable(repaired), FAULTS_SHOWN - len(there))
        there += [{"now": "repaired"} | _fault_row(tile) for tile in gone]
        shown = f"{sum(map(len, repaired)):,} of {before.fault_count:,} tiles are repaired"
        shown += f", {audit.fault_count:,} have a fault" if audit.fault_count else ""
        log.info("Repair: %s", shown)
    if there:
        table_artifact(there, key="faults", description=shown)


def _fault_row(tile: FaultyTile) -> dict[str, object]:
    return {"plan": markdown(tile.plan), "tile": tile.tile, "file": markdown(tile.key), "fault": markdown(tile.fault)}


def show_grid(plan: Plan, stored: Sequence[TileReceipt], *, label: str = "") -> None:
    """Publish the artifact `grid`: a map of the plan's tiles, in which those already stored are marked."""
    with ignoring_server_errors():
        png = draw(plan, stored, without=Status.PLANNED, label=label)
        show_picture(png, key="grid", description="Tiles to fetch, and tiles already stored")


FAILURES_SHOWN = 100


def show_plan(plan: Plan, *, stored: int, pace: Pace) -> None:
    """Publish the artifact `plan`: what the run will fetch.

    Args:
        plan: The plan.
        stored: Number of its tiles that are stored already.
        pace: Requests in flight and requests a second that the run may use.
    """
    cost, first = remaining(plan, stored=stored, pace=pace), plan.grid(0)
    crs = first.crs if is_code(first.crs) else crs_of(first.crs).proj.name
    rows = [
        ("tiles", f"{len(plan):,}"),
        ("already stored", f"{stored:,}"),
        ("requests to make", f"{cost.requests:,}"),
        ("images", f"{len(plan.sources):,}"),
        ("tiles per image", f"{len(plan.tiles):,}, the first {first.width} x {first.height} px in {markdown(crs)}"),
        ("bands", markdown(", ".join(f"{band.id} ({band.dtype})" for band in plan.bands))),
        *([("type of the files", f"{alike.dtype}, nodata {alike.nodata:g}")] if (alike := planned(plan)) else []),
        ("data to fetch, uncompressed, as Earth Engine counts it", naturalsize(cost.bytes, binary=True)),
        ("shortest time that the rate limit allows", duration_text(cost.best_seconds)),
        (
            "time if each request takes 1 s",
            f"{duration_text(seconds_at_one_each(cost, pace))} with {pace.in_flight} requests in flight",
        ),
        ("fingerprint", plan.fingerprint[:12]),
    ]
    text = "\n".join(f"| {name} | {value} |" for name, value in rows)
    doubts = "".join(f"**Check this first:** {markdown(doubt)}\n\n" for doubt in plan.doubts)
    markdown_artifact(f"# Plan\n\n{doubts}| | |\n|---|---|\n{text}\n", key="plan", description="What will be fetched")


def log_plan(plan: Plan, *, stored: int, pace: Pace) -> None:
    """Log the doubts, the requests, the bytes and the expected time of a run, before the first pixel request.

    Args:
        plan: The plan.
        stored: Number of its tiles that are stored already.
        pace: Requests in flight and requests a second that the run may use.
    """
    for doubt in plan.doubts:
        get_run_logger().warning("%s", doubt)
    cost = remaining(plan, stored=stored, pace=pace)
    get_run_logger().info(
        "Plan %s: %d requests, %s uncompressed, %s if each request takes 1 s",
        plan.fingerprint[:12],
        cost.requests,
        naturalsize(cost.bytes, binary=True),
        duration_text(seconds_at_one_each(cost, pace)),
    )


def show_picture(png: bytes, *, key: str = "quicklook", description: str = "Preview of the pixels") -> None:
    """Publish a picture as an artifact. The artifact holds the PNG itself, so the UI needs no access to the output."""
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    image_artifact(url, key=key, description=description)


def show_summary(
    plan: Plan,
    tiles: Sequence[TileReceipt],
    spent: Cost,
    *,
    output: str,
    suggested_side: int | None = None,
    names: Mapping[int, str] = NO_NAMES,
) -> None:
    """Publish the artifacts `summary` (tiles by status, time against the best possible) and `failures` (with reasons).

    Args:
        plan: The plan.
        tiles: Receipts of all its tiles.
        spent: What the run spent on its requests.
        output: Address of the output.
        suggested_side: Side of tiles, in pixels, that one request can carry; None = no tile was split.
        names: What the user calls some tiles, by their numbers. Other tiles have the name of their image and place.
    """
    counts = Counter(tile.status for tile in tiles)
    best = spent.best_seconds
    rows = [
        ("tiles", f"{len(tiles):,} of {len(plan):,}"),
        ("stored", f"{counts['stored']:,} ({naturalsize(sum(tile.size for tile in tiles), binary=True)})"),
        ("empty (no valid pixel)", f"{counts['empty']:,}"),
        ("failed", f"{counts['failed']:,}"),
        ("fetched by this run", f"{len(spent.fetched):,}"),
        ("requests repeated", f"{sum(max(tile.attempts - 1, 0) for tile in spent.fetched):,}"),
        ("requests sent a second time (hedged)", f"{spent.hedged:,}"),
        ("time", duration_text(spent.seconds)),
        (
            "best possible at the quota, for requests of this duration",
            f"{duration_text(best)} ({best / spent.seconds:.0%})" if spent.fetched else "0.0 s",
        ),
    ]
    text = f"# {markdown(plan.folder)}\n\n| | |\n|---|---|\n" + "".join(
        f"| {name} | {value} |\n" for name, value in rows
    )
    text += f"\nOutput: {markdown_code(output)}\n"
    if suggested_side is not None:
        field = "size" if plan.name == "patches" else "tile_size"
        text += (
            "\nTiles were too large for one request and were fetched in parts. "
            f"Next time, set `{field}={suggested_side}`.\n"
        )
        get_run_logger().info(
            "Tiles were too large for one request and were fetched in parts. Next time, set %s=%d.",
            *(field, suggested_side),
        )
    markdown_artifact(text, key="summary", description="Tiles by status, and the time")
    if counts["empty"] == len(tiles):
        get_run_logger().warning("The output has no valid pixel. Check the region, the dates and the masks.")
    failures = [
        {
            "tile": tile.index,
            "name": markdown(names.get(tile.index) or _name(plan, tile.index)),
            "reason": markdown(tile.reason or ""),
        }
        for tile in failed_tiles(tiles)[:FAILURES_SHOWN]
    ]
    if failures:
        table_artifact(failures, key="failures", description=f"{counts['failed']} tiles failed")


def _name(plan: Plan, index: int) -> str:
    source, tile = plan.locate(index)
    return " ".join(filter(None, (source.label, plan.tiles.name(tile))))


def show_patches(rows: Sequence[Mapping[str, object]], *, points: int) -> None:
    """Publish the artifact `patches`: the file of each of the first points.

    Args:
        rows: Values of the columns by name, one row for each point that is shown.
        points: Number of all points.
    """
    # The UI shows text in cells as Markdown.
    table = [
        {markdown(name): markdown(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in rows
    ]
    shown = f"{len(rows):,} of {points:,} points: all are in the index" if len(rows) < points else f"{points:,} points"
    table_artifact(table, key="patches", description=shown)

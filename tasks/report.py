"""What a run leaves in the Prefect UI: its name, its plan, its summary, its files and a picture."""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

from humanize import naturalsize
from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.runtime import flow_run

from tasks.earthengine.errors import Throttled, Transient
from tasks.earthengine.permits import Pace
from tasks.earthengine.plan import Estimate, Plan, estimate
from tasks.earthengine.tiles import is_code
from tasks.errors import QuarryError
from tasks.limit import server
from tasks.progress import forgiving, in_words
from tasks.raster.crs import crs_of
from tasks.storage.receipt import TileReceipt

FAILURES_SHOWN = 100
# Of the files of a series.
FILES_SHOWN = 50
# Errors of failed tiles that may succeed a while later.
PASSING = frozenset({Transient.__name__, Throttled.__name__})


class ExtractionFailedError(QuarryError, RuntimeError):
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


def show_plan(plan: Plan, *, stored: int, pace: Pace) -> None:
    """Show what a run does; `stored` tiles of it are there already."""
    cost, first = _left(plan, stored, pace), plan.grid(0)
    crs = first.crs if is_code(first.crs) else crs_of(first.crs).proj.name
    rows = [
        ("tiles", f"{len(plan):,}"),
        ("stored already", f"{stored:,}"),
        ("requests to make", f"{cost.requests:,}"),
        ("images", f"{len(plan.sources):,}"),
        ("tiles an image", f"{len(plan.tiles):,}, the first {first.width} x {first.height} px in {crs}"),
        ("bands", ", ".join(f"{band.id} ({band.dtype})" for band in plan.bands)),
        ("bytes to come, uncompressed, as Earth Engine counts them", naturalsize(cost.bytes, binary=True)),
        ("best time at the rate limit", in_words(cost.best_seconds)),
        ("time at 1 s a request", f"{in_words(_at_a_second(cost, pace))} with {pace.in_flight} in flight"),
        ("fingerprint", plan.fingerprint[:12]),
    ]
    text = "\n".join(f"| {name} | {value} |" for name, value in rows)
    create_markdown_artifact(f"# Plan\n\n| | |\n|---|---|\n{text}\n", key="plan", description="What will be fetched")


def log_plan(plan: Plan, *, stored: int, pace: Pace) -> None:
    """Say what a run is going to do, before anything is spent."""
    cost = _left(plan, stored, pace)
    get_run_logger().info(
        "plan %s: %d requests, %s, at 1 s a request %s",
        plan.fingerprint[:12],
        cost.requests,
        naturalsize(cost.bytes, binary=True),
        in_words(_at_a_second(cost, pace)),
    )


def _left(plan: Plan, stored: int, pace: Pace) -> Estimate:
    """Return the cost of what is not stored yet."""
    whole, share = estimate(plan, per_second=pace.own_per_second), 1 - stored / len(plan)
    return Estimate(
        requests=len(plan) - stored,
        pixels=round(whole.pixels * share),
        bytes=round(whole.bytes * share),
        best_seconds=whole.best_seconds * share,
    )


def _at_a_second(cost: Estimate, pace: Pace) -> float:
    return max(math.ceil(cost.requests / pace.in_flight), cost.best_seconds)


def name_run(plan: Plan, *, dry: bool) -> None:
    """Name the flow run for what it does and where, and tag it so: `region sentinel2_median 32721 20m 812 tiles`."""
    if not flow_run.id:
        return
    kind = flow_run.flow_name.removeprefix("extract-")
    image, places = plan.sources[0].name.partition("/")[0], plan.places()
    dates = f" {len(plan.sources):,} dates" if len(plan.sources) > 1 else ""
    name = f"{'plan of ' if dry else ''}{kind} {image} {places} {_pixel(plan)}{dates} {len(plan):,} tiles"
    with forgiving(), server() as client:
        tags = {*client.read_flow_run(UUID(flow_run.id)).tags, image, places, *(["plan-only"] if dry else [])}
        client.update_flow_run(UUID(flow_run.id), name=name, tags=sorted(tags))


def _pixel(plan: Plan) -> str:
    """Return the size of a pixel with its unit, such as `30m` or `0.00025deg`."""
    grid = plan.grid(0)
    unit = crs_of(grid.crs).proj.axis_info[0].unit_name
    short = {"metre": "m", "degree": "deg", "US survey foot": "ft", "foot": "ft"}
    return f"{abs(grid.affine.a):.6g}{short.get(unit, unit)}"


def show_picture(png: bytes, *, key: str = "quicklook", description: str = "What the pixels show") -> None:
    """Show a picture. It is part of the artifact, so that it is seen wherever the UI is."""
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    create_image_artifact(url, key=key, description=description)


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a run spent on its requests."""

    seconds: float
    """From the first request to the last receipt."""
    fetched: tuple[TileReceipt, ...]
    """The tiles that it asked for."""
    pace: Pace

    @property
    def best_seconds(self) -> float:
        """What the quota allows at best: by the rate, or by the requests' own time, as many at once as may be."""
        requests = sum(tile.attempts for tile in self.fetched)
        busy = sum(tile.seconds for tile in self.fetched)
        longest = max((tile.seconds for tile in self.fetched), default=0.0)
        return max(requests / self.pace.own_per_second, busy / self.pace.in_flight, longest)


def show_summary(
    plan: Plan, tiles: Sequence[TileReceipt], spent: Spent, *, output: str, suggested_side: int | None = None
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
        ("time", in_words(spent.seconds)),
        (
            "best possible at the quota, with requests as slow as these",
            f"{in_words(best)} ({best / spent.seconds:.0%})" if spent.fetched else "0.0 s",
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
        passing=bool(failed) and all(tile.error_kind in PASSING for tile in failed),
    )

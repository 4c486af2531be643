"""The cases of the bench: what each runs once, and the bars that its figures are held to."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.bench import databases, postgres, stored, submits, work
from tests.bench.bench import Bench
from tests.bench.jobs import Sample, run
from tests.bench.replay import replaying
from tests.bench.server import QUOTA
from tests.bench.table import Bar
from tests.chaos.place import Bucket, Folder
from tests.cloud import fake
from tests.proxy import Outage, proxied

FAULTS = {"p_503": 0.01, "p_dropped": 0.005, "p_truncated": 0.002, "p_hanging": 0.001}
# Nothing may ever be lost, wrong or asked for again after it succeeded, whatever else a case is about.
# Nor may an honest request be sent a second time because it is slow.
NOTHING_AMISS = (Bar("lost", "==", 0), Bar("wrong", "==", 0), Bar("repeated", "==", 0), Bar("errors", "==", 0))
SOUND = (*NOTHING_AMISS, Bar("hedged", "==", 0))
WITHIN = Bar("peak_in_flight", "<=", 40)


@dataclass(frozen=True)
class Case:
    """A row of the issue's table."""

    goal: str
    bars: tuple[Bar, ...]
    once: Callable[[Bench, int], Mapping]
    """One repetition, by its seed."""
    missing: Callable[[], str | None] = lambda: None
    """What this machine lacks for it, if anything."""


@contextlib.contextmanager
def environment_of(**settings: str) -> Iterator[None]:
    """Let processes that are started meanwhile have some more settings."""
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            del os.environ[name]


def _beside(bench: Bench, seed: int, count: int) -> dict:
    """Ours, then the reference."""
    ours, theirs = bench.patches(count, seed=seed), bench.reference(count, seed=seed)
    shown = ("efficiency", "wall_s", "requests", "throttled", "peak_in_flight", "lost", "wrong", "errors")
    row = ours | {f"reference_{key}": theirs[key] for key in shown}
    row["relative"] = theirs["wall_s"] / ours["wall_s"]
    # The dice are thrown by the text of a request, so each of the two has latencies of its own.
    row["relative_efficiency"] = ours["efficiency"] / theirs["efficiency"]
    bench.kept.setdefault(str(count), []).append(row)
    return row


def one_1000(bench: Bench, seed: int) -> dict:
    """One run."""
    return _beside(bench, seed, bench.count(1000))


def one_4000(bench: Bench, seed: int) -> dict:
    """One run."""
    return _beside(bench, seed, bench.count(4000))


def one_20000(bench: Bench, seed: int) -> dict:
    """One run, its memory against the requests that it has made."""
    count = bench.count(20_000)
    seen: list[Sample] = []
    row = bench.patches(count, seed=seed, hook=seen.append)
    from_here = [s.rss_mb for s in seen if s.requests >= count / 10 and s.rss_mb]
    growth = max(from_here) - from_here[0] if from_here else None
    # Apart: what is fetched, and the index and pictures that are made at the end.
    last = max((s.requests for s in seen), default=0)
    fetching = [s.rss_mb for s in seen if count / 10 <= s.requests < last and s.rss_mb]
    while_fetching = max(fetching) - fetching[0] if fetching else None
    return row | {"growth_mb": growth, "fetch_growth_mb": while_fetching, "peak_mb": max(s.rss_mb for s in seen)}


def _several(bench: Bench, seed: int, each: int, *, prefect: str | None = None, hook=None) -> dict:
    """Two runs of other places at the same time."""
    with bench.output(2 * each) as folder:
        parameters = []
        for number in range(2):
            points = work.write_points(folder / f"points-{number}.csv", each, first=number * each)
            parameters.append(work.patches(points, output=str(folder / f"output-{number}")))
        row, outcome = bench.flows(parameters, seed=seed, knobs=QUOTA, expected=2 * each, prefect=prefect, hook=hook)
        return row | {f"wall_{n}_s": result["ended"] - result["begun"] for n, result in enumerate(outcome.results)}


def two_3000(bench: Bench, seed: int) -> dict:
    """Two runs at once."""
    return _several(bench, seed, bench.count(3000))


def faults_4000(bench: Bench, seed: int) -> dict:
    """One run with faults; all tiles are looked at."""
    return bench.patches(bench.count(4000), seed=seed, knobs=FAULTS, sample=None)


def quota_cut(bench: Bench, seed: int) -> dict:
    """One run; the quota is cut at a quarter, and restored 20 s later."""
    count = bench.count(7000)
    at: dict[str, float] = {}

    def hook(sample: Sample) -> None:
        if "cut" not in at and sample.requests >= count / 4:
            bench.control.turn(max_concurrent=10)
            at["cut"] = sample.at
        elif "cut" in at and "restored" not in at and sample.at > at["cut"] + 20:
            bench.control.turn(max_concurrent=40)
            at["restored"] = time.monotonic()
        elif "restored" in at and "full" not in at and sample.in_flight >= 40:
            at["full"] = sample.at

    row = bench.patches(count, seed=seed, hook=hook, every=0.1)
    return row | {"recovery_s": at["full"] - at["restored"] if "full" in at else None}


def heavy(bench: Bench, seed: int) -> dict:
    """A strip of one and a half tiles across: every second tile has half the pixels, and the others are too heavy."""
    rows = bench.count(400) // 2
    tile, limit = 128, 10_000
    with bench.output() as folder:
        region = work.write_region(folder / "strip.gpkg", width=1.5 * tile, height=float(tile * rows))
        parameters = work.patches("", name="scene", scale=1.0, masks="exact") | {"region": region, "tile_size": tile}
        del parameters["points"], parameters["size"]
        parameters |= {"clip": False}
        stored: list[dict[str, str]] = []
        for name, knobs in (("whole", QUOTA), ("split", QUOTA | {"max_pixels": limit})):
            output = folder / name
            row, _ = bench.flows(
                [parameters | {"output": str(output)}],
                seed=seed, knobs=knobs, flow="region", expected=2 * rows, image="scene",
            )  # fmt: skip
            stored.append({str(p.relative_to(output)): _digest(p) for p in sorted((output / "tiles").rglob("*.tif"))})
    whole, split = stored
    different = sum(split.get(path) != digest for path, digest in whole.items()) + len(split.keys() - whole.keys())
    fewest = rows + 2 * rows  # halves of the heavy ones fit
    return row | {"different_bytes": different, "fewest": fewest, "requests_ratio": row["requests"] / fewest}


def hang_4000(bench: Bench, seed: int) -> dict:
    """One run, and one whose last request hangs. Each has a project of its own: the slot of the hang stays taken."""
    count, row = bench.count(4000), {}
    for name, at in (("without", None), ("with", count)):
        with bench.output(count) as folder:
            points = work.write_points(folder / "points.csv", count)
            more = {"output": str(folder / "output"), "project": f"hang-{name}-{seed}", "read_deadline": 330}
            figures, _ = bench.flows(
                [work.patches(points, **more, computation_limit=300)],
                seed=seed, knobs=QUOTA | {"hang_at": at}, expected=count,
            )  # fmt: skip
        row |= {f"{name}_{key}": figures[key] for key in ("wall_s", "requests", "hedged")}
        row["errors"] = row.get("errors", 0) + figures["errors"]
        row["process_ratio"] = figures["process_s"] / row.setdefault("without_process_s", figures["process_s"])
    return figures | row | {"ratio": row["with_wall_s"] / row["without_wall_s"]}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def throughput(bench: Bench, seed: int) -> dict:
    """60 tiles of 1024 x 1024 x 6 by four ways in turn; what they ask for was asked for before."""
    rows = max(1, round(10 * min(1.0, bench.scale)))
    ways = {
        "none": ("lane", "none"),
        "plain": ("plain", "none"),
        "zstd": ("lane", "zstd"),
        "official": ("official", ""),
    }
    figures: dict[str, float] = {}
    bench.control.begin(seed=seed)
    with bench.output(60 * 60) as folder:
        answers = folder / "answers"
        answers.mkdir()
        region = work.write_region(folder / "region.gpkg", width=6 * 2048.0, height=rows * 2048.0)
        with replaying(bench.control.url, answers) as url:
            for attempt in ("first", "timed"):
                for name, (way, codec) in ways.items():
                    with bench.output() as output:
                        spec = {"job": "pixels", "way": way, "codec": codec or "none", "region": region, "url": url}
                        spec |= {"threads": 8, "output": str(output)}
                        outcome = run([spec], bench.control, log=bench.folder / f"pixels-{name}.log")
                    if outcome.errors:
                        return {"errors": 1, "error": outcome.errors[0]}
                    if attempt == "timed":
                        figures[f"{name}_mb_s"] = outcome.results[0]["mb"] / outcome.wall_s
                        figures[f"{name}_cpu_ms"] = 1e3 * outcome.results[0]["cpu_s"] / outcome.results[0]["tiles"]
    ratios = {f"{name}_ratio": figures[f"{name}_mb_s"] / figures["plain_mb_s"] for name in ("none", "zstd", "official")}
    return {**ratios, **figures, "errors": 0, "tiles": 6 * rows, "load": outcome.load}


def cpu(bench: Bench, seed: int) -> dict:
    """CPU of the flow process from a tenth to nine tenths of its requests: no start, plan or products."""
    row: dict = {}
    count = bench.count(2000)
    for name, more in (("npy", {"file_format": "NPY"}), ("zstd", {})):
        seen: list[Sample] = []
        with bench.output(count) as folder:
            points = work.write_points(folder / "points.csv", count, scale=30.0)
            output = str(folder / "output")
            parameters = work.patches(points, name="scene", scale=30.0, masks="exact", output=output, **more)
            figures, _ = bench.flows(
                [parameters],
                seed=seed, knobs=QUOTA, expected=count, image="scene", hook=seen.append, every=0.25,
            )  # fmt: skip
        inner = [s for s in seen if s.cpu_s and count / 10 <= s.requests <= count * 0.9]
        made = inner[-1].requests - inner[0].requests
        row[f"{name}_cpu_ms"] = 1e3 * (inner[-1].cpu_s - inner[0].cpu_s) / max(1, made)
        row[f"{name}_per_second"] = made / max(1e-3, inner[-1].at - inner[0].at)
        row = figures | row
    return row


def leases(bench: Bench, seed: int) -> dict:
    """Two runs; once both fetch, no lease can be renewed for 90 s."""
    outage = Outage()
    with proxied(bench.prefect, outage) as proxy:
        begun: list[float] = []

        def hook(sample: Sample) -> None:
            if not begun and sample.requests > 200 * min(1.0, bench.scale):
                begun.append(sample.at)
                outage.begin(90 * min(1.0, bench.scale))

        row = _several(bench, seed, bench.count(5000), prefect=proxy.url, hook=hook)
        return row | {"renewals_refused": outage.refused}


def plan_million(bench: Bench, seed: int) -> dict:
    """Plans of a million tiles of a region and of a million patches."""
    bench.control.begin(seed=seed)
    with bench.output() as folder:
        region = work.write_region(folder / "region.gpkg", width=15_000.0, height=17_152.0)
        points = work.write_points(folder / "points.csv", 1_000_000, step=5.0, columns=1000)
        spec = {"job": "million", "region": region, "points": points, "url": bench.control.url}
        outcome = run([spec], bench.control, log=bench.folder / "plan.log")
    figures = {key: value for key, value in outcome.results[0].items() if key not in {"begun", "ended"}}
    return figures | {"errors": len(outcome.errors), "load": outcome.load}


def resume_100000(bench: Bench, seed: int) -> dict:
    """The check of what is stored, in a folder and in a bucket."""
    count = bench.count(100_000)
    bench.control.begin(seed=seed)
    row: dict = {"errors": 0}
    with bench.output() as folder, fake.running("bench-tiles") as cloud:
        points = work.write_points(folder / "points.csv", count, step=15.0, columns=528)
        bucket = {"output": "gs://bench-tiles/run", "seed_url": cloud, "bucket": "bench-tiles", "prefix": "run"}
        with environment_of(STORAGE_EMULATOR_HOST=cloud):
            for name, place in (("local", {"output": str(folder / "output")}), ("cloud", bucket)):
                spec = {"job": "stored", "points": points, "url": bench.control.url} | place
                outcome = run([spec], bench.control, log=bench.folder / f"resume-{name}.log")
                row["errors"] += len(outcome.errors)
                row |= {f"{name}_{k}": v for k, v in outcome.results[0].items() if k not in {"begun", "ended", "cpu_s"}}
        calls = requests.get(f"{cloud}/fake/calls", timeout=30).json()["calls"]
    return row | {"cloud_list_calls": calls["list"], "load": outcome.load}


def rerun_10000(bench: Bench, seed: int) -> dict:
    """A job that is complete, run again: its life as Prefect records it, in a folder and in a bucket behind a block."""
    count = bench.count(10_000)
    row: dict = {"errors": 0}
    for place in (Folder(), Bucket()):
        with bench.output(count // 10) as folder, place.opened(folder, bench.prefect) as (output, _, settings):
            points = work.write_points(folder / "points.csv", count)
            parameters = work.patches(points, output=output.address, size=64, run_retries=0)
            with environment_of(**settings):
                bench.control.begin(seed=seed, qps=400.0)
                for way in ("first", "again"):
                    before = bench.control.statistics()["pixel_requests"]
                    spec = {"job": "flow", "flow": "patches", "parameters": parameters}
                    log = bench.folder / f"rerun-{place.name}-{way}.log"
                    outcome = run([spec], bench.control, log=log, prefect=bench.prefect)
                    row["errors"] += len(outcome.errors)
                    row |= {
                        f"{place.name}_{way}_s": outcome.life_s,
                        f"{place.name}_{way}_requests": outcome.statistics["pixel_requests"] - before,
                        f"{place.name}_{way}_call_s": outcome.wall_s,
                    }
    return row | {"load": outcome.load}


def durable(bench: Bench, seed: int) -> dict:
    """Tiles of 50 KB a second into a folder from 8 threads, with and without bringing each to the disk (fsync)."""
    row = {}
    for name, certain in (("fsync", True), ("no_fsync", False)):
        with bench.output() as folder:
            row[f"{name}_tiles_s"] = stored.puts_a_second(folder / "output", durable=certain)
    return row | {"ratio": row["fsync_tiles_s"] / row["no_fsync_tiles_s"], "errors": 0}


def reference(bench: Bench, seed: int) -> dict:
    """The official client at 1,000 and 4,000, beside ours: from those cases, or made here."""
    row: dict = {}
    for count in (1000, 4000):
        made = bench.kept.get(str(bench.count(count)), [])
        beside = made[seed] if seed < len(made) else _beside(bench, seed, bench.count(count))
        for key in ("efficiency", "throttled", "lost", "wrong"):
            row |= {f"reference_{count}_{key}": beside[f"reference_{key}"], f"ours_{count}_{key}": beside[key]}
        row |= {f"{key}_{count}": beside[key] for key in ("relative", "relative_efficiency")}
    return row


CASES: dict[str, Case] = {
    "one_1000": Case(
        "at least 0.95 of the reference's throughput (relative)", (*SOUND, Bar("relative", ">=", 0.95)), one_1000
    ),
    "one_4000": Case(
        "efficiency at least 0.93, never above 40 in flight, no 429",
        (*SOUND, Bar("efficiency", ">=", 0.93), WITHIN, Bar("throttled", "==", 0)),
        one_4000,
    ),
    "one_20000": Case(
        "efficiency at least 0.97, memory grows by less than 50 MB from request 2,000 on",
        (*SOUND, Bar("efficiency", ">=", 0.97), Bar("growth_mb", "<", 50)),
        one_20000,
    ),
    "two_3000": Case(
        "two runs, together never above 40 in flight, together at least 0.90",
        (*SOUND, WITHIN, Bar("efficiency", ">=", 0.90)),
        two_3000,
    ),
    "faults_4000": Case(
        "1% 503, 0.5% dropped, 0.2% truncated, 0.1% hanging: nothing lost, wrong or repeated, at least 0.90",
        (*SOUND, Bar("efficiency", ">=", 0.90)),
        faults_4000,
    ),
    "hang_4000": Case(
        "the last request of 4,000 hangs: at most 1.3 x the time of a run without, one request sent a second time",
        (
            *NOTHING_AMISS,
            WITHIN,
            Bar("ratio", "<=", 1.3),
            Bar("process_ratio", "<=", 1.3),
            Bar("with_hedged", "==", 1),
            Bar("without_hedged", "==", 0),
        ),
        hang_4000,
    ),
    "quota_cut": Case(
        "quota cut to 10 and restored: 429s under 5%, 40 in flight again within 60 s, nothing lost",
        (*SOUND, Bar("throttled_share", "<", 0.05), Bar("recovery_s", "<=", 60)),
        quota_cut,
    ),
    "heavy": Case(
        "half of the tiles too heavy: the same bytes as unsplit, at most 1.15 x the fewest requests",
        (*SOUND, Bar("different_bytes", "==", 0), Bar("requests_ratio", "<=", 1.15)),
        heavy,
    ),
    "throughput": Case(
        "MB/s to stored GeoTIFF with masks, uncompressed at least 0.9 of plain requests writing raw bytes",
        (Bar("errors", "==", 0), Bar("none_ratio", ">=", 0.9)),
        throughput,
    ),
    "cpu": Case(
        "CPU of the flow process a request: at most 5 ms without encoding (NPY), 12 ms with the default codec",
        (*SOUND, Bar("npy_cpu_ms", "<=", 5), Bar("zstd_cpu_ms", "<=", 12)),
        cpu,
    ),
    "leases": Case(
        "lease renewals blocked for 90 s during two runs: never above 40 in flight, both finish",
        (*SOUND, WITHIN, Bar("renewals_refused", ">=", 1)),
        leases,
    ),
    "plan_million": Case(
        "1,000,000 tiles planned within 2 s and 300 MB, a request in at most 100 microseconds",
        (
            Bar("errors", "==", 0),
            Bar("requests", ">=", 1_000_000),
            Bar("plan_s", "<=", 2),
            Bar("plan_mb", "<=", 300),
            Bar("request_us", "<=", 100),
            Bar("patches_s", "<=", 2),
            Bar("patches_mb", "<=", 300),
            Bar("patch_us", "<=", 100),
        ),
        plan_million,
    ),
    "resume_100000": Case(
        "100,000 stored tiles are seen to be stored: at most 10 s (folder), 200 list calls and 300 MB (bucket)",
        (
            Bar("errors", "==", 0),
            Bar("local_missing", "==", 0),
            Bar("cloud_missing", "==", 0),
            Bar("local_seconds", "<=", 10),
            Bar("cloud_list_calls", "<=", 200),
            Bar("cloud_mb", "<=", 300),
        ),
        resume_100000,
    ),
    "rerun_10000": Case(
        "a complete job of 10,000 tiles, run again: no pixel request, under 5 s",
        (
            Bar("errors", "==", 0),
            Bar("folder_again_requests", "==", 0),
            Bar("bucket_again_requests", "==", 0),
            Bar("folder_again_s", "<", 5),
            Bar("bucket_again_s", "<", 5),
        ),
        rerun_10000,
    ),
    "sqlite_4000": Case(
        "a server of its own on SQLite, beside the next: never above 40 in flight, no 429",
        (*SOUND, WITHIN, Bar("throttled", "==", 0)),
        databases.sqlite_4000,
        postgres.missing,
    ),
    "postgres_4000": Case(
        "the same on PostgreSQL: efficiency at least 0.93, and no 503 of the server",
        (
            *SOUND,
            Bar("efficiency", ">=", 0.93),
            WITHIN,
            Bar("throttled", "==", 0),
            *(Bar(field, "==", 0) for field in ("answers_503", "answers_503_1", "answers_503_5")),
        ),
        databases.postgres_4000,
        postgres.missing,
    ),
    "submits_10": Case(
        "ten runs submitted to `make up` within five seconds, as the UI does: none refused, none lost",
        tuple(Bar(field, "==", 0) for field in ("refused_submits", "refused_queries", "lost")),
        submits.submits_10,
    ),
    "durable": Case("what fsync costs", (Bar("errors", "==", 0),), durable),
    "reference": Case(
        "the official client beside ours; ours ahead at 4,000", (Bar("relative_4000", ">", 1),), reference
    ),
}
"""In the order of the issue's table."""

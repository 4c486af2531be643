"""``make large``: one run of 100,000 tiles at the quota, measured after every 5,000 tiles.

Memory of the run and of the server, receipts, database and log lines must grow at most in proportion to the tiles. The
table is printed with the growth of each column, and what this means for 720,000 tiles. ``LARGE_TILES`` runs fewer.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from deployments.sandbox.process import running
from tests.bench import work
from tests.bench.server import QUOTA, Control, environment, free_port, prefect_server

EVERY, MANY = 5_000, 720_000
SIDE, SCALE, STEP = 32, 5.0, 30.0


@dataclass(frozen=True)
class Sample:
    """What a run and its server use after some tiles."""

    tiles: int
    seconds: float
    run_mb: float
    """Memory of the process of the run."""
    run_peak_mb: float
    threads: int
    files: int
    """Open files of the process of the run."""
    server_mb: float
    """Memory of all processes of the Prefect server."""
    database_mb: float
    receipts: int
    receipts_mb: float
    log_lines: int


def _status(process: int, name: str) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return float(line.split()[1])
    return 0.0


def _session_mb(folder: Path) -> float:
    """Return the memory of all processes whose Prefect home is a folder: those of the server."""
    total = 0.0
    for process in Path("/proc").iterdir():
        try:
            if f"PREFECT_HOME={folder}\0".encode() in (process / "environ").read_bytes():
                total += _status(int(process.name), "VmRSS") / 1024
        except (OSError, ValueError):
            continue
    return total


def _sample(tiles: int, begun: float, process: int, folder: Path) -> Sample:
    receipts = [path.stat().st_size for path in (folder / "output").glob("*/receipts/*.json")]
    databases = [path.stat().st_size for path in (folder / "prefect").glob("prefect.db*")]
    return Sample(
        tiles=tiles,
        seconds=round(time.monotonic() - begun, 1),
        run_mb=round(_status(process, "VmRSS") / 1024, 1),
        run_peak_mb=round(_status(process, "VmHWM") / 1024, 1),
        threads=int(_status(process, "Threads")),
        files=len(list(Path(f"/proc/{process}/fd").iterdir())),
        server_mb=round(_session_mb(folder / "prefect"), 1),
        database_mb=round(sum(databases) / 2**20, 2),
        receipts=len(receipts),
        receipts_mb=round(sum(receipts) / 2**20, 2),
        log_lines=(folder / "job.log").read_bytes().count(b"\n"),
    )


def large(folder: Path, tiles: int) -> list[Sample]:
    """Fetch so many tiles; return the samples."""
    columns = math.isqrt(tiles) + 1
    points = work.write_points(folder / "points.csv", tiles, scale=SCALE, step=STEP, columns=columns)
    (folder / "prefect").mkdir()
    samples: list[Sample] = []
    with running() as url, prefect_server(folder / "prefect", port=free_port()) as prefect:
        control = Control(url)
        control.begin(seed=0, **QUOTA)
        command = [sys.executable, "-m", "flows", "patches", "--image", work.SCENE, "--masks", "unknown"]
        command += ["--points", points, "--crs", work.CRS, "--scale", str(SCALE), "--size", str(SIDE)]
        command += ["--output", str(folder / "output"), "--project", work.PROJECT, "--endpoint", url]
        command += ["--max-requests", str(tiles)]
        settings = environment(PREFECT_API_URL=prefect, PREFECT_HOME=str(folder / "home"))
        begun = time.monotonic()
        with (folder / "job.log").open("ab") as log:
            process = subprocess.Popen(command, env=settings, stdout=log, stderr=log)
        try:
            while process.poll() is None:
                counts = control.statistics()["requests"]
                done = sum(each.get("200", 0) for name, each in counts.items() if name.endswith("Pixels"))
                if done >= EVERY * (len(samples) + 1):
                    samples.append(_sample(done, begun, process.pid, folder))
                    print(json.dumps(asdict(samples[-1])), flush=True)
                time.sleep(1)
        finally:
            process.kill()
        if process.returncode:
            raise RuntimeError(f"the run left with {process.returncode}:\n{(folder / 'job.log').read_text()[-4000:]}")
        print(f"the whole run: {time.monotonic() - begun:.0f} s", flush=True)
        print((folder / "job.log").read_text()[-2500:])
    return samples


def laws(samples: list[Sample]) -> list[str]:
    """Return for each column what 10,000 tiles more add, in the first and in the second half, and what 720,000 need."""
    half = len(samples) // 2
    lines = []
    for name in [field.name for field in fields(Sample)][1:]:
        slopes = []
        for part in (samples[:half], samples[half:]):
            tiles = np.array([each.tiles for each in part], float)
            values = np.array([getattr(each, name) for each in part], float)
            slope, base = np.polyfit(tiles, values, 1)
            slopes.append(slope)
        first, second = (10_000 * slope for slope in slopes)
        lines.append(f"{name}: {first:+.2f}, {second:+.2f} for 10,000 tiles; {base + slope * MANY:,.0f} at {MANY:,}")
    return lines


def main() -> int:
    """Run it; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="large-", ignore_cleanup_errors=True) as folder:
        samples = large(Path(folder), int(os.environ.get("LARGE_TILES", "100000")))
    print("\n".join(laws(samples)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

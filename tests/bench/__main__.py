"""``make bench``: the cases of the quota's speed, on the sandbox and a Prefect server of its own.

``make bench CASE="name other"`` runs some. `BENCH_REPEAT=1` runs each once instead of three times.
`BENCH_SCALE=0.05` makes a twentieth of the requests, to try the bench itself (nothing is written then), and
`BENCH_LOGS=folder` keeps what was printed.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from deployments.sandbox.process import running
from tests.bench.bench import Bench
from tests.bench.cases import CASES
from tests.bench.reference import initialise
from tests.bench.server import Control, prefect_server
from tests.bench.table import json_lines, judged, markdown, rows_in
from tests.bench.work import write_scenes

RESULTS = Path(__file__).with_name("RESULTS.md")
NOTES = """
- Sandbox, Prefect server (SQLite), clients and bench share the machine. `load` is its load average (1 minute) when a
  case ended, and `at` says when (UTC).
- Figures are medians of `repeats` runs, ours and the reference in turn; what must not happen is shown of the worst run.
- Efficiency = ideal / wall; ideal = the greater of (latencies / 40) and (requests / 100). Wall of a flow = the life of
  the flow run as Prefect records it, from its creation to its final state: planning, leases, tagged tasks, index and
  pictures included. `call_s` is the call in Python, which ends up to a second later (Prefect's heartbeat wakes once a
  second), and `process_s` the whole process with its imports. Wall of the reference = its call, with `ee.Initialize`.
- `sqlite_4000` and `postgres_4000` are run in turn, each repetition on a new server of its own beside the bench's:
  `start_s` is its first start with all migrations, `dead_s_1` and `dead_s_5` the median time between the end of a
  tagged task run of 0.1 s and the start of the next on the same thread, of 1 and of 5 threads; `dead_most_s` is the
  longest of all. `answers_503` counts the 503s of the Prefect server in the flow, `answers_503_1` and `_5` in the 20
  and 40 tagged runs; the client waits about 2 s after each. PostgreSQL has its default settings.
- The sandbox works on a request while its latency passes: the latency is all the time that Earth Engine takes. Bodies
  are not compressed (`gzip` off).
- The cases that measure the quota read a stored asset that is cheap to serve, ours with getPixels (`masks=unknown`),
  the reference with computePixels of the same image. A computed image costs us one `value:compute` more before the
  first request, half a second here; with exact masks the sandbox alone needs more than one of two cores at 82 requests
  a second.
- `cpu` and `heavy` read real pixels of a computed image with exact masks; so does `throughput`, for which the sandbox's
  answers are replayed from files.
"""
PACKAGES = ("prefect", "earthengine-api", "rasterio", "numpy", "requests")


def run_case(bench: Bench, name: str) -> dict:
    """Run a case so often, and return its row."""
    case = CASES[name]
    repetitions: list[dict] = []
    for seed in range(bench.repeats):
        try:
            repetitions.append(dict(case.once(bench, seed)))
        except Exception as error:  # noqa: BLE001 - the other cases go on, and this one is shown as failed
            repetitions.append({"errors": 1, "error": f"{type(error).__name__}: {error}"[:500]})
    return judged(name, case.goal, case.bars, repetitions) | {
        "load": round(os.getloadavg()[0], 2),
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }


def write(rows: list[dict]) -> None:
    """Write the rows into the results, in place of older ones of the same cases."""
    known = {row["case"]: row for row in rows_in(RESULTS.read_text())} if RESULTS.exists() else {}
    known |= {row["case"]: row for row in rows}
    ordered = [known[name] for name in CASES if name in known]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    text = f"# Results of `make bench`\n\n{machine}, {versions}.\n{NOTES}\n{markdown(ordered)}\n\n"
    RESULTS.write_text(f"{text}```json\n{json_lines(ordered)}\n```\n")


def main(names: list[str]) -> int:
    """Run the cases named, or all."""
    unknown = set(names) - set(CASES)
    if unknown:
        print(f"There is no case {', '.join(sorted(unknown))}. There are: {', '.join(CASES)}")
        return 2
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    repeats, scale = int(os.environ.get("BENCH_REPEAT", "3")), float(os.environ.get("BENCH_SCALE", "1"))
    rows: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "prefect"
        home.mkdir()
        with running(gzip=False, scenes=write_scenes(Path(folder) / "scenes")) as url, prefect_server(home) as prefect:
            initialise(url)
            bench = Bench(control=Control(url), prefect=prefect, folder=Path(folder), repeats=repeats, scale=scale)
            for name in names or CASES:
                if reason := CASES[name].missing():
                    print(f"{name} is skipped: {reason}", flush=True)
                    continue
                rows.append(run_case(bench, name))
                print(json_lines(rows[-1:]), flush=True)
        if "BENCH_LOGS" in os.environ:
            shutil.copytree(folder, os.environ["BENCH_LOGS"], dirs_exist_ok=True)
    print("\n" + markdown(rows))
    if scale == 1:
        write(rows)
    return int(not all(row["passed"] for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

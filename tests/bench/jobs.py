"""Jobs as processes: started together, watched while they run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.bench.server import Control, environment

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 3600.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """What is seen from outside at one moment. Megabytes and CPU seconds are of the first process."""

    at: float
    rss_mb: float
    cpu_s: float
    requests: int
    in_flight: int


@dataclass
class Outcome:
    """What became of jobs that ran together."""

    results: list[dict]
    samples: list[Sample]
    statistics: dict
    process_s: float
    log: Path
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    @property
    def wall_s(self) -> float:
        """From the first call to the last return; monotonic clocks of one machine agree."""
        return max(r["ended"] for r in self.results) - min(r["begun"] for r in self.results)

    @property
    def life_s(self) -> float:
        """From the creation of the first flow run to the final state of the last, as Prefect records them."""
        return max(r["finished"] for r in self.results) - min(r["created"] for r in self.results)

    @property
    def errors(self) -> list[str]:
        """What the jobs failed with."""
        return [result["error"] for result in self.results if "error" in result]


def run(
    specs: Sequence[dict],
    control: Control,
    *,
    log: Path,
    prefect: str | None = None,
    every: float = 1.0,
    hook: Callable[[Sample], None] | None = None,
    before: Callable[[], None] | None = None,
) -> Outcome:
    """Run jobs at the same time, each in a process of its own.

    Args:
        specs: What they are to do, see `tests.bench.run`.
        control: The sandbox.
        log: File for what they print.
        prefect: URL of the API of the Prefect server.
        every: Seconds between samples.
        hook: Called with every sample.
        before: Called when all are ready, just before they begin.
    """
    settings = environment(EARTHENGINE_ENDPOINT=control.url, PREFECT_HOME=str(log.parent / "client"))
    if prefect:
        settings["PREFECT_API_URL"] = prefect
    processes: list[subprocess.Popen[str]] = []
    started = time.monotonic()
    with log.open("w") as file:
        try:
            processes.extend(_start(spec, settings, file) for spec in specs)
            for process in processes:
                if _line(process) != "ready":
                    raise RuntimeError(f"A job did not get ready, see {log}:\n{log.read_text()[-1500:]}")
            if before:
                before()
            for process in processes:
                _say(process, "go")
            samples = _watch(processes, control, every, hook)
            results = [json.loads(_line(process) or '{"error": "it ended without a result"}') for process in processes]
            for result in results:
                result.setdefault("begun", started)
                result.setdefault("ended", time.monotonic())
            statistics = control.statistics()
            for process in processes:
                process.wait(120)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
    return Outcome(results, samples, statistics, time.monotonic() - started, log)


def _start(spec: dict, settings: dict[str, str], log: IO[str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.run"],
        cwd=ROOT,
        env=settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    _say(process, json.dumps(spec))
    return process


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _watch(processes, control: Control, every: float, hook: Callable[[Sample], None] | None) -> list[Sample]:
    """Sample until all have ended their work; a job's result waits in its pipe, so it ends by itself."""
    samples: list[Sample] = []
    end = time.monotonic() + PATIENCE_S
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        stats = control.statistics()
        try:
            rss, cpu = _process(processes[0].pid)
        except (OSError, StopIteration):  # it has ended, others may not have
            rss = cpu = 0.0
        sample = Sample(time.monotonic(), rss, cpu, stats["pixel_requests"], stats["in_flight"])
        samples.append(sample)
        if hook:
            hook(sample)
        time.sleep(every)
    return samples


def _process(pid: int) -> tuple[float, float]:
    """Return resident megabytes and CPU seconds of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(rss.split()[1]) / 1024, (int(fields[11]) + int(fields[12])) / _TICKS

"""What the cases share: the servers, a folder for each run, and the two kinds of run."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.plan.patches import patch_tiles
from tasks.raster.points import read_points
from tests.bench import check, work
from tests.bench.jobs import Outcome, Sample, run
from tests.bench.server import OFF, QUOTA, Control
from tests.bench.table import run_figures

# A tile of 4 bands may take half a megabyte, if its pixels do not compress.
BYTES_A_TILE = 600_000


@dataclass
class Bench:
    """Servers that are running, and how long the bench may take."""

    control: Control
    prefect: str
    folder: Path
    repeats: int = 3
    scale: float = 1.0
    """Share of the requests that a case is to make: below 1 only to try the bench."""
    kept: dict[str, list[dict]] = field(default_factory=dict)
    """Repetitions of cases that another case shows too."""
    _runs: int = 0
    _left: list[Path] = field(default_factory=list)
    """Folders of runs that have ended, the oldest first."""

    def count(self, requests: int) -> int:
        """Return how many requests a case makes."""
        return max(60, int(requests * self.scale))

    @contextlib.contextmanager
    def output(self, tiles: int = 0) -> Iterator[Path]:
        """Yield a new folder, which is left there until the bench ends or its room is needed.

        ext4 gives no file the place of one that was removed in the last seconds, and looks at each of those: after
        2,000 removed tiles a new one takes 2 ms of CPU more.
        """
        needed = tiles * BYTES_A_TILE + 1e9
        while self._left and shutil.disk_usage(self.folder).free < needed:
            shutil.rmtree(self._left.pop(0))
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise RuntimeError(f"{tiles} tiles may need {tiles * BYTES_A_TILE / 1e9:.0f} GB; {free / 1e9:.0f} are free")
        self._runs += 1
        folder = self.folder / f"run-{self._runs}"
        folder.mkdir()
        try:
            yield folder
        finally:
            self._left.append(folder)

    def flows(
        self,
        parameters: Sequence[dict],
        *,
        seed: int,
        knobs: dict,
        flow: str = "patches",
        expected: int,
        image: str = "light",
        sample: int | None = 50,
        every: float = 1.0,
        hook: Callable[[Sample], None] | None = None,
        prefect: str | None = None,
        answers: bool = False,
    ) -> tuple[dict, Outcome]:
        """Run flows at the same time, and return their figures; with `answers` the Prefect server's 503s too."""
        self.control.begin(seed=seed, **knobs)
        specs = [{"job": "flow", "flow": flow, "parameters": each, "answers": answers} for each in parameters]
        log = self.folder / f"{seed}-{self._runs}.log"
        outcome = run(specs, self.control, log=log, prefect=prefect or self.prefect, every=every, hook=hook)
        self.control.quiet()
        self.control.turn(**OFF)
        row = run_figures(outcome.statistics, outcome.wall_s if outcome.errors else outcome.life_s)
        row["call_s"] = outcome.wall_s
        row["hedged"] = sum(result.get("hedged", 0) for result in outcome.results)
        for each in parameters:
            found = check.ours(Path(each["output"]), expected // len(parameters), image=image, sample=sample)
            row |= {key: row.get(key, 0) + value for key, value in found.items()}
        row |= {"errors": len(outcome.errors), "process_s": outcome.process_s, "load": outcome.load}
        if answers:
            row["answers_503"] = sum(result.get("answers_503", 0) for result in outcome.results)
        if outcome.errors:
            row["error"] = outcome.errors[0]
        return row, outcome

    def patches(self, count: int, *, seed: int, sample: int | None = 50, knobs: dict | None = None, **more) -> dict:
        """Run one flow of so many patches under the quota, and return its figures."""
        with self.output(count) as folder:
            points = work.write_points(folder / "points.csv", count)
            parameters = work.patches(points, output=str(folder / "output"))
            row, _ = self.flows(
                [parameters], seed=seed, knobs=QUOTA | (knobs or {}), expected=count, sample=sample, **more
            )
        return row

    def reference(self, count: int, *, seed: int, threads: int = 40) -> dict:
        """Run the official client on the same patches, and return its figures."""
        with self.output(count) as folder:
            points = work.write_points(folder / "points.csv", count)
            tiles, _ = patch_tiles(read_points(points), crs=work.CRS, scale=5.0, size=256)
            grids = [tiles.grid(tile).json() for tile in range(len(tiles))]
            output = folder / "output"
            output.mkdir()
            self.control.begin(seed=seed, **QUOTA)
            spec = {"job": "official", "points": points, "scale": 5.0, "image": "light", "threads": threads}
            spec |= {"url": self.control.url, "output": str(output)}
            outcome = run([spec], self.control, log=self.folder / f"reference-{seed}-{self._runs}.log")
            self.control.quiet()
            self.control.turn(**OFF)
            row = run_figures(outcome.statistics, outcome.wall_s) | check.theirs(output, grids, image="light")
            return row | {"errors": len(outcome.errors), "process_s": outcome.process_s, "load": outcome.load}

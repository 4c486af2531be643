"""Three processes that work on one run, as those of an engine do, under one limit; one of them is killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection, ensure_client
from tasks.extraction.batch import Batch
from tasks.extraction.permits import Pace
from tasks.plan.plan import Plan, TileFormat
from tasks.plan.planning import plan_patches
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.prefect_io.quota_limit import tag_of
from tasks.raster.points import read_points
from tasks.storage.address import open_store
from tests.bench import work
from tests.bench.server import Control, prefect_server

LIMIT, PROCESSES, PROJECT = 12, 3, "one-run"
PATIENCE_S = 300.0
CHILD = """
import json, sys
from tasks.extraction.batch import Batch, run_batch
from tasks.prefect_io.leases import PrefectLeases
quota = PrefectLeases(project=sys.argv[2], limit=int(sys.argv[3]))
print(json.dumps(run_batch(Batch.model_validate_json(sys.argv[1]), quota)))
"""


@dataclass(frozen=True, kw_only=True)
class OneRun:
    """A plan in an output, and the batches by which processes share it."""

    plan: Plan
    output: str
    endpoint: str
    prefect: str

    def batch(self, start: int, stop: int) -> Batch:
        """Return a batch of the run."""
        return Batch(
            output=self.output,
            plan_key=f"{self.plan.folder}/plan.json",
            plan=self.plan.fingerprint,
            start=start,
            stop=stop,
            connection=Connection(project=PROJECT, endpoint=self.endpoint).reference,
            pace=Pace(in_flight=LIMIT, quota=LIMIT, per_second=1000),
            run_id="one-run-of-three-processes",
        )

    def shares(self) -> list[Batch]:
        """Return a batch a process."""
        ends = [len(self.plan) * number // PROCESSES for number in range(PROCESSES + 1)]
        return [self.batch(start, stop) for start, stop in itertools.pairwise(ends)]

    def start(self, batch: Batch) -> subprocess.Popen[str]:
        """Start a process that runs a batch."""
        environment = os.environ | {"PREFECT_API_URL": self.prefect, "PREFECT_LOGGING_LEVEL": "ERROR"}
        command = [sys.executable, "-c", CHILD, batch.model_dump_json(), PROJECT, str(LIMIT)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @contextlib.contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """A client of the server."""
        with temporary_settings({PREFECT_API_URL: self.prefect}), get_client(sync_client=True) as client:
            yield client

    def slots(self, client: SyncPrefectClient) -> int:
        """Slots of the limit that are taken."""
        return client.read_global_concurrency_limit_by_name(f"tag:{tag_of(PROJECT)}").active_slots


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the summary that a process prints."""
    out, err = process.communicate(timeout=PATIENCE_S)
    if process.returncode:
        raise RuntimeError(err[-3000:])
    summary: dict[str, Any] = json.loads(out)
    return summary


def plan_of(endpoint: str, folder: Path, tiles: int) -> Plan:
    """Return a plan of so many small patches, stored in a folder."""
    connection = Connection(project=PROJECT, endpoint=endpoint)
    ensure_client(connection)
    points = work.write_points(folder / "points.csv", tiles)
    wanted = PixelSpec(bands=None, crs=work.CRS, scale=5.0, tile_format=TileFormat(masks="unknown"))
    plan, _ = plan_patches(connection, ImageSpec(asset=work.SCENE), wanted, points=read_points(points), size=32)
    return plan


def main(folder: Path, *, tiles: int = 3000) -> dict[str, Any]:
    """Do it: three share the limit, one is killed, its slots come back, its batch is run again."""
    (folder / "home").mkdir()
    with running(latency_median=0.5, latency_sigma=0.3) as url, prefect_server(folder / "home") as prefect:
        control, output = Control(url), str(folder / "output")
        plan = plan_of(url, folder, tiles)
        open_store(output).put(f"{plan.folder}/plan.json", json.dumps(plan.json()).encode())
        run = OneRun(plan=plan, output=output, endpoint=url, prefect=prefect)
        processes = [run.start(batch) for batch in run.shares()]
        with run.client() as client:
            _until(lambda: control.statistics()["pixel_requests"] > tiles / 6)
            first = control.statistics()["peak_in_flight"]
            processes[0].kill()
            processes[0].communicate()
            killed = time.monotonic()
            held = run.slots(client)
            # What the dead had sent goes on for a second or two.
            _until(lambda: control.statistics()["in_flight"] <= LIMIT - LIMIT // PROCESSES)
            # The two that are left take all slots, once the leases of the dead have lapsed.
            _until(lambda: control.statistics()["in_flight"] >= LIMIT, every=0.2)
            freed_s = time.monotonic() - killed
            summaries = [ended(process) for process in processes[1:]]
            summaries.append(ended(run.start(run.shares()[0])))
            _until(lambda: run.slots(client) == 0)
        statistics = control.statistics()
    return {
        "processes": PROCESSES,
        "limit": LIMIT,
        "tiles": tiles,
        "peak_before_the_kill": first,
        "peak": statistics["peak_in_flight"],
        "slots_as_it_was_killed": held,
        "slots_back_s": round(freed_s, 1),
        "stored": sum(summary["stored"] for summary in summaries),
        "requests": statistics["pixel_requests"],
    }


def _until(holds: Any, every: float = 0.05) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("it did not come to be")
        time.sleep(every)

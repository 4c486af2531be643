"""One job in a process of its own: everything is imported, then it waits for the word, then the clock runs.

``python -m tests.bench.run`` reads a specification (JSON) from the first line of standard input, prints `ready`, runs
at the second line, and prints its result as JSON. Whatever else is printed goes to standard error.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

import geopandas
import requests
from prefect.client.orchestration import get_client

from flows.garbage_collection import rare_garbage_collection
from flows.parameters import PatchesParameters, RegionParameters
from flows.patches import extract_patches
from flows.region import extract_region
from tasks.earthengine.connection import Connection, ensure_client
from tasks.plan.patches import patch_tiles
from tasks.plan.plan import TileFormat
from tasks.plan.planning import plan_patches, plan_region
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.raster.points import read_points
from tasks.raster.region import read_region
from tests.bench import pixels, reference, stored, tagged, work


def flow(spec: dict):
    """A flow run; its parameters are made within the clock, as a user makes them."""
    flows = {"patches": (PatchesParameters, extract_patches), "region": (RegionParameters, extract_region)}
    model, function = flows[spec["flow"]]

    def run() -> dict:
        with (
            rare_garbage_collection()
        ):  # as the command line and deployments have it: the process is for this run alone
            state = function(**model.nested(work.known(spec["parameters"])), return_state=True)
        result = state.result()
        with get_client(sync_client=True) as client:
            record = client.read_flow_run(state.state_details.flow_run_id)
        names = ("folder", "stored", "empty", "failed", "hedged")
        times = {"created": record.created.timestamp(), "finished": record.end_time.timestamp()}
        return {name: getattr(result, name) for name in names} | times

    return run


def official(spec: dict):
    """The reference on the same grids, which are worked out before the clock."""
    tiles, _ = patch_tiles(read_points(spec["points"]), crs=work.CRS, scale=spec["scale"], size=256)
    grids = [tiles.grid(tile).json() for tile in range(len(tiles))]
    output = Path(spec["output"])
    return lambda: reference.extract(spec["url"], grids, output, name=spec["image"], threads=spec["threads"])


def million(spec: dict):
    """Plans of a million tiles: a region's, and that of as many points."""
    connection = Connection(project=work.PROJECT, endpoint=spec["url"])
    ensure_client(connection)
    named = ImageSpec(expression=work.source("scene")["expression"], name="scene")
    region = read_region(spec["region"])
    lattice = read_points(spec["points"])

    def wanted(scale: float) -> PixelSpec:
        return PixelSpec(bands=None, crs=work.CRS, scale=scale, tile_format=TileFormat(), max_requests=2_000_000)

    def measured(make) -> tuple[float, float, object]:
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        begun = time.perf_counter()
        plan = make()
        assert plan.folder
        return time.perf_counter() - begun, _status("VmHWM") - before, plan

    def request_us(plan) -> float:
        dice = random.Random(0)
        numbers = [dice.randrange(len(plan)) for _ in range(2_000)]
        begun = time.perf_counter()
        for number in numbers:
            plan.request(number)
        return (time.perf_counter() - begun) / len(numbers) * 1e6

    def run() -> dict:
        seconds, mb, plan = measured(lambda: plan_region(connection, named, wanted(1), region=region, tile_size=16))
        row = {"requests": len(plan), "plan_s": seconds, "plan_mb": mb, "request_us": request_us(plan)}
        seconds, mb, plan = measured(lambda: plan_patches(connection, named, wanted(5), points=lattice, size=256)[0])
        return row | {"patches": len(plan), "patches_s": seconds, "patches_mb": mb, "patch_us": request_us(plan)}

    return run


def _status(field: str) -> float:
    """Return a size of this process in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


JOBS = {
    "flow": flow,
    "official": official,
    "million": million,
    "pixels": pixels.job,
    "stored": stored.job,
    "tagged": tagged.job,
}


def main() -> None:
    """Make the job ready, wait, run it, say how it went."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    spec = json.loads(sys.stdin.readline())
    run = JOBS[spec["job"]](spec)
    assert geopandas
    assert requests
    print("ready", file=answers)
    if not sys.stdin.readline():
        return  # whoever started it has gone
    unavailable = tagged.Unavailable.counting() if spec.get("answers") else None
    begun, cpu = time.monotonic(), os.times()
    try:
        result = run()
    except Exception as error:  # noqa: BLE001 - a run that fails is a figure too
        result = {"error": f"{type(error).__name__}: {error}"[:500]}
    ended, after = time.monotonic(), os.times()
    if unavailable:
        result["answers_503"] = unavailable.count
    spent = after.user + after.system - cpu.user - cpu.system
    print(json.dumps(result | {"begun": begun, "ended": ended, "cpu_s": spent}), file=answers)


if __name__ == "__main__":
    main()

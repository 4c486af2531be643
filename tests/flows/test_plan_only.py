"""A dry run shows what a run would do, and spends and writes nothing."""

import base64
import io

import pytest
from PIL import Image
from prefect.client.orchestration import get_client

from flows.audit import audit_output
from flows.parameters import PatchesParameters, RegionParameters, TimeseriesParameters
from flows.patches import extract_patches
from flows.region import extract_region
from flows.timeseries import extract_timeseries
from tests.flows.conftest import files, pixel_requests, task_runs
from tests.flows.test_flows import artifacts_of
from tests.given import call

LAKE = [-54.62, -25.30, -54.58, -25.26]
SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
JOBS = {
    "region": (extract_region, RegionParameters, {"image": {"asset": SCENE}, "region": LAKE, "scale": 30}),
    "timeseries": (
        extract_timeseries,
        TimeseriesParameters,
        {
            "image": {"asset": "MODIS/061/MOD13Q1"},
            "region": LAKE,
            "crs": "native",
            "start": "2020-01-01",
            "end": "2020-03-01",
        },
    ),
    "patches": (
        extract_patches,
        PatchesParameters,
        {
            "image": {"asset": SCENE},
            "points": {"type": "Point", "coordinates": [-54.6, -25.28]},
            "scale": 30,
            "size": 16,
        },
    ),
}
NAMES = {
    "region": "plan of region 25.28S 54.60W landsat8_224078_20200518 32721 30m 1 tiles",
    "timeseries": "plan of timeseries 25.28S 54.60W MOD13Q1 sinusoidal 231.656m 4 dates 4 tiles",
    "patches": "plan of patches 25.28S 54.60W landsat8_224078_20200518 32721 30m 1 tiles",
}


@pytest.mark.parametrize("kind", JOBS)
def test_it_shows_the_plan_and_a_map_and_fetches_and_writes_nothing(prefect_server, served, place, tmp_path, kind):
    flow, _, job = JOBS[kind]
    place = place | {"endpoint": served}
    before = pixel_requests(served)
    state = call(flow, **job, **place, plan_only=True, return_state=True)
    result = state.result()
    assert pixel_requests(served) == before
    assert files(tmp_path) == {}
    assert {run["task_key"].partition("-")[0] for run in task_runs(state)} == {"read_metadata"}
    assert (result.stored, result.missing, result.manifest) == (0, int(NAMES[kind].split()[-2]), None)
    found = artifacts_of(state)
    assert set(found) == {"plan", "grid"}
    assert f"| requests to make | {result.missing} |" in found["plan"]["data"]
    picture = found["grid"]["data"].removeprefix("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(picture))).width > 100
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
    assert run.name == NAMES[kind]
    assert "plan-only" in run.tags


def test_what_looks_like_a_mistake_is_asked_in_the_log_and_at_the_top_of_the_plan(
    prefect_server, served, place, caplog
):
    flow, _, job = JOBS["region"]
    job, place = job | {"region": [-54.60, -25.30, -54.10, -25.26]}, place | {"endpoint": served}
    state = call(flow, **job, **place, plan_only=True, return_state=True)
    (question,) = [record.message for record in caplog.records if record.message.startswith("Only 17% of the region")]
    assert artifacts_of(state)["plan"]["data"].startswith("# Plan\n\n**Check this first:** Only 17% of the region")
    assert question.endswith("Is region the place that you mean?")


def test_an_audit_repairs_and_prunes_nothing(prefect_server, served, place, tmp_path):
    *_, job = JOBS["region"]
    place = place | {"endpoint": served}
    call(extract_region, **job, **place)
    next((tmp_path / "out" / "tiles").rglob("*.tif")).unlink()
    before, asked = files(tmp_path), pixel_requests(served)
    state = call(audit_output, **place, repair=True, prune=True, plan_only=True, return_state=True)
    assert state.is_failed()
    assert "1 missing" in state.message
    assert (files(tmp_path), pixel_requests(served)) == (before, asked)

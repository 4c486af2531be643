"""Runs that are started again: nothing is fetched twice, nothing stale is kept, nothing is lost."""

import contextlib
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient

from deployments.sandbox.process import running
from flows.audit import audit_output
from flows.command_line import run
from flows.parameters import AuditParameters
from flows.region import extract_region
from flows.timeseries import extract_timeseries
from tasks.errors.run import AuditError
from tasks.errors.shown_text import markdown
from tasks.extraction import batching
from tests.flows.conftest import UNPACED, files, forget_requests, pixel_requests, published, task_runs
from tests.given import call, parameters_of

pytestmark = pytest.mark.usefixtures("prefect_server")
SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
SAMPLES = Path("deployments/sandbox/samples")
LAKE = [-54.60, -25.30, -54.55, -25.26]
GIVEN = {"image": {"asset": SCENE}, "region": LAKE, "scale": 30, "tile_size": 40, **UNPACED}
TILES = 20


@pytest.fixture
def sandbox(served):
    """It counts the requests of each test."""
    forget_requests(served)
    return served


@pytest.fixture
def job(sandbox, output):
    """A region, in a folder and in a bucket."""
    return GIVEN | {"project": "my-project", "endpoint": sandbox, "output": output.address, "run_retries": 0}


def region(job, **more):
    return call(extract_region, **job | more, return_state=True)


def test_a_whole_job_that_is_run_again_fetches_nothing_and_takes_no_slot(job, sandbox, output, monkeypatch):
    first = region(job).result()
    assert (first.stored, pixel_requests(sandbox)) == (TILES, TILES)
    before = {stored.key: stored for stored in output.store.list()}
    taken = []
    increment = SyncPrefectClient.increment_concurrency_slots_with_lease

    def taking(client, names, *args):
        taken.extend(names)
        return increment(client, names, *args)

    monkeypatch.setattr(SyncPrefectClient, "increment_concurrency_slots_with_lease", taking)
    again = region(job)
    assert again.result() == first
    assert pixel_requests(sandbox) == TILES
    assert {name.removeprefix("tag:earthengine:my-project") for name in taken} == {":wanted"}  # of the quota none
    runs = [run for run in task_runs(again) if run["name"].startswith("tiles ")]
    assert [tag for run in runs for tag in run["tags"]] == []
    assert [(run["state"]["name"], run["name"]) for run in runs] == [("Cached", f"tiles 0-{TILES}")]
    assert not [key for key in before if "/results/" in key]  # Prefect would unpickle what lies there
    kept = {stored.key: stored for stored in output.store.list()}
    assert {key: stored for key, stored in kept.items() if "quicklook" not in key} == {
        key: stored for key, stored in before.items() if "quicklook" not in key
    }


def test_what_is_deleted_changed_or_cut_is_named_by_the_audit_and_fetched_again(job, sandbox, output):
    given = parameters_of(
        AuditParameters, **{key: job[key] for key in ("project", "endpoint", "output", "run_retries")}
    )
    region(job)
    whole = {stored.key: output.store.get(stored.key) for stored in output.store.list("tiles/")}
    keys = sorted(whole)
    for key in keys[:3]:
        output.store.delete(key)
    flipped, silent, cut = keys[4], keys[8], keys[12]
    output.store.put(flipped, whole[flipped][:-1] + bytes([whole[flipped][-1] ^ 1]))
    output.store.put(cut, whole[cut][:100])
    changed = whole[silent][:-1] + bytes([whole[silent][-1] ^ 1])
    if hasattr(output.store, "root"):  # with size and mtime kept
        path = output.store.root / silent
        times = path.stat()
        path.write_bytes(changed)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    else:
        output.store.put(silent, changed)
    quick, full = (audit_output(**given.given(), verify=v, return_state=True) for v in ("quick", "full"))
    found = quick.message.splitlines()
    assert quick.is_failed()
    assert sum("missing: its file is gone" in line for line in found) == 3
    assert any(cut in line and "damaged: 100 bytes instead of" in line for line in found)
    assert any(flipped in line and "damaged: checksum" in line for line in found)
    assert any(silent in line for line in found) == (not hasattr(output.store, "root"))
    assert sum(silent in line and "damaged: checksum" in line for line in full.message.splitlines()) == 1
    with pytest.raises(AuditError, match="3 damaged, 3 missing"):
        full.result()
    before = pixel_requests(sandbox)
    assert region(job, verify="full").is_completed()
    assert pixel_requests(sandbox) == before + 6
    assert {stored.key: output.store.get(stored.key) for stored in output.store.list("tiles/")} == whole
    assert audit_output(**given.given(), return_state=True).result().plans != {}


def test_the_audit_s_exit_code_says_whether_all_is_whole(job, output, capsys):
    region(job)
    options = [f"--output={output.address}", "--run-retries=0"]
    run(["audit", *options])
    assert f'"stored": {TILES}' in capsys.readouterr().out
    output.store.delete(next(iter(output.store.list("tiles/"))).key)
    with pytest.raises(SystemExit) as left:
        run(["audit", *options])
    assert left.value.code == 1
    assert "1 missing" in capsys.readouterr().err


def test_the_audit_of_an_output_that_is_not_there_fails_and_makes_none(tmp_path):
    state = call(audit_output, output=str(tmp_path / "none"), run_retries=0, return_state=True)
    assert state.message.startswith("AuditError: There is no plan in this output")
    assert list(tmp_path.iterdir()) == []


def test_repair_fetches_just_what_is_missing(job, sandbox, output):
    region(job)
    key = next(iter(output.store.list("tiles/"))).key
    output.store.delete(key)
    given = parameters_of(
        AuditParameters, **{k: job[k] for k in ("project", "endpoint", "output", "run_retries")}, repair=True
    )
    state = audit_output(**given.given(), return_state=True)
    result = state.result()
    assert [counts["stored"] for counts in result.plans.values()] == [TILES]
    assert pixel_requests(sandbox) == TILES + 1
    shown = published(state)
    assert sorted(each.key for each in shown) == ["audit", "faults", "progress"]
    (faults,) = (each for each in shown if each.key == "faults")
    assert faults.description == "1 of 1 tiles are repaired"
    assert [(row["file"], row["now"]) for row in json.loads(faults.data)] == [(markdown(key), "repaired")]


def test_another_request_is_fetched_anew_and_leaves_the_old_output(sandbox, tmp_path):
    job = {"project": "my-project", "endpoint": sandbox, "output": str(tmp_path), "run_retries": 0}
    recipe = {"recipe": "ndvi", "parameters": {"asset": SCENE, "red": "B4", "nir": "B3"}}
    region(GIVEN | job)
    region(GIVEN | job | {"image": recipe})
    old, counted = files(tmp_path), pixel_requests(sandbox)
    for change in (
        {"bands": ["B4", "B3"]},
        {"scale": 60},
        {"codec": "deflate"},
        {"image": {"recipe": "ndvi", "parameters": recipe["parameters"] | {"red": "B2"}}},
    ):
        result = region(GIVEN | job | change).result()
        assert pixel_requests(sandbox) == counted + result.stored, change
        counted += result.stored
    now = files(tmp_path)
    assert {key: now[key] for key in old} == old


def test_a_further_date_is_all_that_is_fetched(sandbox, tmp_path):
    given = {
        "image": {"recipe": "modis_ndvi"},
        "region": LAKE,
        "scale": 250,
        "start": "2020-01-01",
        "project": "my-project",
        "endpoint": sandbox,
        "output": str(tmp_path),
        **UNPACED,
    }
    first = call(extract_timeseries, **given, end="2020-02-10")
    old = files(tmp_path)
    second = call(extract_timeseries, **given, end="2020-03-01")
    assert (len(first.files), len(second.files)) == (3, 4)
    assert pixel_requests(sandbox) == second.stored == first.stored * 4 // 3
    now = files(tmp_path)
    assert {key: now[key] for key in old} == old


def test_an_asset_that_was_updated_is_fetched_anew_and_its_old_plan_is_superseded(tmp_path):
    shutil.copytree(SAMPLES, tmp_path / "scenes")
    with running(scenes=tmp_path / "scenes") as url:
        job = GIVEN | {"project": "my-project", "endpoint": url, "output": str(tmp_path / "out"), "run_retries": 0}
        first = region(job).result()
        old = files(tmp_path / "out")
        os.utime(tmp_path / "scenes" / "landsat8_224078_20200518.tif")
        second = region(job).result()
        assert (pixel_requests(url), second.fingerprint != first.fingerprint) == (2 * TILES, True)
        now = files(tmp_path / "out")
        assert {key: now[key] for key in old} == old
        given = parameters_of(AuditParameters, **{k: job[k] for k in ("project", "endpoint", "output", "run_retries")})
        assert audit_output(**given.given()).superseded == [Path(first.folder).name]
        pruned = audit_output(**given.given(), prune=True)
        assert pruned.pruned > TILES
        assert not Path(first.folder).exists()
        assert {key for key in now if key not in files(tmp_path / "out")} <= set(old)
        assert region(job).is_completed()
        assert pixel_requests(url) == 2 * TILES
        Path(second.output, next(key for key in files(Path(second.output)) if key.startswith("tiles/"))).unlink()
        os.utime(tmp_path / "scenes" / "landsat8_224078_20200518.tif", ns=(1, 1))
        late = audit_output(**given.given(), repair=True, return_state=True)
    assert late.is_failed()
    assert "was updated since it was planned" in late.message


def test_quota_endpoint_tags_and_batches_fetch_nothing_anew(sandbox, tmp_path, monkeypatch):
    job = GIVEN | {"project": "my-project", "endpoint": sandbox, "output": str(tmp_path), "run_retries": 0}
    region(job)
    with running() as other:
        monkeypatch.setattr(batching, "LARGEST_BATCH", 4)
        for change in (
            {"requests_in_flight": 3, "requests_per_second": 7},
            {"endpoint": other},
            {"project": "another-project"},
            {"workload_tag": "other"},
            {"read_deadline": 9, "computation_limit": 9},
        ):
            assert region(job | change).result().stored == TILES
        assert (pixel_requests(sandbox), pixel_requests(other)) == (TILES, 0)


def test_a_job_in_other_batches_is_the_same_and_each_of_them_is_cached(sandbox, tmp_path, monkeypatch):
    job = GIVEN | {"project": "my-project", "endpoint": sandbox, "output": str(tmp_path / "a"), "run_retries": 0}
    whole = region(job).result()
    monkeypatch.setattr(batching, "batch_size", lambda left, **_: min(left, 6))
    parts = region(job | {"output": str(tmp_path / "b")}).result()
    assert files(Path(whole.output, "tiles")) == files(Path(parts.output, "tiles"))
    again = region(job | {"output": str(tmp_path / "b")})
    names = sorted(run["name"] for run in task_runs(again) if run["state"]["name"] == "Cached")
    assert names == ["tiles 0-6", "tiles 12-18", "tiles 18-20", "tiles 6-12"]


def test_two_runs_of_one_job_at_the_same_time_end_with_one_whole_output(job, sandbox, output):
    """Each may fetch what the other has not stored as it looks: at most one more fetch a tile."""
    states = []
    threads = [threading.Thread(target=lambda: states.append(region(job))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [state.name for state in states] == ["Completed", "Completed"]
    fetched = pixel_requests(sandbox)
    assert TILES <= fetched <= 2 * TILES
    assert region(job).is_completed()
    assert pixel_requests(sandbox) == fetched
    with contextlib.suppress(KeyError):
        assert len(list(output.store.list("tiles/"))) == TILES

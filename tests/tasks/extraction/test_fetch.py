"""Batches cover a plan once; runs together keep to the quota; a run is held against its plan."""

import json
import os
import subprocess
import sys
import urllib.request

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from deployments.sandbox.process import running
from tasks.earthengine.deadlines import Deadlines
from tasks.errors.run import ExtractionFailedError
from tasks.extraction import batch as batch_module
from tasks.extraction.batch import Batch, run_batch
from tasks.extraction.batching import BATCH_S, LARGEST_BATCH, WAVE_S, Remainder, batch_size, next_wave
from tasks.extraction.checkpoint import Checkpoint
from tasks.extraction.completeness import check_complete
from tasks.extraction.quota import FixedShare
from tasks.storage.local import LocalStore
from tasks.storage.receipt import TileReceipt
from tests.tasks.extraction.test_checkpoint import series


@settings(deadline=None)  # half a million steps
@given(st.integers(1, 500_000), st.integers(1, 200), st.lists(st.one_of(st.none(), st.floats(0.01, 200)), max_size=9))
def test_batches_cover_the_plan_and_none_is_empty_or_too_large(count, in_flight, rates):
    left, rates = count, rates or [None]
    for number in range(count):
        size = batch_size(left, in_flight=in_flight, per_second=rates[number % len(rates)])
        assert 1 <= size <= min(left, 1.5 * LARGEST_BATCH)
        left -= size
        if not left:
            return
    raise AssertionError("the batches never end")


def test_a_small_job_is_one_batch_and_a_large_one_has_batches_of_more_than_a_minute():
    assert batch_size(1_000, in_flight=40, per_second=None) == 1_000
    assert batch_size(1_000_000, in_flight=40, per_second=80.0) / 80.0 == BATCH_S > 60


def test_the_first_wave_is_one_batch_and_later_ones_are_five_minutes_of_work():
    left = Remainder(100_000, Checkpoint())
    first = next_wave(left, in_flight=40, per_second=None)
    assert [stretch.missing for stretch in first] == [1_200]
    second = next_wave(left, in_flight=40, per_second=80.0)
    assert WAVE_S * 80.0 <= sum(stretch.missing for stretch in second) < WAVE_S * 80.0 + 80.0 * BATCH_S
    assert len(second) == 4
    assert [stretch.start for stretch in second] == [first[0].stop, *(stretch.stop for stretch in second[:-1])]


@given(st.integers(1, 5_000), st.integers(1, 60), st.lists(st.one_of(st.none(), st.floats(0.1, 99)), min_size=1))
def test_waves_cover_a_plan_once(count, in_flight, rates):
    left, tiles, number = Remainder(count, Checkpoint()), [], 0
    while left:
        wave = next_wave(left, in_flight=in_flight, per_second=rates[number % len(rates)])
        assert wave
        tiles += [index for stretch in wave for index in range(stretch.start, stretch.stop)]
        number += 1
    assert tiles == list(range(count))


def test_a_batch_is_asked_with_the_deadlines_and_the_tag_of_its_run(connection, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(batch_module, "fetch", lambda *_, **more: asked.append(more) or 1 / 0)
    plan, store = series(1), LocalStore(tmp_path)
    store.put(f"{plan.folder}/plan.json", json.dumps(plan.json()).encode())
    batch = Batch(
        output=str(tmp_path),
        plan_key=f"{plan.folder}/plan.json",
        plan=plan.fingerprint,
        start=0,
        stop=1,
        connection=connection.reference,
        deadlines=Deadlines(read_s=7.0),
        workload_tag="my-tag",
        run_id="run",
    )
    with pytest.raises(ZeroDivisionError):
        run_batch(batch, FixedShare(in_flight=1, of=1))
    assert asked == [{"deadlines": Deadlines(read_s=7.0), "workload_tag": "my-tag"}]


def test_two_processes_that_share_a_tag_never_pass_the_quota(prefect_server, tmp_path):
    """Each would like all ten; the sandbox, which would take any number, counts what it gets."""
    script = """
import sys
from flows.patches import extract_patches
points = [[-54.6 + 0.0005 * i, -25.3 + 0.0002 * int(sys.argv[3])] for i in range(60)]
features = [{"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": p}} for p in points]
result = extract_patches(image="projects/sandbox/assets/landsat8_224078_20200518", masks="unknown", scale=30, size=16,
    points={"type": "FeatureCollection", "features": features}, output=sys.argv[2], advanced={"endpoint": sys.argv[1],
    "project": "shared-project", "requests_in_flight": 10, "requests_per_second": 1000})
assert result.stored == 60, result
"""
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name("tag:earthengine:shared-project", 10)
    with running(latency_median=0.3, latency_sigma=0.3) as url:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", script, url, str(tmp_path / str(number)), str(number)],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for number in range(2)
        ]
        errors = [process.communicate(timeout=150)[1].decode()[-2_000:] for process in processes]
        with urllib.request.urlopen(f"{url}/sandbox/statistics") as answer:
            statistics = json.load(answer)
    assert [process.returncode for process in processes] == [0, 0], errors
    assert statistics["pixel_requests"] == 120
    assert 5 < statistics["peak_in_flight"] <= 10


def receipt(index, status="stored", reason=None):
    return TileReceipt(index=index, fingerprint="f", status=status, reason=reason)


def check(tiles, *, expected, allow_failures=False):
    check_complete(tiles, expected=expected, output="out", allow_failures=allow_failures)


def test_stored_and_empty_tiles_complete_a_plan():
    check([receipt(0), receipt(1, "empty")], expected=2)


def test_a_failed_tile_is_named_as_the_user_names_it():
    tiles = [receipt(0), receipt(1, "failed", "Rejected: no such band"), receipt(2, "failed", "Rejected: no such band")]
    with pytest.raises(ExtractionFailedError, match=r"2 x Rejected: no such band \(first: plot 00123\)\n"):
        check_complete(tiles, expected=3, output="out", allow_failures=False, names={1: "plot 00123", 2: "plot 7"})


def test_a_failed_tile_fails_the_run_unless_it_is_allowed():
    tiles = [receipt(0), receipt(1, "failed", "Rejected: no such band")]
    with pytest.raises(ExtractionFailedError, match=r"1 of 2 tiles failed(.|\n)*1 x Rejected: no such band(.|\n)*out"):
        check(tiles, expected=2)
    check(tiles, expected=2, allow_failures=True)


@pytest.mark.parametrize("tiles", [[receipt(0)], [receipt(0), receipt(2)], [receipt(0), receipt(0)]])
def test_a_missing_tile_fails_the_run_even_if_failures_are_allowed(tiles):
    with pytest.raises(ExtractionFailedError, match="missing"):
        check(tiles, expected=2, allow_failures=True)

"""A growing series, as a schedule runs it: each run fetches what is new or changed in the collection, and no more."""

import json
from pathlib import Path

import pytest

from flows.audit import audit_output
from flows.timeseries import extract_timeseries
from tests.flows.conftest import UNPACED, files, pixel_requests, published, turn
from tests.flows.test_flows import artifacts_of
from tests.given import call

LAKE = [-54.62, -25.30, -54.58, -25.26]
COLLECTION = "MODIS/061/MOD13Q1"


@pytest.fixture
def series(served, tmp_path, prefect_server):
    """Run it, and say what it asked for and what it left."""

    def run(output="out", **more):
        before = pixel_requests(served)
        job = {"image": {"asset": COLLECTION}, "bands": ["NDVI"], "masks": "nodata", "region": LAKE, "crs": "native"}
        place = {
            "project": "my-project",
            "endpoint": served,
            "output": str(tmp_path / output),
            "run_retries": 0,
            **UNPACED,
        }
        state = call(
            extract_timeseries, **job | {"start": "2020-01-01", "tile_size": 16} | place | more, return_state=True
        )
        return state, pixel_requests(served) - before

    yield run
    turn(served, until=None, changed=None)


def test_each_run_fetches_just_what_is_new_or_changed(series, served, tmp_path):
    turn(served, until="2020-03-01")
    state, asked = series()
    first = state.result()
    dates = list(first.files)
    assert dates == ["2020-01-01", "2020-01-17", "2020-02-02", "2020-02-18"]
    a_date = asked // len(dates)  # requests
    assert asked == len(dates) * a_date > 0
    before = files(Path(first.folder))

    turn(served, until="2020-03-10", changed=f"{COLLECTION}/2020_01_17")
    state, asked = series()
    second = state.result()
    assert asked == 2 * a_date
    assert list(second.files) == [*dates, "2020-03-05"]
    shown = {each.key: each for each in published(state)}
    assert len(shown) == len(published(state))
    assert shown.keys() >= {"series", "series-plot", "plan", "progress"}
    assert [row["date"] for row in json.loads(shown["series"].data)] == list(second.files)
    assert second.folder == first.folder
    after = files(Path(second.folder))
    renewed = {name for name in before if after[name] != before[name] and "/" not in name}
    assert renewed == {
        "2020-01-17.tif",
        "series.csv",
        "series.png",
        "quicklook.png",
        "manifest.parquet",
        "plan.json",
        "coverage.png",
    }
    assert "| requests to make | 4 |".replace("4", str(2 * a_date)) in artifacts_of(state)["plan"]["data"]

    turn(served, until="2020-05-25")  # five more, however long ago the last run was
    state, asked = series()
    assert asked == 5 * a_date
    assert len(state.result().files) == 10

    everything = files(tmp_path)
    state, asked = series()
    assert asked == 0
    assert state.result().stored == 10 * a_date
    assert files(tmp_path) == everything

    state, asked = series(output="at once")
    at_once = state.result()
    assert asked == 10 * a_date
    audit = {"output": str(tmp_path / "out"), "run_retries": 0}
    found = call(audit_output, **audit, prune=True)
    assert found.plans[Path(first.folder).name] == dict.fromkeys(found.plans[Path(first.folder).name], 0) | {
        "stored": 10 * a_date
    }
    assert found.pruned == a_date  # tiles of the image that was changed, as they were
    products = {name: data for name, data in files(Path(first.folder)).items() if name.endswith((".tif", ".csv"))}
    assert {name: files(Path(at_once.folder))[name] for name in products} == products


def test_a_dry_run_of_it_says_what_is_new_and_fetches_nothing(series, served, tmp_path):
    turn(served, until="2020-02-01")
    series()
    before = files(tmp_path)
    turn(served, until="2020-03-01")
    state, asked = series(plan_only=True)
    result = state.result()
    assert asked == 0
    assert (result.stored, result.missing) == (result.missing, result.stored)  # two dates are there, two are new
    assert files(tmp_path) == before


def test_dates_without_a_valid_pixel_are_known_and_a_lasting_failure_leaves_one_receipt(series, served, tmp_path):
    sea = {"output": "sea", "region": [-40.0, -30.0, -39.96, -29.96]}
    turn(served, until="2020-01-20")
    _, both = series(**sea)
    turn(served, until="2020-02-10")
    assert series(**sea)[1] == both // 2  # one date more

    turn(served, max_pixels=100)
    try:
        states = [series(output="heavy", allow_failures=True)[0] for _ in range(3)]
    finally:
        turn(served, max_pixels=None)
    assert states[-1].result().failed
    assert len(list(Path(states[-1].result().folder, "receipts").glob("0*.json"))) == 1

"""A series keeps every image: files, table, manifest, log and the folder of an earlier version."""

import csv
import json
import logging
from dataclasses import replace
from pathlib import Path

import geopandas
import pyarrow.parquet
import pytest
import rasterio

from deployments.sandbox.process import running
from flows.parameters import TimeseriesParameters
from flows.timeseries import extract_timeseries, plan, series_folder
from tasks.earthengine.connection import Connection
from tasks.extraction.checkpoint import read_checkpoint
from tasks.extraction.stored_plan import store_plan
from tasks.storage.local import LocalStore
from tests.flows.conftest import UNPACED, pixel_requests
from tests.given import parameters_of
from tests.tasks.plan.dated import BOX, A, extracted, write_scene

S2 = {"DATATAKE_IDENTIFIER": "GS2A_20200518T134211_016607_N02.14"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def url(folder):
    with running(scenes=folder) as url:
        yield url


@pytest.fixture
def job(url, tmp_path):
    def make(collection, **more):
        return parameters_of(
            TimeseriesParameters,
            image={"asset": f"projects/sandbox/assets/{collection}"},
            region=BOX,
            crs="native",
            project="my-project",
            endpoint=url,
            output=str(tmp_path / "out"),
            run_retries=0,
            **UNPACED,
            **{"start": "2020-05-01"} | more,
        )

    return make


def test_the_images_of_a_series_stand_in_files_table_and_manifest(prefect_server, folder, job, caplog):
    for name, pixels, moment in [("a", A, "00:00:00"), ("b", A + 6, "06:00:00"), ("c", A + 18, "18:00:00")]:
        write_scene(folder / "day" / f"{name}.tif", pixels, DATE_ACQUIRED=f"2020-05-17T{moment}Z")
    north, south = S2 | {"MGRS_TILE": "21JYN"}, S2 | {"MGRS_TILE": "21JYM"}
    write_scene(folder / "day" / "north.tif", A, DATE_ACQUIRED="2020-05-18T13:42:11Z", **north)
    for name, pixels, number in (("south_1", A + 500, 1), ("south_2", A + 7, 2)):
        tags = south | {"GENERATION_TIME": str(number)}
        write_scene(folder / "day" / f"{name}.tif", pixels, DATE_ACQUIRED="2020-05-18T13:42:25Z", **tags)
    write_scene(folder / "day" / "timeless.tif", A)
    with caplog.at_level(logging.WARNING):
        result = extract_timeseries(**job("day", end="2020-06-01").given())

    right = {
        "2020-05-17": 200.5,
        "2020-05-17T060000Z": 206.5,
        "2020-05-17T180000Z": 218.5,
        "2020-05-18T134211Z": 207.5,
    }
    assert list(result.files) == sorted(right) == [Path(path).stem for path in result.files.values()]
    for label, path in result.files.items():
        with rasterio.open(path) as file:
            assert file.read(1, masked=True).mean() == right[label]
            tags = file.tags()
    assert (tags["TIFFTAG_DATETIME"], tags["DATE_ACQUIRED"]) == ("2020:05:18 13:42:11", "2020-05-18")
    assert (tags["TIME_START"], tags["TIME_END"]) == ("2020-05-18T13:42:11+00:00", "2020-05-18T13:42:25+00:00")
    assert [one.rsplit("/", 1)[-1] for one in tags["IMAGES"].split()] == ["north", "south_2"]

    with Path(result.table).open() as file:
        rows = list(csv.DictReader(file))
    assert {row["image"]: float(row["mean"]) for row in rows} == right
    assert [row["date"] for row in rows] == ["2020-05-17"] * 3 + ["2020-05-18"]
    assert (rows[3]["time_start"], rows[3]["time_end"]) == (tags["TIME_START"], tags["TIME_END"])
    assert rows[3]["images"] == tags["IMAGES"]

    manifest = geopandas.read_parquet(result.manifest)
    last = manifest[manifest["images"] == tags["IMAGES"]].iloc[0]
    assert (last.time_start, last.time_end) == (tags["TIME_START"], tags["TIME_END"])
    assert last.superseded == "projects/sandbox/assets/day/south_1"
    assert list(manifest["superseded"].notna()) == [False, False, False, True]
    left_out = json.loads(pyarrow.parquet.read_metadata(result.manifest).metadata[b"left_out"])
    assert set(left_out) == set(result.left_out) == {"projects/sandbox/assets/day/south_1", "timeless"}
    assert "older copy" in left_out["projects/sandbox/assets/day/south_1"]
    assert "south_1: an older copy" in caplog.text
    assert "timeless: no system:time_start" in caplog.text


DAYS = {"a": "2020-05-16T10:00:00Z", "b": "2020-05-17T06:00:00Z", "c": "2020-05-17T18:00:00Z", "d": "2020-05-18"}


def test_a_growing_series_of_the_version_before_goes_on_in_its_folder(prefect_server, folder, job, url, caplog):
    """It was grouped by day, and its files were named by the day."""
    for name, moment in DAYS.items():
        write_scene(folder / "old" / f"{name}.tif", A, DATE_ACQUIRED=moment)
    growing = job("old")
    by_day = plan(job("old", group_by="day"), Connection(project="my-project", endpoint=url))
    before = replace(
        by_day,
        sources=tuple(replace(one, title="", images=(), superseded=(), end=None) for one in by_day.sources),
        home=series_folder(growing, by_day),
    )
    connection = Connection(project="my-project", endpoint=url)
    store_plan(LocalStore(Path(growing.output)), before)
    extracted(connection, before, Path(growing.output))
    old = {path.name for path in (Path(growing.output) / before.folder).glob("*.tif")}
    assert old == {"2020-05-16.tif", "2020-05-17.tif", "2020-05-18.tif"}

    asked = pixel_requests(url)
    with caplog.at_level(logging.INFO):
        result = extract_timeseries(**growing.given())
    assert Path(result.folder).name == before.folder
    assert pixel_requests(url) - asked == 2  # the two images of the 17th, which were one
    assert list(result.files) == ["2020-05-16T100000Z", "2020-05-17T060000Z", "2020-05-17T180000Z", "2020-05-18"]
    left = {path.name for path in Path(result.folder).glob("*.tif")}
    assert left == {f"{label}.tif" for label in result.files} | {"2020-05-17.tif"}
    assert "1 images of the last run are no longer in the plan: 2020-05-17" in caplog.text
    assert f"{before.folder}/2020-05-16.tif is removed: its image has another name now" in caplog.text

    again = plan(growing, connection)
    assert len(read_checkpoint(again, LocalStore(Path(growing.output))).tiles) == len(again) == 4
    by_day = plan(job("old", group_by="day"), connection)
    assert by_day.folder != before.folder
    assert len(read_checkpoint(by_day, LocalStore(Path(growing.output))).tiles) == 3


BEFORE = {
    "images of a day": ({"asset": "COPERNICUS/S2_SR_HARMONIZED"}, {"bands": ["B4", "SCL"]}, "8b194f94", "8843c87bee7d"),
    "one image a day": ({"asset": "LANDSAT/LC08/C02/T1_L2"}, {"bands": ["SR_B4"]}, "38d2b285", "c6e1a659bbd3"),
    "a recipe": ({"recipe": "modis_ndvi"}, {"scale": 250}, "4eb4c6d6", "80db8ad37651"),
}


@pytest.mark.parametrize("kind", BEFORE)
def test_the_identity_of_series_of_the_version_before(kind, sandbox_url):
    """Fingerprints and folders that commit af72e67 gave the same jobs."""
    image, how, fingerprint, folder = BEFORE[kind]
    parameters = parameters_of(
        TimeseriesParameters,
        image=image,
        region=[-54.60, -25.33, -54.58, -25.31],
        **{"scale": 60, "start": "2020-05-01"} | how,
    )
    found = plan(parameters, Connection(project="my-project", endpoint=sandbox_url))
    assert (found.fingerprint[:8], found.folder) == (fingerprint, f"series-{folder}")


def test_an_image_without_a_band_blocks_a_growing_series_only_until_a_choice_is_made(prefect_server, folder, job):
    for name, bands, day in [("a", {"B1": A, "B2": A}, "2020-05-16"), ("b", {"B1": A + 1}, "2020-05-17")]:
        write_scene(folder / "bands" / f"{name}.tif", bands, DATE_ACQUIRED=day)
    state = extract_timeseries(**job("bands", bands=["B1", "B2"]).given(), return_state=True)
    assert "b has no band B2. Use missing_bands=skip" in str(state.result(raise_on_failure=False))
    skipped = extract_timeseries(**job("bands", bands=["B1", "B2"], missing_bands="skip").given())
    assert (list(skipped.files), skipped.left_out) == (
        ["2020-05-16"],
        {"projects/sandbox/assets/bands/b": "no band B2"},
    )
    masked = extract_timeseries(**job("bands", bands=["B1", "B2"], missing_bands="mask").given())
    with rasterio.open(masked.files["2020-05-17"]) as file:
        assert file.read(1, masked=True).mean() == 201.5
        assert file.read(2, masked=True).mask.all()

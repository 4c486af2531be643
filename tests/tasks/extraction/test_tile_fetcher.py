"""Laws of tiles: every tile ends stored, empty or failed with its reason; only what can't be helped stops it."""

import contextlib
import io
import json
import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from PIL import Image

from tasks.earthengine.errors import BudgetExhausted, Denied, GivenUp, Rejected, Stopped, Throttled, TooHeavy, Transient
from tasks.earthengine.transport import Answer
from tasks.extraction import tile_fetcher as tile_module
from tasks.extraction.retry_policy import RetryPolicy
from tasks.extraction.tile_fetcher import TileFetcher
from tasks.extraction.tile_file import encode
from tasks.plan.plan import Band, Plan, Source, TileFormat
from tasks.plan.tiles import RegionTiles
from tasks.raster.crs import crs_of
from tasks.raster.encode import read_geotiff
from tasks.raster.raster import Raster
from tasks.raster.tiling import Tiling
from tasks.storage.checksum import crc32c
from tasks.storage.local import LocalStore
from tasks.storage.receipt import Receipt
from tests.rasters import encode_geotiff
from tests.tasks.extraction.extracting import AT_ONCE, a_session, extract

WIDTH, HEIGHT, TILE = 40, 24, 16
NO_WAIT = RetryPolicy(first_wait_s=0.0, longest_wait_s=0.0)


def plan(output=None, wire="NPY", bands=("a", "b", "valid_0")):
    box = GeoBox((HEIGHT, WIDTH), Affine(10, 0, 500, 0, -10, 900), crs_of("EPSG:32633"))
    source = Source(
        name="image",
        expression='{"result":"0","values":{"0":{"constantValue":1}}}',
        version="unpinned",
        wire=wire,
        wire_bands=bands,
        wire_dtypes=("uint16",) * len(bands),
    )
    return Plan(
        name="region",
        sources=(source,),
        tiles=RegionTiles(crs="EPSG:32633", tiling=Tiling(box, TILE)),
        bands=(Band(id="a", dtype="uint16"), Band(id="b", dtype="uint16")),
        tile_format=output or TileFormat(),
    )


def npy(grid, *, valid=0b01):
    """One tile: band a counts pixels, band b is 7; `valid` is the same for every pixel but the first."""
    array = np.zeros((grid.height, grid.width), [("a", "<u2"), ("b", "<u2"), ("valid_0", "u1")])
    array["a"] = np.arange(array.size).reshape(array.shape)
    array["b"] = 7
    array["valid_0"] = valid
    array["valid_0"][0, 0] = 0b11 if valid else 0
    with io.BytesIO() as file:
        np.save(file, array)
        return file.getvalue()


def counted(grid):
    """Any part of the whole grid: band a is the x of a pixel, band b its y, so that a part shows where it was taken."""
    size, affine = grid["dimensions"], grid["affineTransform"]
    array = np.zeros((size["height"], size["width"]), [("a", "<u2"), ("b", "<u2"), ("valid_0", "u1")])
    array["a"] = affine["translateX"] + 10 * np.arange(size["width"])
    array["b"] = (affine["translateY"] - 10 * np.arange(size["height"]))[:, None]
    array["valid_0"] = 0b11
    with io.BytesIO() as file:
        np.save(file, array)
        return file.getvalue()


def big():
    """Two tiles of 32 px."""
    box = GeoBox((32, 64), Affine(10, 0, 500, 0, -10, 900), crs_of("EPSG:32633"))
    return replace(plan(), tiles=RegionTiles(crs="EPSG:32633", tiling=Tiling(box, 32)))


class Script:
    """Answers by tile: bytes, or errors that are raised one after the other before them."""

    def __init__(self, plan, **troubles):
        self.plan, self.troubles = plan, {int(k[1:]): list(v) for k, v in troubles.items()}
        self.by_body = {plan.request(i).body: i for i in range(len(plan))}
        self.calls = []

    def __call__(self, request):
        index = self.by_body[request.body]
        self.calls.append(index)
        trouble = self.troubles.get(index)
        if trouble:
            answer = trouble.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, Answer) else Answer(answer, restricted=False)
        return Answer(npy(self.plan.grid(index)), restricted=False)


def run(tmp_path, a_plan=None, retry=NO_WAIT, **troubles):
    a_plan = a_plan or plan()
    script = Script(a_plan, **troubles)
    store = LocalStore(tmp_path)
    with a_session() as session:
        fetcher = TileFetcher(plan=a_plan, ask=script, session=session, store=store, retry=retry)
        outcome = extract(fetcher, 0, len(a_plan))
    if outcome.error:
        raise outcome.error
    return outcome.receipt, script, store


def test_every_tile_is_stored_with_what_its_receipt_says(tmp_path):
    receipt, script, store = run(tmp_path)
    assert sorted(script.calls) == list(range(6))
    for tile in receipt.tiles:
        data = store.get(tile.key)
        assert (len(data), crc32c(data)) == (tile.size, tile.crc32c)
        raster = read_geotiff(data)
        grid = plan().grid(tile.index)
        assert raster.geobox == grid.geobox
        assert raster.bands == ("a", "b")
        assert raster.valid[0].all()
        assert raster.valid[1].sum() == 1
        assert raster.values[0, 0, 1] == 1
        assert tile.bands[1].valid == 1
        assert tile.bands[0].mean == pytest.approx((grid.width * grid.height - 1) / 2)
    assert Receipt.from_json(json.loads(receipt.encode())) == receipt


def test_a_tile_without_a_valid_pixel_is_a_receipt_and_no_file(tmp_path):
    a_plan = plan()
    receipt, _, store = run(tmp_path, a_plan, t2=[npy(a_plan.grid(2), valid=0)])
    assert [tile.status for tile in receipt.tiles] == ["stored", "stored", "empty", "stored", "stored", "stored"]
    assert receipt.tiles[2].valid_share == 0
    assert len(list(store.list("tiles/"))) == 5


def test_one_refused_tile_does_not_stop_the_rest(tmp_path):
    receipt, script, _ = run(tmp_path, t1=[Rejected("no such band", 400)], t4=[TooHeavy("User memory limit", 400)])
    assert [tile.status for tile in receipt.tiles].count("stored") == 4
    assert receipt.tiles[1].reason == "Rejected: no such band (HTTP 400)"
    assert receipt.tiles[4].status == "failed"
    assert script.calls.count(1) == 1


def test_passing_faults_are_repeated_and_counted(tmp_path):
    a_plan = plan()
    whole = npy(a_plan.grid(3))
    receipt, script, _ = run(tmp_path, a_plan, t3=[Transient("503", 503), whole[:-5], b"<html>", whole])
    assert receipt.tiles[3].status == "stored"
    assert receipt.tiles[3].attempts == 4
    assert script.calls.count(3) == 4


def test_a_fault_that_does_not_pass_fails_its_tile_only(tmp_path):
    receipt, script, _ = run(tmp_path, t0=[Transient("503", 503)] * 99)
    assert receipt.tiles[0].status == "failed"
    assert script.calls.count(0) == NO_WAIT.attempts
    assert {tile.status for tile in receipt.tiles[1:]} == {"stored"}


def test_throttling_uses_up_no_attempt(tmp_path):
    troubles = [Throttled("429", 429)] * 8 + [Transient("503", 503)] * 4
    receipt, script, _ = run(tmp_path, t5=troubles)
    assert receipt.tiles[5].status == "stored"
    assert script.calls.count(5) == 13


@pytest.mark.parametrize("error", [Denied("no permission", 403), BudgetExhausted("EECU", 429)])
def test_what_no_tile_can_survive_stops_the_lane(tmp_path, error):
    with pytest.raises(type(error), match=str(error.message)):
        run(tmp_path, **{f"t{i}": [error] for i in range(6)})


def test_pictures_are_stored_as_sent_and_parts_are_not(tmp_path):
    a_plan = plan(TileFormat(file_format="PNG", visualization="{}"), wire="PNG", bands=("a",))
    pngs = [picture(a_plan.grid(i).shape) for i in range(6)]
    receipt, _, store = run(tmp_path, a_plan, **{f"t{i}": [png[:-3], png] for i, png in enumerate(pngs)})
    assert [store.get(tile.key) for tile in receipt.tiles] == pngs
    assert {tile.attempts for tile in receipt.tiles} == {2}


def picture(shape):
    with io.BytesIO() as file:
        Image.new("L", tuple(shape)[::-1]).save(file, "PNG")
        return file.getvalue()


def test_a_picture_of_another_size_is_no_answer(tmp_path):
    """A PNG of a kilobyte may declare a gigabyte of pixels, for whoever opens it later."""
    a_plan = plan(TileFormat(file_format="PNG", visualization="{}"), wire="PNG", bands=("a",))
    broken = b"\x89PNG\r\n\x1a\n....IEND\xaeB`\x82"
    pngs = [picture(a_plan.grid(i).shape) for i in range(6)]
    troubles = {f"t{i}": [broken, picture((16, 17)), png] for i, png in enumerate(pngs)}
    receipt, _, store = run(tmp_path, a_plan, **troubles)
    assert [store.get(tile.key) for tile in receipt.tiles] == pngs
    assert {tile.attempts for tile in receipt.tiles} == {3}


def test_npy_is_stored_as_sent(tmp_path):
    a_plan = plan(TileFormat(file_format="NPY"))
    receipt, _, store = run(tmp_path, a_plan)
    assert store.get(receipt.tiles[5].key) == npy(a_plan.grid(5))


def test_a_fatal_error_stops_what_was_not_sent_though_the_first_tile_is_slow(tmp_path):
    """The first tile waits until all is over: without the stop, every other tile would have been asked for."""
    box = GeoBox((16, 16 * 400), Affine(10, 0, 500, 0, -10, 900), crs_of("EPSG:32633"))
    a_plan = replace(plan(), tiles=RegionTiles(crs="EPSG:32633", tiling=Tiling(box, TILE)))
    calls = []
    first = a_plan.request(0).body

    def fetch(request):
        calls.append(request)
        if request.body == first:
            assert session.stop.wait(timeout=30)
            return Answer(npy(a_plan.grid(0)), restricted=False)
        raise Denied("no permission", 403)

    with a_session(replace(AT_ONCE, in_flight=4)) as session:
        session.permits.prove()  # else the slow tile would hold others up
        fetcher = TileFetcher(plan=a_plan, ask=fetch, session=session, store=LocalStore(tmp_path))
        outcome = extract(fetcher, 0, len(a_plan))
        assert isinstance(outcome.error, Denied)
        assert [tile.index for tile in outcome.receipt.tiles] == [0]  # nothing already fetched is lost
        assert len(calls) <= 8
        assert isinstance(extract(fetcher, 0, len(a_plan)).error, Stopped)
        assert len(calls) <= 8


def test_the_first_tile_is_a_probe(tmp_path):
    """Nothing else is sent until the first request is answered well, or takes long."""
    a_plan = plan()
    script = Script(a_plan)
    alone = []

    def fetch(request):
        if script.by_body[request.body] == 0:
            time.sleep(0.1)
            alone.append(not script.calls)
        return script(request)

    with a_session(replace(AT_ONCE, probe_s=60.0)) as session:
        fetcher = TileFetcher(plan=a_plan, ask=fetch, session=session, store=LocalStore(tmp_path), retry=NO_WAIT)
        outcome = extract(fetcher, 0, 6)
    assert outcome.error is None
    assert alone == [True]


def test_quick_refusals_do_not_hide_successes_that_take_longer(tmp_path):
    """Every second tile is refused at once; the others are good, but slow to be answered and to be stored."""
    box = GeoBox((16, 16 * 80), Affine(10, 0, 500, 0, -10, 900), crs_of("EPSG:32633"))
    a_plan = replace(plan(), tiles=RegionTiles(crs="EPSG:32633", tiling=Tiling(box, TILE)))
    script = Script(a_plan)

    def fetch(request):
        odd = script.by_body[request.body] % 2
        time.sleep(0.01 if odd else 0.3)
        if odd:
            raise Rejected("no such band", 400)
        return script(request)

    class Store(LocalStore):
        def commit(self, key, data, **more):
            time.sleep(0.1)
            return super().commit(key, data, **more)

    with a_session(replace(AT_ONCE, in_flight=40, probe_s=0.05)) as session:
        fetcher = TileFetcher(plan=a_plan, ask=fetch, session=session, store=Store(tmp_path), retry=NO_WAIT)
        outcome = extract(fetcher, 0, 80)
    assert outcome.error is None
    assert [tile.status for tile in outcome.receipt.tiles] == ["stored", "failed"] * 40


def test_many_equal_refusals_without_a_success_stop_the_run(tmp_path):
    """A misspelt band must not cost 40,000 requests; the sizes in the messages differ."""
    box = GeoBox((16, 16 * 400), Affine(10, 0, 500, 0, -10, 900), crs_of("EPSG:32633"))
    a_plan = replace(plan(), tiles=RegionTiles(crs="EPSG:32633", tiling=Tiling(box, TILE)))
    calls = []

    def fetch(request):
        calls.append(request)
        raise Rejected(f"No band named 'B99' in tile {len(calls)}.", 400)

    with a_session(replace(AT_ONCE, in_flight=40)) as session:
        fetcher = TileFetcher(plan=a_plan, ask=fetch, session=session, store=LocalStore(tmp_path))
        outcome = extract(fetcher, 0, len(a_plan))
    assert isinstance(outcome.error, GivenUp)
    assert "first 20 tiles all failed with one class of error" in str(outcome.error)
    assert "B99" in str(outcome.error)
    assert len(calls) <= 21
    assert len(outcome.receipt.tiles) == 19


def test_a_tile_that_is_too_heavy_is_stored_as_the_same_bytes(tmp_path):
    answers = {f"t{i}": [counted(big().grid(i).json())] for i in range(2)}
    whole, _, whole_store = run(tmp_path / "whole", big(), **answers)
    limit, asked = 300, []

    def fetch(request):
        grid = json.loads(request.body)["grid"]["dimensions"]
        pixels = grid["width"] * grid["height"]
        asked.append(pixels)
        if pixels > limit:
            raise TooHeavy("User memory limit exceeded.", 400)
        return Answer(counted(json.loads(request.body)["grid"]), restricted=False)

    with a_session() as session:
        store = LocalStore(tmp_path / "split")
        fetcher = TileFetcher(plan=big(), ask=fetch, session=session, store=store, retry=NO_WAIT)
        outcome = extract(fetcher, 0, len(big()))
        assert session.sizes.suggested_side == 16
    assert max(asked) > limit
    for one, other in zip(whole.tiles, outcome.receipt.tiles, strict=True):
        assert store.get(other.key) == whole_store.get(one.key)
        assert other.bands == one.bands


faults = st.sampled_from(
    [
        Transient("503", 503),
        Transient("given up", may_compute_s=0.001),
        Throttled("429", 429),
        TooHeavy("User memory limit exceeded.", 400),
        Rejected("no such band", 400),
        b"",
        b"<html>",
        "cut",
        "restricted",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(troubles=st.dictionaries(st.integers(0, 5), st.lists(faults, max_size=8)))
def test_any_sequence_of_faults_ends_with_every_tile_stored_once_or_reported(tmp_path_factory, troubles):
    a_plan, folder = plan(), tmp_path_factory.mktemp("faults")
    script = Script(a_plan)
    puts = []

    class Store(LocalStore):
        def commit(self, key, data, **more):
            puts.append(key)
            return super().commit(key, data, **more)

    def fetch(request):
        index = script.by_body.get(request.body, 0)  # parts of a split tile meet no more trouble
        trouble = troubles.get(index) if request.body in script.by_body else None
        if trouble:
            answer = trouble.pop(0)
            if isinstance(answer, Exception):
                raise answer
            if answer == "cut":
                return Answer(npy(a_plan.grid(index))[:-7], restricted=False)
            if answer == "restricted":
                return Answer(npy(a_plan.grid(index)), restricted=True)
            return Answer(answer, restricted=False)
        if request.body not in script.by_body:
            return Answer(counted(json.loads(request.body)["grid"]), restricted=False)
        return script(request)

    troubles = {index: list(items) for index, items in troubles.items()}
    with a_session() as session:
        fetcher = TileFetcher(plan=a_plan, ask=fetch, session=session, store=Store(folder), retry=NO_WAIT)
        outcome = extract(fetcher, 0, 6)
        assert session.permits.wait_idle(5)  # every permit came back, also those that lingered
    assert outcome.error is None
    assert [tile.index for tile in outcome.receipt.tiles] == list(range(6))
    stored = [tile.key for tile in outcome.receipt.tiles if tile.status == "stored"]
    assert sorted(puts) == sorted(stored)
    assert all(tile.reason for tile in outcome.receipt.tiles if tile.status == "failed")
    assert {tile.status for tile in outcome.receipt.tiles} <= {"stored", "failed"}


def test_pixels_that_no_geotiff_can_hold_fail_their_tile_only(tmp_path):
    """Double values of every kind, with masks that differ by band: no value is left to mean no data."""
    a_plan = plan()
    grid = a_plan.grid(2)
    array = np.zeros((grid.height, grid.width), [("a", "<f8"), ("b", "<f8"), ("valid_0", "u1")])
    array["a"].flat[:3] = array["b"].flat[:3] = [np.nan, np.inf, -np.inf]
    array["valid_0"] = 0b11
    array["valid_0"][-1, -1] = 0b01
    with io.BytesIO() as file:
        np.save(file, array)
        receipt, _, _ = run(tmp_path, a_plan, t2=[file.getvalue()])
    assert [tile.status for tile in receipt.tiles].count("stored") == 5
    assert receipt.tiles[2].status == "failed"
    assert receipt.tiles[2].reason


def test_statistics_are_of_numbers_and_receipts_are_json(tmp_path):
    a_plan = plan()
    grid = a_plan.grid(0)
    array = np.zeros((grid.height, grid.width), [("a", "<f4"), ("b", "<f4"), ("valid_0", "u1")])
    array["a"] = 10
    array["a"].flat[:7] = np.nan
    array["b"].flat[0] = np.inf
    array["valid_0"] = 0b11
    with io.BytesIO() as file:
        np.save(file, array)
        receipt, _, _ = run(tmp_path, a_plan, t0=[file.getvalue()])
    first, second = receipt.tiles[0].bands
    assert (first.valid, first.counted, first.mean) == (256, 249, 10.0)
    assert (second.mean, second.max, second.min) == (np.inf, np.inf, 0.0)
    written = json.loads(json.dumps(json.loads(receipt.encode()), allow_nan=False))["tiles"][0]["bands"][1]
    assert written == {"valid": 256, "counted": 256, "mean": "inf", "min": 0.0, "max": "inf", "rest": 0.0}


def test_pixels_outside_a_clipped_region_are_masked_and_not_counted(tmp_path):
    triangle = "POLYGON ((500 900, 655 900, 500 745, 500 900))"  # half of the first tile, by its diagonal
    a_plan = plan(TileFormat(clip=triangle))
    receipt, _, store = run(tmp_path, a_plan)
    raster = read_geotiff(store.get(receipt.tiles[0].key))
    columns, rows = np.meshgrid(np.arange(16), np.arange(16))
    assert (raster.valid[0] == (columns + rows < 15)).all()
    assert receipt.tiles[0].pixels == 120
    assert receipt.tiles[0].bands[0].valid == 120
    assert [tile.status for tile in receipt.tiles[1:]] == ["empty"] * 5


def test_a_geotiff_that_does_not_say_what_is_masked_is_not_stored_as_if_it_did(tmp_path):
    """Of unsigned bands a zero and no data look alike: no mask is invented, and the message says what to do."""
    a_plan = plan(TileFormat(masks="nodata"), wire="GEO_TIFF", bands=("a", "b"))
    answers = {}
    for index in range(6):
        grid = a_plan.grid(index)
        values = np.full((2, grid.height, grid.width), 7, np.uint16)
        raster = Raster(values=values, valid=None, bands=("a", "b"), geobox=grid.geobox)
        answers[f"t{index}"] = [encode_geotiff(raster)]
    receipt, _, store = run(tmp_path, a_plan, **answers)
    assert {tile.status for tile in receipt.tiles} == {"failed"}
    assert "Use masks=exact, or masks=unknown." in receipt.tiles[0].reason
    assert list(store.list("tiles/")) == []


def test_pixels_are_made_into_files_in_few_threads(tmp_path, monkeypatch):
    """Each thread that writes a CRS costs GDAL a PROJ context of its own; requests have many threads."""
    box = GeoBox((16, 16 * 60), Affine(10, 0, 500, 0, -10, 900), crs_of("EPSG:32633"))
    a_plan = replace(plan(), tiles=RegionTiles(crs="EPSG:32633", tiling=Tiling(box, TILE)))
    script, threads = Script(a_plan), {"ask": set(), "make": set()}

    def fetch(request):
        threads["ask"].add(threading.current_thread().name)
        time.sleep(0.01)
        return script(request)

    def making(*given):
        threads["make"].add(threading.current_thread().name)
        return encode(*given)

    monkeypatch.setattr(tile_module, "encode", contextlib.contextmanager(lambda *given: entered(making, given)))
    with a_session(replace(AT_ONCE, in_flight=20)) as session:
        fetcher = TileFetcher(plan=a_plan, ask=fetch, session=session, store=LocalStore(tmp_path), retry=NO_WAIT)
        outcome = extract(fetcher, 0, len(a_plan))
    assert outcome.error is None
    assert len(threads["ask"]) > len(threads["make"])
    assert len(threads["make"]) <= os.cpu_count()


def entered(context, given):
    with context(*given) as made:
        yield made


def test_what_fails_in_another_thread_fails_the_tile(tmp_path, monkeypatch):
    def broken(*_):
        raise ValueError("no file can hold it")
        yield

    monkeypatch.setattr(tile_module, "encode", contextlib.contextmanager(broken))
    a_plan = plan()
    with a_session() as session:
        fetcher = TileFetcher(
            plan=a_plan, ask=Script(a_plan), session=session, store=LocalStore(tmp_path), retry=NO_WAIT
        )
        outcome = extract(fetcher, 0, 1)
    assert [entry.reason for entry in outcome.receipt.tiles] == ["ValueError: no file can hold it"]

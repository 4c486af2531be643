"""Laws of a lane: every tile ends stored, empty or failed with its reason; only what can't be helped stops it."""

import io
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from tasks.earthengine.errors import BudgetExhausted, Denied, Rejected, Stopped, Throttled, TooHeavy, Transient
from tasks.earthengine.lane import Lane, RetryPolicy
from tasks.earthengine.plan import Output, Plan, PlannedBand, Source
from tasks.earthengine.quota import Quota
from tasks.earthengine.tiles import RegionTiles
from tasks.raster.crs import crs_of
from tasks.raster.encode import encode_geotiff, read_geotiff
from tasks.raster.raster import Raster
from tasks.raster.tiling import Tiling
from tasks.storage.local import LocalStore
from tasks.storage.receipt import Receipt, crc32c

WIDTH, HEIGHT, TILE = 40, 24, 16
NO_WAIT = RetryPolicy(first_wait_s=0.0, longest_wait_s=0.0, throttled=10)


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
        bands=(PlannedBand(id="a", dtype="uint16"), PlannedBand(id="b", dtype="uint16")),
        output=output or Output(),
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
            return answer
        return npy(self.plan.grid(index))


def run(tmp_path, a_plan=None, retry=NO_WAIT, **troubles):
    a_plan = a_plan or plan()
    script = Script(a_plan, **troubles)
    store = LocalStore(tmp_path)
    lane = Lane(plan=a_plan, fetch=script, permit=Quota(per_second=1e9).permit, store=store, retry=retry)
    return lane.run(0, len(a_plan), threads=3), script, store


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
    assert Receipt.from_json(receipt.json()) == receipt


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


def test_waits_grow_and_keep_to_what_the_server_asked(monkeypatch):
    waits = []
    answers = [Transient("", 503), Throttled("", 429, 60.0), Transient("", 503)]

    def call():
        if answers:
            raise answers.pop(0)
        return b"done"

    data, attempts = RetryPolicy(first_wait_s=1.0, longest_wait_s=30.0).run(call, sleep=waits.append)
    assert (data, attempts) == (b"done", 4)
    assert 0 <= waits[0] <= 1
    assert waits[1] == 60.0
    assert 0 <= waits[2] <= 4


def test_the_quota_is_never_passed(tmp_path):
    """Eight threads, three slots: the greatest number of calls at once is three."""
    quota, lock, state = Quota(in_flight=3, per_second=1e9), threading.Lock(), {"now": 0, "peak": 0}
    gate = threading.Barrier(3)

    def work():
        with quota.permit():
            with lock:
                state["now"] += 1
                state["peak"] = max(state["peak"], state["now"])
            gate.wait(timeout=30)  # three are inside together, a fourth would be seen
            with lock:
                state["now"] -= 1

    threads = [threading.Thread(target=work) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert state == {"now": 0, "peak": 3}


def test_pictures_are_stored_as_sent_and_parts_are_not(tmp_path):
    a_plan = plan(Output(file_format="PNG", visualization="{}"), wire="PNG", bands=("a",))
    png = b"\x89PNG\r\n\x1a\n....IEND\xaeB`\x82"
    receipt, _, store = run(tmp_path, a_plan, **{f"t{i}": [png[:-3], png] for i in range(6)})
    assert {store.get(tile.key) for tile in receipt.tiles} == {png}
    assert {tile.attempts for tile in receipt.tiles} == {2}


def test_npy_is_stored_as_sent(tmp_path):
    a_plan = plan(Output(file_format="NPY"))
    receipt, _, store = run(tmp_path, a_plan)
    assert store.get(receipt.tiles[5].key) == npy(a_plan.grid(5))


def test_a_fatal_error_stops_what_was_not_sent_though_the_first_tile_is_slow(tmp_path):
    """The first tile waits until all is over: without the stop, every other tile would have been asked for."""
    box = GeoBox((16, 16 * 400), Affine(10, 0, 500, 0, -10, 900), crs_of("EPSG:32633"))
    a_plan = replace(plan(), tiles=RegionTiles(crs="EPSG:32633", tiling=Tiling(box, TILE)))
    stop, calls = threading.Event(), []
    first = a_plan.request(0).body

    def fetch(request):
        calls.append(request)
        if request.body == first:
            assert stop.wait(timeout=30)
            return npy(a_plan.grid(0))
        raise Denied("no permission", 403)

    lane = Lane(plan=a_plan, fetch=fetch, permit=Quota(per_second=1e9).permit, store=LocalStore(tmp_path), stop=stop)
    with pytest.raises(Denied, match="no permission"):
        lane.run(0, len(a_plan), threads=4)
    assert len(calls) <= 8
    with pytest.raises(Stopped):
        lane.run(0, len(a_plan), threads=4)
    assert len(calls) <= 8


def test_no_server_makes_us_wait_for_a_day():
    waits = []
    answers = [Throttled("", 429, 86_400.0)]

    def call():
        if answers:
            raise answers.pop(0)
        return b"done"

    RetryPolicy().run(call, sleep=waits.append)
    assert waits == [RetryPolicy().longest_asked_s]


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
    assert (second.mean, second.max, second.min) == (None, None, 0.0)
    assert json.loads(json.dumps(receipt.json(), allow_nan=False))


def test_pixels_outside_a_clipped_region_are_masked_and_not_counted(tmp_path):
    triangle = "POLYGON ((500 900, 655 900, 500 745, 500 900))"  # half of the first tile, by its diagonal
    a_plan = plan(Output(clip=triangle))
    receipt, _, store = run(tmp_path, a_plan)
    raster = read_geotiff(store.get(receipt.tiles[0].key))
    columns, rows = np.meshgrid(np.arange(16), np.arange(16))
    assert (raster.valid[0] == (columns + rows < 15)).all()
    assert receipt.tiles[0].pixels == 120
    assert receipt.tiles[0].bands[0].valid == 120
    assert [tile.status for tile in receipt.tiles[1:]] == ["empty"] * 5


def test_a_geotiff_that_does_not_say_what_is_masked_is_not_stored_as_if_it_did(tmp_path):
    """Of unsigned bands a zero and no data look alike: no mask is invented, and the message says what to do."""
    a_plan = plan(Output(masks="nodata"), wire="GEO_TIFF", bands=("a", "b"))
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

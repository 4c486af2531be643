"""Laws of the checkpoint: what is verified is there, what is not is told, and nothing that is there is fetched."""

import io
import json
import os
import shutil
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from PIL import Image

from tasks.earthengine.errors import Rejected
from tasks.earthengine.transport import Answer
from tasks.extraction.checkpoint import Checkpoint, Span, _prefix, gaps, read_checkpoint
from tasks.extraction.tile_fault import Fault, TileFault
from tasks.extraction.tile_fetcher import TileFetcher
from tasks.plan.plan import Band, Plan, Source, TileFormat
from tasks.plan.tiles import RegionTiles
from tasks.raster.crs import crs_of
from tasks.raster.raster import Raster
from tasks.raster.tiling import Tiling
from tasks.storage.checksum import crc32c
from tasks.storage.local import LocalStore
from tasks.storage.receipt import Receipt, TileObject, TileReceipt, receipt_key
from tests.rasters import encode_geotiff
from tests.tasks.extraction import extracting
from tests.tasks.extraction.extracting import a_session
from tests.tasks.extraction.test_tile_fetcher import NO_WAIT

EMPTY = 2
"""The tile of each day that has no valid pixel."""
PICTURES = ("PNG", "JPEG")
often = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def series(
    *days, output=None, bands="ab", dtype="uint16", scale=10.0, version="v1", wire="NPY", kept=None, name="series"
):
    """One image a day, of six tiles each."""
    box = GeoBox((24, 40), Affine(scale, 0, 500, 0, -scale, 900), crs_of("EPSG:32633"))
    output = output or TileFormat()
    mask = ("valid_0",) if wire == "NPY" and output.masks == "exact" else ()
    sources = (
        Source(
            name=f"image/2020-01-0{day}",
            origin="image",
            expression=f'{{"result":"0","values":{{"0":{{"constantValue":{day}}}}}}}',
            version=version,
            time=f"2020-01-0{day}T10:00:00",
            wire=wire,
            wire_bands=(*bands, *mask),
            wire_dtypes=(*[dtype] * len(bands), *["uint8" for _ in mask]),
        )
        for day in days
    )
    return Plan(
        name=name,
        sources=tuple(sources),
        tiles=RegionTiles(crs="EPSG:32633", tiling=Tiling(box, 16), kept=kept),
        bands=tuple(Band(id=band, dtype=dtype) for band in bands),
        tile_format=output,
    )


class Earth:
    """Answers with pixels that tell their place and their day, masked in one of several ways; keeps what was asked."""

    def __init__(self, mask="alike", dtype="uint16", *, refused=frozenset(), shift=0):
        self.mask, self.dtype, self.refused, self.shift, self.asked = mask, np.dtype(dtype), refused, shift, []

    def __call__(self, request):
        self.asked.append(request.body)
        if request.body in self.refused:
            raise Rejected("no such band", 400)
        asked = json.loads(request.body)
        if asked["fileFormat"] in PICTURES:
            return Answer(_picture(asked, sha256(request.body).digest()), restricted=False)
        bands = [name for name in asked["bandIds"] if name != "valid_0"]
        size, affine = asked["grid"]["dimensions"], asked["grid"]["affineTransform"]
        shape = (len(bands), size["height"], size["width"])
        values = np.arange(np.prod(shape)).reshape(shape) + self.shift + affine["translateX"] + 2 * affine["translateY"]
        values = (values + asked["expression"]["values"]["0"]["constantValue"]).astype(self.dtype)
        if self.mask == "apart":  # no value is left for no data
            ends = np.finfo if self.dtype.kind == "f" else np.iinfo
            values.flat[-2:] = ends(self.dtype).min, ends(self.dtype).max
            values.flat[-3] = np.nan if self.dtype.kind == "f" else 0
        valid = np.ones(shape, bool)
        valid[: 1 if self.mask in {"apart", "lowest"} else None, :3, :2] = self.mask == "full"
        if self.mask != "full" and affine["translateX"] == 820 and affine["translateY"] == 900:
            valid[:] = False
        return Answer(_encoded(asked, bands, values, valid), restricted=False)


def _picture(asked, digest):
    size = asked["grid"]["dimensions"]
    with io.BytesIO() as file:
        Image.new("RGB", (size["width"], size["height"]), tuple(digest[:3])).save(file, asked["fileFormat"])
        return file.getvalue()


def _encoded(asked, bands, values, valid):
    if asked["fileFormat"] == "GEO_TIFF":
        names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
        affine = Affine(*(asked["grid"]["affineTransform"][name] for name in names))
        box = GeoBox(values.shape[1:], affine, crs_of(asked["grid"]["crsCode"]))
        return encode_geotiff(Raster(values=values, valid=valid, bands=tuple(bands), geobox=box))
    array = np.zeros(values.shape[1:], [(name, values.dtype) for name in bands] + [("valid_0", "u1")])
    for number, name in enumerate(bands):
        array[name] = np.where(valid[number], values[number], 0)
        array["valid_0"] |= valid[number].astype("u1") << number
    with io.BytesIO() as file:
        np.save(file, array[asked["bandIds"]].astype([(name, array.dtype[name]) for name in asked["bandIds"]]))
        return file.getvalue()


def extract(plan, store, *ranges, fetch=None, checkpoint=None, run="run-0001"):
    """Fetch a plan in such batches, and leave their receipts as a flow would. Returns them, and the tiles asked for."""
    fetch, receipts = fetch or Earth(), []
    known = checkpoint or Checkpoint()
    with a_session() as session:
        fetcher = TileFetcher(plan=plan, ask=fetch, session=session, store=store, checkpoint=known, retry=NO_WAIT)
        for start, stop in ranges or [(0, len(plan))]:
            outcome = extracting.extract(fetcher, start, stop)
            if outcome.error:
                raise outcome.error
            store.put(receipt_key(plan.folder, start, stop, run), outcome.receipt.encode())
            receipts.append(outcome.receipt)
    store.put(f"{plan.folder}/plan.json", json.dumps(plan.json()).encode())
    numbers = {plan.request(index).body: index for index in range(len(plan))}
    return receipts, sorted(numbers[body] for body in fetch.asked)


def folder(path):
    return LocalStore(path, durable=False)


def tiles_of(store):
    return {stored.key: store.get(stored.key) for stored in store.list("tiles/")}


def forget(store, plan, *starts):
    """Lose receipts: all, or those that begin with some tiles."""
    for stored in list(store.list(f"{plan.folder}/receipts/")):
        if not starts or int(stored.key.rsplit("/")[-1][:9]) in starts:
            store.delete(stored.key)


def kinds(checkpoint):
    return {index: fault.kind for index, fault in checkpoint.faults.items()}


def bare(tile):
    return replace(tile, attempts=0, seconds=0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole output of two days, in two batches; each test takes a copy. Any flipped byte is but another pixel."""
    plan, path = series(1, 2, output=TileFormat(codec="none")), tmp_path_factory.mktemp("whole")
    extract(plan, folder(path), (0, 7), (7, 12))
    return plan, path


@pytest.fixture
def output(whole, tmp_path):
    plan, path = whole
    shutil.copytree(path, tmp_path / "out")
    return plan, folder(tmp_path / "out")


@pytest.mark.parametrize("verify", ["quick", "full"])
def test_all_of_a_whole_output_is_verified(output, verify):
    plan, store = output
    checkpoint = read_checkpoint(plan, store, verify=verify)
    assert sorted(checkpoint.tiles) == list(range(12))
    assert [(span.start, span.stop) for span in checkpoint.spans] == [(0, 7), (7, 12)]
    assert (checkpoint.unverified, checkpoint.faults, list(checkpoint.missing(0, 12))) == ({}, {}, [])
    assert {index for index, tile in checkpoint.tiles.items() if tile.status == "empty"} == {EMPTY, EMPTY + 6}
    assert checkpoint.span(7, 12).key == receipt_key(plan.folder, 7, 12, "run-0001")
    assert checkpoint.span(0, 12) is None
    assert extract(plan, store, (0, 7), (7, 12), checkpoint=checkpoint)[1] == []


def test_nothing_is_known_of_an_output_that_is_not_there(tmp_path):
    checkpoint = read_checkpoint(series(1), folder(tmp_path / "nothing"))
    assert checkpoint == Checkpoint()
    assert list(gaps(checkpoint.spans, 6)) == [(0, 6)]


def harm(path, how):
    data, facts = path.read_bytes(), path.stat()
    if how == "gone":
        path.unlink()
        return
    middle = len(data) // 2
    path.write_bytes(data[:-1] if how == "cut" else data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    later = 10**9 if how == "flipped" else 0
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + later))


@often
@given(
    harms=st.dictionaries(
        st.integers(0, 11).filter(lambda index: index % 6 != EMPTY),
        st.sampled_from(["gone", "cut", "flipped", "silent"]),
    ),
    verify=st.sampled_from(["quick", "full"]),
)
def test_what_is_harmed_is_found_and_only_that_is_fetched_again(whole, tmp_path_factory, harms, verify):
    plan, path = whole
    place = tmp_path_factory.mktemp("harmed") / "out"
    shutil.copytree(path, place)
    store = folder(place)
    before = tiles_of(store)
    for index, how in harms.items():
        harm(place / plan.key(index), how)
    found = {"gone": "missing", "cut": "damaged", "flipped": "damaged", "silent": "damaged"}
    expected = {index: found[how] for index, how in harms.items() if how != "silent" or verify == "full"}
    checkpoint = read_checkpoint(plan, store, verify=verify)
    assert kinds(checkpoint) == expected
    assert list(checkpoint.missing(0, 12)) == sorted(expected)
    assert set(checkpoint.unverified) == {index for index, kind in expected.items() if kind == "damaged"}
    clean = [batch for batch in ((0, 7), (7, 12)) if not set(range(*batch)) & set(expected)]
    assert [(span.start, span.stop) for span in checkpoint.spans] == clean
    (receipt,), asked = extract(plan, store, checkpoint=checkpoint, run="run-0002")
    assert asked == sorted(expected)
    assert [tile.index for tile in receipt.tiles] == list(range(12))
    after = tiles_of(store)
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert differing == {plan.key(index) for index in harms if index not in expected}
    again = read_checkpoint(plan, store, verify=verify)
    assert (sorted(again.tiles), kinds(again)) == (list(range(12)), {})


@pytest.mark.parametrize("how", ["touched", "copied"])
def test_files_of_another_time_are_read_and_not_fetched(output, tmp_path, how):
    plan, store = output
    if how == "copied":
        shutil.copytree(store.root, tmp_path / "copy", copy_function=shutil.copyfile)
        store = folder(tmp_path / "copy")
    for path in store.root.rglob("*.tif"):
        os.utime(path, ns=(1, 1))
    checkpoint = read_checkpoint(plan, store)
    assert (sorted(checkpoint.tiles), checkpoint.faults) == (list(range(12)), {})
    assert {one.version for tile in checkpoint.tiles.values() for one in tile.objects} == {"1"}
    assert extract(plan, store, checkpoint=checkpoint)[1] == []


def test_tiles_that_failed_are_not_verified_and_have_their_reason(tmp_path):
    plan, store = series(1), folder(tmp_path)
    refused = {plan.request(index).body for index in (0, 4)}
    extract(plan, store, (0, 3), (3, 6), fetch=Earth(refused=refused))
    checkpoint = read_checkpoint(plan, store)
    assert checkpoint.faults == dict.fromkeys((0, 4), TileFault(Fault.FAILED, "Rejected: no such band (HTTP 400)"))
    assert {str(fault) for fault in checkpoint.faults.values()} == {"failed: Rejected: no such band (HTTP 400)"}
    assert (list(checkpoint.missing(0, 6)), checkpoint.spans, checkpoint.unverified) == ([0, 4], (), {})
    assert extract(plan, store, checkpoint=checkpoint, run="run-0002")[1] == [0, 4]
    assert len(read_checkpoint(plan, store).tiles) == 6


def test_empty_tiles_are_verified_by_their_receipt_alone(tmp_path):
    plan, store = replace(series(1), tiles=replace(series(1).tiles, kept=(EMPTY,))), folder(tmp_path)
    extract(plan, store)
    assert tiles_of(store) == {}
    for verify in ("quick", "full"):
        checkpoint = read_checkpoint(plan, store, verify=verify)
        assert [tile.status for tile in checkpoint.tiles.values()] == ["empty"]
        assert checkpoint.spans == (Span(start=0, stop=1, key=receipt_key(plan.folder, 0, 1, "run-0001")),)


@pytest.mark.parametrize("runs", [("run-0001", "run-0002"), ("run-0002", "run-0001")])
def test_of_two_receipts_of_a_tile_that_counts_which_says_what_is_there(tmp_path, runs):
    """An image that is not pinned has changed: as many bytes, but others. Neither receipt voids the other."""
    plan, store = series(1, output=TileFormat(file_format="NPY")), folder(tmp_path)
    extract(plan, store, run=runs[0])
    store.delete(plan.key(1))
    _, asked = extract(plan, store, fetch=Earth(shift=1), checkpoint=read_checkpoint(plan, store), run=runs[1])
    assert asked == [1]
    for verify in ("quick", "full"):
        checkpoint = read_checkpoint(plan, store, verify=verify)
        assert (sorted(checkpoint.tiles), checkpoint.faults) == (list(range(6)), {})


@pytest.mark.parametrize("other", ["fingerprint", b"", b"[]", b"{}", b"null", b"\xff", b'{"plan": 1, "tiles": [[]]}'])
def test_receipts_of_another_plan_and_those_that_cannot_be_read_are_passed_over(output, other):
    plan, store = output
    before = read_checkpoint(plan, store)
    tile = TileReceipt(index=1, fingerprint="f", status="empty")
    wrong = Receipt(plan="0" * 64, start=0, stop=3, tiles=(tile,)).encode() if other == "fingerprint" else other
    key = receipt_key(plan.folder, 0, 3, "run-0000")
    store.put(key, wrong)
    checkpoint = read_checkpoint(plan, store)
    assert replace(checkpoint, refused={}) == before
    assert list(checkpoint.refused) == ([] if other == "fingerprint" else [key])


def test_a_receipt_that_is_removed_while_it_is_read_is_passed_over(output):
    """Somebody prunes the output."""
    plan, store = output
    gone = receipt_key(plan.folder, 0, 7, "run-0001")

    class Pruned(LocalStore):
        def get(self, key, **more):
            if key == gone:
                raise KeyError(key)
            return super().get(key, **more)

    assert sorted(read_checkpoint(plan, Pruned(store.root)).tiles) == list(range(7, 12))


def test_a_day_of_which_nothing_is_valid_is_known_to_a_series_that_holds_it(output):
    """Its receipt names no file, and another plan of the series asks for nothing of it again."""
    plan, store = output
    bare_day, longer = series(3, output=plan.tile_format), series(1, 2, 3, output=plan.tile_format)
    prints = [bare_day.tile_fingerprint(index) for index in range(6)]
    tiles = tuple(TileReceipt(index=i, fingerprint=one, status="empty") for i, one in enumerate(prints))
    receipt = Receipt(plan=bare_day.fingerprint, start=0, stop=6, tiles=tiles)
    store.put(receipt_key(bare_day.folder, 0, 6, "run-0002"), receipt.encode())
    assert list(read_checkpoint(longer, store).missing(0, 18)) == []


def test_a_series_that_grows_knows_what_it_was(output):
    """Its folder keeps receipts of what it was before it had more days."""
    plan, store = output
    home = replace(plan, home="series-0123456789ab")
    for stored in list(store.list(f"{plan.folder}/receipts/")):
        store.put(stored.key.replace(plan.folder, home.folder), store.get(stored.key))
        store.delete(stored.key)
    longer = replace(series(1, 2, 3, output=plan.tile_format), home=home.folder)
    found = read_checkpoint(longer, store)
    assert list(found.missing(0, 18)) == list(range(12, 18))
    assert Plan.from_json(json.loads(json.dumps(longer.json()))).folder == home.folder


# A range of a plan ---------------------------------------------------------------------------------------------------

RANGES = [(0, 4), (4, 7), (7, 12), (12, 18)]


class Counted(LocalStore):
    """Keeps what is read and listed."""

    def __init__(self, root):
        super().__init__(root, durable=False)
        self.forget()

    def forget(self):
        self.read, self.listed = [], []

    def get(self, key, **more):
        self.read.append(key)
        return super().get(key, **more)

    def list(self, prefix=""):
        self.listed.append(prefix)
        return super().list(prefix)


def restricted(whole, plan, start, stop):
    """What a checkpoint of a whole plan has of a range of it."""

    def within(values):
        return {index: value for index, value in values.items() if start <= index < stop}

    return Checkpoint(
        tiles=within(whole.tiles),
        spans=tuple(span for span in whole.spans if start <= span.start and span.stop <= stop),
        receipts=tuple(span for span in whole.receipts if span.start < stop and start < span.stop),
        unverified=within(whole.unverified),
        faults=within(whole.faults),
    )


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Outputs of three days in four batches: alone, beside another plan with some of its tiles, and one that grew."""
    plan, outputs = series(1, 2, 3), {}
    refused = {plan.request(index).body for index in (1, 8)}
    for how in ("alone", "beside", "grown"):
        path = tmp_path_factory.mktemp(how)
        outputs[how] = plan, path
        if how == "beside":
            other = series(3, 2, name="region")
            extract(other, folder(path))
            extract(plan, folder(path), *RANGES[:2], fetch=Earth(refused=refused))
        elif how == "grown":
            now = replace(plan, home="series-0123456789ab")
            outputs[how] = now, path
            extract(replace(series(2, 3), home=now.home), folder(path), (0, 5), (5, 12), run="run-0000")
            extract(now, folder(path), *RANGES[:2], fetch=Earth(refused=refused))
        else:
            extract(plan, folder(path), *RANGES, fetch=Earth(refused=refused))
    return outputs


@often
@given(
    how=st.sampled_from(["alone", "beside", "grown"]),
    ends=st.tuples(st.integers(0, 18), st.integers(0, 18)).map(sorted),
    harms=st.dictionaries(
        st.integers(0, 17).filter(lambda index: index % 6 != EMPTY),
        st.sampled_from(["gone", "cut", "flipped", "silent"]),
    ),
    lost=st.sets(st.sampled_from([start for start, _ in RANGES])),
    verify=st.sampled_from(["quick", "full"]),
)
def test_of_a_range_is_known_what_is_known_of_it_in_the_whole(three, tmp_path_factory, how, ends, harms, lost, verify):
    plan, path = three[how]
    place = tmp_path_factory.mktemp("harmed") / "out"
    shutil.copytree(path, place)
    store, (start, stop) = folder(place), ends
    for index, harmed in harms.items():
        if (place / plan.key(index)).exists():
            harm(place / plan.key(index), harmed)
    if lost:
        forget(store, plan, *lost)
    whole = read_checkpoint(plan, store, verify=verify)
    expected = restricted(whole, plan, start, stop) if start < stop else Checkpoint()
    assert read_checkpoint(plan, store, verify=verify, start=start, stop=stop) == expected
    assert read_checkpoint(plan, store, verify=verify, start=0, stop=len(plan)) == whole
    assert read_checkpoint(plan, store, verify=verify, start=start) == (
        restricted(whole, plan, start, 18) if start < 18 else Checkpoint()
    )


@pytest.mark.parametrize(("start", "stop"), RANGES)
def test_of_a_range_no_receipt_of_another_is_read_and_no_other_place_is_listed(tmp_path, start, stop):
    plan, store = series(1, 2, 3), Counted(tmp_path)
    extract(plan, store, *RANGES)
    store.forget()
    assert len(read_checkpoint(plan, store, start=start, stop=stop).tiles) == stop - start
    assert store.read == [receipt_key(plan.folder, start, stop, "run-0001")]
    names = {(0, 4): "1/r000", (4, 7): "", (7, 12): "2/r000", (12, 18): "3/"}
    assert store.listed == [f"{plan.folder}/receipts/", f"tiles/image/2020-01-0{names[start, stop]}"]
    store.delete(plan.key(start))
    store.forget()
    assert list(read_checkpoint(plan, store, start=start, stop=stop).missing(start, stop)) == [start]
    assert store.read == [receipt_key(plan.folder, start, stop, "run-0001")]


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 19), (5, 4), (19, None), (0, -1)])
def test_a_range_that_is_not_of_the_plan_is_refused(tmp_path, start, stop):
    with pytest.raises(IndexError):
        read_checkpoint(series(1, 2, 3), folder(tmp_path), start=start, stop=stop)


@often
@given(st.data())
def test_keys_of_a_range_begin_with_what_is_listed_for_it(data):
    """Rows beyond 9,999 have names of five digits, and patches have none."""
    box = GeoBox((10_020 * 2, 4), Affine(10, 0, 500, 0, -10, 900), crs_of("EPSG:32633"))
    plan = replace(series(1, 2), tiles=RegionTiles(crs="EPSG:32633", tiling=Tiling(box, 2), kept=None))
    start = data.draw(st.integers(0, len(plan) - 1) | st.integers(19_900, 20_060))
    stop = data.draw(st.integers(start + 1, min(start + 300, len(plan))))
    prefix = _prefix(plan, range(start, stop))
    assert all(plan.key(index, "f").startswith(prefix) for index in range(start, stop))


def test_a_tile_of_several_objects_is_whole_only_if_all_of_them_are(tmp_path):
    plan, store = series(1), folder(tmp_path)
    keys = [f"{plan.key(0)}.{n}" for n in (0, 1)]
    objects = tuple(
        TileObject(key=stored.key, size=stored.size, crc32c=crc32c(b"abc"), version=stored.version)
        for stored in [store.put(key, b"abc") for key in keys]
    )
    tile = TileReceipt(index=0, fingerprint=plan.tile_fingerprint(0), status="stored", objects=objects)
    receipt = Receipt(plan=plan.fingerprint, start=0, stop=1, tiles=(tile,))
    store.put(receipt_key(plan.folder, 0, 1, "run-0001"), receipt.encode())
    for verify in ("quick", "full"):
        assert read_checkpoint(plan, store, verify=verify, stop=1).tiles == {0: tile}
    os.utime(tmp_path / keys[1], ns=(1, 1))
    (again,) = read_checkpoint(plan, store, stop=1).tiles.values()
    assert [one.version for one in again.objects] == [objects[0].version, "1"]
    store.put(keys[1], b"abd")
    assert kinds(read_checkpoint(plan, store, stop=1)) == {0: Fault.DAMAGED}
    store.put(keys[1], b"ab")
    assert kinds(read_checkpoint(plan, store, stop=1)) == {0: Fault.DAMAGED}
    store.delete(keys[1])
    assert read_checkpoint(plan, store, stop=1).faults == {0: TileFault(Fault.MISSING, "its file is gone")}

"""The contract of a store, which a folder and a bucket keep alike."""

import contextlib
import io
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from tasks.storage import cloud
from tasks.storage.checksum import crc32c
from tasks.storage.cloud import CloudStore
from tasks.storage.store import OutputConflict, StorageError, TileLost

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
some = settings(max_examples=25, deadline=None)

KEYS = ["plan.json", "tiles/a/r0.tif", "tiles/a_r0.tif", "tiles/a b/ü?#%41+.tif", "p/receipts/0-1.json"]

names = st.text("ab.é %+", min_size=1, max_size=3).filter(lambda name: set(name) != {"."} and name[0] != ".")
# No key is the folder of another: in a folder they can't both be.
key_sets = st.sets(st.lists(names, min_size=1, max_size=3).map("/".join), max_size=6).map(
    lambda keys: {key for key in keys if not any(other.startswith(f"{key}/") for other in keys)}
)


@some
@example(writes=[(key, key.encode(), number % 2 == 0) for number, key in enumerate(KEYS)])
@given(writes=st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=40), st.booleans()), max_size=8))
def test_what_is_there_is_what_was_written_last(place, tmp_path_factory, writes):
    store, there, told = place.new(), {}, {}
    for key, data, is_tile in writes:
        if data is None:
            store.delete(key)
            there.pop(key, None)
        elif is_tile and key not in there:
            told[key] = store.commit(key, memoryview(data), fingerprint=f"of {key}")
            there[key] = data
        else:
            told[key] = store.put(key, memoryview(data))
            there[key] = data
    assert {stored.key: stored for stored in store.list()} == {key: told[key] for key in there}
    assert store.folders() == sorted({key.partition("/")[0] for key in there if "/" in key})
    files = store.local_copies(iter(there), tmp_path_factory.mktemp("at hand"))
    assert set(files) == set(there)
    for key, data in there.items():
        assert store.find(key) == told[key]
        assert (told[key].key, told[key].size) == (key, len(data))
        assert store.get(key) == files[key].read_bytes() == data
        with store.open(key) as file:
            assert file.read() == data
    for key in set(KEYS) - set(there):
        assert store.find(key) is None


@some
@given(keys=key_sets, data=st.data())
def test_a_listing_is_of_the_keys_that_begin_so(place, keys, data):
    store = place.new()
    told = {key: store.put(key, key.encode()) for key in keys}
    prefixes = st.sampled_from(sorted({key[:end] for key in keys for end in range(len(key) + 1)} | {"tiles/"}))
    for prefix in data.draw(st.lists(prefixes, max_size=5)):
        listed = list(store.list(prefix))
        assert {stored.key: stored for stored in listed} == {key: told[key] for key in keys if key.startswith(prefix)}
        assert len(listed) == len({stored.key for stored in listed})


def test_a_bucket_tells_the_checksum_and_the_fingerprint(place):
    store = place.new()
    is_bucket = isinstance(store, CloudStore)
    tile, plan = store.commit("tiles/t", b"abc", fingerprint="f"), store.put("plan.json", b"{}")
    assert (tile.crc32c, plan.crc32c) == ((crc32c(b"abc"), crc32c(b"{}")) if is_bucket else (None, None))
    assert (tile.fingerprint, plan.fingerprint) == ("f" if is_bucket else None, None)
    assert list(store.list("tiles/")) == [tile] == [store.find("tiles/t")]


@some
@given(steps=st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0, 1, 2]), st.integers(-1, 20)), max_size=5))
def test_a_part_is_read_as_of_any_file(place, steps):
    content, store = bytes(range(40)), place.new()
    store.put("k", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloud, "RANGE", 7)
        patch.setattr(cloud, "WHOLE", 0)
        with store.open("k") as file, io.BytesIO(content) as model:
            for there, whence, size in steps:
                to = {0: there, 1: min(there, 40 - model.tell()), 2: -there}[whence]
                assert file.seek(to, whence) == model.seek(to, whence) == file.tell()
                assert file.read(size) == model.read(size)
                assert file.tell() == model.tell()


def test_who_reads_a_part_does_not_get_another_write_s(place, monkeypatch):
    """What was opened is read on as it was, or not at all."""
    place.but_emulator("keeps no generations")
    monkeypatch.setattr(cloud, "RANGE", 10)
    monkeypatch.setattr(cloud, "WHOLE", 0)
    store = place.new()
    store.put("k", bytes(30))
    with store.open("k") as first, store.open("k") as second:
        assert first.read(5) == bytes(5)
        store.put("k", b"1" * 30)
        for file in (first, second):
            with contextlib.suppress(StorageError):
                assert not set(file.read()) - {0}


@pytest.mark.parametrize("key", ["nothing", "no/thing", "folder", "file/thing", "folder/fil"])
def test_what_is_not_there_is_told_so(store, key, tmp_path):
    store.put("folder/file", b"")
    store.put("file", b"")
    for read in (store.get, store.open, lambda key: store.local_copies(["file", key], tmp_path)):
        with pytest.raises(KeyError, match=key):
            read(key)
    assert store.find(key) is None
    assert list(store.list(f"{key}/x")) == []
    store.delete(key)
    assert {stored.key for stored in store.list()} == {"folder/file", "file"}


def test_where_nothing_was_written_nothing_is_there(store):
    assert list(store.list()) == list(store.list("tiles/")) == store.folders() == []
    assert store.sweep() == store.sweep("tiles/") == 0
    store.put("tiles/t", b"")
    store.delete("tiles/t")
    store.delete("tiles/t")
    assert list(store.list()) == store.folders() == []


def test_a_later_write_has_another_version(store):
    versions = [store.put("k", b"same").version for _ in range(20)]
    assert store.find("k").version == versions[-1]
    assert len(set(versions)) == 20


@pytest.mark.parametrize("size", [0, 5, 9_000_001])
def test_a_file_is_moved_to_its_place(store, size):
    data = os.urandom(size)
    store.put("p/mosaic.tif", b"of before")
    with store.workspace() as folder:
        (folder / "mosaic.tif").write_bytes(data)
        (folder / "rest").write_bytes(b"")
        stored = store.put_file("p/mosaic.tif", folder / "mosaic.tif")
        assert not (folder / "mosaic.tif").exists()
    assert not folder.exists()
    assert store.get("p/mosaic.tif") == data
    assert (stored.key, stored.size) == ("p/mosaic.tif", size)
    assert [store.find("p/mosaic.tif")] == list(store.list()) == [stored]


def test_a_workspace_is_gone_whatever_happens_in_it(store):
    with contextlib.suppress(ZeroDivisionError), store.workspace() as folder:
        (folder / "a").mkdir()
        raise ZeroDivisionError
    assert not folder.exists()
    assert list(store.list()) == store.folders() == []


def test_workspaces_come_and_go_at_once(store):
    def use(_):
        with store.workspace() as folder:
            (folder / "a").touch()
        return folder

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(use, range(200)))) == 200


def test_one_is_written_while_its_neighbours_are_removed(store):
    def use(number):
        key = f"a/b/{number % 4}/k{number}"
        store.put(key, b"1")
        assert store.get(key) == b"1"
        store.delete(key)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(100)))
    assert list(store.list()) == store.folders() == []


def test_a_good_output_is_checked_without_a_trace(store):
    assert store.check() is None
    assert list(store.list()) == []
    assert store.free_bytes() is None or store.free_bytes() > 0
    assert store.open_path("a/b") == f"{store.uri}/a/b"


# Tiles ---------------------------------------------------------------------------------------------------------------


def test_a_tile_is_created_once(place):
    place.but_emulator("ignores preconditions")
    store = place.new()
    first = store.commit("tiles/t", b"abc", fingerprint="f")
    assert store.commit("tiles/t", b"abc", fingerprint="f") == first == store.find("tiles/t")
    for other in (b"abd", b"ab", b"", b"abcd"):
        with pytest.raises(OutputConflict, match=r"^output = '.+: tiles/t holds other bytes .+ give another output\.$"):
            store.commit("tiles/t", other, fingerprint="f")
    assert (store.get("tiles/t"), store.find("tiles/t")) == (b"abc", first)


@pytest.mark.parametrize("as_gdal_has_them", [False, True])
def test_bytes_are_taken_wherever_they_are(place, as_gdal_has_them):
    place.but_emulator("ignores preconditions")
    store, data = place.new(), bytes(range(256))
    with MemoryFile(data) as memory:
        view = memory.getbuffer() if as_gdal_has_them else memoryview(data)
        first = store.commit("t", view, fingerprint="f")
        assert store.commit("t", view, fingerprint="f") == store.commit("t", data, fingerprint="f") == first
        assert store.commit("t", view, fingerprint="f", seen="1") == first
        assert store.put("k", view).size == 256
        with pytest.raises(OutputConflict):
            store.commit("t", view[1:], fingerprint="f")
    assert store.get("t") == store.get("k") == data


def test_what_was_seen_is_replaced_and_nothing_else(place):
    place.but_emulator("ignores preconditions")
    store = place.new()
    first = store.put("t", b"damaged")
    second = store.commit("t", b"abc", fingerprint="f", seen=first.version)
    assert second.version != first.version
    assert store.commit("t", b"abc", fingerprint="f", seen=first.version) == second == store.find("t")
    with pytest.raises(OutputConflict):
        store.commit("t", b"other", fingerprint="f", seen=first.version)
    assert (store.get("t"), store.find("t")) == (b"abc", second)


def test_what_was_seen_and_is_gone_is_created(place):
    place.but_emulator("ignores preconditions")
    store = place.new()
    seen = store.put("t", b"damaged")
    store.delete("t")
    assert store.commit("t", b"abc", fingerprint="f", seen=seen.version) == store.find("t")
    assert store.get("t") == b"abc"


def test_all_who_write_the_same_tile_at_once_are_told_the_same(place):
    place.but_emulator("ignores preconditions")
    store, together, often = place.new(), threading.Barrier(8), sys.getswitchinterval()

    def write(key):
        together.wait()
        return store.commit(key, b"abc", fingerprint="f")

    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            for key in (f"tiles/{number}" for number in range(50)):
                assert set(pool.map(write, [key] * 8)) == {store.find(key)}
    finally:
        sys.setswitchinterval(often)
    assert len(list(store.list())) == 50


@pytest.mark.parametrize("way", ["put", "put_file", "commit"])
def test_readers_never_see_a_part(place, way):
    """While one key is written again and again, every read gives one of the whole contents."""
    if way == "commit":
        place.but_emulator("ignores preconditions")
    store, contents = place.new(), [bytes([n]) * 300_000 for n in range(4)]
    store.put("k", contents[0])
    done = threading.Event()

    def write(content):
        if way == "put":
            return store.put("k", content)
        if way == "commit":
            return store.commit("k", content, fingerprint="f", seen=store.find("k").version)
        with store.workspace() as folder:
            (folder / "f").write_bytes(content)
            return store.put_file("k", folder / "f")

    def write_all():
        try:
            for content in contents * 3:
                write(content)
        finally:
            done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_all)
        seen = set()
        while not done.is_set():
            seen.add(store.get("k"))
        writing.result()
    assert seen <= set(contents)


def test_no_more_is_read_than_was_stored(place, tmp_path):
    """A receipt knows the size of a tile: what is larger was written by something else."""
    store = place.new()
    store.put("tiles/a.tif", bytes(1000))
    assert store.get("tiles/a.tif", most=1000) == bytes(1000)
    assert list(store.local_copies(["tiles/a.tif"], tmp_path, most=1000)) == ["tiles/a.tif"]
    for read in (
        lambda: store.get("tiles/a.tif", most=999),
        lambda: store.local_copies(["tiles/a.tif"], tmp_path, most=999),
    ):
        with pytest.raises(TileLost, match=r"tiles/a.tif was changed .*1,000 bytes or more, not 999"):
            read()
    with pytest.raises(KeyError):
        store.get("tiles/b.tif", most=0)

"""A product is there as long as it is what was made, of what it was made of."""

import os
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.products.product import Product, made_of
from tasks.storage.checksum import crc32c
from tasks.storage.local import LocalStore
from tasks.storage.receipt import TileObject, TileReceipt

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
PARTS = [
    TileReceipt(index=number, fingerprint="f", status="stored", objects=(TileObject(key="k", size=1, crc32c=checksum),))
    for number, checksum in enumerate(("AAAAAA==", "Nks/tw=="))
]
NOTE = "p/receipts/product-mosaic.tif.json"


@pytest.fixture
def product(store):
    return Product(store, "p", "mosaic.tif", made_of(PARTS))


def put(product, data=b"abc"):
    return product.put(data)


def put_file(product, data=b"abc"):
    with product.store.workspace() as folder:
        (folder / "f").write_bytes(data)
        return product.put_file(folder / "f")


@pytest.fixture(params=[put, put_file])
def stored(request, product):
    """A product that was put, in either way."""
    assert not product.is_there
    assert request.param(product) == product.key == "p/mosaic.tif"
    assert product.is_there
    return product


def test_what_was_put_is_there(stored):
    assert stored.store.get("p/mosaic.tif") == b"abc"
    assert replace(stored).is_there


@pytest.mark.parametrize("change", [{"made_of": made_of(PARTS[:1])}, {"name": "other.tif"}, {"folder": "q"}])
def test_another_is_not_there(stored, change):
    other = replace(stored, **change)
    assert not other.is_there
    other.put(b"other")
    assert other.is_there
    assert stored.is_there == (other.key != stored.key)


@pytest.mark.parametrize("data", [b"abd", b"abcd", b"ab", b""])
def test_other_bytes_are_not_what_was_made(stored, data):
    stored.store.put(stored.key, data)
    assert not stored.is_there
    put(stored)
    assert stored.is_there


def test_the_same_bytes_are_what_was_made_whoever_wrote_them(stored):
    stored.store.put(stored.key, b"abc")
    assert stored.is_there


@pytest.mark.parametrize("again", [put, put_file])
def test_who_reads_is_not_disturbed_by_a_run_that_makes_the_same(product, again):
    data = bytes(3_000_000)
    put_file(product, data)
    with product.store.open(product.key) as file:
        begin = file.read(10)
        again(product, data)
        assert begin + file.read() == data
    assert product.is_there


def test_a_byte_that_was_flipped_in_silence_is_found(tmp_path):
    product = Product(LocalStore(tmp_path), "p", "mosaic.tif", made_of(PARTS))
    put_file(product, bytes(3_000_000))
    path = tmp_path / product.key
    facts, data = path.stat(), bytearray(path.read_bytes())
    data[2_999_999] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert path.stat().st_mtime_ns == facts.st_mtime_ns
    assert not product.is_there
    path.write_bytes(bytes(3_000_000))
    assert product.is_there


def test_a_bucket_is_not_read_for_a_checksum_that_it_keeps(stored, monkeypatch):
    keeps = stored.store.find(stored.key).crc32c is not None
    opened = []
    real = stored.store.open
    monkeypatch.setattr(stored.store, "open", lambda key: opened.append(key) or real(key))
    assert stored.is_there
    assert opened == ([] if keeps else [stored.key])


def test_a_note_without_a_checksum_goes_by_size_and_version(stored):
    note = orjson.loads(stored.store.get(NOTE))
    assert note.pop("crc32c") == crc32c(b"abc")
    for change, there in (({}, True), ({"version": "0"}, False), ({"size": 4}, False), ({"made_of": ""}, False)):
        stored.store.put(NOTE, orjson.dumps(note | change))
        assert stored.is_there is there
    stored.store.put(NOTE, orjson.dumps(note))
    stored.store.put(stored.key, b"abd")
    assert not stored.is_there


def test_a_file_that_is_removed_while_it_is_looked_at_is_not_there(tmp_path, monkeypatch):
    product = Product(LocalStore(tmp_path), "p", "mosaic.tif", made_of(PARTS))
    put(product)
    found = product.store.find(product.key)
    monkeypatch.setattr(product.store, "find", {product.key: found}.get)
    assert product.is_there
    product.store.delete(product.key)
    assert not product.is_there


@pytest.mark.parametrize("key", [NOTE, "p/mosaic.tif"])
def test_of_half_nothing_is_there(stored, key):
    kept = {stored.key: stored.store.get(stored.key), NOTE: stored.store.get(NOTE)}
    stored.store.delete(key)
    assert not stored.is_there
    for other in (b"", kept[NOTE][:-1], b"null", b"[]", b"{}", b"\xff"):
        stored.store.put(NOTE, other)
        assert not stored.is_there


def test_who_is_killed_between_file_and_note_has_made_nothing(stored, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(key, data):
        if key == NOTE:
            raise Killed
        return real(key, data)

    real = stored.store.put
    monkeypatch.setattr(stored.store, "put", killed)
    with pytest.raises(Killed):
        put(stored, b"new")
    assert not stored.is_there


objects = st.builds(TileObject, key=st.sampled_from("kl"), size=st.just(1), crc32c=st.sampled_from("ab"))
parts = st.tuples(st.integers(0, 3), st.sampled_from(["stored", "empty"]), st.lists(objects, max_size=3).map(tuple))


@given(st.lists(parts), st.data())
def test_the_same_is_made_of_the_same_alone(parts, data):
    tiles = [TileReceipt(index=n, fingerprint="f", status=status, objects=where) for n, status, where in parts]
    others = data.draw(st.permutations(tiles) | st.lists(st.sampled_from(tiles or PARTS), max_size=4))
    assert (made_of(tiles) == made_of(others)) == (tiles == others)
    # How often it was tried, and how long it took, is no part of it.
    assert made_of(replace(tile, attempts=9, seconds=9.0) for tile in tiles) == made_of(tiles)
    assert len({made_of(tiles), made_of(tiles, "zstd"), made_of(tiles, "zstd", 1), made_of(tiles, None)}) == 4

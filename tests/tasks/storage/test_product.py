"""A product is there as long as it is what was made, of what it was made of."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.storage.product import Product, made_of
from tasks.storage.receipt import TileReceipt

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
PARTS = [
    TileReceipt(index=number, fingerprint="f", status="stored", crc32c=checksum, reason=None)
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


@pytest.mark.parametrize("data", [b"abd", b"abcd", b"", b"abc"])
def test_a_file_that_was_written_anew_is_not_what_was_made(stored, data):
    stored.store.put(stored.key, data)
    assert not stored.is_there
    put(stored)
    assert stored.is_there


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


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["stored", "empty"]), st.sampled_from("ab"))), st.data())
def test_the_same_is_made_of_the_same_alone(parts, data):
    tiles = [TileReceipt(index=n, fingerprint="f", status=status, crc32c=sum_) for n, status, sum_ in parts]
    others = data.draw(st.permutations(tiles) | st.lists(st.sampled_from(tiles or PARTS), max_size=4))
    assert (made_of(tiles) == made_of(others)) == (tiles == others)
    # How often it was tried, and how long it took, is no part of it.
    assert made_of(replace(tile, attempts=9, seconds=9.0) for tile in tiles) == made_of(tiles)
    assert len({made_of(tiles), made_of(tiles, "zstd"), made_of(tiles, "zstd", 1), made_of(tiles, None)}) == 4

"""Laws of receipts: what is packed or written is read back, and what is none is passed over."""

import gc
import io
import json
import tracemalloc
from dataclasses import asdict, replace
from math import inf

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.products.product import Product
from tasks.storage import receipt as receipts
from tasks.storage.band_summary import Bands, BandSummary
from tasks.storage.checksum import CHUNK, crc32c, crc32c_of_file
from tasks.storage.local import LocalStore
from tasks.storage.receipt import Receipt, TileObject, TileReceipt, counted, read_receipts, receipt_key
from tasks.storage.store import StoreEntry

STATUSES = ("stored", "empty", "failed")

valid = st.none() | st.integers(0, 2**53)
numbers = st.floats(allow_nan=False)
summaries = st.builds(BandSummary, valid=valid, counted=st.just(0), mean=st.none(), min=st.none(), max=st.none())
summaries |= st.builds(
    BandSummary,
    valid=valid,
    counted=st.integers(1, 2**53),
    mean=numbers,
    min=numbers,
    max=numbers,
    rest=st.floats(allow_nan=False, allow_infinity=False),
)
objects = st.builds(
    TileObject,
    key=st.text("abé ", min_size=1, max_size=5).map("tiles/{}.tif".format),
    size=st.integers(0, 2**53),
    crc32c=st.none() | st.text(max_size=8),
    version=st.none() | st.text("0123456789"),
)
tiles = st.builds(
    TileReceipt,
    index=st.integers(0, 2**31),
    fingerprint=st.text(max_size=3),
    status=st.sampled_from(STATUSES),
    objects=st.lists(objects, max_size=3).map(tuple),
    pixels=st.integers(0, 2**31),
    bands=st.lists(summaries, max_size=3).map(Bands),
    attempts=st.integers(0, 9),
    seconds=st.floats(0, 1e6),
    error_kind=st.none() | st.sampled_from(["Transient", "Rejected", "ValueError"]),
    reason=st.none() | st.text(max_size=5),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["plan", "start", "stop", "tiles", "bands", "index", "key"]), inner)
    ),
    max_leaves=8,
)


def tile(index, status="stored", **more):
    return TileReceipt(index=index, fingerprint=f"f{index}", status=status, **more)


def as_json(receipt):
    return json.loads(receipt.encode())


def first_form(tile):
    """A tile's receipt as JSON of before there were objects: one file, and no kind of its error."""
    value = as_json(Receipt(plan="p", start=0, stop=1, tiles=(tile,)))["tiles"][0]
    (file,) = value.pop("objects") or [{"key": None, "size": 0, "crc32c": None, "version": None}]
    del value["error_kind"]
    return value | file


def receipt(start, stop, *statuses):
    tiles = tuple(tile(start + number, status) for number, status in enumerate(statuses))
    return Receipt(plan="p", start=start, stop=stop, tiles=tiles)


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path)


# One receipt ---------------------------------------------------------------------------------------------------------


@given(st.lists(summaries, max_size=5))
def test_packed_summaries_are_the_summaries(given):
    bands = Bands(given)
    assert list(bands) == given
    assert bands[-3:] == given[-3:]
    assert bands == Bands(given)
    assert hash(bands) == hash(Bands(given))
    assert bands != Bands([*given, BandSummary(valid=None, counted=0, mean=None, min=None, max=None)])
    for number in (len(given), -len(given) - 1):
        with pytest.raises(IndexError):
            bands[number]


@given(st.lists(tiles, max_size=3), st.text(max_size=5), st.integers(0, 2**31), st.integers(1, 2**31))
def test_a_receipt_that_was_written_is_read_back(tiles, plan, start, count):
    tiles = [replace(tile, index=start + tile.index % count) for tile in tiles]
    receipt = Receipt(plan=plan, start=start, stop=start + count, tiles=tuple(tiles))
    assert Receipt.from_json(json.loads(receipt.encode())) == receipt
    for found_in, tile in zip(as_json(receipt)["tiles"], tiles, strict=True):
        assert found_in["bands"] == [
            {name: str(value) if value in (inf, -inf) else value for name, value in asdict(band).items()}
            for band in tile.bands
        ]


@given(st.integers(0, 5), st.lists(st.sampled_from(STATUSES), max_size=5))
def test_it_is_complete_if_all_its_tiles_are_there_or_empty(more, statuses):
    found_in = receipt(3, 3 + len(statuses) + more, *statuses)
    assert found_in.complete == (more == 0 and "failed" not in statuses)
    assert counted(found_in.tiles) == {status: statuses.count(status) for status in STATUSES}


def test_the_share_of_valid_pixels_is_of_all_that_were_asked_for():
    def share(*valid, **more):
        bands = Bands(BandSummary(valid=v, counted=0, mean=None, min=None, max=None) for v in valid)
        return TileReceipt(
            index=0, fingerprint="f", bands=bands, **{"status": "stored", "pixels": 8} | more
        ).valid_share

    assert share(8, 4) == 0.75
    assert share(8, None, 2) == 0.625
    assert share(None) is share() is share(4, pixels=0) is None
    assert share(None, status="empty") == 0.0


@given(st.binary(max_size=100))
def test_a_checksum_is_of_bytes_wherever_they_are(data):
    assert crc32c(memoryview(data)) == crc32c(data)
    assert crc32c(b"123456789") == "4waSgw=="  # RFC 3720
    assert crc32c_of_file(io.BytesIO(data)) == crc32c(data)


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, 2 * CHUNK + 1])
def test_a_checksum_of_a_file_is_that_of_all_its_pieces(size):
    data = bytes(range(256)) * (size // 256 + 1)
    assert crc32c_of_file(io.BytesIO(data[:size])) == crc32c(data[:size])


@given(st.lists(tiles.filter(lambda tile: len(tile.objects) < 2), max_size=3))
def test_receipts_of_one_file_a_tile_are_read_as_ever(tiles):
    value = {"plan": "p", "start": 0, "stop": 2**31 + 1, "tiles": [first_form(tile) for tile in tiles]}
    read = Receipt.from_json(json.loads(json.dumps(value))).tiles
    assert read == tuple(replace(tile, error_kind=None) for tile in tiles)
    assert [(one.key, one.size, one.crc32c) for one in read] == [
        (value["key"], value["size"], value["crc32c"]) for value in map(first_form, tiles)
    ]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Rejected: no such band (HTTP 400)", "Rejected"),
        ("Rejected: Transient: so it says", "Rejected"),
        ("TransientNot: x", "TransientNot"),
        ("ValueError: 64-bit integers", "ValueError"),
        ("Transient: ", "Transient"),
        ("The tile failed: nobody knows why", None),
        ("Transient", None),
        ("", None),
        (None, None),
    ],
)
def test_the_kind_of_an_error_is_taken_from_the_reason_where_a_receipt_lacks_it(reason, kind):
    def read(value):
        return Receipt.from_json({"plan": "p", "start": 0, "stop": 1, "tiles": [value]}).tiles[0]

    failed = tile(0, "failed", reason=reason)
    assert read(first_form(failed)) == replace(failed, error_kind=kind)
    assert read(first_form(replace(failed, status="empty"))).error_kind is None
    for other in ("Throttled", None):
        written = replace(failed, error_kind=other)
        assert read(as_json(Receipt(plan="p", start=0, stop=1, tiles=(written,)))["tiles"][0]) == written


def test_a_tile_is_one_file_or_several_objects():
    files = tuple(TileObject(key=f"cube/{n}", size=n, crc32c=f"c{n}") for n in (1, 2))
    assert [
        (one.key, one.size, one.crc32c) for one in (tile(0), tile(0, objects=files[:1]), tile(0, objects=files))
    ] == [
        (None, 0, None),
        ("cube/1", 1, "c1"),
        (None, 3, None),
    ]


def test_a_hundred_thousand_receipts_take_little_memory():
    """Some 600 bytes a tile; as many as before a tile could be several objects."""
    file = TileObject(key=f"tiles/{'x' * 40}.tif", size=10**6, crc32c="4waSgw==", version="1700000000000000000")
    summary = BandSummary(valid=None, counted=65_536, mean=1.5, min=1.0, max=2.0)
    one = TileReceipt(index=10**5, fingerprint="f" * 64, status="stored", objects=(file,), bands=Bands([summary]))
    data = Receipt(plan="p", start=0, stop=10**6, tiles=(one,) * 1000).encode()
    tracemalloc.start()
    try:
        receipt = Receipt.from_json(orjson.loads(data))
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] / len(receipt.tiles)
    finally:
        tracemalloc.stop()
    assert held < 1000


# Those of a plan -----------------------------------------------------------------------------------------------------


def test_receipts_of_all_runs_are_read(store):
    found_in = {
        receipt_key("plans/p", start, start + 2, run): receipt(start, start + 2, "stored", status)
        for start in (0, 2, 1_000_000_000)
        for run, status in (("0123456789", "failed"), ("abc", "empty"))
    }
    for key, each in found_in.items():
        store.put(key, each.encode())
    store.put(receipt_key("plans/p2", 0, 2, "other"), receipt(0, 2).encode())
    store.put(receipt_key("plans", 0, 2, "other"), receipt(0, 2).encode())
    assert dict(read_receipts(store, "plans/p")) == found_in
    assert len(found_in) == 6
    assert "plans/p/receipts/000000000-000000002-01234567.json" in found_in
    assert list(read_receipts(store, "plans/none")) == []


def test_what_is_no_receipt_is_passed_over(store, tmp_path):
    good = receipt(0, 2, "stored", "empty")
    text = good.encode()
    store.put(receipt_key("p", 0, 2, "good"), text)
    for number, end in enumerate(range(len(text))):
        store.put(receipt_key("p", number, number + 1, "cut"), text[:end])
    others = ("null", "[]", "1", "{}", '{"plan": "p", "start": 0, "stop": 1, "tiles": 1}', "\ufffe", "[" * 2000)
    others += ('{"plan": "p", "start": 0, "stop": 1, "tiles": [{"index": 0, "colour": 1, "bands": []}]}',)
    others += ('{"plan": "p", "start": 0, "stop": 1, "tiles": [null, [], {"bands": null}]}',)
    old = {"plan": "p", "start": 0, "stop": 1, "tiles": [first_form(tile(0))]}
    one = orjson.dumps(old).decode()
    others += tuple(
        one.replace('"key":null', f'"key":{key}') for key in ('"../x"', '"/etc/passwd"', '""', "5", "[]", "{}")
    )
    assert len(set(others)) == 15
    assert '"key":null' in one
    for number, other in enumerate(others):
        store.put(receipt_key("p", number, number + 1, "other"), other.encode())
    store.put(receipt_key("p", 7, 8, "bytes"), bytes(range(256)))
    Product(store, "p", "000000000-000000002-x", "m").put(b"")
    for name in ("audit.json", "000000000-000000002.json", "000000000-000000002-a.json.bak", "1-2-a.json"):
        store.put(f"p/receipts/{name}", text)
    assert list(read_receipts(store, "p")) == [(receipt_key("p", 0, 2, "good"), good)]


@settings(deadline=None)
@given(values)
def test_no_json_is_more_than_passed_over(tmp_path_factory, value):
    store = LocalStore(tmp_path_factory.mktemp("store"), durable=False)
    store.put(receipt_key("p", 0, 1, "odd"), json.dumps(value).encode())
    store.put(receipt_key("p", 0, 1, "run"), receipt(0, 1, "stored").encode())
    assert [found_in for key, found_in in read_receipts(store, "p") if key.endswith("run.json")] == [
        receipt(0, 1, "stored")
    ]


def test_a_receipt_that_is_removed_meanwhile_is_passed_over(store):
    class Late(LocalStore):
        def get(self, key):
            if key == gone:
                self.delete(key)
            return super().get(key)

    gone, left = receipt_key("p", 0, 2, "gone"), receipt_key("p", 2, 4, "left")
    for key in (gone, left):
        store.put(key, receipt(2, 4, "empty", "empty").encode())
    assert [key for key, _ in read_receipts(Late(store.root), "p")] == [left]


@given(first=st.integers(0, 13), count=st.integers(1, 13))
def test_of_some_tiles_just_the_receipts_that_overlap_them_are_read(tmp_path_factory, first, count):
    read = []

    class Counted(LocalStore):
        def get(self, key):
            read.append(key)
            return super().get(key)

    store, ends = Counted(tmp_path_factory.mktemp("store"), durable=False), [(0, 5), (3, 4), (5, 9), (9, 12)]
    for start, stop in ends:
        store.put(receipt_key("p", start, stop, "run"), receipt(start, stop).encode())
    tiles = range(first, first + count)
    expected = [receipt_key("p", *end, "run") for end in ends if set(range(*end)) & set(tiles)]
    assert [key for key, _ in read_receipts(store, "p", tiles=tiles)] == read == expected


def test_just_those_that_speak_of_something_are_read(store):
    keys = [receipt_key("p", start, start + 1, "run") for start in (0, 1, 10)]
    for key, start in zip(keys, (0, 1, 10), strict=True):
        store.put(key, receipt(start, start + 1, "stored").encode())

    def found_in(containing):
        return [key for key, _ in read_receipts(store, "p", containing=[containing])]

    assert found_in(b"") == found_in(b'"stored"') == keys
    assert found_in(b'"f1"') == [keys[1]]
    assert found_in(b'"f1') == keys[1:]
    assert found_in(b"nothing of the kind") == []


@pytest.mark.parametrize(
    "change",
    [
        {"start": "a"},
        {"stop": None},
        {"stop": 0},
        *({"tile": {field: value}} for field, value in (("index", "0"), ("index", [1]), ("pixels", "9"))),
        *({"tile": {"objects": value}} for value in (None, 5, {"a": 1}, [None], [[]], [{"key": "a", "colour": 1}])),
        *({"tile": {"error_kind": value}} for value in (5, ["Transient"])),
        *({"file": {"size": size}} for size in ("5", None, 1.5, True)),
        *({"file": {"key": key}} for key in ("../x", "a//b", "/etc/passwd", "", 5, None)),
        *({"file": {field: 5}} for field in ("crc32c", "version", "colour")),
        {"tile": {"status": "odd"}},
        *({"old": {field: value}} for field, value in (("size", "5"), ("key", "../x"), ("key", 5), ("colour", 1))),
    ],
    ids=str,
)
def test_a_receipt_that_is_none_is_passed_over(tmp_path, change):
    one = tile(0, objects=(TileObject(key="tiles/a.tif", size=1),))
    value = as_json(Receipt(plan="p", start=0, stop=1, tiles=(one,)))
    value |= {key: wrong for key, wrong in change.items() if key in value}
    value["tiles"][0]["objects"][0] |= change.get("file", {})
    value["tiles"][0] |= change.get("tile", {})
    if "old" in change:
        value["tiles"] = [first_form(one) | change["old"]]
    store = LocalStore(tmp_path)
    store.put(receipt_key("plan", 0, 1, "run"), json.dumps(value).encode())
    assert list(read_receipts(store, "plan")) == []


@given(st.lists(st.integers(0, 3 * receipts.READ_AHEAD)))
def test_no_more_receipts_are_in_memory_than_are_read_ahead(sizes):
    found = [StoreEntry(key=f"{number}", size=size, version="") for number, size in enumerate(sizes)]
    groups = list(receipts._groups(found))
    assert [key for group in groups for key in group] == [stored.key for stored in found]
    for group in groups:
        assert len(group) == 1 or sum(sizes[int(key)] for key in group) <= receipts.READ_AHEAD

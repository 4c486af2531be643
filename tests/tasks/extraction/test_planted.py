"""What lies in an output is data that others may have written: each field is checked, and the rest is still audited."""

import json
import os
from dataclasses import replace

import pytest

from tasks.earthengine.expression import fingerprint
from tasks.errors.run import AuditError
from tasks.extraction import stored_plan
from tasks.extraction.audit import check_whole, read_audit
from tasks.extraction.checkpoint import read_checkpoint
from tasks.extraction.pruning import prune_output
from tasks.extraction.stored_plan import open_plan, parse_plan
from tasks.plan.choices import MAX_TILES
from tasks.plan.plan import MASK_THRESHOLD, PLAN_VERSION, Plan
from tasks.storage.receipt import receipt_key
from tasks.storage.store import StorageError
from tests.tasks.extraction.test_checkpoint import extract, folder, series

ASSET = {"asset": "projects/p/assets/a", "expression": None}
DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


def signed(value):
    """Give a changed plan the fingerprint of what it holds now, as someone would who plants it on purpose."""
    sources = [
        fingerprint([source.get(name) for name in ("asset", "expression", "version", "wire", "wire_bands")])
        for source in value["sources"]
    ]
    bands = [[band["id"], band["dtype"]] for band in value["bands"]]
    own = fingerprint([PLAN_VERSION, MASK_THRESHOLD, bands, value["output"]])
    return value | {"fingerprint": fingerprint([sources, value["tiles"], own])}


def changed(part, **fields):
    """Return a whole plan with other values in some fields."""
    value = json.loads(json.dumps(series(1).json()))
    where = {"source": value["sources"][0], "band": value["bands"][0], "plan": value}.get(part) or value[part]
    where.update(fields)
    return signed(value)


NAMES = ("../../..", "/etc", "a/../b", "a//b", "a\\b", ".a", "a/.b", "", "a\n", "x" * 2000, 5)
SOURCES = [
    *(
        {"name": name}
        for name in ("../../..", "/etc", "a/../b", "a//b", "a\\b", ".a", "a/.b", "", "a\n", "x" * 2000, 5)
    ),
    *(
        ASSET | {"asset": asset}
        for asset in (
            "projects/p/secrets/s:setIamPolicy?x=",
            "../../other/api",
            "projects/p/assets/../../x",
            "projects/p/assets/a%2f..",
            "projects/p/assets/a#b",
            "projects/p/assets/a\tb",
            "",
            5,
        )
    ),
    {"asset": "projects/p/assets/a"},
    {"expression": None},
    *({"expression": text} for text in ("{}} ", "[]", "1", '{"a":NaN}', "{},", '{"a":1},"fileFormat":"PNG"', DEEP, 5)),
    *({"version": text} for text in ("[", "[1]", '[["a"]]', '[["a",1]]', "[" * 100_000, 5)),
    *({"time": text} for text in ("yesterday", "2020-01-01" * 9, 5)),
    *({"title": text} for text in ("../x", "a/b", ".x", "a\0")),
    *({"images": ids} for ids in ("a", [5], ["a\n"])),
    {"wire": "EXE"},
    {"wire_bands": []},
    {"wire_bands": ["a"] * 2000, "wire_dtypes": ["uint8"] * 2000},
    {"wire_bands": ["a", "b"]},
    *({"wire_dtypes": [dtype] * 3} for dtype in ("O", "V1000000000", "(9999,9999)f8", "S9", 5)),
    {"colour": 1},
]
TILES = [
    *(
        {"affine": affine}
        for affine in ([1e16, 0, 0, 0, 1, 0], [0] * 6, [1, 0, 0, 0, 0, 0], [10.0] * 5, [1e300] * 6, ["1"] * 6)
    ),
    *({"shape": shape} for shape in ([0, 1], [-1, 1], [2**70, 1], [1.5, 2], [1_000_000, 1_000_000], [1], None)),
    *({"tile_size": size} for size in (0, -1, 32_769, 2**70, "16", True)),
    {"shape": [50_000, 50_000], "tile_size": 32_768},
    *({"kept": kept} for kept in ([], [-1], [99], [1, 1], [2, 1], [0.5], ["0"], [2**70], 5)),
    *({"map_edge": edge} for edge in ("0", 1e16, -180.0)),
    {"crs": "EPSG:4326", "map_edge": -180.0, "affine": [360.0, 0, 0, 0, -1.0, 0]},
    *(
        {"crs": crs}
        for crs in (
            "EPSG:99999999",
            "",
            5,
            "+proj=tmerc +nadgrids=/etc/passwd +type=crs",
            "+proj=tmerc +nadgrids=@https://host/x.tif +type=crs",
            "+init=/etc/x:1",
            "http://host/crs",
            "x" * 30_000,
        )
    ),
    {"kind": "pyramid"},
]
OUTPUTS = [
    {"file_format": "EXE"},
    {"codec": "rar"},
    {"masks": 5},
    *({"visualization": text} for text in ('{},"a":1', "[]", "", DEEP)),
    *(
        {"clip": text}
        for text in (
            "",
            "POINT (1 1)",
            "POLYGON ((0 0, 1e999 0, 1 1, 0 0))",
            "POLYGON ((0 0, 1",
            "POLYGON EMPTY",
            "GEOMETRYCOLLECTION (" * 100_000,
        )
    ),
]
PLANS = [
    *({"home": home} for home in ("tiles", "../x", "photos", ".work", "series-0/../x", 5)),
    *({"name": name} for name in ("../x", "Region", "", "a" * 99, 5)),
    {"left_out": {"a": 5}},
    {"sources": []},
    {"bands": []},
]
CHANGES = [
    *(("source", fields) for fields in SOURCES),
    *(("tiles", fields) for fields in TILES),
    *(("output", fields) for fields in OUTPUTS),
    *(("plan", fields) for fields in PLANS),
    *(("band", fields) for fields in ({"id": ""}, {"id": " a"}, {"id": "a\n"}, {"dtype": "O"}, {"colour": 1})),
]


@pytest.mark.parametrize(("part", "fields"), CHANGES, ids=[f"{part}-{n}" for n, (part, _) in enumerate(CHANGES)])
def test_a_planted_field_is_refused_in_one_short_message(part, fields):
    text = json.dumps(changed(part, **fields))
    with pytest.raises(ValueError, match=r"\S") as refused:
        parse_plan(text.encode())
    assert len(str(refused.value)) < 600


def test_a_plan_that_is_signed_without_a_change_is_read():
    """So the refusals above are of the fields, and not of the fingerprint."""
    value = changed("plan")
    assert parse_plan(json.dumps(value).encode()) == series(1)
    assert parse_plan(json.dumps(changed("source", **ASSET)).encode()).sources[0].asset == "projects/p/assets/a"


@pytest.mark.parametrize("side", [850, 3_162])
def test_tiles_are_counted_without_making_them_and_a_valid_job_may_have_millions(side):
    value = changed("tiles", shape=[side * 16, side * 16])
    assert len(parse_plan(json.dumps(value).encode())) == side**2 <= MAX_TILES


def test_an_audit_costs_no_more_than_numbers_for_tiles_that_were_never_there(tmp_path, monkeypatch):
    """Nor does it take the keys of all of them, but those that it shows."""
    store, plan = folder(tmp_path), parse_plan(json.dumps(changed("tiles", shape=[16_000, 16_000])).encode())
    store.put(f"{plan.folder}/plan.json", json.dumps(plan.json()).encode())
    asked, key = [], Plan.key
    monkeypatch.setattr(Plan, "key", lambda plan, index: asked.append(index) or key(plan, index))
    audit = read_audit(store)
    with pytest.raises(AuditError, match=r"1,000,000 missing tiles(.|\n)* and 999,990 more"):
        check_whole(audit)
    assert audit.plans[0].counts()["missing"] == audit.fault_count == 1_000_000
    assert asked == list(range(10))
    value = changed("tiles", shape=[2**31 - 1, 2**31 - 1])
    with pytest.raises(ValueError, match="limit"):
        parse_plan(json.dumps(value).encode())


@pytest.fixture
def store(tmp_path):
    return folder(tmp_path)


def bad_plan(store, name, kind, tmp_path):
    """Put something into an output that is no plan."""
    place = store.root / name / "plan.json"
    place.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "loop":
        place.symlink_to(place)
    elif kind == "link":
        (tmp_path / "elsewhere").write_text("{}")
        place.symlink_to(tmp_path / "elsewhere")
    elif kind == "huge":
        with place.open("wb") as file:
            file.truncate(5 << 30)
    else:
        place.write_bytes(kind)
    (store.root / name / "receipts").mkdir()
    (store.root / name / "receipts" / "000000000-000000001-a.json").touch()


KINDS = [
    "pipe",
    "folder",
    "loop",
    "link",
    "huge",
    b"\xff\xfe",
    b"[" * 1_000_000,
    b"[]," * 1_000_000,
    b"[" + b"[]," * 2_000_000,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind if isinstance(kind, str) else kind[:3].hex())
def test_one_bad_plan_is_named_and_the_others_are_audited(store, kind, tmp_path_factory):
    plan = series(1)
    extract(plan, store)
    bad_plan(store, "region-0123456789ab", kind, tmp_path_factory.mktemp("outside"))
    store.delete(plan.key(0))
    found = read_audit(store)
    assert list(found.unreadable) == ["region-0123456789ab"]
    assert [fault.tile for fault in found.faults] == [0]
    with pytest.raises(AuditError, match="region-0123456789ab: ") as refused:
        check_whole(found)
    assert len(str(refused.value)) < 2_000
    with pytest.raises(StorageError, match="region-0123456789ab"):
        open_plan(store, "region-0123456789ab/plan.json", "0" * 64)


def test_names_of_folders_and_files_that_are_no_keys_keep_nothing_from_the_audit(store):
    plan = series(1)
    extract(plan, store)
    for name in (b"back\\slash", b"\xff\xfe", b"new\nline"):
        (store.root / os.fsdecode(name)).mkdir()
        (store.root / "tiles" / os.fsdecode(name + b"-0123456789ab.tif")).touch()
        (store.root / os.fsdecode(name) / "plan.json").touch()
    found = read_audit(store)
    assert found.plans[0].complete
    assert json.loads(json.dumps(found.foreign).encode()) == list(found.foreign)
    prune_output(store, found)


RECEIPTS = {
    "index beyond the range": {"index": 99},
    "negative index": {"index": -1},
    "65 bits": {"index": 2**65},
    "pixels": {"pixels": -1},
    "attempts": {"attempts": 2**60},
    "seconds": {"seconds": "1"},
    "endless": {"seconds": -1.0},
    "no fingerprint": {"fingerprint": 5},
    "reason": {"reason": ["a"]},
    **{f"{field} {empty!r}": {field: empty} for field in ("reason", "error_kind") for empty in ({}, [], False, 0)},
    **{f"{field} {empty!r}": {field: empty} for field in ("objects", "bands") for empty in ({}, "", 0, None)},
    "size": {"objects": [{"key": "tiles/a", "size": -1, "crc32c": None, "version": None}]},
    "large size": {"objects": [{"key": "tiles/a", "size": 2**60, "crc32c": None, "version": None}]},
    "parent": {"objects": [{"key": "../a", "size": 1, "crc32c": None, "version": None}]},
    **{
        f"band {number}": {"bands": [dict.fromkeys(("valid", "counted", "mean", "min", "max", "rest"), 0) | band]}
        for number, band in enumerate(
            ({"valid": "inf"}, {"valid": -1}, {"counted": None}, {"counted": "nan"}, {"rest": "inf"}, {"mean": [1]})
        )
    },
}


@pytest.mark.parametrize("fields", RECEIPTS.values(), ids=RECEIPTS)
def test_a_bad_receipt_is_named_and_the_good_ones_count(store, fields):
    plan = series(1)
    (receipt,), _ = extract(plan, store)
    value = json.loads(receipt.encode())
    value["tiles"][0] |= fields
    key = receipt_key(plan.folder, 0, 6, "planted")
    store.put(key, json.dumps(value).encode())
    found = read_audit(store)
    assert list(found.refused) == [key]
    assert (tuple(found.faults), len(found.plans[0].checkpoint.tiles)) == ((), 6)
    with pytest.raises(AuditError, match="Some of the output was not checked") as refused:
        check_whole(found)
    assert key in str(refused.value)


def test_a_receipt_that_names_another_file_as_its_tile_proves_nothing(store):
    """Else what is there would count as the tile, and be replaced or shown as if it were."""
    plan = series(1)
    (receipt,), _ = extract(plan, store)
    mine = store.put("tiles/mine.txt", b"mine")
    for key in ("tiles/mine.txt", f"{plan.folder}/plan.json"):
        there = store.find(key)
        stolen = replace(receipt.tiles[0].objects[0], key=key, size=there.size, version=there.version, crc32c=None)
        planted = replace(receipt, tiles=(replace(receipt.tiles[0], objects=(stolen,)), *receipt.tiles[1:]))
        store.put(receipt_key(plan.folder, 0, 6, "run-0001"), planted.encode())
        assert list(read_checkpoint(plan, store).missing(0, 6)) == [0]
    assert store.find("tiles/mine.txt") == mine


def test_no_planted_plan_lets_pruning_reach_beyond_its_own_folder(store):
    plan = series(1)
    extract(plan, store)
    store.put("photos/me.jpg", b"mine")
    old, new = (json.loads(json.dumps(replace(series(2), home="photos").json())) for _ in range(2))
    new["sources"][0]["version"] = "v2"
    for name, value in (("photos", old), ("series-0", signed(new) | {"home": "series-0"})):
        store.put(f"{name}/plan.json", json.dumps(value).encode())
    prune_output(store, read_audit(store))
    assert store.get("photos/me.jpg") == b"mine"
    assert {plan.key(index) for index in range(len(plan))} - {plan.key(2)} <= {entry.key for entry in store.list()}


def test_a_plan_that_could_not_be_read_again_is_not_stored(store, monkeypatch):
    monkeypatch.setattr(stored_plan, "LARGEST", 100)
    with pytest.raises(ValueError, match="max_requests = 6: the plan takes"):
        stored_plan.store_plan(store, series(1))
    assert list(store.list()) == []

"""Laws of the audit: every fault is named for its tile, nothing foreign is claimed, nothing that counts is pruned."""

import json
import os
import shutil
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from tasks.errors.input import BadInputError
from tasks.errors.run import AuditError
from tasks.extraction import versions as module
from tasks.extraction.audit import check_unchanged, check_whole, read_audit
from tasks.extraction.checkpoint import read_checkpoint
from tasks.extraction.plan_folder import place_plan
from tasks.extraction.pruning import prune_output
from tasks.extraction.tile_fault import Fault
from tasks.extraction.versions import changed_asset
from tasks.plan.images import UNPINNED
from tests.tasks.extraction.test_checkpoint import EMPTY, Earth, folder, forget, series, tiles_of
from tests.tasks.extraction.test_checkpoint import extract as extracted

FOREIGN = ("tiles/notes.txt", "tiles/image/2020-01-01/mine.tif", "tiles/image/2020-01-01/r0000_c0000-abc.tif")


def extract(plan, store, *ranges, **given):
    extracted(plan, store, *ranges, checkpoint=read_checkpoint(plan, store), **given)


def planned(store, plan, seconds):
    """Let a plan be as old as it is told, and no two of the same age."""
    os.utime(store.root / plan.folder / "plan.json", (seconds, seconds))


def files(store):
    return {stored.key: store.get(stored.key) for stored in store.list()}


@pytest.fixture
def store(tmp_path):
    return folder(tmp_path)


def test_a_whole_output_is_complete(store):
    one, other = series(1, 2), series(2, 3, name="region")
    extract(one, store, (0, 7), (7, 12))
    extract(other, store)
    for verify in ("quick", "full"):
        found = read_audit(store, verify=verify)
        assert {each.plan.folder for each in found.plans} == {one.folder, other.folder}
        for each in found.plans:
            assert each.complete
            zeroes = dict.fromkeys(("failed", "missing", "damaged", "unreceipted"), 0)
            assert each.counts() == {"stored": 10, "empty": 2} | zeroes
        assert (tuple(found.faults), found.unreadable, found.superseded, found.unclaimed, found.foreign) == (
            (),
            {},
            (),
            (),
            (),
        )
        check_whole(found)
    only = read_audit(store, folder=other.folder)
    assert ([each.plan.folder for each in only.plans], only.unclaimed, prune_output(store, only)) == (
        [other.folder],
        (),
        0,
    )


def test_nothing_is_wrong_with_nothing(store):
    found = read_audit(store)
    assert (found.plans, tuple(found.faults), found.unclaimed, found.foreign) == ((), (), (), ())
    for name in ("region-0123456789ab", "tiles"):
        with pytest.raises(BadInputError, match="plan = "):
            read_audit(store, folder=name)


def test_every_fault_is_named_for_its_tile_and_no_other(store):
    plan = series(1, 2)
    extract(plan, store, (0, 6), (6, 12), fetch=Earth(refused={plan.request(5).body}))
    forget(store, plan, 6)
    kept = tiles_of(store)
    store.delete(plan.key(0))
    store.put(plan.key(1), kept[plan.key(1)][:-9])
    store.put(plan.key(3), kept[plan.key(3)][:-1] + b"?")
    path = store.root / plan.key(4)
    facts = path.stat()
    path.write_bytes(kept[plan.key(4)][:-1] + b"?")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    store.delete(plan.key(9))
    expected = {
        0: "missing: its file is gone",
        1: f"damaged: {len(kept[plan.key(1)]) - 9:,} bytes instead of {len(kept[plan.key(1)]):,}",
        3: "damaged: checksum ",
        5: "failed: Rejected: no such band (HTTP 400)",
        **dict.fromkeys((6, 7, 10, 11), "unreceipted: stored, but no receipt lists it"),
        **dict.fromkeys((6 + EMPTY, 9), "missing: never stored"),
    }
    for verify in ("quick", "full"):
        found = read_audit(store, verify=verify)
        (each,) = found.plans
        wanted = expected | ({4: "damaged: checksum "} if verify == "full" else {})
        assert {fault.tile for fault in found.faults} == wanted.keys()
        for each_tile in found.faults:
            assert str(each_tile.fault).startswith(wanted[each_tile.tile])
            assert (each_tile.plan, each_tile.key) == (plan.folder, plan.key(each_tile.tile))
            assert each_tile.fault.kind is Fault(str(each_tile.fault).split(":")[0])
        assert not each.complete
        damaged = 2 + (verify == "full")
        counts = {"stored": 3 - damaged, "empty": 1, "failed": 1, "missing": 3, "damaged": damaged, "unreceipted": 4}
        assert each.counts() == counts
        assert (found.unclaimed, found.foreign) == ((), ())
        with pytest.raises(AuditError, match=rf"{damaged} damaged, 1 failed, 3 missing, 4 unreceipted") as failed:
            check_whole(found)
        assert f"{plan.folder} tile 0: missing: its file is gone ({plan.key(0)})" in str(failed.value)
    before = files(store)
    prune_output(store, found)
    assert files(store) == before


def test_foreign_files_are_listed_and_never_claimed(store):
    plan = series(1)
    extract(plan, store)
    for key in (*FOREIGN, "elsewhere/notes.txt", "notes.txt"):
        store.put(key, b"mine")
    found = read_audit(store)
    assert found.foreign == tuple(sorted(FOREIGN))
    assert (found.unclaimed, found.superseded, found.plans[0].complete) == ((), (), True)
    before = files(store)
    assert prune_output(store, found) == 0
    assert files(store) == before


def test_tiles_of_a_plan_that_was_removed_are_unclaimed_but_for_those_that_others_hold(store):
    gone, plan = series(1, 2), series(2, 3)
    extract(gone, store)
    extract(plan, store)
    shutil.rmtree(store.root / gone.folder)
    store.put(FOREIGN[1], b"mine")
    expected = {gone.key(index) for index in range(6) if index != EMPTY}
    for only in (None, plan.folder):
        found = read_audit(store, folder=only)
        assert {stored.key for stored in found.unclaimed} == expected
        assert tuple(found.faults) == ()
    before = files(store)
    assert prune_output(store, found) == len(expected)
    assert before.keys() - files(store).keys() == expected


def test_without_any_plan_no_tile_is_pruned(store):
    plan = series(1)
    extract(plan, store)
    shutil.rmtree(store.root / plan.folder)
    found = read_audit(store)
    before = files(store)
    assert prune_output(store, found) == 0
    assert files(store) == before
    with pytest.raises(AuditError, match="no plan"):
        check_whole(found)


TEXTS = {
    "nothing": b"",
    "no text": b"\xff\xfe",
    "no JSON": b"{",
    "deep": b"[" * 100_000,
    **{text: text.encode() for text in ("{}", "[]", "null", "1", '"text"', '{"plan": 99}', '{"plan": 1}')},
}
CHANGES = {
    "sources": [5, [5], None],
    "tiles": [5, None, {}, {"kind": "region"}, {"kind": "patches"}],
    "bands": [5, [5]],
    "output": [5, {"codec": "none"}],
    "fingerprint": ["0" * 64, 5],
}


@pytest.mark.parametrize("wrong", [*TEXTS, *((field, value) for field, values in CHANGES.items() for value in values)])
def test_while_a_plan_cannot_be_read_nothing_is_unclaimed(store, wrong):
    plan, gone = series(1), series(2)
    store.put(f"{plan.folder}/plan.json", json.dumps(plan.json()).encode())
    for index in range(6):
        store.put(gone.key(index), b"pixels")
    text = TEXTS[wrong] if isinstance(wrong, str) else json.dumps(gone.json() | {wrong[0]: wrong[1]}).encode()
    store.put(f"{gone.folder}/plan.json", text)
    found = read_audit(store)
    assert found.unreadable.keys() == {gone.folder}
    assert found.unreadable[gone.folder].startswith("plan.json cannot be read: ")
    assert ([each.plan.folder for each in found.plans], found.unclaimed, found.foreign) == ([plan.folder], (), ())
    with pytest.raises(AuditError, match=gone.folder):
        check_whole(found)
    before = files(store)
    assert prune_output(store, found) == 0
    assert files(store) == before


def updated(plan, version="v2", *, last_only=False):
    kept = plan.sources[:-1] if last_only else ()
    return replace(plan, sources=(*kept, *(replace(s, version=version) for s in plan.sources[len(kept) :])))


@pytest.mark.parametrize("last_only", [False, True])
def test_a_plan_of_which_a_newer_one_is_whole_is_superseded_and_pruned_with_its_own_tiles(store, last_only):
    old, other = series(1, 2), series(2, name="region")
    new = updated(old, last_only=last_only)
    extract(old, store)
    before = files(store)
    extract(new, store)
    extract(other, store)
    for key in FOREIGN:
        store.put(key, b"mine")
    planned(store, old, 1_000)
    planned(store, new, 2_000)
    found = read_audit(store)
    assert found.superseded == (old.folder,)
    left = store.root / new.folder / f".x.{'0' * 12}-1-abc.part"
    left.write_bytes(b"")
    os.utime(left, (0, 0))
    kept = {plan.key(index) for plan in (new, other) for index in range(len(plan))}
    own = {key for key in tiles_of(store) if key in before} - kept
    assert {stored.key for stored in found.unclaimed} == own
    assert len(own) == (0 if last_only else 5)
    expected = own | {key for key in before if key.startswith(f"{old.folder}/")}
    there = files(store)
    assert prune_output(store, found) == len(expected) + 1
    assert files(store) == {key: data for key, data in there.items() if key not in expected}
    assert not left.exists()
    again = read_audit(store)
    assert (again.superseded, again.unclaimed, again.foreign) == ((), (), tuple(sorted(FOREIGN)))
    assert {each.plan.folder for each in again.plans if each.complete} == {new.folder, other.folder}


def test_a_newer_plan_that_is_not_whole_supersedes_nothing(store):
    old = series(1)
    new = updated(old)
    extract(old, store)
    extract(new, store, (0, 4))
    planned(store, old, 1_000)
    planned(store, new, 2_000)
    found = read_audit(store)
    assert (found.superseded, found.unclaimed) == ((), ())
    assert prune_output(store, found) == 0


@pytest.mark.parametrize(
    "other",
    [
        series(2),
        series(1, scale=20.0),
        series(1, bands="ba"),
        series(1, kept=(0, 1)),
        series(1, output=replace(series(1).tile_format, codec="none")),
        series(1, name="region"),
        series(1, 2),
    ],
    ids=lambda plan: plan.folder,
)
def test_another_request_supersedes_nothing(store, other):
    """Not even if its image was changed since, too."""
    plan, other = series(1), updated(other)
    extract(plan, store)
    extract(other, store)
    planned(store, plan, 1_000)
    planned(store, other, 2_000)
    found = read_audit(store)
    assert (found.superseded, found.unclaimed, tuple(found.faults)) == ((), (), ())


@pytest.mark.parametrize("labels", [("", "b"), ("a", "b"), ("a", "b", "c")], ids="-".join)
def test_of_a_plan_in_several_folders_one_is_pruned_to(store, labels):
    plan = series(2)
    named = [replace(plan, named=f"series-{label}-{plan.fingerprint[:12]}" if label else None) for label in labels]
    for each in named:
        extract(each, store)
    found = read_audit(store)
    assert found.superseded == tuple(each.folder for each in named[1:])
    assert place_plan(plan, store, ("z",)).folder == named[0].folder
    prune_output(store, found)
    whole = read_audit(store)
    assert ([each.plan.folder for each in whole.plans], whole.fault_count) == ([named[0].folder], 0)


def test_tiles_of_a_plan_whose_folder_was_renamed_are_kept(store):
    plan, other = series(2), series(3)
    extract(plan, store)
    extract(other, store)
    before = {key for key in files(store) if key.startswith("tiles/")}
    (store.root / plan.folder).rename(store.root / f"series-mine-{plan.fingerprint[:12]}")
    found = read_audit(store)
    assert plan.folder in found.unreadable[f"series-mine-{plan.fingerprint[:12]}"]
    prune_output(store, found)
    assert before <= files(store).keys()


def test_a_plan_is_not_superseded_by_a_copy_of_its_folder(store):
    plan = series(1)
    extract(plan, store)
    shutil.copytree(store.root / plan.folder, store.root / f"{plan.folder}-copy")
    planned(store, plan, 1_000)
    before = files(store)
    prune_output(store, read_audit(store))
    assert files(store) == before


@pytest.mark.parametrize(
    ("given", "now", "expected"),
    [
        ({"asset": "projects/p/assets/a", "version": "v1"}, {"projects/p/assets/a": "v1"}, None),
        ({"asset": "projects/p/assets/a", "version": "v1"}, {"projects/p/assets/a": "v2"}, "projects/p/assets/a"),
        ({"asset": "projects/p/assets/a", "version": "v1"}, {"projects/p/assets/a": None}, "projects/p/assets/a"),
        ({"asset": "projects/p/assets/a", "version": UNPINNED}, {}, None),
        ({"version": "as_of:2020-01-01"}, {}, None),
        ({"version": '[["a","v1"],["b","v1"]]'}, {"a": "v1", "b": "v1"}, None),
        ({"version": '[["a","v1"],["b","v1"]]'}, {"a": "v1", "b": "v2"}, "b"),
        ({"version": f'[["a","v1"],["b","{UNPINNED}"]]'}, {"a": "v1", "b": None}, None),
        ({"version": "v1", "origin": "c/d"}, {"c/d": "v2"}, "c/d"),
    ],
)
def test_the_asset_is_named_that_was_updated_since(monkeypatch, store, given, now, expected):
    monkeypatch.setattr(module, "get_asset", lambda _, asset: SimpleNamespace(version=now[asset]))
    plan = series(1)
    only = {"expression": None} if "asset" in given else {}
    plan = replace(plan, sources=(type(plan.sources[0])(**asdict(plan.sources[0]) | only | given),))
    assert changed_asset(None, plan.sources[0]) == expected
    store.put(f"{plan.folder}/plan.json", json.dumps(plan.json()).encode())
    (each,) = read_audit(store).plans
    if expected is None:
        check_unchanged(None, each)
        return
    with pytest.raises(BadInputError, match=f"{expected} was updated since it was planned") as refused:
        check_unchanged(None, each)
    assert refused.value.value == plan.folder


def test_an_asset_of_which_nothing_is_missing_is_not_asked_for(monkeypatch, store):
    plan = series(1, 2)
    extract(plan, store)
    monkeypatch.setattr(module, "get_asset", lambda *_: SimpleNamespace(version="v2"))
    store.delete(plan.key(7))
    named = replace(plan, sources=(plan.sources[0], replace(plan.sources[1], origin="second")))
    store.put(f"{plan.folder}/plan.json", json.dumps(named.json()).encode())
    (each,) = read_audit(store).plans
    with pytest.raises(BadInputError, match="second was updated since it was planned"):
        check_unchanged(None, each)

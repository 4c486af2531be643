"""Outputs of an earlier version are read as they are: nothing that they hold is fetched again."""

import json
import shutil
from pathlib import Path

import pytest

from tasks.extraction.audit import check_whole, plans_of, read_audit
from tasks.extraction.checkpoint import read_checkpoint
from tasks.extraction.tile_fault import Fault
from tasks.storage.receipt import read_receipts
from tests.tasks.extraction.test_checkpoint import Earth, extract, folder, restricted

BEFORE = Path(__file__).parent / "data" / "before"
COUNTS = {"region": (5, 1), "growing": (12, 0), "fixed": (12, 0), "patches": (4, 0)}


class Nobody(Earth):
    def __call__(self, request):
        raise AssertionError(f"it was fetched again: {request}")


def copied(name, tmp_path):
    """Return a copy, whose files have other times than their receipts say, and its plan."""
    shutil.copytree(BEFORE / name, tmp_path / name, copy_function=shutil.copyfile)
    store = folder(tmp_path / name)
    ((plan, _),) = plans_of(store)[0].values()
    return store, plan


def told(store, plan):
    """What the receipts of an output have of each tile, as they are written."""
    receipts = [json.loads(store.get(stored.key)) for stored in store.list(f"{plan.folder}/receipts/")]
    return {tile["fingerprint"]: tile for receipt in receipts for tile in receipt["tiles"]}


@pytest.mark.parametrize("verify", ["quick", "full"])
@pytest.mark.parametrize("name", COUNTS)
def test_all_of_an_earlier_output_is_known_and_nothing_is_fetched(name, verify, tmp_path):
    store, plan = copied(name, tmp_path)
    checkpoint = read_checkpoint(plan, store, verify=verify)
    assert (sorted(checkpoint.tiles), checkpoint.faults, checkpoint.unverified) == (list(range(len(plan))), {}, {})
    written = told(store, plan)
    for index, tile in checkpoint.tiles.items():
        one = written[plan.tile_fingerprint(index)]
        assert (tile.status, tile.key, tile.size, tile.crc32c) == tuple(
            one[field] for field in ("status", "key", "size", "crc32c")
        )
        assert (tile.pixels, tile.reason, tile.error_kind) == (one["pixels"], None, None)
        assert [band.mean for band in tile.bands] == [band["mean"] for band in one["bands"]]
    for start in range(0, len(plan) - 1, 3):
        part = read_checkpoint(plan, store, verify=verify, start=start, stop=start + 2)
        assert part.tiles == restricted(checkpoint, plan, start, start + 2).tiles
    (receipt,), asked = extract(plan, store, fetch=Nobody(), checkpoint=checkpoint)
    assert (len(receipt.tiles), asked) == (len(plan), [])
    found = read_audit(store, verify=verify)
    (each,) = found.plans
    assert each.complete
    assert (each.counts()["stored"], each.counts()["empty"]) == COUNTS[name]
    assert (tuple(found.faults), found.unreadable, found.unclaimed, found.foreign) == ((), {}, (), ())
    check_whole(found)


@pytest.mark.parametrize("name", COUNTS)
def test_just_what_is_harmed_of_an_earlier_output_is_missing(name, tmp_path):
    store, plan = copied(name, tmp_path)
    stored = [index for index in range(len(plan)) if store.find(plan.key(index))]
    gone, cut = stored[0], stored[-1]
    store.delete(plan.key(gone))
    store.put(plan.key(cut), store.get(plan.key(cut))[:-1])
    checkpoint = read_checkpoint(plan, store)
    assert list(checkpoint.missing(0, len(plan))) == [gone, cut]
    assert {index: fault.kind for index, fault in checkpoint.faults.items()} == {
        gone: Fault.MISSING,
        cut: Fault.DAMAGED,
    }
    assert {tile.tile: tile.fault.kind for tile in read_audit(store).faults} == {
        gone: Fault.MISSING,
        cut: Fault.DAMAGED,
    }


def test_a_tile_that_failed_before_has_its_kind_and_its_reason(tmp_path):
    store, plan = copied("failed", tmp_path)
    checkpoint = read_checkpoint(plan, store)
    assert {index: str(fault) for index, fault in checkpoint.faults.items()} == {
        0: "failed: Rejected: no such band (HTTP 400)"
    }
    assert sorted(checkpoint.tiles) == list(range(1, 6))
    ((_, receipt),) = read_receipts(store, plan.folder)
    assert [(tile.status, tile.error_kind) for tile in receipt.tiles if tile.status != "stored"] == [
        ("failed", "Rejected"),
        ("empty", None),
    ]
    assert [str(tile.fault) for tile in read_audit(store).faults] == ["failed: Rejected: no such band (HTTP 400)"]


def test_they_hold_no_path_of_a_machine():
    files = [path for path in BEFORE.rglob("*") if path.is_file()]
    assert len(files) > 40
    for path in files:
        assert not any(word in path.read_bytes() for word in (b"/tmp", b"/root", b"/home", b"127.0.0.1"))

"""Repair and pruning that are killed (SIGKILL) at a change of the disk: the next run ends as if nothing had been."""

import os
import shutil
import signal
import sys

import pytest

from tasks.extraction.audit import check_whole, read_audit
from tasks.extraction.checkpoint import read_checkpoint
from tasks.extraction.pruning import prune_output
from tasks.products.manifest import make_manifest
from tests.tasks.extraction.test_audit import files, planned, updated
from tests.tasks.extraction.test_checkpoint import extract, folder, series, tiles_of

CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}
"""What Python reports of each change of a folder, just before it is made."""


def killed(work, at):
    """Do some work in a process that is killed before a change of the disk. Return whether it came so far."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = iter(range(at))

    def count(event, _):
        if event in CHANGES and next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(count)
        work()
    finally:
        os._exit(0)


def moments(work, copy):
    """Yield what is left of an output after each moment at which the work was killed."""
    for at in range(0, 1_000, 5):
        store = copy(at)
        if not killed(lambda store=store: work(store), at):
            assert at > 5
            return
        yield store


@pytest.fixture
def output(tmp_path):
    return folder(tmp_path / "output")


@pytest.fixture
def copy(output, tmp_path):
    return lambda at: folder(shutil.copytree(output.root, tmp_path / str(at)))


def prune(store):
    prune_output(store, read_audit(store))


def test_pruning_that_is_killed_is_ended_by_the_next(output, copy):
    old, new, gone = series(1), updated(series(1)), series(3)
    for plan in (old, new, gone):
        extract(plan, output)
    shutil.rmtree(output.root / gone.folder)
    planned(output, old, 1_000)
    planned(output, new, 2_000)
    assert read_audit(output).superseded == (old.folder,)
    whole = copy("whole")
    prune(whole)
    for store in moments(prune, copy):
        check_whole(read_audit(store))  # the newer plan is whole at any moment, and the older one is still known
        prune(store)
        assert files(store) == files(whole)


def repair(store):
    """Do what a repair does: fetch what is not whole, write its receipt, make the manifest. Return what was fetched."""
    plan = series(1)
    store.sweep()
    asked = extract(plan, store, checkpoint=read_checkpoint(plan, store))[1]
    found = read_checkpoint(plan, store)
    make_manifest(store, plan, [found.tiles[index] for index in sorted(found.tiles)])
    return asked


def test_a_repair_that_is_killed_is_ended_by_the_next_and_nothing_whole_is_fetched_again(output, copy):
    plan = series(1)
    extract(plan, output)
    whole = tiles_of(output)
    output.delete(plan.key(0))
    output.put(plan.key(3), whole[plan.key(3)][:-1])
    for store in moments(repair, copy):
        kept = {key for key, data in tiles_of(store).items() if data == whole[key]}
        assert len(kept) >= 3
        assert not {plan.key(index) for index in repair(store)} & kept
        assert tiles_of(store) == whole
        check_whole(read_audit(store))
        assert not list(store.root.rglob(".*"))

"""What killed processes leave is swept away, and nothing else."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tasks
from tasks.storage import local
from tasks.storage.local import LocalStore
from tasks.storage.owner import FORGOTTEN_S, place


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "root")


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


KILLED = """
import os, sys, time
from pathlib import Path
from tasks.storage.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
with store.workspace() as folder:
    (folder / "mosaic.tif").write_bytes(b"abc")
    os.fsync = lambda file: (print("here", flush=True), time.sleep(60))
    store.put("tiles/a/t", b"abc")
"""


def test_what_a_killed_process_left_is_swept(store):
    store.put("tiles/a/s", b"")
    root = Path(tasks.__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", KILLED, store.root], stdout=subprocess.PIPE, cwd=root) as process:
        try:
            assert process.stdout.readline() == b"here\n"
            left = set(files(store.root)) - {"tiles/a/s"}
            assert len(left) == 2
            assert (store.sweep(), set(files(store.root))) == (0, {"tiles/a/s", *left})
            assert [stored.key for stored in store.list()] == ["tiles/a/s"]
            assert store.folders() == ["tiles"]
        finally:
            process.kill()
    assert [stored.key for stored in store.list()] == ["tiles/a/s"]
    assert (store.sweep(), files(store.root), store.sweep()) == (2, ["tiles/a/s"], 0)
    assert sorted(path.name for path in store.root.iterdir()) == ["tiles"]


OWNERS = {
    "another machine": "0123456789ab-1-0123",
    "alive": f"{place()}-{os.getpid()}-0123",
    "no owner": "x",
    "none": "",
}


@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS)
def test_what_may_be_another_s_is_left_for_a_day(store, owner):
    is_ours = owner.startswith(place())
    part, folder = store.root / "tiles" / f".t.{owner}.part", store.root / local.WORKSPACES / (owner or "x")
    folder.mkdir(parents=True)
    (folder / "f").touch()
    part.parent.mkdir()
    part.touch()
    for age, swept in ((0, 0), (FORGOTTEN_S - 60, 0), (FORGOTTEN_S + 60, 0 if is_ours else 2)):
        for path in (part, folder):
            os.utime(path, (time.time() - age,) * 2)
        assert list(store.list()) == []
        assert store.sweep() == swept
    assert (part.exists(), folder.exists()) == (is_ours, is_ours)


def test_only_below_its_prefix_is_swept(store):
    for name in ("a/.t.x.part", "b/.t.x.part"):
        (store.root / name).parent.mkdir(parents=True)
        (store.root / name).touch()
        os.utime(store.root / name, (0, 0))
    assert (store.sweep("a/"), files(store.root)) == (1, ["b/.t.x.part"])

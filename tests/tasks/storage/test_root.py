"""The root of an output is created once: what vanishes during a run is not filled again in its place."""

import shutil
import subprocess

import pytest

from tasks.storage.local import LocalStore
from tasks.storage.store import OutputMissing


def calls(store, path):
    """Everything that needs the root."""
    path.write_bytes(b"x")
    return {
        "put": lambda: store.put("a/new", b"x"),
        "put_file": lambda: store.put_file("a/file", path),
        "commit": lambda: store.commit("tiles/t", b"x", fingerprint="f"),
        "workspace": store.workspace().__enter__,
        "check": store.check,
        "get": lambda: store.get("k"),
        "open": lambda: store.open("k"),
        "local_copies": lambda: store.local_copies(["k"], path.parent),
    }


def check_refuses(store, path, words):
    for name, call in calls(store, path).items():
        with pytest.raises(OutputMissing) as refused:
            call()
        assert words in str(refused.value), name
        assert "Create or mount it again" in str(refused.value)


@pytest.mark.parametrize("opened", ["before it is there", "when it is there"])
def test_a_deleted_folder_is_not_created_again(tmp_path, opened):
    root = tmp_path / "root"
    if opened == "when it is there":
        root.mkdir()
    store = LocalStore(root)
    store.put("k", b"x")
    shutil.rmtree(root)
    check_refuses(store, tmp_path / "f", "no longer exists")
    assert not root.exists()
    root.mkdir()  # the remedy, for a store that is opened then
    assert LocalStore(root).put("k", b"x").size == 1


@pytest.mark.parametrize("below", ["", "output"])
def test_what_lies_below_a_mount_point_is_not_filled(disk, tmp_path, below):
    store = LocalStore(disk / below)
    store.put("k", b"x")
    subprocess.run(["umount", disk], check=True)
    check_refuses(store, tmp_path / "f", "no longer exists" if below else "another folder is in its place")
    assert list(disk.iterdir()) == []


def test_a_file_that_is_missing_in_a_folder_that_is_there_is_a_missing_key(tmp_path):
    store = LocalStore(tmp_path)
    for call in (lambda: store.get("k"), lambda: store.open("k"), lambda: store.local_copies(["k"], tmp_path)):
        with pytest.raises(KeyError):
            call()


def test_a_folder_that_is_remounted_with_other_numbers_stays_the_same(tmp_path, monkeypatch):
    """Network file systems change the number of the device, and others that of the folder."""
    store = LocalStore(tmp_path)
    seen = store._root._seen
    for number in range(2):
        monkeypatch.setattr(store._root, "_seen", tuple(n + (place == number) for place, n in enumerate(seen)))
        assert store.put(f"a{number}/new", b"x").size == 1

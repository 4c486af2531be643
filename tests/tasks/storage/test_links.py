"""What others put into a folder leads nowhere else, and never ends in a wait: links, pipes, loops."""

import os

import pytest

from tasks.storage.local import WORKSPACES, LocalStore
from tasks.storage.store import OutputDenied


@pytest.fixture
def outside(tmp_path):
    """A folder of another's, whose files are so old that they would be swept."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("secret.tif", ".t.x.part", "old"):
        (folder / name).write_bytes(b"secret")
        os.utime(folder / name, (0, 0))
    return folder


@pytest.fixture
def store(tmp_path):
    store = LocalStore(tmp_path / "root")
    store.put("tiles/a/t.tif", b"pixels")
    return store


def test_a_linked_folder_is_neither_read_nor_written_nor_deleted(store, outside, tmp_path):
    (store.root / "tiles" / "x").symlink_to(outside)
    (store.root / "plan").symlink_to(outside)
    (tmp_path / "f").write_bytes(b"new")
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    for key in ("tiles/x/secret.tif", "plan/secret.tif", "plan/deeper/new"):
        for call in (
            lambda key=key: store.put(key, b"new"),
            lambda key=key: store.put_file(key, tmp_path / "f"),
            lambda key=key: store.commit(key, b"new", fingerprint="f"),
            lambda key=key: store.get(key),
            lambda key=key: store.find(key),
            lambda key=key: store.open(key),
            lambda key=key: store.local_copies([key], tmp_path),
            lambda key=key: store.open_path(key),
            lambda key=key: store.delete(key),
        ):
            with pytest.raises(OutputDenied, match="by a symbolic link"):
                call()
    with pytest.raises(OutputDenied):
        list(store.list("plan/"))
    assert {entry.key for entry in store.list()} == {"tiles/a/t.tif", "tiles/x", "plan"}
    assert store.sweep() == 0
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


def test_a_linked_workspace_is_neither_used_nor_swept(store, outside):
    (store.root / WORKSPACES).symlink_to(outside)
    before = sorted(outside.iterdir())
    assert store.sweep() == 0
    with pytest.raises(OutputDenied), store.workspace():
        pass
    assert sorted(outside.iterdir()) == before


def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_is_left_alone(store, outside):
    targets = {"out": outside / "secret.tif", "gone": outside / "nothing", "loop": store.root / "tiles" / "loop"}
    for name, target in targets.items():
        (store.root / "tiles" / name).symlink_to(target)
    listed = {entry.key: entry for entry in store.list("tiles/")}
    assert listed.keys() == {"tiles/a/t.tif", *(f"tiles/{name}" for name in targets)}
    for name, target in targets.items():
        key = f"tiles/{name}"
        store.commit(key, b"new", fingerprint="f", seen=listed[key].version)
        assert store.get(key) == b"new"
        (store.root / key).unlink()
        (store.root / key).symlink_to(target)
        store.delete(key)
        assert not os.path.lexists(store.root / key)
    assert (outside / "secret.tif").read_bytes() == b"secret"


def test_links_within_the_output_are_followed_and_so_is_one_to_the_output(store, tmp_path):
    (store.root / "annex").mkdir()
    (store.root / "annex" / "object").write_bytes(b"kept")
    (store.root / "tiles" / "t.tif").symlink_to(store.root / "annex" / "object")
    (tmp_path / "link").symlink_to(store.root)
    for each in (store, LocalStore(tmp_path / "link")):
        (entry,) = (entry for entry in each.list() if entry.key == "tiles/t.tif")
        assert each.find("tiles/t.tif") == entry
        assert (entry.size, each.get("tiles/t.tif")) == (4, b"kept")
        each.put("tiles/new", b"1")


def test_a_pipe_a_socket_and_a_device_are_no_files(store, tmp_path):
    os.mkfifo(store.root / "tiles" / "pipe")
    (store.root / "tiles" / "folder").mkdir()
    for key in ("tiles/pipe", "tiles/folder"):
        assert store.find(key) is None
        for call in (store.get, store.open, lambda key: store.local_copies([key], tmp_path)):
            with pytest.raises(KeyError):
                call(key)
    (pipe,) = (entry for entry in store.list() if entry.key == "tiles/pipe")
    store.commit("tiles/pipe", b"new", fingerprint="f", seen=pipe.version)
    assert store.get("tiles/pipe") == b"new"


def test_an_unfinished_file_of_another_program_is_not_swept(store):
    for name in ("movie.mp4.part", ".t.x.part"):
        (store.root / name).touch()
        os.utime(store.root / name, (0, 0))
    assert store.sweep() == 1
    assert (store.root / "movie.mp4.part").exists()

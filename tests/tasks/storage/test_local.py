"""What a folder has to itself: disks that fail, processes that are killed, kinds of mounts."""

import doctest
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tasks
from tasks.storage import local, mount
from tasks.storage.local import FORGOTTEN_S, LocalStore
from tasks.storage.open import open_store
from tasks.storage.store import OutputBusy, OutputConflict, OutputDenied, OutputFull, StorageError

KINDS = {
    OutputFull: (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    OutputDenied: (errno.EACCES, errno.EROFS),
    OutputBusy: (errno.ESTALE, errno.ETIMEDOUT),
    StorageError: (errno.EIO,),
}
REMEDIES = {OutputFull: "Free some space, or", OutputBusy: "See to the mount, and run again"}
# What is called while something is written, by the name it has in the module.
CALLS = {
    "put": ("open", "fsync", "replace", "makedirs"),
    "put_file": ("fsync", "replace", "makedirs"),
    "commit": ("open", "fsync", "link", "makedirs"),
    "replace": ("open", "fsync", "replace"),
}


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "root")


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def failing(monkeypatch, name, number):
    """Let a function of the system fail, as far as it is called for writing."""
    module = local if name == "open" else os
    real = getattr(module, name, open)

    def fail(*arguments, **options):
        if name == "open" and "r" in arguments[1]:
            return real(*arguments, **options)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, name, fail, raising=False)


# Disks that fail -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "name"), [(way, name) for way, names in CALLS.items() for name in names])
@pytest.mark.parametrize(("kind", "number"), [(kind, number) for kind, numbers in KINDS.items() for number in numbers])
def test_a_failed_write_leaves_the_old_bytes_and_no_rest(store, monkeypatch, tmp_path, way, name, kind, number):
    key = "new/k" if name == "makedirs" else "a/k"
    old = store.put("a/k", b"old")
    (tmp_path / "f").write_bytes(b"new")
    failing(monkeypatch, name, number)
    with pytest.raises(StorageError) as failure:
        if way == "commit":
            store.commit("new/k" if name == "makedirs" else "a/l", b"new", fingerprint="f")
        elif way == "replace":
            store.commit(key, b"new", fingerprint="f", seen=old.version)
        elif way == "put":
            store.put(key, b"new")
        else:
            store.put_file(key, tmp_path / "f")
    monkeypatch.undo()
    said = str(failure.value)
    assert type(failure.value) is kind
    assert said.startswith(f"output = '{store.root}': ")
    assert f"can't be written ({os.strerror(number)}). {REMEDIES.get(kind, 'Give a folder')}" in said
    assert (store.get("a/k"), store.find("a/k"), files(store.root)) == (b"old", old, ["a/k"])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("stat", lambda store: store.find("k")),
        ("scandir", lambda store: list(store.list())),
        ("scandir", lambda store: store.folders()),
        ("scandir", lambda store: store.sweep()),
        ("unlink", lambda store: store.delete("k")),
    ],
)
def test_what_can_not_be_read_is_told_as_such(store, monkeypatch, name, call):
    store.put("k", b"")
    failing(monkeypatch, name, errno.EACCES)
    with pytest.raises(
        OutputDenied, match=r"^output = .+ can't be (read|removed) \(Permission denied\)\. Give a folder"
    ):
        call(store)


@pytest.fixture
def small(tmp_path):
    """A disk of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"only a user who may mount has a disk to fill: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_told_so_and_goes_on_with_room(small, tmp_path):
    store, big = LocalStore(small / "root"), bytes(400_000)
    old = store.put("k", b"old")
    assert 0 < store.free_bytes() <= 262_144
    for call in (
        lambda: store.put("k", big),
        lambda: store.commit("k", big, fingerprint="f", seen=old.version),
        lambda: store.commit("tiles/t", big, fingerprint="f"),
    ):
        with pytest.raises(OutputFull, match=r"can't be written \(No space left on device\)\. Free some space"):
            call()
    with pytest.raises(OutputFull, match="No space left"), store.workspace() as folder:
        (folder / "mosaic.tif").write_bytes(big)
    assert (store.get("k"), store.find("k"), files(store.root)) == (b"old", old, ["k"])
    assert store.put("k", b"new").size == 3
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    for call in (store.check, lambda: store.put("k", b""), lambda: store.delete("k"), store.workspace().__enter__):
        with pytest.raises(OutputDenied, match="Read-only file system"):
            call()
    assert store.get("k") == b"new"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links_a_tile_is_created_once_too(store, monkeypatch, number):
    failing(monkeypatch, "link", number)
    first = store.commit("tiles/t", b"abc", fingerprint="f")
    assert store.commit("tiles/t", b"abc", fingerprint="f") == first == store.find("tiles/t")
    with pytest.raises(OutputConflict):
        store.commit("tiles/t", b"other", fingerprint="f")
    assert (store.get("tiles/t"), files(store.root)) == (b"abc", ["tiles/t"])
    assert store.commit("tiles/t", b"other", fingerprint="f", seen=first.version) == store.find("tiles/t")


@pytest.mark.parametrize("way", ["put", "put_file", "commit", "workspace"])
def test_a_folder_that_is_removed_at_this_moment_is_made_again(store, monkeypatch, tmp_path, way):
    """By another who removed the last file in it."""
    (tmp_path / "f").touch()
    real, races = os.makedirs, [FileNotFoundError, FileExistsError]

    def makedirs(path, *more, **options):
        if races:
            raise races.pop()
        real(path, *more, **options)

    monkeypatch.setattr(os, "makedirs", makedirs)
    if way == "put":
        store.put("a/k", b"")
    elif way == "commit":
        store.commit("a/k", b"", fingerprint="f")
    elif way == "put_file":
        store.put_file("a/k", tmp_path / "f")
    else:
        with store.workspace() as folder:
            assert folder.is_dir()
        return
    assert files(store.root) == ["a/k"]


def test_a_tile_that_is_removed_meanwhile_is_written(store, monkeypatch):
    """Another's was there first, and is gone when it is looked at."""
    real, others = os.link, [FileExistsError]

    def link(*paths):
        if others:
            raise others.pop()
        real(*paths)

    monkeypatch.setattr(os, "link", link)
    assert store.commit("t", b"abc", fingerprint="f") == store.find("t")
    assert store.get("t") == b"abc"


def test_bytes_are_on_disk_before_they_have_a_name(store, monkeypatch, tmp_path):
    calls = []
    for name in ("fsync", "replace", "link"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (calls.append(name), real(*given)))
    store.put("k", b"abc")
    store.commit("t", b"abc", fingerprint="f")
    (tmp_path / "f").touch()
    store.put_file("f", tmp_path / "f")
    assert calls == ["fsync", "replace", "fsync", "fsync", "link", "fsync", "fsync", "replace", "fsync"]
    calls.clear()
    quick = LocalStore(tmp_path / "quick", durable=False)
    assert quick.put("k", b"abc") == quick.find("k")
    assert quick.commit("t", b"abc", fingerprint="f") == quick.find("t")
    (tmp_path / "f").touch()
    assert quick.put_file("f", tmp_path / "f") == quick.find("f")
    assert calls == ["replace", "link", "replace"]
    assert {stored.key: quick.get(stored.key) for stored in quick.list()} == {"k": b"abc", "t": b"abc", "f": b""}


def test_a_later_write_has_another_version_by_a_clock_that_stands_still(store, monkeypatch):
    """As that of files does for some milliseconds."""
    real, still = open, time.time_ns()

    class Coarse:
        def __init__(self, file):
            self._file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self._file.close()

        def __getattr__(self, name):
            return getattr(self._file, name)

        def write(self, data):
            self._file.write(data)
            self._file.flush()
            os.utime(self._file.fileno(), ns=(still, still))

    monkeypatch.setattr(
        local, "open", lambda path, mode: real(path, mode) if "r" in mode else Coarse(real(path, mode)), raising=False
    )
    assert store.put("k", b"one").version != store.put("k", b"two").version


def test_a_check_that_is_killed_leaves_nothing_to_be_listed(store, monkeypatch):
    monkeypatch.setattr(store, "delete", lambda key: None)
    store.check()
    assert list(store.list()) == []
    monkeypatch.setattr(local, "_place", lambda: "elsewhere")
    for path in store.root.iterdir():
        os.utime(path, (0, 0))
    assert (store.sweep(), files(store.root)) == (1, [])


# Folders that are none -----------------------------------------------------------------------------------------------


def test_an_output_that_is_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        LocalStore(tmp_path / "file").check()


@pytest.mark.parametrize("root", ["~nobody-of-this-name/x", "a\0b", "half \ud800 of a pair"])
def test_what_can_t_name_a_folder_is_refused(root):
    with pytest.raises(StorageError, match=r"^output = '.+: it can't be the name of a folder .+\. Give a folder"):
        open_store(root)


def test_a_name_that_is_too_long_is_refused_when_it_is_written(tmp_path):
    with pytest.raises(StorageError, match=r"^output = .+ too long\)\. Give a folder"):
        open_store(str(tmp_path / ("a" * 300))).check()


# What killed processes leave -----------------------------------------------------------------------------------------

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
        assert process.stdout.readline() == b"here\n"
        left = set(files(store.root)) - {"tiles/a/s"}
        assert len(left) == 2
        assert (store.sweep(), set(files(store.root))) == (0, {"tiles/a/s", *left})
        assert [stored.key for stored in store.list()] == ["tiles/a/s"]
        assert store.folders() == ["tiles"]
        process.kill()
    assert [stored.key for stored in store.list()] == ["tiles/a/s"]
    assert (store.sweep(), files(store.root), store.sweep()) == (2, ["tiles/a/s"], 0)
    assert sorted(path.name for path in store.root.iterdir()) == ["tiles"]


@pytest.mark.parametrize("owner", ["0123456789ab-1-0123", f"{local._place()}-{os.getpid()}-0123", "x", ""])
def test_what_may_be_another_s_is_left_for_a_day(store, owner):
    is_ours = owner.startswith(local._place())
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


# Mounts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fuse.gcsfuse", "fuse.rclone", "fuse.s3fs", "ext4", "fuse.sshfs", "nfs4", ""])
def test_a_mounted_object_store_is_advised_against(tmp_path, monkeypatch, kind):
    mounts = tmp_path / "mountinfo"
    root = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    mounts.write_text(f"{root}36 21 0:43 / {tmp_path} rw,noatime shared:1 - {kind} bucket rw\n" if kind else root)
    monkeypatch.setattr(mount, "MOUNTS", mounts)
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "out", tmp_path / "link" / "out"):
        said = LocalStore(folder).check()
        if kind in {"fuse.gcsfuse", "fuse.rclone", "fuse.s3fs"}:
            assert said.startswith(f"output = '{folder}' is on a mounted object store ({kind})")
            assert said.endswith("output = gs://bucket/prefix.")
        else:
            assert said is None


def test_where_mounts_are_not_told_nothing_is_advised(tmp_path, monkeypatch):
    for text in (None, "", "one\n", "36 35 98:0 / / rw -\n"):
        monkeypatch.setattr(mount, "MOUNTS", tmp_path / "mountinfo")
        if text is not None:
            (tmp_path / "mountinfo").write_text(text)
        assert LocalStore(tmp_path).check() is None


def test_a_symbolic_link_to_a_mounted_object_store_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "mounted").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mounted")
    (tmp_path / "mountinfo").write_text(f"36 21 0:43 / {tmp_path}/mounted rw - fuse.gcsfuse bucket rw\n")
    monkeypatch.setattr(mount, "MOUNTS", tmp_path / "mountinfo")
    assert "fuse.gcsfuse" in LocalStore(tmp_path / "link" / "out").check()


def test_the_examples_of_mounts_are_true():
    done = doctest.testmod(mount)
    assert (done.failed, done.attempted > 0) == (0, True)

"""What a folder has to itself: disks that fail, and names that are no folder."""

import errno
import os
import re
import subprocess
import time

import pytest

from tasks.storage import local
from tasks.storage.address import open_store
from tasks.storage.local import LocalStore
from tasks.storage.store import OutputBusy, OutputConflict, OutputDenied, OutputFull, StorageError

KINDS = {
    OutputFull: (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    OutputDenied: (errno.EACCES, errno.EROFS),
    OutputBusy: (errno.ESTALE, errno.ETIMEDOUT),
    StorageError: (errno.EIO, errno.EMFILE, errno.ENOMEM),
}
REMEDIES = {OutputFull: "Free some space, or give", OutputBusy: "Check the mount, then run again."}
OWN = {errno.EFBIG: "ulimit -f", errno.EROFS: "remounted", errno.EIO: "Check the disk", errno.EMFILE: "ulimit -n"} | {
    errno.ENOMEM: "more memory"
}
"""Remedies of a number that its kind has not."""
WAYS = {
    "put": lambda store, _: store.put("a/k", b"new"),
    "put_file": lambda store, file: store.put_file("a/k", file),
    "commit": lambda store, _: store.commit("a/l", b"new", fingerprint="f"),
    "replace": lambda store, _: store.commit("a/k", b"new", fingerprint="f", seen=store.find("a/k").version),
    "put in a new folder": lambda store, _: store.put("b/k", b"new"),
    "put_file in a new folder": lambda store, file: store.put_file("b/k", file),
    "commit in a new folder": lambda store, _: store.commit("b/k", b"new", fingerprint="f"),
}
# What the system is asked for on the way.
CALLS = {
    **dict.fromkeys(("put", "replace"), ("open", "fsync", "replace")),
    "put_file": ("fsync", "replace"),
    "commit": ("open", "fsync", "link"),
    **dict.fromkeys((way for way in WAYS if "folder" in way), ("makedirs",)),
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
    old = store.put("a/k", b"old")
    (tmp_path / "f").write_bytes(b"new")
    failing(monkeypatch, name, number)
    with pytest.raises(StorageError) as failure:
        WAYS[way](store, tmp_path / "f")
    monkeypatch.undo()
    assert type(failure.value) is kind
    said = rf"output = '{store.root}': (a|b)/(k|l) cannot be written \({os.strerror(number)}\)\. .+\."
    assert re.fullmatch(said, str(failure.value))
    assert OWN.get(number, REMEDIES.get(kind, "Give a folder that you may write to.")) in str(failure.value)
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
        OutputDenied, match=r"^output = .+ cannot be (read|deleted) \(Permission denied\)\. Give a folder"
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
        with pytest.raises(OutputFull, match=r"cannot be written \(No space left on device\)\. Free some space"):
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


@pytest.mark.parametrize("way", [*(way for way in WAYS if "folder" in way), "workspace"])
def test_a_folder_that_is_removed_at_this_moment_is_made_again(store, monkeypatch, tmp_path, way):
    """By another who removed the last file in it."""
    (tmp_path / "f").write_bytes(b"new")
    real, races = os.makedirs, [FileNotFoundError, FileExistsError]

    def makedirs(path, *more, **options):
        if races:
            raise races.pop()
        real(path, *more, **options)

    monkeypatch.setattr(os, "makedirs", makedirs)
    if way == "workspace":
        with store.workspace() as folder:
            assert folder.is_dir()
    else:
        assert WAYS[way](store, tmp_path / "f") == store.find("b/k")


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
    monkeypatch.setattr(store, "delete", store.find)
    store.check()
    assert list(store.list()) == []
    monkeypatch.setattr("tasks.storage.owner.place", lambda: "elsewhere")
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
    with pytest.raises(StorageError, match=r"^output = '.+: it cannot be the name of a folder .+\. Give a folder"):
        open_store(root)


def test_a_name_that_is_too_long_is_refused_when_it_is_written(tmp_path):
    with pytest.raises(StorageError, match=r"^output = .+ too long\)\. Give a folder"):
        open_store(str(tmp_path / ("a" * 300))).check()

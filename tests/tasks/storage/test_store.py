"""The contract of a store: whole or not at all, and never outside its root."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.storage.local import LocalStore
from tasks.storage.open import open_store
from tasks.storage.store import StorageError, check_key


@pytest.fixture(params=[LocalStore], ids=lambda kind: kind.__name__)
def store(request, tmp_path):
    return request.param(tmp_path / "root")


def test_what_is_put_is_got_and_listed(store):
    stored = store.put("tiles/a/r0.tif", b"abc")
    assert (stored.key, stored.size) == ("tiles/a/r0.tif", 3)
    store.put("tiles/b.tif", b"")
    store.put("plan.json", b"{}")
    assert store.get("tiles/a/r0.tif") == b"abc"
    assert [(s.key, s.size) for s in store.list("tiles/")] == [("tiles/a/r0.tif", 3), ("tiles/b.tif", 0)]
    assert [s.key for s in store.list("tiles/b")] == ["tiles/b.tif"]
    assert len(list(store.list())) == 3


def test_a_later_put_replaces(store):
    store.put("k", b"one")
    store.put("k", b"three")
    assert store.get("k") == b"three"


def test_what_is_not_there_is_a_key_error_and_an_empty_list(store):
    with pytest.raises(KeyError):
        store.get("nothing")
    assert list(store.list("nothing/")) == []


@pytest.mark.parametrize("key", ["", "/etc/x", "../x", "a/../../x", "a//b", "a/./b", "a\\b", "a\0b"])
def test_no_key_leaves_the_root(store, key):
    with pytest.raises(ValueError, match="key"):
        store.put(key, b"")
    with pytest.raises(ValueError, match="key"):
        store.get(key)


@given(st.lists(st.text("ab._-0", min_size=1, max_size=6), min_size=1, max_size=4).map("/".join))
def test_a_key_is_refused_or_stays_below_the_root(key):
    try:
        check_key(key)
    except ValueError:
        assert {".", ".."} & set(key.split("/"))
    else:
        assert os.path.normpath("/store/" + key) == "/store/" + key


def test_readers_never_see_a_part(store):
    """While one key is written again and again, every read gives one of the whole contents."""
    contents = [bytes([n]) * 300_000 for n in range(8)]
    store.put("k", contents[0])
    done = threading.Event()

    def write():
        for content in contents * 4:
            store.put("k", content)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(store.get("k"))
    writer.join()
    assert seen <= set(contents)


def test_a_failed_write_leaves_the_old_bytes_and_no_rest(tmp_path, monkeypatch):
    store = LocalStore(tmp_path)
    store.put("k", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        store.put("k", b"new")
    assert store.get("k") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


def test_an_output_that_is_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        LocalStore(tmp_path / "file").check_writable()


@pytest.mark.parametrize("root", ["~nobody-of-this-name/x", "a\0b", "half \ud800 of a pair"])
def test_what_can_t_name_a_folder_is_refused(root):
    with pytest.raises(StorageError, match=r"^output = '.+: it can't be the name of a folder .+\. Give a folder"):
        open_store(root)


def test_a_name_that_is_too_long_is_refused_when_it_is_written(tmp_path):
    with pytest.raises(StorageError, match=r"^output = .+ too long\)\. Give a folder"):
        open_store(str(tmp_path / ("a" * 300))).check_writable()

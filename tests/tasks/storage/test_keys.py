"""No key leaves the root of its store."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.storage.cloud import CloudStore
from tasks.storage.store import check_key

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

LEAVING = ["", "/etc/x", "../x", "a/../../x", "a//b", "a/", "a/./b", ".", "a\\b", "a\0b"]


@pytest.mark.parametrize("key", LEAVING)
def test_no_key_leaves_the_root(store, key, tmp_path):
    (tmp_path / "f").touch()
    for call in (
        lambda: store.put(key, b""),
        lambda: store.put_file(key, tmp_path / "f"),
        lambda: store.commit(key, b"", fingerprint="f"),
        lambda: store.commit(key, b"", fingerprint="f", seen="1"),
        lambda: store.get(key),
        lambda: store.find(key),
        lambda: store.open(key),
        lambda: store.local_copies([key], tmp_path),
        lambda: store.delete(key),
        lambda: store.open_path(key),
    ):
        with pytest.raises(ValueError, match="key"):
            call()
    assert (tmp_path / "f").exists()


@pytest.mark.parametrize("prefix", ["../", "../root/", "tiles/../", "tiles//", "./", "/", "tiles/./t", "tiles/../../"])
def test_no_listing_leaves_the_root(place, prefix):
    store = place.new()
    store.put("tiles/t", b"")
    if not isinstance(store, CloudStore):
        (store.root.parent / "beside").mkdir()
        (store.root.parent / "beside.txt").touch()
        (store.root.parent / "x.part").touch()
        os.utime(store.root.parent / "x.part", (0, 0))
    with contextlib.suppress(ValueError):
        assert list(store.list(prefix)) == []
    with contextlib.suppress(ValueError):
        assert store.sweep(prefix) == 0


@given(st.lists(st.text("ab._-0", min_size=1, max_size=6), min_size=1, max_size=4).map("/".join))
def test_a_key_is_refused_or_stays_below_the_root(key):
    try:
        assert check_key(key) == key
    except ValueError:
        assert {".", ".."} & set(key.split("/"))
    else:
        assert os.path.normpath("/store/" + key) == "/store/" + key

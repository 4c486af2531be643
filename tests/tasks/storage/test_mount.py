"""What kind of file system a folder is on, as far as it matters."""

import doctest

import pytest

from tasks.storage import mount
from tasks.storage.local import LocalStore


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

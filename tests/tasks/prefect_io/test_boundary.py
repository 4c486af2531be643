"""Whatever is raised becomes an error of this project, and a bug can be reported."""

import errno
import logging
import os
import pickle
import tempfile

import pytest
from prefect.exceptions import CancelledRun

from tasks.errors.input import BadInputError
from tasks.errors.machine import MachineError
from tasks.errors.run import RunCancelled, UnexpectedError
from tasks.prefect_io.boundary import KEPT, ours


@pytest.fixture(autouse=True)
def _temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def raised(error):
    """An error with a traceback, as an `except` gets it."""
    try:
        raise error  # noqa: TRY301 - as above
    except Exception as caught:  # noqa: BLE001 - as above
        return caught


def test_an_error_of_the_project_stays_as_it_is():
    error = BadInputError("scale", 0, "must be positive", "Give more")
    assert ours(error) is error
    assert isinstance(ours(CancelledRun("by a user")), RunCancelled)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("tile"),
        RecursionError("maximum recursion depth exceeded"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        OverflowError("int too big to convert"),
        ExceptionGroup("several", [ValueError("one")]),
        ImportError("libgdal.so: cannot open shared object file"),
        Exception(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_bug_is_one_message_with_its_type_and_its_traceback_in_a_file(error, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "pixel_quarry")
    found = ours(raised(error))
    assert isinstance(found, UnexpectedError)
    assert str(found).startswith(f"{type(error).__name__}: ")
    assert str(found).endswith(KEPT)
    assert "\n" not in str(found)
    (report,) = tmp_path.iterdir()
    assert str(report) in str(found)
    assert report.stat().st_mode & 0o077 == 0
    assert "in raised" in report.read_text()
    assert "in raised" in caplog.text
    assert str(pickle.loads(pickle.dumps(found))) == str(found)


def test_no_secret_no_control_character_and_no_endless_text_is_in_the_message(tmp_path):
    found = ours(raised(ValueError("\x1b[31m token ya29.secret-token https://host/path?key=abc " + "x" * 100_000)))
    (report,) = tmp_path.iterdir()
    for text in (str(found), report.read_text()):
        assert "secret-token" not in text
        assert "key=abc" not in text
    assert "\x1b" not in str(found)
    assert len(str(found)) < 700


def test_a_bug_is_reported_although_the_temporary_folder_cannot_be_written(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    assert "PREFECT_LOGGING_LEVEL=DEBUG" in str(ours(raised(KeyError("tile"))))


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("ENOSPC", "Free some space"),
        ("EDQUOT", "Free some space"),
        ("EFBIG", "ulimit -f"),
        ("EMFILE", "ulimit -n"),
        ("ENOMEM", "more memory"),
        ("EAGAIN", "ulimit -u"),
        ("EROFS", "TMPDIR"),
        ("EACCES", "permission"),
        ("EIO", "Check the disk"),
        ("ESTALE", "Check the mount"),
    ],
)
def test_what_the_machine_lacks_is_named_with_the_place_and_what_to_do(code, remedy):
    number = getattr(errno, code)
    found = ours(raised(OSError(number, os.strerror(number), "/tmp/of/a/library")))
    assert isinstance(found, MachineError)
    assert "'/tmp/of/a/library'" in str(found)
    assert os.strerror(number) in str(found)
    assert remedy in str(found)
    assert found.__notes__ == [KEPT]


def test_memory_that_is_not_sufficient_is_named():
    assert "smaller tile_size" in str(ours(raised(MemoryError())))


def test_notes_are_kept():
    error = KeyError("tile")
    error.add_note("3 of 4 tiles are stored")
    assert ours(raised(error)).__notes__ == ["3 of 4 tiles are stored"]

"""From an address to a store; and what errors of a store are."""

import doctest
import inspect
import pickle

import pytest

from tasks.storage import address as opening
from tasks.storage import store as errors
from tasks.storage.address import bucket_of, fault_of, open_store
from tasks.storage.cloud import CloudStore
from tasks.storage.local import LocalStore
from tasks.storage.store import StorageError

ERRORS = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, StorageError)]


def test_an_address_is_always_the_same_store(tmp_path, monkeypatch, service):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", service.url)
    for address, kind in ((str(tmp_path), LocalStore), ("gs://pixels/runs", CloudStore), ("gs://pixels", CloudStore)):
        store = open_store(address)
        assert open_store(address) is store
        assert (type(store), store.uri) == (kind, address)
    assert open_store("gs://pixels/runs")._client is open_store("gs://pixels")._client
    assert open_store("gs://pixels/runs/").uri == "gs://pixels/runs"
    open_store("gs://pixels/runs").put("a/b", b"abc")
    assert open_store("gs://pixels").get("runs/a/b") == b"abc"
    before = open_store("gs://pixels/runs")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"{service.url}/")
    assert open_store("gs://pixels/runs") is not before


@pytest.mark.parametrize(
    "address",
    [
        *("gs://", "gs:///", "gs:///x", "gs://B/x", "gs://b/../x", "gs://b/a//b", "gs://ab", "gs://-ab", "gs://ab-"),
        *("gs://Bucket/x", "gs://bucket/../x", "gs://bucket/a//b", "gs://bucket/a//", "gs://bucket/."),
        *("gs://bucket/a\\b", "gs://bucket/a\0b", "gs://bucket/a\nb", "gs://bu cket", "gs://bucket@x/y", "gs://b:1/x"),
    ],
)
def test_what_is_no_bucket_is_refused_by_name(address):
    for call in (bucket_of, open_store, open_store):
        with pytest.raises(
            StorageError,
            match=r"^output = 'gs://.*': a bucket has a name of 3 to 222 .+\. Give gs://bucket/prefix\.$",
        ):
            call(address)


def test_a_store_is_of_plain_parts():
    with pytest.raises(ValueError, match="plain parts"):
        CloudStore("pixels", "../x", None)


def test_the_examples_of_addresses_are_true():
    done = doctest.testmod(opening)
    assert (done.failed, done.attempted > 0) == (0, True)


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_is_the_same_in_another_process(error):
    told = pickle.loads(pickle.dumps(error("output = 'o': k can't be written.")))
    assert (type(told), str(told), told.args) == (error, "output = 'o': k can't be written.", (str(told),))
    assert isinstance(told, OSError)
    assert told.passing == error.passing


def test_what_passes_is_told_from_what_does_not():
    assert {error.__name__ for error in ERRORS if error.passing} == {"OutputBusy", "OutputDamaged", "TileLost"}
    assert {error.__name__ for error in ERRORS if not error.passing} == {
        "StorageError",
        "OutputFull",
        "OutputDenied",
        "OutputMissing",
        "OutputConflict",
        "SignInExpired",
    }


@pytest.mark.parametrize(
    "output",
    [
        *("C:\\x", "C:/x", "c:x", "C:", "\\\\server\\share", "//server/share", "\\\\?\\C:\\x", "a\\b", "d:\\"),
        *("local-file-system/../../x", "local-file-system/a/../..", "local-file-system/a/b", "local-file-system/"),
        *("Local-File-System/x", "gcs-bucket/../x", "gcs-bucket/A b", "gcs-bucket//x", "local-file-system/~"),
        *("s3-bucket/x", "earth-engine-connection/x", "gcp-credentials/x", "remote-file-system/x"),
        *(
            "gs:/x",
            "gs:x",
            "GS://bucket/x",
            "s3:/x",
            "s3://x",
            "file:/x",
            "file://../..",
            "file:///x",
            "FILE:x",
            "http:/x",
        ),
        *("http:/x", "weird:/x", "gs://bucket/../x", "gs://bucket/a//b", "gs://B", "gs://", "gs://bucket/a\\b"),
        *("x ", " x", "\tx", "a\0b", "a\nb", "a\x1b[31m", "a\x9bb", "a\u2028b", "a\u202eb", "a\u2066b", "\ud800"),
        *("~", "~/", "~no-such-user/x", "/vsigs/bucket", "/vsicurl/http://host/x"),
    ],
)
def test_what_is_neither_a_folder_nor_a_bucket_nor_a_block_is_no_output(output):
    assert fault_of(output)


@pytest.mark.parametrize(
    "output",
    [
        *("out", "../out", "/data/a b/é", "~/out", "./local-file-system/x", "local-file-system", "run:1/x", "a@b", "."),
        *("gs://bucket", "gs://bucket/prefix", "gcs-bucket/pixels-1", "local-file-system/pixels", "output?", "/"),
    ],
)
def test_what_is_one_may_be_an_output(output):
    assert fault_of(output) is None

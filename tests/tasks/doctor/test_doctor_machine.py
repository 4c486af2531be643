"""Each fault of the machine and of the output is found by the check that is named for it, with a remedy."""

import gc
import json
import re
import resource
import socket
import tempfile
import threading
import types
from importlib import metadata
from pathlib import Path

import pyproj
import pytest
from google.cloud.storage.retry import DEFAULT_RETRY

from tasks.doctor import output as outputs
from tasks.doctor.check import Check, examined, fail, ok, warn
from tasks.doctor.machine import KEY, machine
from tasks.doctor.output import LARGE, Trial, output
from tasks.doctor.privacy import Privacy
from tasks.earthengine.connection import HIGH_VOLUME
from tasks.errors.input import BadInputError
from tasks.storage import mount
from tasks.storage.address import forget, open_store
from tasks.storage.cloud import CloudStore
from tasks.storage.local import LocalStore
from tests.cloud.emulator import emulator
from tests.cloud.fake import fake
from tests.cloud.fault import Fault

BUCKET = "pixels-of-doctor"


def run(checks):
    return {finding.check: finding for finding in examined(checks, Privacy())}


def find(findings, name, state, remedy):
    """Check that one check has found a fault, and that all others pass or were not tried."""
    found = findings[name]
    assert found.state == state, found
    assert re.search(remedy, found.remedy), found
    assert [each for each in findings.values() if each.check != name and each.state not in {"ok", "not tried"}] == []
    return found


# The machine ---------------------------------------------------------------------------------------------------------


def test_this_machine_passes():
    findings = run(machine("http://127.0.0.1:9080"))
    assert {each.state for each in findings.values()} == {"ok"}
    assert all(name in findings["packages"].found for name in KEY)


def test_a_package_is_older_than_what_was_tested(monkeypatch):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.2.0" if name == "rasterio" else real(name))
    assert "rasterio 1.2.0 is not" in find(run(machine(HIGH_VOLUME)), "packages", "warn", "requirements.lock").found


def test_a_package_is_missing(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "orjson":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    assert "orjson is missing" in find(run(machine(HIGH_VOLUME)), "packages", "fail", "requirements.lock").found


def test_python_is_too_old(monkeypatch):
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    find(run(machine(HIGH_VOLUME)), "Python", "fail", ">=3.11")


def test_the_data_of_another_installation_are_named(monkeypatch):
    def broken(code):
        raise pyproj.exceptions.CRSError("no database context")

    monkeypatch.setenv("PROJ_LIB", "/usr/share/proj")
    monkeypatch.setattr(pyproj.CRS, "from_epsg", broken)
    find(run(machine(HIGH_VOLUME)), "map projections", "fail", "Unset PROJ_LIB")


@pytest.mark.parametrize("there", [True, False])
def test_the_file_of_certificates_is_wrong(there, monkeypatch, tmp_path):
    file = tmp_path / "bundle.pem"
    if there:
        file.write_text("no certificate")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    found = find(run(machine(HIGH_VOLUME)), "certificates", "fail", "Set REQUESTS_CA_BUNDLE")
    assert str(tmp_path) not in str(found)


def test_the_proxy_is_away(monkeypatch):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{port}")
    monkeypatch.setenv("https_proxy", f"http://user:secret@127.0.0.1:{port}")
    found = find(run(machine(HIGH_VOLUME)), "proxy", "fail", "HTTPS_PROXY")
    assert "secret" not in str(found)


def test_temporary_files_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    find(run(machine(HIGH_VOLUME)), "temporary files", "fail", "TMPDIR")


@pytest.mark.parametrize(("free", "state"), [(1 << 20, "fail"), (1 << 30, "warn")])
def test_the_disk_of_temporary_files_is_nearly_full(free, state, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: types.SimpleNamespace(free=free))
    find(run(machine(HIGH_VOLUME)), "temporary files", state, "another disk")


def test_few_files_may_be_open(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    find(run(machine(HIGH_VOLUME)), "open files", "warn", "ulimit -n")


# The output ----------------------------------------------------------------------------------------------------------


def tried(store):
    """Run the checks of an output, and see that nothing is left."""
    trial = Trial(lambda: (store, store.check()))
    return run(output(trial))


def test_a_folder_passes_and_nothing_is_left(tmp_path):
    findings = tried(LocalStore(tmp_path / "out"))
    assert {each.state for each in findings.values()} == {"ok"}
    assert list(tmp_path.rglob("*")) == [tmp_path / "out"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "out").write_text("a file")
    find(tried(LocalStore(tmp_path / "out" / "below")), "output", "fail", "folder that may be written")


@pytest.mark.parametrize(("free", "state"), [(1 << 20, "fail"), (1 << 30, "warn")])
def test_the_disk_of_the_output_is_nearly_full(free, state, monkeypatch, tmp_path):
    monkeypatch.setattr(LocalStore, "free_bytes", lambda _: free)
    find(tried(LocalStore(tmp_path)), "free space", state, "another disk")


def test_a_mounted_bucket(monkeypatch, tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"36 35 98:0 / {tmp_path} rw - fuse.gcsfuse bucket rw\n")
    monkeypatch.setattr(mount, "MOUNTS", mounts)
    find(tried(LocalStore(tmp_path / "out")), "output", "warn", "gs://")


def test_a_folder_that_keeps_what_is_deleted(monkeypatch, tmp_path):
    monkeypatch.setattr(LocalStore, "delete", lambda *_: None)
    store = LocalStore(tmp_path)
    findings = run(output(Trial(lambda: (store, None))))
    assert findings["delete"].state == "fail"
    assert findings["cleaned up"].state == "warn"
    assert re.search(r"doctor-\w{8}", findings["cleaned up"].remedy)


def test_a_slow_disk(monkeypatch, tmp_path):
    ticks = iter(range(1000))
    monkeypatch.setattr(outputs, "time", types.SimpleNamespace(monotonic=lambda: float(next(ticks))))
    find(tried(LocalStore(tmp_path)), "write", "warn", "fsync")


@pytest.fixture
def bucket(monkeypatch):
    """Cloud Storage: the strict fake."""
    with fake() as server:
        server.create_bucket(BUCKET)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setattr(CloudStore, "again", DEFAULT_RETRY.with_delay(0.01, 0.05).with_timeout(0.2))
        forget()
        yield server
    gc.collect()  # the client leaves connections of failed calls open


def test_a_bucket_passes_and_nothing_is_left(bucket):
    findings = tried(open_store(f"gs://{BUCKET}/runs"))
    assert {each.state for each in findings.values()} == {"ok"}
    assert bucket.objects(BUCKET) == {}
    assert bucket.calls["chunk"] >= 1  # a large file goes in parts
    assert LARGE > 8 << 20


CLOUD_FAULTS = {
    "no bucket": ({}, "output", "fail", "Create the bucket"),
    "no permission to list": ({"match": "GET .*/o$", "status": 403}, "output", "fail", "objectUser"),
    "no permission to write": ({"match": "POST /upload", "status": 403}, "write", "fail", "objectUser"),
    "no permission to read": ({"match": "GET /download.*small", "status": 403}, "read", "fail", "objectUser"),
    "bytes are changed on the way": (
        {"match": "POST /upload", "kind": "corrupt", "times": 1},
        "write",
        "fail",
        "Run it again",
    ),
    "no uploads in parts": ({"match": "PUT /upload", "status": 503}, "large file", "fail", "temporary"),
}


@pytest.mark.parametrize("name", CLOUD_FAULTS)
def test_a_fault_of_the_bucket(name, bucket):
    fault, check, state, remedy = CLOUD_FAULTS[name]
    bucket.faults = [Fault(**fault)] if fault else []
    findings = tried(open_store(f"gs://{BUCKET if fault else 'no-such-bucket'}/runs"))
    find(findings, check, state, remedy)
    assert bucket.objects(BUCKET) == {}


def test_no_permission_to_delete(bucket):
    bucket.faults = [Fault(match="DELETE ", status=403)]
    findings = tried(open_store(f"gs://{BUCKET}/runs"))
    assert findings["delete"].state == "fail"
    assert "objectUser" in findings["delete"].remedy
    assert findings["cleaned up"].state == "warn"
    assert {each.state for each in findings.values() if each.check not in {"delete", "cleaned up"}} == {"ok"}


def test_preconditions_are_ignored(monkeypatch):
    with emulator() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        forget()
        store = open_store(f"gs://{BUCKET}/runs")
        store._client.create_bucket(BUCKET)
        findings = tried(store)
    gc.collect()
    find(findings, "create once", "fail", "if_generation_match")


def test_an_interrupted_trial_is_cleaned_up(tmp_path):
    store = LocalStore(tmp_path)
    trial = Trial(lambda: (store, None))
    store.put(trial.key("small"), b"x")
    trial.leave()
    assert list(store.list()) == []


# Checks and privacy --------------------------------------------------------------------------------------------------


def check(name, act, **more):
    return Check(area="a", name=name, expected="e", act=act, **more)


def broken():
    raise RuntimeError("Authorization: Bearer ya29.secretsecretsecret")


def refused():
    raise BadInputError("project", "x", "it is wrong", "Change it")


def test_a_check_never_raises_and_shows_no_secret():
    findings = run([check("broken", broken), check("refused", refused), check("option", broken, needed=False)])
    assert [each.state for each in findings.values()] == ["fail", "fail", "warn"]
    assert "secret" not in str(findings)
    assert findings["refused"].remedy == "Change it."


@pytest.mark.parametrize(("first", "second"), [(ok("x"), "ok"), (warn("x"), "ok"), (fail("x", "y"), "not tried")])
def test_what_depends_on_a_failed_check_is_not_tried(first, second):
    findings = run([check("one", lambda: first), check("two", lambda: ok("x"), needs=("one",))])
    assert findings["two"].state == second
    third = run([check("two", lambda: ok("x"), needs=("one",))])
    assert third["two"].state == "not tried"


def test_after_the_deadline_of_all_only_the_cleaning_up_is_tried():
    checks = [check("one", lambda: ok("x")), check("last", lambda: ok("x"), always=True)]
    findings = list(examined(checks, Privacy(), seconds=-1))
    assert [each.state for each in findings] == ["not tried", "ok"]


def test_a_check_that_hangs_is_left_behind():
    never = threading.Event()
    findings = list(examined([check("hangs", lambda: ok(str(never.wait())))], Privacy(), limit=0.05))
    never.set()
    assert [each.state for each in findings] == ["fail"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "no tiles in my-project for tag:earthengine:my-project.",
            "no tiles in <project> for tag:earthengine:<project>.",
        ),
        ("my-project-2 and not-my-project", "my-project-2 and not-my-project"),
        ("robot@my-project.iam.gserviceaccount.com may not", "<account> may not"),
        ("HOME/key.json", "~/key.json"),
        ("/home/jane.doe/key.json", "~/key.json"),
        ("consumer 'project_number:123456789012'", "consumer 'project_number:<number>'"),
        ("gs://my-bucket/runs/doctor-1/x", "gs://<bucket>/runs/doctor-1/x"),
        ("token ya29.abcdefghijk", "token [hidden]"),
        ("https://host/path?key=secret", "https://host/path?[hidden]"),
        ("two\nlines", "two lines"),
    ],
)
def test_a_text_is_fit_to_be_published(text, shown):
    privacy = Privacy()
    privacy.hide("my-project", "<project>")
    privacy.hide("my-bucket", "<bucket>")
    text = text.replace("HOME", str(Path.home()))
    assert privacy(text) == shown
    assert json.loads(json.dumps(privacy(text))) == shown

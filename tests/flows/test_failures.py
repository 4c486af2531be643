"""What can go wrong with an output in mid-run: a class of its own, nothing lost, and the next run ends it."""

import errno
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Cancelling

from flows import region as flow_of_region
from flows.region import extract_region
from tasks.prefect_io import run_retries as again
from tasks.storage import local
from tasks.storage.cloud import CloudStore
from tasks.storage.store import OutputBusy, OutputDenied, OutputFull, OutputMissing, SignInExpired
from tests.chaos.place import save_block
from tests.cloud.fault import Fault
from tests.flows.conftest import BUCKET, UNPACED, forget_requests, pixel_requests, task_runs, turn
from tests.given import call

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    # The client leaves the connection of a failed download open: googleapis/python-storage.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
GIVEN = {"image": {"asset": SCENE}, "region": [-54.60, -25.30, -54.55, -25.26], "scale": 30, "tile_size": 20}
TILES = 72


@pytest.fixture
def sandbox(served):
    """It counts the requests of each test, and is slow enough for something to happen meanwhile."""
    turn(served, latency_median=0.03, latency_sigma=0.2, max_pixels=None)
    forget_requests(served)
    return served


@pytest.fixture
def job(sandbox):
    """A region of many tiles, eight at a time."""
    return GIVEN | {"project": "my-project", "endpoint": sandbox, "requests_in_flight": 8, "run_retries": 0, **UNPACED}


def region(job, **more):
    return call(extract_region, **job | more, return_state=True)


def check_resumes(job, sandbox, state, error, words):
    """The failure is told with its class, what is stored stays, and the next run fetches only the rest."""
    assert state.is_failed()
    assert state.message.startswith(f"{error.__name__}: output = ")
    assert words in state.message
    assert f"of {TILES} tiles are stored in" in state.message
    assert "To resume, run the same job again: only the other" in state.message
    with pytest.raises(error):
        state.result()
    before = pixel_requests(sandbox)
    assert 0 < before < TILES + 16
    stored = TILES - int(state.message.rsplit("only the other ", 1)[1].split()[0])
    assert region(job).result().stored == TILES
    assert pixel_requests(sandbox) - before <= TILES - stored
    gc.collect()


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (errno.ENOSPC, OutputFull, "Free some space"),
        (errno.EDQUOT, OutputFull, "Free some space"),
        (errno.EACCES, OutputDenied, "Give a folder that you may write to"),
        (errno.EROFS, OutputDenied, "Give a folder that you may write to"),
        (errno.ESTALE, OutputBusy, "Check the mount"),
    ],
)
def test_a_folder_that_fails_in_mid_run(job, sandbox, tmp_path, monkeypatch, code, error, words):
    job = job | {"output": str(tmp_path / "out")}
    fsync, calls = os.fsync, []

    def failing(descriptor):
        calls.append(descriptor)
        if len(calls) > 60:
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(local.os, "fsync", failing)
        state = region(job)
    check_resumes(job, sandbox, state, error, words)


@pytest.fixture(scope="module")
def whole(served, prefect_server, tmp_path_factory):
    """The tiles of a run that nothing disturbs, by their names."""
    folder = tmp_path_factory.mktemp("whole")
    given = GIVEN | {"project": "my-project", "endpoint": served, "output": str(folder), "run_retries": 0, **UNPACED}
    assert region(given).result().stored == TILES
    return tiles_in(folder)


def tiles_in(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("tiles/**/*.tif")}


@pytest.mark.parametrize(
    ("change", "remedy", "error", "words"),
    [
        (["mount", "-o", "remount,ro"], ["mount", "-o", "remount,rw"], OutputDenied, "Read-only file system"),
        (["umount", "--lazy"], None, OutputMissing, "another folder is in its place"),
        (["mv"], None, OutputMissing, "no longer exists"),
    ],
    ids=["read-only", "unmounted", "deleted"],
)
def test_a_disk_that_goes_in_mid_run(job, sandbox, whole, disk, change, remedy, error, words):
    """A run fills no other disk in its place, and after the remedy the same command completes it."""
    deleted = change[0] == "mv"
    output = disk / "out" if deleted else disk
    job = job | {"output": str(output)}
    forget_requests(sandbox)
    states = []
    thread = threading.Thread(target=lambda: states.append(region(job)))
    thread.start()
    while pixel_requests(sandbox) < 24:
        time.sleep(0.02)
    if deleted:
        output.rename(disk / "moved")  # at once, and by another name: as good as deleted
    else:
        while subprocess.run([*change, disk], check=False).returncode:  # busy, while a file is open to write it
            time.sleep(0.002)
    thread.join(60)
    assert states[0].message.startswith(f"{error.__name__}: output = {str(output)!r}: ")
    assert words in states[0].message
    assert "To resume, run the same job again" in states[0].message
    assert not (output.exists() if deleted else change[0] == "umount" and any(disk.iterdir()))
    if deleted:
        (disk / "moved").rename(output)
    elif remedy:
        subprocess.run([*remedy, disk], check=True)
    forget_requests(sandbox)
    assert region(job).result().stored == TILES
    assert tiles_in(output) == whole
    if change[0] != "umount":
        assert pixel_requests(sandbox) < TILES - 8  # what was stored is kept


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ({"status": 429}, OutputBusy, "HTTP 429"),
        ({"status": 503}, OutputBusy, "HTTP 503"),
        ({"status": 403}, OutputDenied, "roles/storage.objectUser"),
        ({"status": 404, "message": "The specified bucket does not exist."}, OutputMissing, "Create the bucket"),
    ],
)
def test_a_bucket_that_fails_in_mid_run(job, sandbox, cloud, tmp_path, fault, error, words):
    job = job | {"output": f"gs://{BUCKET}/{tmp_path.name}"}
    cloud.faults.append(Fault(match="POST /upload/", after=30, **fault))
    state = region(job)
    cloud.faults.clear()
    check_resumes(job, sandbox, state, error, words)


def test_credentials_that_expire_in_mid_run(job, sandbox, cloud, tmp_path):
    """The key of a block is refused once its first token is over."""
    name = f"expiring-{os.getpid()}"
    save_block(name, prefix=tmp_path.name, prefect=None, token_uri=f"{cloud.url}/token", bucket=BUCKET)
    cloud.requires_token = True
    job = job | {"output": f"gcs-bucket/{name}"}
    cloud.faults.append(Fault(match="POST /upload/", after=30, times=1, status=401))
    cloud.refuse_tokens = False
    uploads = cloud.calls["insert"]

    def expire():
        while cloud.calls["insert"] < uploads + 30:
            time.sleep(0.01)
        cloud.refuse_tokens = True
        cloud.expire_tokens()

    watcher = threading.Thread(target=expire)
    watcher.start()
    state = region(job)
    watcher.join()
    cloud.refuse_tokens = False
    check_resumes(job, sandbox, state, SignInExpired, "fix the key of the output's block")
    again = region(job)
    assert {run["state"]["name"] for run in task_runs(again) if run["name"].startswith("tiles ")} == {"Cached"}


@pytest.mark.parametrize("missing", ["bucket", "permission"])
def test_a_bucket_that_can_t_be_used_is_told_before_the_first_pixel(job, sandbox, cloud, missing):
    if missing == "permission":
        cloud.faults.append(Fault(match="GET /storage/", status=403))
    name = BUCKET if missing == "permission" else "no-such-bucket"
    state = region(job | {"output": f"gs://{name}/x"})
    assert state.message.startswith("OutputDenied: " if missing == "permission" else "OutputMissing: ")
    assert pixel_requests(sandbox) == 0


def test_a_full_disk_is_told_before_the_first_pixel(job, sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr(local.shutil, "disk_usage", lambda _: type("usage", (), {"free": 1000}))
    state = region(job | {"output": str(tmp_path)})
    assert state.message.startswith("BadInputError: output = ")
    assert "1.0 kB are free, and the 72 missing tiles take" in state.message
    assert pixel_requests(sandbox) == 0


def test_a_run_that_fails_for_a_passing_reason_is_started_again_and_resumes(job, sandbox, cloud, tmp_path, monkeypatch):
    job = job | {"output": f"gs://{BUCKET}/{tmp_path.name}", "run_retries": 2, "run_retry_delay": 0}
    cloud.faults.append(Fault(match="POST /upload/", after=30, status=503))
    monkeypatch.setattr(again, "delay_before", lambda *_: cloud.faults.clear() or 0.0)  # by then it has passed
    state = region(job)
    assert state.is_completed()
    assert state.result().stored == TILES
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
    assert run.run_count == 2
    assert pixel_requests(sandbox) <= TILES + 12  # what each thread could not store


def test_a_run_that_is_cancelled_while_it_waits_for_its_retry_is_not_started_again(job, sandbox, cloud, tmp_path):
    job = job | {"output": f"gs://{BUCKET}/{tmp_path.name}", "run_retries": 2, "run_retry_delay": 5}
    cloud.faults.append(Fault(match="POST /upload/", after=30, status=503))
    states = []
    thread = threading.Thread(target=lambda: states.append(region(job)))
    thread.start()
    with get_client(sync_client=True) as client:
        waiting = {"flow_runs": {"state": {"name": {"any_": ["AwaitingRetry"]}}}}
        while not (found := client._client.post("/flow_runs/filter", json=waiting).json()):
            time.sleep(0.2)
        cloud.faults.clear()
        before = pixel_requests(sandbox)
        client.set_flow_run_state(found[0]["id"], Cancelled(), force=True)
        thread.join()
        assert client.read_flow_run(found[0]["id"]).state.is_cancelled()
    assert pixel_requests(sandbox) == before


def test_a_run_that_fails_for_a_lasting_reason_is_not(job, sandbox, tmp_path):
    turn(sandbox, max_pixels=200)
    state = region(job | {"output": str(tmp_path), "run_retries": 2, "run_retry_delay": 0})
    assert state.is_failed()
    assert "TooHeavy" in state.message
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(state.state_details.flow_run_id).run_count == 1


SCRIPT = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what is started in the background
from flows import region as flow_of_region
from flows.parameters import RegionParameters
from flows.region import extract_region
print("began", flush=True)
state = extract_region(**RegionParameters.nested(json.loads(sys.argv[1])), return_state=True)
print(state.name, state.message, flush=True)
"""


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "cancelled in the UI"])
def test_a_cancelled_run_keeps_what_it_has_gives_back_its_slots_and_ends_soon(job, sandbox, tmp_path, how):
    project = f"project-{how.split()[0].lower()}"
    job = job | {"output": str(tmp_path / "out"), "project": project, "requests_in_flight": 4}
    turn(sandbox, latency_median=0.3)
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(job)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while pixel_requests(sandbox) < 12:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    with get_client(sync_client=True) as client:
        if how.startswith("SIG"):
            process.send_signal(getattr(signal, how))
        else:
            answer = client._client.post(
                "/flow_runs/filter", json={"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
            )
            own = [run for run in answer.json() if run["parameters"].get("advanced", {}).get("project") == project]
            client.set_flow_run_state(own[0]["id"], Cancelling())
        told = time.monotonic()
        output, errors = process.communicate(timeout=60)
        assert time.monotonic() - told < 30
        answer = client._client.post("/flow_runs/filter", json={"sort": "START_TIME_DESC"}).json()
        ended = [run for run in answer if run["parameters"].get("advanced", {}).get("project") == project]
        assert [run["state"]["name"] for run in ended] == ["Crashed" if how == "SIGTERM" else "Cancelled"], errors
        slots = client.read_global_concurrency_limit_by_name(f"tag:earthengine:{project}").active_slots
        assert slots == 0
    before = pixel_requests(sandbox)
    assert before < TILES
    stored = len(list((tmp_path / "out").rglob("tiles/**/*.tif")))
    assert stored == before  # what was in flight had its grace
    if how != "SIGTERM":
        assert f"{stored} of {TILES} tiles are stored" in (output + errors).decode()
    assert errors.decode().count("Stopping: ") == 1
    turn(sandbox, latency_median=0.01)
    assert region(job).result().stored == TILES
    assert pixel_requests(sandbox) == TILES


@pytest.mark.parametrize("format_", ["GEO_TIFF", "PNG"])
def test_a_tile_that_vanishes_before_the_products_is_named_and_fetched_again(
    job, sandbox, output, monkeypatch, format_
):
    """It is named. The run that is started again fetches it, or the same command."""
    job = job | {"output": output.address, "file_format": format_}
    if format_ == "PNG":
        job |= {"bands": ["B4"], "visualization": {"min": 0, "max": 10_000}}
    step = "mosaic" if format_ == "GEO_TIFF" else "tile_sheet"
    real = getattr(flow_of_region, step)

    def after_a_loss(store, plan, tiles, **more):
        store.delete(tiles[0].key)
        return real(store, plan, tiles, **more)

    with monkeypatch.context() as patch:
        patch.setattr(flow_of_region, step, after_a_loss)
        state = region(job)
    assert state.message.startswith(f"TileLost: output = {output.store.uri!r}: tile ")
    assert "vanished after it was stored" in state.message
    assert f"{TILES} of {TILES} tiles are stored" in state.message
    before = pixel_requests(sandbox)
    assert region(job).result().stored == TILES
    assert pixel_requests(sandbox) - before == 1


def test_the_patience_of_the_library_is_the_product_s():
    assert CloudStore.again._timeout == 120.0

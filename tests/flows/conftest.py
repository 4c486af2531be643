"""What the tests of flows share."""

import gc
import json
import signal
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
import tenacity
from google.cloud.storage.retry import DEFAULT_RETRY
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from deployments.sandbox.process import running
from tasks.storage.address import open_store
from tasks.storage.cloud import CloudStore
from tasks.storage.local import LocalStore
from tests.cloud.fake import fake

BUCKET = "pixels-of-tests"
UNPACED = {"requests_per_second": 1000}
"""Of a run of few tiles: it holds few slots of the quota, and so would send a few requests a second."""


@pytest.fixture(scope="module")
def served():
    """A sandbox of the module's own: what it counts is of its tests alone."""
    with running() as url:
        yield url


@pytest.fixture
def place(sandbox_url, tmp_path):
    """The parameters that all jobs of a test share: where from, where to."""
    return {
        "project": "my-project",
        "endpoint": sandbox_url,
        "output": str(tmp_path / "out"),
        "run_retries": 0,
        **UNPACED,
    }


@pytest.fixture
def cloud(monkeypatch):
    """Cloud Storage: the strict fake, to which the real client talks, with less patience than for the real one."""
    with fake() as server:
        server.create_bucket(BUCKET)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setattr(CloudStore, "again", DEFAULT_RETRY.with_delay(0.01, 0.05).with_timeout(0.3))
        yield server
    gc.collect()  # the client leaves connections of failed calls open


@pytest.fixture(params=["folder", "bucket"])
def output(request, tmp_path):
    """Where to, and the store behind it."""
    if request.param == "folder":
        return SimpleNamespace(address=str(tmp_path / "out"), store=LocalStore(tmp_path / "out"))
    request.getfixturevalue("cloud")
    address = f"gs://{BUCKET}/{tmp_path.name}"
    return SimpleNamespace(address=address, store=open_store(address))


def pixel_requests(url: str) -> int:
    """Pixel requests that a sandbox has seen."""
    with urllib.request.urlopen(f"{url}/sandbox/statistics") as answer:
        return json.load(answer)["pixel_requests"]


def forget_requests(url: str) -> None:
    """Let a sandbox count from nought."""
    urllib.request.urlopen(urllib.request.Request(f"{url}/sandbox/statistics", method="DELETE")).close()


def turn(url: str, **knobs: object) -> None:
    """Turn knobs of a sandbox."""
    request = urllib.request.Request(f"{url}/sandbox/knobs", json.dumps(knobs).encode(), method="PATCH")
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request).close()


def _is_behind(runs: list[dict]) -> bool:
    """Whether a task run has no state, or one before its end: the server writes them as events come, after the run."""
    return any(run["state"] is None or run["state"]["type"] in {"PENDING", "RUNNING"} for run in runs)


@tenacity.retry(
    retry=tenacity.retry_if_result(_is_behind),
    wait=tenacity.wait_fixed(0.2),
    stop=tenacity.stop_after_delay(20),
    retry_error_callback=lambda state: state.outcome.result(),
)
def task_runs(state) -> list[dict]:
    """The task runs of a flow run, as the server has them."""
    with get_client(sync_client=True) as client:
        wanted = {"flow_runs": {"id": {"any_": [str(state.state_details.flow_run_id)]}}}
        return client._client.post("/task_runs/filter", json=wanted).json()


def published(state) -> list:
    """The artifacts of a flow run, as the server has them. Prefect keeps results as artifacts without a key."""
    own = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        return [each for each in client.read_artifacts(artifact_filter=own) if each.key]


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def heeding_interrupts() -> None:
    """Let a new process heed SIGINT: what a shell starts in its background is deaf to it, and so are its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def deep(levels: int) -> object:
    """A number in so many lists."""
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value

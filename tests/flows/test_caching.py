"""Prefect's own means: mapped batches, its cache as an index over receipts, the slots of the tag, retries of tasks."""

import pickle
import threading
import time
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.filesystems import RemoteFileSystem
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner

from flows import batches as fetch_module
from flows.region import extract_region
from tasks.earthengine.errors import BudgetExhausted, Rejected, Transient
from tasks.errors import may_pass
from tasks.errors.input import BadInputError
from tasks.extraction import batch as batch_module
from tasks.extraction import batching
from tasks.fetch import fetch_batch
from tasks.prefect_io.quota_limit import QuotaLimit
from tasks.prefect_io.result_cache import key_of
from tasks.prefect_io.results_storage import check_apart, results_uri
from tasks.prefect_io.server import ServerAwayError
from tasks.prefect_io.task_retries import if_error_may_pass
from tasks.storage.store import OutputBusy, OutputFull
from tests.flows.conftest import forget_requests, pixel_requests, task_runs, turn
from tests.given import call

pytestmark = pytest.mark.usefixtures("prefect_server")
SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
LAKE = [-54.60, -25.30, -54.55, -25.26]
TILES = 20
TAG = "earthengine:my-project"


@pytest.fixture
def job(served, tmp_path, monkeypatch):
    """A region of twenty tiles, in batches of six."""
    forget_requests(served)
    monkeypatch.setattr(batching, "batch_size", lambda left, **_: min(left, 6))
    return {
        "image": {"asset": SCENE},
        "region": LAKE,
        "scale": 30,
        "tile_size": 40,
        "project": "my-project",
        "endpoint": served,
        "output": str(tmp_path / "out"),
        "run_retries": 0,
    }


@pytest.fixture
def results(tmp_path):
    """A results storage of the test's own, as a worker has."""
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "results"}):
        yield tmp_path / "results"


def region(job, **more):
    return call(extract_region, **job | more, return_state=True)


def batches(state):
    """Names, states and tags of the task runs of batches."""
    runs = [run for run in task_runs(state) if run["name"].startswith("tiles ")]
    return sorted((run["name"], run["state"]["name"], tuple(run["tags"])) for run in runs)


NAMES = ["tiles 0-6", "tiles 12-18", "tiles 18-20", "tiles 6-12"]


def test_batches_are_mapped_with_the_tag_and_cached_by_prefect_without_it(job, results, served, monkeypatch):
    mapped = []
    plain = type(fetch_batch).map

    def mapping(task, batches, **more):
        mapped.append(len(batches))
        return plain(task, batches, **more)

    monkeypatch.setattr(type(fetch_batch), "map", mapping)
    first = region(job)
    assert batches(first) == [(name, "Completed", (TAG,)) for name in NAMES]
    assert sum(mapped) == len(NAMES)
    assert pixel_requests(served) == TILES
    assert len(list(results.iterdir())) == len(NAMES)
    monkeypatch.setattr("tasks.fetch.run_batch", lambda *_, **__: 1 / 0)  # no body runs
    again = region(job)
    assert again.is_completed()
    assert batches(again) == [(name, "Cached", ()) for name in NAMES]
    assert pixel_requests(served) == TILES


def test_on_another_worker_the_receipt_answers(job, results, served, tmp_path):
    region(job)
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "another"}):
        again = region(job)
        assert batches(again) == [(name, "Completed", ()) for name in NAMES]
        assert batches(region(job)) == [(name, "Cached", ()) for name in NAMES]
    assert pixel_requests(served) == TILES


def test_a_cache_without_its_tiles_counts_for_nothing(job, results, served):
    region(job)
    tile = next(iter(sorted(Path(job["output"], "tiles").rglob("*.tif"))))
    tile.unlink()
    again = region(job)
    assert again.is_completed()
    assert sorted(state for _, state, _ in batches(again)) == ["Cached", "Cached", "Cached", "Completed"]
    assert pixel_requests(served) == TILES + 1


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_batch_that_failed_or_was_cancelled_is_fetched_by_the_next_run(job, results, served, monkeypatch, end):
    """Prefect keeps a result that says Failed, or Cancelled, like any other."""
    fetch, calls, lock = batch_module.fetch, [], threading.Lock()
    monkeypatch.setattr(fetch_module, "next_wave", lambda left, **_: [left.take(6) for _ in range(4) if left])

    def refusing(connection, request, **more):
        with lock:
            calls.append(request)
        if len(calls) > 8:
            raise BudgetExhausted("The budget is used up", 429)
        return fetch(connection, request, **more)

    monkeypatch.setattr(batch_module, "fetch", refusing)
    first = region(job)
    assert first.is_failed()
    ends = {state for _, state, _ in batches(first)}
    assert end.capitalize() in ends
    monkeypatch.setattr(batch_module, "fetch", fetch)
    again = region(job)
    assert again.is_completed()
    assert again.result().stored == TILES
    assert pixel_requests(served) == TILES
    assert all(state == "Cached" for _, state, _ in batches(region(job)))


def test_while_tiles_are_fetched_the_slots_of_the_tag_are_taken_and_a_task_run_holds_one(job, results, served):
    turn(served, latency_median=0.3)
    seen, holders, over = [], set(), threading.Event()

    def watch():
        with get_client(sync_client=True) as client:
            while not over.is_set():
                limits = {limit.name: limit for limit in client.read_global_concurrency_limits(limit=200)}
                if limit := limits.get(f"tag:{TAG}"):
                    seen.append(limit.active_slots)
                    assert limit.active_slots <= limit.limit
                    holders.update(map(str, client.read_concurrency_limit_by_tag(TAG).active_slots))
                time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        state = region(job, requests_in_flight=5)
    finally:
        over.set()
        watcher.join()
        turn(served, latency_median=0.0)
    assert max(seen) == 5
    runs = {run["id"] for run in task_runs(state) if run["name"].startswith("tiles ")}
    assert holders & runs


def test_a_first_run_that_wants_little_leaves_the_whole_quota_to_others(job, results):
    with get_client(sync_client=True) as client:
        region(job | {"project": "a-new-project"}, requests_in_flight=8)
        assert client.read_global_concurrency_limit_by_name("tag:earthengine:a-new-project").limit == 40


def test_a_runner_in_other_processes_is_refused_before_it_fetches_beside_us(job, results, served):
    flow = extract_region.with_options(task_runner=ProcessPoolTaskRunner(max_workers=1))
    state = call(flow, **job, return_state=True)
    assert state.is_failed()
    assert "task_runner = 'ProcessPoolTaskRunner'" in state.message
    assert pixel_requests(served) == 0


def test_a_server_that_is_away_for_a_moment_ends_no_run(job, results, monkeypatch):
    """As it is asked whether there is room, and as the first slots are taken."""
    failures = {"full": 2, "increment": 2}
    full, increment = QuotaLimit.full, SyncPrefectClient.increment_concurrency_slots_with_lease

    def failing(name, function):
        def call(*args, **more):
            if failures[name]:
                failures[name] -= 1
                raise ServerAwayError("503 Service Unavailable")
            return function(*args, **more)

        return call

    monkeypatch.setattr(QuotaLimit, "full", failing("full", full))
    monkeypatch.setattr(SyncPrefectClient, "increment_concurrency_slots_with_lease", failing("increment", increment))
    assert region(job).is_completed()
    assert failures == {"full": 0, "increment": 0}


class Planted:
    """Whoever unpickles it leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_pickle_that_is_planted_in_an_output_is_never_read(job, results, served, tmp_path, monkeypatch):
    trace, keys = tmp_path / "trace", []
    monkeypatch.setattr("tasks.prefect_io.result_cache.key_of", lambda batch: keys.append(key_of(batch)) or keys[-1])
    region(job)
    output = Path(job["output"])
    (plan,) = output.glob("region-*")
    data = pickle.dumps(Planted(trace))
    for folder in (output, plan, plan / "receipts", output / "tiles"):
        for key in keys:
            (folder / key).write_bytes(data)
        (folder / "000000000-000000006-planted.json").write_bytes(data)
    assert region(job).is_completed()
    assert not trace.exists()
    assert pixel_requests(served) == TILES


def test_results_and_outputs_lie_apart(job, tmp_path):
    for results in (tmp_path / "out", tmp_path / "out" / "results", tmp_path):
        with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: results}):
            state = region(job)
        assert state.is_failed()
        assert "can run code on the workers" in state.message
    (tmp_path / "link").symlink_to(tmp_path / "results")
    for output in (tmp_path / "link", tmp_path / "other" / ".." / "results"):
        with pytest.raises(BadInputError):
            check_apart(str(output), str(tmp_path / "results"))
    with pytest.raises(BadInputError):
        check_apart("gs://bucket/pixels", results_uri(RemoteFileSystem(basepath="gs://bucket/pixels/results")))
    with pytest.raises(BadInputError):
        check_apart("gs://bucket/pixels", "gs://bucket")
    with pytest.raises(BadInputError):
        check_apart("gs://bucket", "gs://bucket/results")
    check_apart("gs://bucket/pixels", "gs://bucket/results")
    check_apart("/data/pixels", "gs://bucket")
    check_apart("/data/pixels", None)


def test_metadata_is_a_task_that_is_repeated_for_passing_errors_only(job, results, monkeypatch):
    tried = []
    from flows import region as module

    plan_region = module.plan_region

    def planning(*args, **more):
        tried.append(1)
        if len(tried) == 1:
            raise Transient("503", 503)
        return plan_region(*args, **more)

    monkeypatch.setattr(module, "plan_region", planning)
    monkeypatch.setattr("tasks.metadata.read_metadata.task.retry_delay_seconds", [0.01])
    state = region(job, run_retries=1)
    assert state.is_completed()
    assert len(tried) == 2
    assert [run["run_count"] for run in task_runs(state) if run["task_key"].startswith("read_metadata")] == [2]


class State:
    def __init__(self, error):
        self.error = error

    def result(self, *, raise_on_failure):
        assert not raise_on_failure
        return self.error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Transient("503", 503), True),
        (OutputBusy("429"), True),
        (OutputFull("full"), False),
        (Rejected("no such band", 400), False),
        (BadInputError("a", 1, "b", "c"), False),
        (ZeroDivisionError(), False),
        (None, False),
    ],
)
def test_only_what_passes_is_repeated(error, again):
    assert may_pass(error) == again == if_error_may_pass(None, None, State(error))

"""A batch has an end of its own: what Prefect makes of its task does not lose, change or delay it."""

import json
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from uuid import uuid4

import httpx
import pytest
from prefect.futures import PrefectConcurrentFuture
from prefect.states import Completed, Crashed

from flows import batch_task
from flows.batch_task import BatchTask
from tasks.earthengine.connection import Connection, ensure_client
from tasks.earthengine.errors import Stopped
from tasks.extraction.batch import begin_batch, open_batch, run_batch
from tasks.extraction.permits import Pace
from tasks.extraction.session import FetchSession
from tasks.plan.plan import TileFormat
from tasks.plan.planning import plan_region
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.raster.region import read_region
from tasks.storage.address import open_store
from tests.tasks.extraction.batches import IN_FLIGHT, LAKE, SCENE, SHARE, batch_of, stored


@pytest.fixture(scope="module")
def plan(sandbox_url):
    connection = Connection(project="my-project", endpoint=sandbox_url)
    ensure_client(connection)
    wanted = PixelSpec(bands=None, crs="utm", scale=30, tile_format=TileFormat(masks="unknown"))
    return plan_region(connection, ImageSpec(asset=SCENE), wanted, region=read_region(LAKE), tile_size=80)


class Job:
    """A batch whose tiles are queued, and a task that Prefect has not run yet."""

    def __init__(self, plan, url, output, session, pool):
        stored(plan, output)
        self.batch = batch_of(plan, output, url, run_id=session.run_id)
        self.store, self.session, self.plan = open_store(output), session, plan
        begin_batch(open_batch(self.batch), session)
        self.task_thread = Future()
        self.task = BatchTask(self.batch, PrefectConcurrentFuture(uuid4(), self.task_thread), session, pool)

    def run(self):
        """What the code of the task does."""
        run_batch(self.batch, SHARE)

    def end(self):
        """Look until the batch has ended, as the flow does."""
        deadline = threading.Event()
        timer = threading.Timer(30, deadline.set)
        timer.start()
        while not self.task.look(is_next=True) and not deadline.is_set():
            wait({self.task.running}, 0.02)
        timer.cancel()
        assert not deadline.is_set()
        return self.task.error

    def check_whole(self):
        tiles = [
            json.loads(self.store.get(found.key))["tiles"] for found in self.store.list() if "receipts" in found.key
        ]
        assert any(len(each) == len(self.plan) for each in tiles)


@pytest.fixture
def job(request, plan, sandbox_url, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(batch_task, "PATIENCE_S", 0.1)
    with (
        ThreadPoolExecutor() as pool,
        FetchSession(str(uuid4()), SHARE, Pace(in_flight=IN_FLIGHT)) as session,
    ):
        if getattr(request, "param", None) == "stopped":
            session.stop.set()  # before its first request, which may be answered at once
        yield Job(plan, sandbox_url, str(tmp_path / "out"), session, pool)


def test_a_task_that_completes_says_nothing(job, caplog):
    job.run()
    job.task_thread.set_result(Completed())
    assert job.end() is None
    job.check_whole()
    assert not caplog.records


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), TimeoutError(), KeyboardInterrupt()])
def test_an_end_that_the_server_did_not_record_is_an_end(job, caplog, error):
    job.run()
    job.task_thread.set_exception(error)
    assert job.end() is None
    job.check_whole()
    assert f"did not record the end of their task ({type(error).__name__}" in caplog.text


def test_an_end_that_prefect_never_reports_is_an_end(job, caplog):
    job.run()
    job.task_thread.set_running_or_notify_cancel()
    assert job.end() is None
    job.check_whole()
    assert "did not record the end of their task (no answer for" in caplog.text


@pytest.mark.parametrize("how", ["raises", "crashes", "waits", "is queued"])
def test_a_batch_whose_task_never_starts_is_completed_by_the_flow(job, caplog, how):
    if how == "raises":
        job.task_thread.set_exception(RuntimeError("Unable to acquire concurrency slots"))
    elif how == "crashes":
        job.task_thread.set_result(Crashed(message="busy"))
    elif how == "waits":
        job.task_thread.set_running_or_notify_cancel()
    assert job.end() is None
    job.check_whole()
    assert "the flow writes their receipt itself" in caplog.text


def test_a_task_that_waits_behind_another_is_not_late(job):
    while not job.session.begun[job.batch].tiles.ended:
        pass
    for _ in range(3):
        assert not job.task.look(is_next=False)
    assert not job.task_thread.cancelled()
    job.run()
    job.task_thread.set_result(Completed())
    assert job.end() is None


@pytest.mark.parametrize("job", ["stopped"], indirect=True)
def test_the_error_of_a_batch_is_its_own_whatever_its_task_ends_with(job):
    with pytest.raises(Stopped):
        job.run()
    job.task_thread.set_exception(httpx.ReadTimeout("the server is away"))
    assert isinstance(job.end(), Stopped)

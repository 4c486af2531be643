"""A task that waits for the slot of its tag in Prefect's code can be ended, and nothing of the wait remains."""

import threading
from uuid import uuid4

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency import services

from flows.batches import one_batch_at_a_time
from tasks.prefect_io.slot_wait import end_slot_wait

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def tag():
    """A tag whose one slot is taken."""
    tag = f"full-{uuid4().hex[:12]}"
    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=f"tag:{tag}", limit=1, active_slots=1))
    return tag


def test_a_wait_for_a_slot_is_ended_and_python_does_not_wait_for_it_either(tag, monkeypatch):
    asked, acquire = threading.Event(), services.ConcurrencySlotAcquisitionWithLeaseService.acquire
    seen = []

    async def watched(self, *args, **more):
        seen.append(self)
        asked.set()
        return await acquire(self, *args, **more)

    monkeypatch.setattr(services.ConcurrencySlotAcquisitionWithLeaseService, "acquire", watched)

    @task(name="waits", tags=[tag], persist_result=False)
    def waits():
        return "never"

    @flow(name="waiting", task_runner=one_batch_at_a_time(), persist_result=False)
    def waiting():
        future = waits.submit()
        assert asked.wait(60)
        assert not end_slot_wait(uuid4())  # of another task
        assert not future.wrapped_future.done()
        assert end_slot_wait(future.task_run_id)
        assert future.wrapped_future.exception(30) is not None
        assert seen[0].drain() is not None  # what Python waits for when it exits
        with get_client(sync_client=True) as client:
            limit = client.read_global_concurrency_limit_by_name(f"tag:{tag}")
            client.release_concurrency_slots([limit.name], 1, 1.0)
        again = waits.submit()
        return again.wrapped_future.result(60).name

    assert waiting() == "Completed"

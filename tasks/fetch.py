"""The fetch: batches of a plan as mapped Prefect tasks, each a lane with several requests in flight."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from prefect import get_run_logger, task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import Stopped
from tasks.earthengine.lane import Lane
from tasks.earthengine.plan import Plan
from tasks.earthengine.quota import shared_quota
from tasks.earthengine.transport import fetch
from tasks.report import Progress
from tasks.storage.open import open_store
from tasks.storage.receipt import Receipt, TileReceipt, write_receipt

# Few lanes, each wide: every task run with a limited tag costs Prefect about two seconds (SQLite), whatever it does.
LANES = 4
# Tiles a batch at the most: what is written down at once, and some minutes of work.
LARGEST_BATCH = 1_000


def lanes() -> TaskRunner[PrefectFuture[Any]]:
    """Return the task runner of a flow: as many batches at once as there are lanes."""
    runner: Any = ThreadPoolTaskRunner(max_workers=LANES)  # its future type is narrower than `flow` is annotated for
    return runner  # type: ignore[no-any-return]  # as above


def batches(count: int) -> Iterator[tuple[int, int]]:
    """Ranges [start, stop) that cover `count` tiles: one a lane, or more where they would be too large.

    >>> list(batches(6))
    [(0, 2), (2, 4), (4, 6)]
    """
    size = max(1, min(LARGEST_BATCH, -(-count // LANES)))
    for start in range(0, count, size):
        yield start, min(start + size, count)


@task(name="fetch-batch", task_run_name="tiles {start}-{stop}", cache_policy=NO_CACHE)
def fetch_batch(
    start: int, stop: int, *, output: str, plan_key: str, connection: Connection, in_flight: int, per_second: float
) -> Receipt:
    """Fetch the tiles [start, stop) of a stored plan, store them, and write their receipt.

    A task's own retries would sleep inside its concurrency slot, so requests are repeated inside the lane.
    """
    plan, store = _plan(output, plan_key), open_store(output)
    quota = shared_quota(connection.project, in_flight, per_second)
    lane = Lane(plan=plan, fetch=partial(fetch, connection), permit=quota.permit, store=store, stop=_stop(flow_run.id))
    receipt = lane.run(start, stop, threads=-(-in_flight // LANES))
    write_receipt(store, plan.folder, receipt)
    failed = sum(tile.status == "failed" for tile in receipt.tiles)
    get_run_logger().info("tiles %d to %d: %d fetched, %d failed", start, stop - 1, stop - start - failed, failed)
    return receipt


def fetch_plan(
    plan: Plan, *, output: str, connection: Connection, in_flight: int, per_second: float
) -> tuple[TileReceipt, ...]:
    """Store a plan beside its tiles, fetch all of it, and return a receipt a tile, in order.

    Called inside a flow.

    Raises:
        EarthEngineError: Earth Engine refuses every request (credentials, permissions, budget).
        StorageError: the output can't be written.
    """
    plan_key = f"{plan.folder}/plan.json"
    open_store(output).put(plan_key, json.dumps(plan.json()).encode())
    starts, stops = zip(*batches(len(plan)), strict=True)
    # The tag's limit, where one is set, is the quota that all runs of the Earth Engine project share.
    futures = fetch_batch.with_options(tags=[f"earthengine:{connection.project}"]).map(
        list(starts),
        list(stops),
        output=unmapped(output),
        plan_key=unmapped(plan_key),
        connection=unmapped(connection),
        in_flight=unmapped(in_flight),
        per_second=unmapped(per_second),
    )
    progress = Progress(total=len(plan))
    for future in as_completed(list(futures)):
        future.wait()
        if future.state.is_completed():
            progress.add(future.result().tiles)
    # The cause before its consequences: the batch that met it, not one that it stopped.
    outcomes = [future.result(raise_on_failure=False) for future in futures]
    for error in sorted((o for o in outcomes if isinstance(o, Exception)), key=lambda e: isinstance(e, Stopped)):
        raise error
    receipts = [future.result() for future in futures]
    return tuple(tile for receipt in receipts for tile in receipt.tiles)


@functools.lru_cache(maxsize=64)
def _stop(flow_run_id: str | None) -> threading.Event:
    """Return what stops all lanes of a run: one event a run, in the one process that its lanes share."""
    del flow_run_id  # the key
    return threading.Event()


@functools.lru_cache(maxsize=4)
def _plan(output: str, plan_key: str) -> Plan:
    """Read a plan once a process: its name holds its fingerprint, so it never changes."""
    return Plan.from_json(json.loads(open_store(output).get(plan_key)))

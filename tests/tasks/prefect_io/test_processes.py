"""Processes that work on one run, as those of an engine do, share the quota as runs do."""

import json

import pytest
from prefect.settings import PREFECT_API_URL

from deployments.sandbox.process import running
from tasks.extraction.checkpoint import read_checkpoint
from tasks.storage.address import open_store
from tests.bench.server import Control
from tests.chaos.processes import LIMIT, OneRun, ended, plan_of

TILES = 120


@pytest.mark.usefixtures("prefect_server")
def test_three_processes_of_one_run_never_pass_the_limit_and_each_has_its_share(tmp_path):
    """The sandbox, which would take any number, counts what it gets: from the first request to the last."""
    with running(latency_median=0.3, latency_sigma=0.3) as url:
        plan, output = plan_of(url, tmp_path, TILES), str(tmp_path / "output")
        open_store(output).put(f"{plan.folder}/plan.json", json.dumps(plan.json()).encode())
        run = OneRun(plan=plan, output=output, endpoint=url, prefect=str(PREFECT_API_URL.value()))
        processes = [run.start(batch) for batch in run.shares()]
        summaries = [ended(process) for process in processes]
        statistics = Control(url).statistics()
    assert [summary["stored"] for summary in summaries] == [TILES // 3] * 3
    assert statistics["pixel_requests"] == TILES
    assert LIMIT / 2 < statistics["peak_in_flight"] <= LIMIT
    checkpoint = read_checkpoint(plan, open_store(output))
    assert len(checkpoint.tiles) == TILES
    assert len(checkpoint.spans) == 3

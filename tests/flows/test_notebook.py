"""A notebook, where an event loop runs already: a run is seen on the server, interrupted, and its files are opened."""

import asyncio
import os
import time

import nbformat
import pytest
from nbclient import NotebookClient
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from tests.flows.conftest import forget_requests, pixel_requests, turn

CELLS = [
    """
import asyncio, warnings
warnings.simplefilter("always")
assert asyncio.get_running_loop().is_running()
import ee
from flows import adhoc
from tasks.earthengine.connection import Connection, ensure_client
ensure_client(Connection(project="my-project", endpoint="{endpoint}"))
image = ee.Image("projects/sandbox/assets/landsat8_224078_20200518").select(["B4", "B3"]).multiply(2).toUint16()
box = [-54.60, -25.30, -54.55, -25.26]
given = dict(name="in_a_notebook", region=box, scale=30, tile_size=30, requests_in_flight=4, output="output")
given |= dict(project="my-project", endpoint="{endpoint}", requests_per_second=1000)
""",
    "adhoc.region(image, **given)",
    "result = adhoc.region(image, **given)\nresult.stored",
    """
import rasterio, rioxarray
with rasterio.open(result.mosaic) as file:
    shape = file.read().shape
assert rioxarray.open_rasterio(result.mosaic, masked=True).shape == shape == (2, 152, 171)
from IPython.display import Image
Image(result.quicklook)
""",
]


@pytest.fixture
def kernel(prefect_server, served, tmp_path, monkeypatch):
    """A notebook of these cells, whose kernel has nothing of ours in its home."""
    turn(served, latency_median=0.2)
    forget_requests(served)
    monkeypatch.setenv("PREFECT_API_URL", get_current_settings().api.url)
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "jupyter"))
    cells = [nbformat.v4.new_code_cell(cell.format(endpoint=served).strip()) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    where = {"metadata": {"path": str(tmp_path)}}
    return NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True, resources=where)


def wait_for_requests(url, count):
    """Wait until a sandbox has seen so many pixel requests; a minute at the most."""
    for _ in range(600):
        if pixel_requests(url) >= count:
            return
        time.sleep(0.1)


async def execute(kernel, served):
    """Execute all cells; interrupt the second one once it fetches."""
    async with kernel.async_setup_kernel(env=dict(os.environ)):
        for number, cell in enumerate(kernel.nb.cells):
            done = asyncio.ensure_future(kernel.async_execute_cell(cell, number))
            if number == 1:
                await asyncio.to_thread(wait_for_requests, served, 8)
                await kernel.km.interrupt_kernel()
            await done
    return [cell.outputs for cell in kernel.nb.cells]


def errors(outputs):
    """Names and messages of what a cell raised."""
    return [(output.ename, output.evalue) for output in outputs if output.output_type == "error"]


def test_a_notebook_starts_interrupts_and_finishes_a_run_and_shows_its_picture(kernel, served):
    built, interrupted, finished, opened = asyncio.run(execute(kernel, served))
    assert [errors(cell) for cell in (built, finished, opened)] == [[], [], []]
    ((kind, message),) = errors(interrupted)
    assert (kind, message.partition(".")[0]) == ("KeyboardInterrupt", "Interrupted by Ctrl-C")
    assert "site-packages" not in str(interrupted[-1].traceback)
    assert finished[-1].data["text/plain"] == "36"
    assert pixel_requests(served) <= 36 + 4
    assert "image/png" in opened[-1].data
    assert "never awaited" not in str(kernel.nb.cells)
    with get_client(sync_client=True) as client:
        named = {"flow_runs": {"name": {"like_": "in_a_notebook"}}, "sort": "START_TIME_ASC"}
        runs = client.request("POST", "/flow_runs/filter", json=named).json()
        assert [run["state_type"] for run in runs] == ["CANCELLED", "COMPLETED"]
        own = {"artifacts": {"flow_run_id": {"any_": [runs[-1]["id"]]}}}
        artifacts = client.request("POST", "/artifacts/filter", json=own).json()
    assert {artifact["key"] for artifact in artifacts} >= {"plan", "progress", "quicklook", "coverage", "summary"}
    assert [artifact["data"] for artifact in artifacts if artifact["type"] == "progress"] == [100]

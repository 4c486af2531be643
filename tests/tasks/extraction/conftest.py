"""A slow sandbox, outputs and a plan that tests of batches and sessions share."""

import urllib.request

import pytest
from google.cloud.storage.retry import DEFAULT_RETRY

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection, ensure_client
from tasks.plan.plan import TileFormat
from tasks.plan.planning import plan_region
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.raster.region import read_region
from tasks.storage.address import forget
from tasks.storage.cloud import CloudStore
from tests.cloud.fake import fake
from tests.tasks.extraction.batches import BUCKET, LAKE, SCENE


@pytest.fixture(scope="module")
def slow():
    """A sandbox that takes 50 ms a request, and counts them."""
    with running(latency_median=0.05, latency_sigma=0.2) as url:
        yield url


@pytest.fixture
def sandbox(slow):
    urllib.request.urlopen(urllib.request.Request(f"{slow}/sandbox/statistics", method="DELETE")).close()
    return slow


@pytest.fixture(params=["folder", "bucket"])
def output(request, tmp_path, monkeypatch):
    """Addresses that the child can open, too."""
    if request.param == "folder":
        yield lambda name: str(tmp_path / name)
        return
    with fake() as server:
        server.create_bucket(BUCKET)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setattr(CloudStore, "again", DEFAULT_RETRY.with_delay(0.01, 0.05).with_timeout(1.0))
        forget()
        yield lambda name: f"gs://{BUCKET}/{tmp_path.name}/{name}"
        forget()


@pytest.fixture(scope="module")
def plan(slow):
    connection = Connection(project="my-project", endpoint=slow)
    ensure_client(connection)
    wanted = PixelSpec(bands=None, crs="utm", scale=30, tile_format=TileFormat(masks="unknown"))
    return plan_region(connection, ImageSpec(asset=SCENE), wanted, region=read_region(LAKE), tile_size=40)

"""A fault in each library that a run calls: what leaves the flow, `adhoc` and a command is an error of this project."""

import contextlib
import errno
import os
import tempfile
import zoneinfo

import anyio
import ee
import geopandas
import httpx
import numpy as np
import prefect.exceptions
import pyogrio.errors
import pyproj.exceptions
import pytest
import rasterio.errors
import shapely
import urllib3
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import RefreshError
from odc.geo import CRSMismatchError
from PIL import UnidentifiedImageError
from prefect.settings import temporary_settings
from pyarrow.lib import ArrowInvalid

from flows import adhoc, command_line, start
from flows.parameters import RegionParameters
from flows.region import RegionResult, extract_region
from tasks.errors import QuarryError
from tasks.errors.input import InputError
from tasks.prefect_io.task import core_task
from tasks.raster import crs

SCENE = "projects/sandbox/assets/landsat8_224078_20200518"


def invalid():
    """The error of pydantic, which only pydantic can make."""
    try:
        RegionResult.model_validate({})
    except ValueError as error:
        return error


def refused():
    request = httpx.Request("POST", "http://127.0.0.1/api/artifacts/")
    return httpx.HTTPStatusError("500", request=request, response=httpx.Response(500, request=request))


# Where the code calls a library, and what the library may raise there.
CALLS = {
    "urllib3": ("urllib3.connectionpool.HTTPConnectionPool.urlopen", urllib3.exceptions.LocationParseError("x")),
    "earthengine-api": ("ee.data.convert_asset_id_to_asset_name", ee.EEException("not initialized")),
    "pyproj": ("pyproj.CRS.from_user_input", pyproj.exceptions.CRSError("proj.db is missing")),
    "pyproj's database": ("pyproj.CRS.from_user_input", pyproj.exceptions.DataDirError("no data directory")),
    "pyogrio": ("flows.region.read_region", pyogrio.errors.DataLayerError("cannot read")),
    "pyogrio's file": ("flows.region.read_region", pyogrio.errors.DataSourceError("cannot open")),
    "shapely": ("flows.extraction.log_plan", shapely.errors.GEOSException("invalid")),
    "numpy": ("numpy.full", np._core._exceptions._ArrayMemoryError((10**9,), np.dtype("f8"))),
    "matplotlib": ("flows.extraction.log_plan", RuntimeError("no backend")),
    "a disk under matplotlib": ("flows.extraction.log_plan", OSError(errno.ENOSPC, "No space", "/tmp/fonts")),
    "odc-geo": ("flows.extraction.log_plan", CRSMismatchError("two CRS")),
    "rasterio": ("flows.extraction.log_plan", rasterio.errors.RasterioIOError("no such file")),
    "gdal": ("flows.extraction.log_plan", rasterio._err.CPLE_OutOfMemoryError(2, 2, "cannot allocate")),
    "google-auth": ("flows.extraction.log_plan", RefreshError("expired")),
    "google-cloud-storage": ("flows.extraction.log_plan", GoogleAPIError("no")),
    "pyarrow": ("flows.extraction.log_plan", ArrowInvalid("no")),
    "pillow": ("flows.extraction.log_plan", UnidentifiedImageError("no image")),
    "pydantic": ("flows.extraction.log_plan", invalid()),
    "os": ("os.scandir", OSError(errno.EIO, os.strerror(errno.EIO), "/out")),
    "open files": ("flows.extraction.look_up", OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/out")),
    "json": ("flows.extraction.log_plan", RecursionError("maximum recursion depth exceeded")),
    "text": ("flows.extraction.log_plan", UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")),
    "integers": ("flows.extraction.log_plan", OverflowError("int too big to convert")),
    "time zones": ("flows.extraction.log_plan", zoneinfo.ZoneInfoNotFoundError("No time zone UTC")),
    "memory": ("flows.extraction.log_plan", MemoryError()),
    "httpx": ("flows.extraction.log_plan", httpx.ConnectError("refused")),
    "httpx's status": ("flows.extraction.log_plan", refused()),
    "anyio": ("flows.extraction.log_plan", anyio.ClosedResourceError()),
    "several at once": ("flows.extraction.log_plan", ExceptionGroup("of a task group", [anyio.EndOfStream()])),
    "prefect": ("flows.extraction.log_plan", prefect.exceptions.ObjectNotFound(KeyError("artifact"))),
    "prefect's cancellation": ("flows.extraction.log_plan", prefect.exceptions.CancelledRun("by a user")),
}


COMMANDS = {"urllib3", "numpy", "os", "memory"}
"""Those that are tried on the command line, too: it passes the same boundary."""


@pytest.fixture(autouse=True)
def _reports(tmp_path, monkeypatch):
    """Tracebacks go to the folder of the test, and no library is spared since another test has asked it the same."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for kept in vars(crs).values():
        if hasattr(kept, "cache_clear"):
            kept.cache_clear()


@pytest.fixture
def job(sandbox_url, tmp_path):
    """A dry run: it plans and looks up."""
    area = geopandas.GeoDataFrame(geometry=[shapely.box(-54.60, -25.30, -54.55, -25.26)], crs="EPSG:4326")
    area.to_file(tmp_path / "area.gpkg")
    (tmp_path / "out").mkdir()
    return {
        "image": {"asset": SCENE},
        "region": str(tmp_path / "area.gpkg"),
        "crs": "EPSG:32721",
        "scale": 30,
        "clip": True,
        "project": "my-project",
        "endpoint": sandbox_url,
        "output": str(tmp_path / "out"),
        "plan_only": True,
        "run_retries": 0,
    }


def flow_of(error_seen):
    """The flow's function without the engine: it returns a failed state, whose error the engine would raise."""

    def flow(**parameters):
        state = extract_region.fn(**parameters)
        if state.is_cancelled():
            raise prefect.exceptions.CancelledRun(state.message)
        error_seen.append(state.data)
        check(state.data, state.message)
        raise state.data

    return flow


@pytest.mark.parametrize("name", CALLS)
def test_a_fault_of_a_library_is_one_error_of_the_project(job, monkeypatch, capsys, name):
    target, fault = CALLS[name]
    hits, seen = [], []

    def failing(*_, **__):
        hits.append(target)
        raise fault

    @contextlib.contextmanager
    def ready(*_, **__):
        yield flow_of(seen)

    for module in (adhoc, start):
        monkeypatch.setattr(module, "ready", ready)
    monkeypatch.setattr(target, failing)
    with pytest.raises(QuarryError) as left:
        adhoc.region(**job)
    assert hits
    check(left.value, str(left.value))
    assert left.value.__cause__ is None
    if name not in COMMANDS:
        return
    words = [f"--{field}={job[field]}" for field in ("region", "crs", "scale", "project", "endpoint", "output")]
    seen.clear()
    with pytest.raises(SystemExit) as ended:
        command_line.run(["region", "--image", SCENE, "--clip=yes", "--plan-only", *words])
    shown = capsys.readouterr().err
    assert seen, shown
    assert ended.value.code == (command_line.BAD_INPUT if isinstance(seen[0], InputError) else command_line.FAILED)
    check(seen[0], shown)


def check(error, message):
    """One message, which has the type of the error or its field, and the words how to go on."""
    assert isinstance(error, QuarryError)
    assert "Traceback" not in message
    assert message.strip()
    assert len(message) < 2000


def test_what_ends_the_process_is_not_kept(job, monkeypatch):
    def ending(*_, **__):
        raise SystemExit

    monkeypatch.setattr("flows.extraction.log_plan", ending)
    with temporary_settings(), pytest.raises(SystemExit):
        extract_region.fn(**RegionParameters.nested(job))


def test_ctrl_c_is_the_end_of_a_run_that_is_cancelled(job, monkeypatch):
    def ending(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.extraction.log_plan", ending)
    with temporary_settings():
        assert extract_region.fn(**RegionParameters.nested(job)).is_cancelled()


def test_a_task_has_one_error_of_the_project_too():
    @core_task("failing")
    def failing():
        raise ArrowInvalid("no")

    state = failing.task.fn()
    assert isinstance(state.data, QuarryError)
    assert state.message.startswith("UnexpectedError: ArrowInvalid: no. ")

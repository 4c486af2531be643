"""Ad hoc Python: an image of one's own goes in, a typed result or one typed error comes out, server or none."""

import contextlib
import inspect
import json
import os
import signal
import sqlite3
import subprocess
import sys
import traceback
from contextlib import closing

import ee
import geopandas
import pytest
import rasterio
import rioxarray
from prefect.settings import get_current_settings

from flows import adhoc
from flows.image_parameters import ExpressionImage, StoredImage
from flows.parameters import PatchesParameters, RegionParameters, TimeseriesParameters
from flows.patches import PatchesResult
from flows.region import RegionResult
from flows.timeseries import TimeseriesResult
from tasks.earthengine.connection import ensure_client
from tasks.errors.input import InputError
from tasks.prefect_io.server import ServerAwayError
from tests.flows.conftest import forget_requests, heeding_interrupts, pixel_requests, turn
from tests.flows.test_notebook import wait_for_requests

SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
LAKE = [-54.60, -25.30, -54.55, -25.26]
POINT = {"type": "Point", "coordinates": [-54.58, -25.28]}


@pytest.fixture
def session(connection):
    """A session of `ee`, as the user has opened it."""
    ensure_client(connection)
    before = vars(ee.data._get_state()).copy()
    yield
    assert vars(ee.data._get_state()) == before


def open_array(path):
    """An xarray.DataArray with masked pixels as NaN."""
    return rioxarray.open_rasterio(path, masked=True)


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray with affine 3
def test_an_image_built_by_hand_becomes_a_file_that_rasterio_and_xarray_open(prefect_server, place, session):
    image = ee.Image(SCENE).select(["B4", "B3"]).multiply(2).toUint16()
    result = adhoc.region(image, name="twice", as_of="2020-06-01", region=LAKE, scale=30, **place)
    assert isinstance(result, RegionResult)
    assert (result.stored, result.failed) == (1, 0)
    with rasterio.open(result.mosaic) as file:
        assert file.descriptions == ("B4", "B3")
        pixels = file.read()
    with open_array(result.mosaic) as array:
        assert (array.values == pixels).all()
        assert array.rio.crs == "EPSG:32721"
        assert array.attrs["long_name"] == ("B4", "B3")
    stored = adhoc.region({"asset": SCENE}, bands=["B4", "B3"], region=LAKE, scale=30, **place)
    with rasterio.open(stored.mosaic) as file:
        assert (file.read() * 2 == pixels).all()


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # as above
def test_a_collection_built_by_hand_becomes_a_file_a_date(prefect_server, place, session):
    chosen = ee.ImageCollection("MODIS/061/MOD13Q1").filterDate("2019-01-01", "2021-01-01").select("NDVI")
    days = {"start": "2020-01-01", "end": "2020-02-01"}
    result = adhoc.timeseries(chosen, name="ndvi", region=LAKE, scale=250, **days, **place)
    assert isinstance(result, TimeseriesResult)
    assert list(result.files) == ["2020-01-01", "2020-01-17"]
    for path in result.files.values():
        with open_array(path) as array:
            assert array.attrs["long_name"] == "NDVI"


def test_an_image_built_by_hand_becomes_patches(prefect_server, place, session):
    image = ee.Image(SCENE).select("B4").add(1).toInt32()
    result = adhoc.patches(ExpressionImage(expression=image), points=POINT, scale=30, size=16, **place)
    assert isinstance(result, PatchesResult)
    (file,) = geopandas.read_parquet(result.index).file
    with rasterio.open(f"{result.output}/{file}") as patch:
        assert patch.shape == (16, 16)


@pytest.mark.parametrize(
    ("image", "given", "words"),
    [
        (StoredImage(asset=SCENE), {"bands": ["B99"], "scale": 30}, ["bands = ['B99']", "There are: B2, B3, B4"]),
        ({"asset": SCENE}, {}, ["scale = None: with crs = utm it must be given"]),
        ({"asset": SCENE}, {"sclae": 30}, ["sclae = '(not shown)': no such parameter. Known parameters: "]),
        ({"asset": SCENE}, {"scale": 30, "name": "mine"}, ["name = 'mine': only for an ee.Image", "set image.name"]),
        ({"asset": SCENE, "recipe": "ndvi"}, {"scale": 30}, ["give exactly one of asset, recipe, expression"]),
        ("landsat", {"scale": 30}, ["image = 'landsat'"]),
    ],
)
def test_what_goes_wrong_is_one_typed_error_without_frames_of_the_engine(prefect_server, place, image, given, words):
    with pytest.raises(InputError) as caught:
        adhoc.region(image, region=LAKE, **given, **place)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.count("Traceback") == 1
    assert "site-packages" not in shown


def test_an_error_of_the_prefect_server_is_one_typed_error_too(monkeypatch):
    @contextlib.contextmanager
    def away(*_):
        raise ServerAwayError("no answer") from OSError("of the transport")
        yield

    monkeypatch.setattr(adhoc, "ready", away)
    with pytest.raises(ServerAwayError) as caught:
        adhoc.region(StoredImage(asset=SCENE), region=LAKE, scale=30)
    assert "OSError" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (adhoc.region, RegionParameters),
        (adhoc.timeseries, TimeseriesParameters),
        (adhoc.patches, PatchesParameters),
    ],
)
def test_help_and_completion_show_every_field(function, parameters):
    shown = inspect.signature(function).parameters
    assert list(shown)[:3] == ["image", "name", "as_of"]
    assert set(shown) == {*parameters.model_fields, "name", "as_of"}


ALONE = f"""
import sys
import ee
from flows import adhoc
from tasks.earthengine.connection import Connection, ensure_client

endpoint, output = sys.argv[1:]
ensure_client(Connection(project="my-project", endpoint=endpoint))
image = ee.Image({SCENE!r}).select("B4").add(1).toInt32()
given = {{"region": {LAKE}, "scale": 30, "tile_size": 30, "requests_in_flight": 4, "output": output}}
given |= {{"project": "my-project", "endpoint": endpoint}}
try:
    adhoc.region(image, **given)
except KeyboardInterrupt as end:
    print(end)
print(adhoc.region(image, **given).model_dump_json())
"""


def test_a_script_needs_no_server_and_ctrl_c_leaves_it_the_one_it_has_started(prefect_server, served, tmp_path):
    """A terminal sends SIGINT to all processes of the script, so to Prefect's temporary server as well."""
    turn(served, latency_median=1.0)
    forget_requests(served)
    database = tmp_path / "home" / "prefect.db"
    database.parent.mkdir()
    kept = get_current_settings().server.database.connection_url.get_secret_value().partition("///")[2]
    with closing(sqlite3.connect(kept)) as old, closing(sqlite3.connect(database)) as new:
        old.backup(new)  # a new one would be migrated, which takes a minute
        new.execute("DELETE FROM flow_run")
        new.commit()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(database.parent), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    script = subprocess.Popen(
        [sys.executable, "-c", ALONE, served, str(tmp_path / "out")],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heeding_interrupts,  # noqa: PLW1509 - it sets a signal, and takes no lock
    )
    try:
        wait_for_requests(served, 8)
        os.killpg(script.pid, signal.SIGINT)
        turn(served, latency_median=0.02)
        told, log = script.communicate(timeout=120)
    finally:
        with closing(script.stdout), closing(script.stderr):
            script.kill()
    assert script.returncode == 0, log
    interrupted, result = told.splitlines()
    assert interrupted.startswith("Interrupted by Ctrl-C. ")
    assert "of 36 tiles are stored in" in interrupted
    assert json.loads(result)["stored"] == 36
    assert pixel_requests(served) <= 36 + 4
    assert "never awaited" not in log
    assert log.count("Starting temporary server") == 1
    with closing(sqlite3.connect(database)) as found:
        states = found.execute("SELECT state_type FROM flow_run ORDER BY start_time").fetchall()
    assert states == [("CANCELLED",), ("COMPLETED",)]

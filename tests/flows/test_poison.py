"""A run that the server cannot send again: what lists it gets a 500, and runs of others go on nevertheless."""

import json
import logging
import math
from uuid import uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.region import extract_region
from tasks.earthengine.errors import Transient
from tasks.errors.input import InputError
from tasks.prefect_io import run_retries
from tasks.prefect_io.heartbeat import FLOWS, mark_the_silent
from tests.flows.conftest import deep
from tests.given import call

pytestmark = pytest.mark.usefixtures("prefect_server")
SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
JOB = {"image": {"asset": SCENE}, "region": [-54.60, -25.30, -54.55, -25.26], "scale": 30}


@pytest.fixture
def client(prefect_server):
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(params=FLOWS)
def planted(client, request):
    """A run in progress of one of our flows, started with the API by someone else; gone at the end of the test."""
    flow = client.create_flow_from_name(request.param)
    given = {"flow_id": str(flow), "parameters": {"parameters": {"max_requests": 2**70}}, "state": {"type": "RUNNING"}}
    run = client.request("POST", "/flow_runs/", content=json.dumps(given)).json()["id"]
    yield run
    client.delete_flow_run(run)


def lists(client):
    return client.request("POST", "/flow_runs/filter", json={"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}})


@pytest.mark.parametrize("planted", FLOWS[:1], indirect=True)
def test_an_extraction_completes_beside_it(client, planted, place):
    with pytest.raises(PrefectHTTPStatusError, match="500"):
        lists(client)
    state = call(extract_region, **JOB | place, return_state=True)
    assert state.is_completed()
    assert state.result().stored > 0


def test_if_silent_it_is_marked_like_any_other(client, planted):
    assert mark_the_silent(client, silence_s=0.0) >= 1
    assert client.read_flow_run(planted).state.is_crashed()
    lists(client)  # it is covered no more


@pytest.mark.parametrize("fault", [500, 503, httpx.ReadError("dropped"), httpx.ReadTimeout("late"), "<html>"])
def test_a_run_that_the_server_does_not_show_keeps_its_own_error(fault, monkeypatch, caplog):
    def answer(request):
        if isinstance(fault, Exception):
            raise fault
        return httpx.Response(fault) if isinstance(fault, int) else httpx.Response(200, text=fault)

    def broken(**_):
        return SyncPrefectClient("http://127.0.0.1:1/api", httpx_settings={"transport": httpx.MockTransport(answer)})

    monkeypatch.setattr(run_retries.flow_run, "id", str(uuid4()), raising=False)
    monkeypatch.setattr(run_retries, "get_client", broken)
    monkeypatch.setattr(run_retries, "get_run_logger", lambda: logging.getLogger("run"))
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        assert run_retries.retry_run(Transient("away"), retries=3, delay_s=1.0) is False
        run_retries.check_not_cancelled()
    assert "not retried" in caplog.text


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"max_requests": 2**70}, "max_requests"),
        ({"image": "m:f", "recipe_parameters": {"seed": -(2**64)}}, "recipe_parameters.seed"),
        ({"image": "m:f", "recipe_parameters": {"seed": math.inf}}, "recipe_parameters.seed"),
        ({"image": {"recipe": "m:f", "parameters": {"list": deep(250)}}}, "image.parameters.list"),
        ({"crs": "\ud800"}, "crs"),
        ({"region": {"type": "Point", "coordinates": [1.123456] * 60_000}}, "parameters"),
    ],
    ids=["number", "recipe", "infinite", "deep", "half a character", "large"],
)
def test_raw_arguments_are_refused_before_the_server_has_a_run(client, given, field, place):
    before = client.request("POST", "/flow_runs/count", json={}).json()
    with pytest.raises(InputError, match=rf"^{field}") as refused:
        call(extract_region, **JOB | place | given)
    assert field != "parameters" or "the path of a file" in str(refused.value)
    assert client.request("POST", "/flow_runs/count", json={}).json() == before


@pytest.mark.parametrize("planted", FLOWS[:1], indirect=True)
def test_a_deployment_s_run_that_was_stored_can_be_sent_again_once_it_starts(client, planted, monkeypatch):
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", planted)
    poisoned = JOB | {"advanced": {"max_requests": 2**70}}
    assert extract_region.validate_parameters(poisoned) is poisoned
    state = extract_region.fn(**poisoned)
    assert state.message.startswith("InputError: max_requests = 1180591620717411303424")
    kept = next(run for run in lists(client).json() if run["id"] == planted)
    assert kept["parameters"] == JOB | {"advanced": {"max_requests": str(2**70)}}

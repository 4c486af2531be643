"""A run of a deployment, which others may start, runs no function that its operator has not listed."""

import pytest
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow

from flows.parameters import RegionParameters
from flows.region import extract_region
from tests.flows.conftest import UNPACED, pixel_requests
from tests.given import call

OWN = "tests.flows.own_recipe:half"
LAKE = [-54.62, -25.30, -54.58, -25.26]


def started(place, recipe):
    """Run a deployment as a worker does, and return the state."""
    parameters = RegionParameters.nested({"image": recipe, "region": LAKE, "scale": 30, **place})
    with get_client(sync_client=True) as client:
        schema = extract_region.parameters.model_dump_for_openapi()
        deployment = client.create_deployment(
            client.create_flow(extract_region),
            "allowed",
            parameter_openapi_schema=schema,
            enforce_parameter_schema=True,
        )
        run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        return run_flow(extract_region, flow_run=run, parameters=run.parameters, return_type="state")


@pytest.fixture
def place(served, tmp_path):
    return {"project": "my-project", "endpoint": served, "output": str(tmp_path / "out"), "run_retries": 0, **UNPACED}


def test_a_function_that_is_not_listed_is_not_even_imported(prefect_server, place, served):
    before = pixel_requests(served)
    state = started(place, "tests.flows.no_such_module:function")
    assert state.is_failed()
    assert "image = 'tests.flows.no_such_module:function': not on the list of this deployment" in state.message
    assert pixel_requests(served) == before


def test_one_that_is_listed_runs(prefect_server, place, monkeypatch):
    monkeypatch.setenv("PIXEL_QUARRY_RECIPES", f"other:function, {OWN}")
    assert started(place, OWN).is_completed()


def test_ad_hoc_it_is_the_user_s_own_code(prefect_server, place):
    assert call(extract_region, image={"recipe": OWN}, region=LAKE, scale=30, **place, return_state=True).is_completed()


def test_a_folder_that_the_worker_would_remove_is_refused(prefect_server, place, served):
    before = pixel_requests(served)
    state = started(place | {"output": "out"}, "elevation")
    assert state.is_failed()
    assert "output = 'out': the worker deletes its working directory after each run of a deployment" in state.message
    assert pixel_requests(served) == before

"""Laws of the flows as objects of Python: how they are called, pickled and deployed."""

import asyncio
import re

import cloudpickle
import pytest
from prefect.utilities.schema_tools.validation import validate

from flows.audit import audit_output
from flows.doctor import examine
from flows.patches import extract_patches
from flows.region import extract_region
from flows.timeseries import extract_timeseries
from flows.validation import BY_NAME
from tasks.errors.input import InputError

FLOWS = (extract_region, extract_timeseries, extract_patches, audit_output, examine)
flows = pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
SAID = re.compile(rf"parameters = [^\n]*{re.escape(BY_NAME)}\.")


@flows
@pytest.mark.parametrize(("args", "named"), [(({},), {}), ((), {"parameters": {}}), ((), {"parameters": None})])
def test_the_one_parameter_of_earlier_versions_is_told_what_to_write(flow, args, named):
    with pytest.raises(InputError) as refused:
        flow(*args, **named)
    assert SAID.fullmatch(str(refused.value))


@flows
def test_a_pickled_flow_is_the_flow(flow):
    assert cloudpickle.loads(cloudpickle.dumps(flow)) is flow


async def made_in_a_coroutine(flow):
    return [await flow.to_deployment("name"), await flow.ato_deployment("name")]


@flows
def test_every_deployment_has_the_form_of_the_model(flow):
    made = [flow.to_deployment("name"), flow.with_options(retries=1).to_deployment("name")]
    made += asyncio.run(made_in_a_coroutine(flow))
    assert [each._parameter_openapi_schema.model_dump() for each in made] == [flow.parameters.model_dump()] * 4


@flows
@pytest.mark.parametrize("value", [None, "tile_size=256", [1], {"no_such": 1}], ids=repr)
def test_the_server_takes_any_advanced_value_so_that_the_run_refuses_it_in_our_words(flow, value):
    form = flow.parameters.model_dump()
    assert not validate({"advanced": value}, form | {"required": []}, preprocess=False, raise_on_error=False)

"""Laws of the saved connection: what it says is what a run does, and its secrets stay where they are."""

import json
from uuid import uuid4

import pytest
from prefect_gcp import GcpCredentials
from pydantic import ValidationError

from flows.parameters import RegionParameters
from tasks.earthengine.connection import HIGH_VOLUME, SCOPES
from tasks.earthengine.deadlines import Deadlines
from tasks.errors.input import BadInputError
from tasks.extraction.hedge import HEDGE
from tasks.prefect_io.connection_block import EarthEngineConnection, open_account
from tasks.prefect_io.flow_session import fetch_session
from tests.cloud.tokens import service_account_info
from tests.given import parameters_of

GIVEN = {"image": {"asset": "a"}, "scale": 30}


@pytest.fixture
def saved(prefect_server):
    """Save a connection, and return its slug."""

    def save(**fields):
        name = f"connection-{uuid4().hex[:8]}"
        EarthEngineConnection(**{"project": "my-project"} | fields).save(name)
        return f"earth-engine-connection/{name}"

    return save


def test_a_run_does_what_its_connection_says(saved):
    slug = saved(requests_in_flight=80, requests_per_second=50, lane_requests_in_flight=20, workload_tag="night")
    account = parameters_of(RegionParameters, **GIVEN, connection=slug).connect()
    assert (account.connection.project, account.connection.endpoint) == ("my-project", HIGH_VOLUME)
    assert (account.quota, account.workload_tag) == (80, "night")
    # A lane is a quarter of the quota, and so begins a quarter of its requests a second.
    assert (account.pace.in_flight, account.pace.own_per_second) == (20, 12.5)


def test_a_run_gets_its_share_of_the_rate_once(saved, sandbox_url):
    slug = saved(endpoint=sandbox_url, requests_in_flight=80, requests_per_second=50, lane_requests_in_flight=20)
    account = parameters_of(RegionParameters, **GIVEN, connection=slug).connect()
    with fetch_session(account, Deadlines(), HEDGE) as session:
        permits = session.permits
        # Permits scale the rate by the slots that are held: a quarter of the quota, a quarter of the rate.
        assert permits.pace.per_second * account.pace.in_flight / permits.quota == account.pace.own_per_second == 12.5


def test_what_a_run_says_itself_goes_before(saved):
    slug = saved(requests_in_flight=80, requests_per_second=50)
    given = parameters_of(RegionParameters, **GIVEN, connection=slug, requests_in_flight=40, workload_tag="mine")
    account = given.connect()
    assert (account.quota, account.workload_tag) == (80, "mine")
    assert (account.pace.in_flight, account.pace.own_per_second) == (40, 25)
    with pytest.raises(BadInputError, match=f"requests_in_flight = 81: above the quota of {slug}, which is 80"):
        parameters_of(RegionParameters, **GIVEN, connection=slug, requests_in_flight=81).connect()


def test_a_reference_of_a_form_is_the_slug(saved):
    slug = saved()
    document = EarthEngineConnection.load(slug.partition("/")[2])._block_document_id
    given = parameters_of(RegionParameters, **GIVEN, connection={"$ref": {"block_document_id": str(document)}})
    assert given.connection == slug


def test_its_key_signs_with_earth_engine_s_scopes_and_is_shown_nowhere(saved):
    info = service_account_info("http://127.0.0.1:9/token")
    key = GcpCredentials(service_account_info=info, project="other-project")
    key.save(f"key-{uuid4().hex[:8]}")
    slug = saved(credentials=key)
    parameters = parameters_of(RegionParameters, **GIVEN, connection=slug)
    account = parameters.connect()
    credentials = account.connection.credentials()
    assert credentials.service_account_email == info["client_email"]
    assert set(credentials.scopes) == set(SCOPES)
    for text in (repr(account), parameters.model_dump_json(), str(EarthEngineConnection.load(slug.partition("/")[2]))):
        assert not any(secret in text for secret in (info["private_key"], info["private_key_id"]))


def test_no_credentials_go_to_the_sandbox(saved):
    key = GcpCredentials(service_account_info=service_account_info("http://127.0.0.1:9/token"), project="p")
    key.save(f"key-{uuid4().hex[:8]}")
    slug = saved(credentials=key, endpoint="http://127.0.0.1:9080")
    assert open_account(slug).connection.credentials() is None


def test_one_that_is_not_there_is_named(prefect_server):
    with pytest.raises(BadInputError, match="connection = 'earth-engine-connection/nobody': no such block"):
        open_account("earth-engine-connection/nobody")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"project": "My Project"}, "not a Google Cloud project id"),
        ({"endpoint": "http://example.com"}, "credentials are never sent in clear text to another machine"),
        ({"endpoint": "https://user:password@example.com"}, "without user, password, path or query"),
        ({"requests_in_flight": 0}, "greater than or equal to 1"),
        ({"requests_per_second": 0}, "greater than 0"),
        ({"lane_requests_in_flight": 41}, "lane_requests_in_flight = 41: above requests_in_flight = 40"),
        ({"workload_tag": "Big Run"}, "should match pattern"),
    ],
)
def test_what_can_t_be_is_refused_as_it_is_saved(fields, words):
    with pytest.raises(ValidationError) as refused:
        EarthEngineConnection(**{"project": "my-project"} | fields)
    assert words in str(refused.value)
    assert "password" not in str(refused.value).replace("without user, password", "")


def test_its_form_says_what_each_field_is():
    schema = EarthEngineConnection.model_json_schema()
    assert EarthEngineConnection.get_block_type_slug() == "earth-engine-connection"
    assert EarthEngineConnection.get_description()
    for name in ("project", "endpoint", "requests_in_flight", "requests_per_second", "lane_requests_in_flight"):
        assert len(schema["properties"][name]["description"]) > 20
    assert json.dumps(schema["properties"]["credentials"]).count("GcpCredentials")


def test_an_endpoint_that_is_not_google_s_is_no_run_s_to_name(monkeypatch):
    """Who may start a run must not send credentials of the machine elsewhere; its operator may."""
    elsewhere = "https://earthengine.example.com"
    with pytest.raises(BadInputError, match="neither Google's nor on this machine"):
        parameters_of(RegionParameters, **GIVEN, project="my-project", endpoint=elsewhere).connect()
    monkeypatch.setenv("EARTHENGINE_ENDPOINT", elsewhere)
    assert parameters_of(RegionParameters, **GIVEN, project="my-project").connect().connection.endpoint == elsewhere

"""Laws of provisioning, on a real Prefect server: what differs is told and mended, else nothing is written."""

import asyncio
import contextlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import httpx
import pytest
from prefect import flow, tags
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import (
    BlockDocumentUpdate,
    DeploymentUpdate,
    GlobalConcurrencyLimitUpdate,
    WorkPoolUpdate,
)
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Pending
from prefect.utilities.schema_tools import validate
from prefect.workers.process import ProcessJobConfiguration

from deployments.provision.__main__ import main
from deployments.provision.automation import FAILURE
from deployments.provision.declaration import DECLARATION, read
from deployments.provision.deployment import TEMPLATE, Deployment
from tasks.errors.input import BadInputError
from tasks.prefect_io import heartbeat as crashed
from tests.cloud.tokens import service_account_info

VARIABLES = {"PIXEL_QUARRY_OUTPUT": "local-file-system/pixel-quarry"}
ENTRIES = read(DECLARATION, VARIABLES)
PROJECT = "provision-tests"
LIMIT = f"tag:earthengine:{PROJECT}"
SLUGS = (
    "earth-engine-connection/pixel-quarry",
    "local-file-system/pixel-quarry",
    "gcs-bucket/pixel-quarry",
    "gcp-credentials/pixel-quarry",
    "custom-webhook/provision-tests",
)
PATIENCE_S = 60.0
COMMAND = {"env": "{{ environment }}", "stream_output": "{{ stream_output }}", "command": "bash"}


# The declaration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entrypoint_is_a_flow_whose_defaults_and_example_fit_its_model_and_its_form(entry):
    deployment = Deployment.load(entry)
    assert deployment.flow.name in crashed.FLOWS
    assert entry.parameters["connection"] == SLUGS[0]
    assert entry.parameters["output"] == VARIABLES["PIXEL_QUARRY_OUTPUT"]
    form = deployment.flow.parameters.model_dump(mode="json")
    validate(entry.parameters, form, raise_on_error=True, preprocess=False)
    assert validate({**entry.parameters, "advanced": {"run_retries": 2**70}}, form, preprocess=False)
    assert validate({**entry.parameters, "parameters": {}}, form, preprocess=False)
    examples = re.findall(r"```bash\n(.*?)```", entry.description, re.DOTALL)
    assert len(examples) == (entry.name != "doctor")
    for example in examples:
        check_example(example, entry, deployment, form)


def check_example(example, entry, deployment, form):
    """A command line is one of this deployment, and its parameters fit form and model."""
    prefect, _, run, path, *words = shlex.split(example.replace("\\\n", " "))
    assert (prefect, run, path) == ("prefect", "run", deployment.path)
    assert words[::2] == ["-p"] * (len(words) // 2)
    given = entry.parameters | {
        name: as_prefect_reads(value) for name, _, value in (w.partition("=") for w in words[1::2])
    }
    validate(given, form, raise_on_error=True, preprocess=False)
    deployment.flow.model.read(given)


def as_prefect_reads(text):
    """The value of `-p name=text`: JSON, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def test_every_flow_is_deployed():
    assert {Deployment.load(entry).flow.name for entry in ENTRIES} == set(crashed.FLOWS)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("pull: []", "", r"pull: Field required"),
        ("pull: []", "pull: [{step: {}}]", r"pull: List should have at most 0"),
        ("name: region\n", "name: region\n    work_queue: fast\n", r"deployments.0.work_queue: Extra inputs"),
        ("name: audit\n", "name: region\n", "two deployments have the same name"),
        (
            "flows.region.extract_region",
            "flows/region.py:extract_region",
            r"deployments.0.entrypoint: String should match",
        ),
        (
            "enforce_parameter_schema: true",
            "enforce_parameter_schema: false",
            "enforce_parameter_schema: Input should be",
        ),
        ("CANCEL_NEW", "DROP", "collision_strategy: Input should be 'ENQUEUE' or 'CANCEL_NEW'"),
        ('cron: "0 6 * * *"', 'cron: "6 o\'clock"', "schedules.0.cron: .*Invalid cron string"),
        ("timezone: UTC", "timezone: Mars/Olympus", "schedules.0.timezone: .*nvalid timezone"),
        ('cron: "0 6 * * *"', "interval: 21600", "interval .seconds. with anchor_date"),
        ("$PIXEL_QUARRY_OUTPUT", "$NOWHERE_SET", "not set in the environment: NOWHERE_SET"),
        ("{{ $PIXEL_QUARRY_OUTPUT }}", "{{ prefect.variables.output }}", "placeholder that is not an environment"),
        ('start: "2020-01-01"', "start: 2020-01-01", "Put dates between quotes"),
        ("deployments:", "deployments: [", "cannot be read"),
    ],
)
def test_what_prefect_would_take_for_something_else_is_refused(tmp_path, before, after, message):
    text = DECLARATION.read_text()
    assert before in text
    file = tmp_path / "prefect.yaml"
    file.write_text(text.replace(before, after))
    with pytest.raises(BadInputError, match=message):
        read(file, VARIABLES)


# The server ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(prefect_server):
    with get_client(sync_client=True) as client:
        yield client


def document(client, slug):
    kind, _, name = slug.partition("/")
    return client.read_block_document_by_name(name, kind)


def remove(client):
    """Everything that these tests make."""
    gone = contextlib.suppress(ObjectNotFound)
    for entry in ENTRIES:
        with gone:
            client.delete_deployment(client.read_deployment_by_name(Deployment.load(entry).path).id)
    for name in (crashed.NAME, FAILURE):
        for automation in client.read_automations_by_name(name):
            client.delete_automation(automation.id)
    for slug in (*SLUGS, "local-file-system/pixel-quarry-results"):
        with gone:
            client.delete_block_document(document(client, slug).id)
    for name in (LIMIT, f"{LIMIT}:wanted"):
        with gone:
            client.delete_global_concurrency_limit_by_name(name)
    with gone:
        client.delete_work_pool("pixel-quarry")


@pytest.fixture
def bare(client):
    """A server that was never provisioned, before and after."""
    remove(client)
    yield client
    remove(client)


@pytest.fixture(scope="module")
def kept(client):
    """A server that is used by test after test; what each finds is what provisioning left."""
    yield client
    remove(client)


@pytest.fixture
def provision(capsys, tmp_path, monkeypatch):
    """Run the command."""
    monkeypatch.delenv("EARTHENGINE_PROJECT", raising=False)

    def run(*arguments, project=PROJECT, output="/data/pixels"):
        place = ["--project", project] if project else []
        place += ["--output", output] if output else []
        capsys.readouterr()
        code = main([*place, *arguments])
        printed = capsys.readouterr()
        lines = printed.out.splitlines()
        return SimpleNamespace(code=code, lines=lines, error=printed.err, text=printed.out + printed.err)

    return run


def stamps(client):
    """When each thing on the server was last written."""
    found = {slug: document(client, slug).updated for slug in SLUGS[:2]}
    for slug in (*SLUGS[:1], "gcs-bucket", "gcp-credentials"):
        kind = client.read_block_type_by_slug(slug.partition("/")[0])
        schemas = client.request("POST", "/block_schemas/filter", json={"block_schemas": None}).json()
        found[f"type {slug}"] = kind.updated, [each["updated"] for each in schemas]
    for name in (LIMIT, f"{LIMIT}:wanted"):
        found[name] = client.read_global_concurrency_limit_by_name(name).updated
    found["pool"] = client.read_work_pool("pixel-quarry").updated
    for entry in ENTRIES:
        path = Deployment.load(entry).path
        deployment = client.read_deployment_by_name(path)
        found[path] = deployment.updated, [(each.id, each.updated) for each in deployment.schedules]
    automations = client.request("POST", "/automations/filter", json={}).json()
    return found | {each["name"]: each["updated"] for each in automations}


def test_it_checks_creates_and_then_changes_nothing(bare, provision):
    before = provision("--check")
    assert before.code == 1
    assert [line for line in before.lines if "deployment" in line] == [
        "would create deployment extract-region/region",
        "would create deployment extract-timeseries/timeseries",
        "would create deployment extract-timeseries/incremental",
        "would create deployment extract-patches/patches",
        "would create deployment audit-output/audit",
        "would create deployment examine-setup/doctor",
    ]
    assert not bare.read_automations_by_name(crashed.NAME)
    with pytest.raises(ObjectNotFound):
        bare.read_work_pool("pixel-quarry")

    first = provision()
    assert first.code == 0, first.error
    assert len(first.lines) == len(before.lines)
    assert [line.replace("would create", "created") for line in before.lines] == first.lines
    written = stamps(bare)
    assert provision("--check").lines == ["unchanged: 15 things"]
    again = provision()
    assert (again.code, again.lines, again.error) == (0, ["unchanged: 15 things"], "")
    assert stamps(bare) == written

    # Nothing that is saved has to be said again, and the blocks say what they were told.
    assert provision(project=None, output=None).lines == ["unchanged: 15 things"]
    connection = document(bare, SLUGS[0]).data
    assert (connection["project"], connection["requests_in_flight"]) == (PROJECT, 40)
    assert document(bare, SLUGS[1]).data["basepath"] == "/data/pixels"
    limit = bare.read_global_concurrency_limit_by_name(LIMIT)
    assert (limit.limit, limit.active, limit.slot_decay_per_second) == (40, True, 0)
    incremental = bare.read_deployment_by_name("extract-timeseries/incremental")
    assert incremental.global_concurrency_limit.limit == 1
    assert incremental.concurrency_options.collision_strategy == "CANCEL_NEW"
    (daily,) = incremental.schedules
    assert (daily.schedule.cron, daily.schedule.timezone, daily.active) == ("0 6 * * *", "UTC", True)


def test_whatever_was_changed_by_hand_is_told_and_mended(kept, provision):
    assert provision("--requests-per-second", "100").code == 0
    pool = kept.read_work_pool("pixel-quarry").base_job_template
    connection = document(kept, SLUGS[0])
    incremental, region, patches = (
        kept.read_deployment_by_name(path)
        for path in ("extract-timeseries/incremental", "extract-region/region", "extract-patches/patches")
    )
    parameters = region.parameters | {"scale": 30}

    kept.update_global_concurrency_limit(LIMIT, GlobalConcurrencyLimitUpdate(limit=10, active=False))
    kept.update_deployment_schedule(incremental.id, incremental.schedules[0].id, active=False)
    kept.update_deployment(region.id, DeploymentUpdate(parameters=parameters, concurrency_limit=3))
    kept.pause_deployment(kept.read_deployment_by_name("audit-output/audit").id)
    kept.delete_deployment(patches.id)
    kept.update_work_pool("pixel-quarry", WorkPoolUpdate(base_job_template=pool | {"job_configuration": COMMAND}))
    kept.update_block_document(connection.id, BlockDocumentUpdate(data={"requests_per_second": 7}))
    (automation,) = kept.read_automations_by_name(crashed.NAME)
    kept.pause_automation(automation.id)

    expected = [
        "block earth-engine-connection/pixel-quarry: requests_per_second 7 -> 100.0",
        f"limit {LIMIT}: limit 10 -> 40, active false -> true",
        'work pool pixel-quarry: base_job_template.job_configuration.command "bash" -> nothing',
        "deployment extract-region/region: parameters.scale 30 -> 20, concurrency_limit 3 -> null",
        "deployment extract-timeseries/incremental: schedules.daily.active false -> true",
        "deployment audit-output/audit: paused true -> false",
        f"automation {crashed.NAME}: enabled false -> true",
    ]
    deleted = "deployment extract-patches/patches"
    check = provision("--check", "--requests-per-second", "100")
    assert check.code == 1
    assert set(check.lines) == {
        *(f"would update {each}" for each in expected),
        f"would create {deleted}",
        "unchanged: 7 things",
    }
    mended = provision("--requests-per-second", "100")
    assert mended.code == 0, mended.error
    assert set(mended.lines) == {*(f"updated {each}" for each in expected), f"created {deleted}", "unchanged: 7 things"}
    assert provision("--check").lines == ["unchanged: 15 things"]


def test_a_deployment_that_is_declared_no_more_is_told(kept, provision, tmp_path):
    """It is somebody's to delete, and goes on running until then."""
    provision()
    renamed = tmp_path / "prefect.yaml"
    renamed.write_text(DECLARATION.read_text().replace("name: incremental", "name: daily"))
    expected = "not declared: deployment extract-timeseries/incremental. Its schedules still start runs"
    done = provision("--file", str(renamed))
    assert (done.code, expected in done.text) == (0, True)
    checked = provision("--file", str(renamed), "--check")
    assert (checked.code, expected in checked.text) == (1, True)
    kept.delete_deployment(kept.read_deployment_by_name("extract-timeseries/daily").id)
    assert provision("--check").code == 0


def test_a_limit_is_not_lowered_but_on_purpose(kept, provision):
    assert provision().code == 0
    kept.update_global_concurrency_limit(LIMIT, GlobalConcurrencyLimitUpdate(limit=60))
    kept.pause_deployment(kept.read_deployment_by_name("audit-output/audit").id)
    check = provision("--check")
    assert check.code == 1
    assert f"would update limit {LIMIT}: limit 60 -> 40" in check.lines
    assert (
        f"  refused: limit {LIMIT} is 60 on the server, but 40 is declared. Give --lower-limit to lower it"
        in check.text
    )
    refused = provision()
    assert (refused.code, refused.lines) == (1, [])
    assert "Nothing was changed." in refused.error
    assert kept.read_global_concurrency_limit_by_name(LIMIT).limit == 60
    assert kept.read_deployment_by_name("audit-output/audit").paused
    lowered = provision("--lower-limit")
    assert lowered.code == 0
    assert f"updated limit {LIMIT}: limit 60 -> 40" in lowered.lines
    assert kept.read_global_concurrency_limit_by_name(LIMIT).limit == 40


def test_an_option_that_is_not_given_keeps_what_is_saved(kept, provision):
    assert provision("--workload-tag", "night", "--lane-requests-in-flight", "8").code == 0
    assert provision("--requests-in-flight", "50").lines == [
        "updated block earth-engine-connection/pixel-quarry: requests_in_flight 40 -> 50",
        f"updated limit {LIMIT}: limit 40 -> 50",
        "unchanged: 13 things",
    ]
    data = document(kept, SLUGS[0]).data
    assert (data["workload_tag"], data["lane_requests_in_flight"], data["requests_in_flight"]) == ("night", 8, 50)
    assert provision("--requests-in-flight", "40", "--lower-limit").code == 0


def test_a_broken_entrypoint_is_told_before_anything_is_changed(bare, provision, tmp_path):
    file = tmp_path / "prefect.yaml"
    file.write_text(DECLARATION.read_text().replace("flows.audit.audit_output", "flows.audit.audit_everything"))
    refused = provision("--file", str(file))
    assert (refused.code, refused.lines) == (2, [])
    assert "entrypoint = 'flows.audit.audit_everything': the entrypoint cannot be imported" in refused.error
    with pytest.raises(ObjectNotFound):
        document(bare, SLUGS[0])
    file.write_text(DECLARATION.read_text().replace("tile_size: 256", "tile_size: 4"))
    refused = provision("--file", str(file))
    assert refused.code == 2
    assert "tile_size = 4" in refused.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"project": None}, "project = None: missing. Give --project"),
        ({"output": None}, "output = None: missing. Give --output"),
        ({"project": "p"}, "project = 'p': not a Google Cloud project id"),
        ({"output": "s3://bucket"}, "neither a folder nor a bucket"),
        ({"output": "gs://"}, "not a bucket with a prefix"),
        (("--results", "s3://bucket"), "results = 's3://bucket': neither a folder nor a bucket"),
        (("--results", "/data/pixels/results"), "everyone who can write there can run code on the workers"),
        (("--results", "/data"), "everyone who can write there can run code on the workers"),
        (("--requests-in-flight", "0"), "requests_in_flight = 0: Input should be greater than or equal to 1"),
        (("--requests-in-flight", "4", "--lane-requests-in-flight", "8"), "above requests_in_flight = 4"),
        (("--endpoint", "http://earth.example.org"), "endpoint"),
        (("--credentials-file", "/nowhere.json"), "not a readable service-account key (FileNotFoundError)"),
        (("--notify", "slack-webhook/nobody"), "no such block on the Prefect server"),
    ],
)
def test_an_option_that_can_not_be_is_told(bare, provision, arguments, message):
    refused = provision(**arguments) if isinstance(arguments, dict) else provision(*arguments)
    assert (refused.code, refused.lines) == (2, [])
    assert message in refused.error


def test_a_server_that_would_keep_nothing_is_refused(provision):
    with temporary_settings({PREFECT_API_URL: None}):
        refused = provision()
    assert refused.code == 2
    assert "prefect config set PREFECT_API_URL" in refused.error


def test_a_key_does_not_cross_the_network_in_clear_text(provision, tmp_path):
    with temporary_settings({PREFECT_API_URL: "http://prefect.example.org:4200/api"}):
        refused = provision("--credentials-file", str(tmp_path / "key.json"))
    assert refused.code == 2
    assert "clear text" in refused.error


# Schedules -----------------------------------------------------------------------------------------------------------


def test_the_incremental_series_runs_every_day_and_one_run_at_a_time(kept, provision):
    assert provision().code == 0
    incremental = kept.read_deployment_by_name("extract-timeseries/incremental")
    # What the server's scheduler does every minute, but on the servers of tests.
    kept.request("POST", f"/deployments/{incremental.id}/schedule", json={"max_runs": 3})
    ours = {"deployments": {"id": {"any_": [str(incremental.id)]}}, "sort": "EXPECTED_START_TIME_ASC"}
    starts = [run["expected_start_time"] for run in kept.request("POST", "/flow_runs/filter", json=ours).json()]
    assert len(starts) == 3
    assert {start[11:19] for start in starts} == {"06:00:00"}
    assert len({start[:10] for start in starts}) == 3

    first, second = (kept.create_flow_run_from_deployment(incremental.id) for _ in range(2))
    states = [kept.set_flow_run_state(run.id, Pending()).state for run in (first, second)]
    assert [state.name for state in states] == ["Pending", "Cancelled"]
    assert "concurrency limit" in states[1].message
    kept.set_flow_run_state(first.id, Completed(), force=True)
    third = kept.create_flow_run_from_deployment(incremental.id)
    assert kept.set_flow_run_state(third.id, Pending()).state.name == "Pending"
    for run in (first, second, third):
        kept.delete_flow_run(run.id)


# Secrets -------------------------------------------------------------------------------------------------------------


def test_a_key_goes_into_a_secret_field_and_is_never_shown(bare, provision, tmp_path):
    file = tmp_path / "key.json"
    bucket = {"output": "gs://pixels-of-tests/runs"}
    for number in range(2):
        key = service_account_info("http://127.0.0.1:1/token") | {"private_key_id": f"secret-{number}"}
        file.write_text(json.dumps(key))
        done = provision("--credentials-file", str(file), **bucket)
        assert done.code == 0, done.error
        assert "secret-" not in done.text
        assert key["private_key"][40:60] not in done.text
        # Found as they were given, and not shown to who may not see secrets.
        for slug, field in ((SLUGS[3], None), (SLUGS[0], "credentials"), (SLUGS[2], "gcp_credentials")):
            data = document(bare, slug).data
            assert (data[field] if field else data)["service_account_info"]["private_key_id"] == f"secret-{number}"
        hidden = bare.read_block_document(document(bare, SLUGS[3]).id, include_secrets=False)
        assert "secret-" not in json.dumps(hidden.data)
    assert "updated block gcp-credentials/pixel-quarry: service_account_info (not shown) -> (not shown)" in done.lines
    assert document(bare, SLUGS[2]).data["bucket_folder"] == "runs/"
    region = bare.read_deployment_by_name("extract-region/region")
    assert region.parameters["output"] == "gcs-bucket/pixel-quarry"
    # Without the option, the key stays where it is.
    assert (
        provision("--requests-per-second", "50", **bucket).lines[0].startswith("updated block earth-engine-connection")
    )
    assert document(bare, SLUGS[0]).data["credentials"]["service_account_info"]["private_key_id"] == "secret-1"


# The work pool -------------------------------------------------------------------------------------------------------


def test_whoever_starts_a_run_chooses_no_command_no_environment_and_no_folder(kept, provision):
    assert provision().code == 0
    forbidden = {"command": "touch /tmp/x", "env": {"PATH": "/tmp"}, "env.HOME": "/tmp", "working_dir": "/etc"}
    heartbeat = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    region = kept.read_deployment_by_name("extract-region/region")
    for name, value in forbidden.items():
        asked = {"job_variables": {name: value}, "state": {"type": "SCHEDULED"}}
        with pytest.raises(httpx.HTTPStatusError, match="Additional properties are not allowed"):
            kept.request("POST", f"/deployments/{region.id}/create_flow_run", json=asked)
    for value in (heartbeat | {"PATH": "/tmp"}, {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "3000"}):
        asked = {"job_variables": {"environment": value}, "state": {"type": "SCHEDULED"}}
        with pytest.raises(httpx.HTTPStatusError, match=r"not allowed|is not one of"):
            kept.request("POST", f"/deployments/{region.id}/create_flow_run", json=asked)

    # Nor would a worker that was given them do it.
    template = kept.read_work_pool("pixel-quarry").base_job_template
    assert template == json.loads(TEMPLATE.read_text())
    configured = asyncio.run(
        ProcessJobConfiguration.from_template_and_values(template, forbidden | {"stream_output": False})
    )
    assert (configured.command, configured.env, configured.working_dir) == (None, heartbeat, None)
    assert not configured.stream_output
    run = kept.create_flow_run_from_deployment(region.id)
    configured.prepare_for_flow_run(run)
    assert configured.command == f"{sys.executable} -m prefect.engine"
    assert (configured.env["PATH"], configured.env["HOME"]) == (os.environ["PATH"], os.environ["HOME"])
    kept.delete_flow_run(run.id)


def test_results_have_a_place_of_their_own_if_the_operator_says_so(bare, provision, tmp_path):
    given = provision("--results", str(tmp_path / "results"))
    assert given.code == 0
    slug = "local-file-system/pixel-quarry-results"
    assert f"created block {slug}" in given.lines
    environment = {
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK": slug,
    }
    template = bare.read_work_pool("pixel-quarry").base_job_template
    configured = asyncio.run(ProcessJobConfiguration.from_template_and_values(template, {}))
    assert configured.env == environment
    assert document(bare, slug).data["basepath"] == str(tmp_path / "results")
    (line,) = provision().lines  # what is not given is kept
    assert line.startswith("unchanged")


# Prefect's own command -----------------------------------------------------------------------------------------------


def test_prefect_deploy_makes_the_same_of_the_same_file_but_for_the_form(kept, provision):
    assert provision().code == 0
    paths = ("extract-timeseries/incremental", "audit-output/audit")
    for path in paths:
        kept.delete_deployment(kept.read_deployment_by_name(path).id)
    names = [argument for path in paths for argument in ("-n", path.partition("/")[2])]
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *names, "--prefect-file", str(DECLARATION)]
    environment = os.environ | VARIABLES | {"PREFECT_API_URL": PREFECT_API_URL.value()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {each.path: each for each in map(Deployment.load, ENTRIES)}
    for path in paths:
        declared, found = made[path].declared, made[path].read(kept)
        assert {**found, "form": None} == {**declared, "form": None}
        # Prefect makes a form of the signature: the same fields, text without a picker, and no titles.
        assert list(found["form"]["properties"]) == list(inspect.signature(made[path].flow).parameters)
    provision()
    assert provision("--check").lines == ["unchanged: 15 things"]


# Failures ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def posted():
    """What is posted to a webhook on this machine."""
    found = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self):
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}/", found=found)
        server.shutdown()
        thread.join()


def test_a_run_that_fails_is_told_of_and_one_of_somebody_else_is_not(kept, provision, posted):
    CustomWebhookNotificationBlock(
        name="tests", url=posted.url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
    ).save(SLUGS[4].partition("/")[2], overwrite=True)
    done = provision("--notify", SLUGS[4])
    assert done.code == 0, done.error
    assert f"created automation {FAILURE}" in done.lines
    assert provision("--check", "--notify", SLUGS[4]).lines == ["unchanged: 16 things"]

    @flow(name="extract-region")
    def failing():
        raise ValueError("the asset is gone")

    failing.with_options(flow_run_name="of somebody else")(return_state=True)
    with tags("pixel-quarry"):
        state = failing.with_options(flow_run_name="region 30m")(return_state=True)
    end = time.monotonic() + PATIENCE_S
    while not posted.found and time.monotonic() < end:
        time.sleep(0.2)
    (expected,) = posted.found
    assert expected["subject"] == "Pixel Quarry: region 30m is Failed"
    assert expected["body"].startswith(
        "extract-region/region 30m is Failed: Flow run encountered an exception: ValueError"
    )
    assert "the asset is gone" in expected["body"]
    assert f"/runs/flow-run/{state.state_details.flow_run_id}\n" in expected["body"]

"""The flow, the command and the checks of the Prefect server: each fault is found by the check that is named for it."""

import json
import re
import types

import prefect
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.settings import PREFECT_API_URL, temporary_settings
from rich.console import Console

from flows.command_line import run
from flows.doctor import all_checks, examination, examine
from flows.doctor_parameters import DoctorParameters
from tasks.doctor import prefect_server as checks
from tasks.doctor.check import Finding, examined
from tasks.doctor.output import Trial
from tasks.doctor.privacy import Privacy
from tasks.doctor.report import Examination, UnfitError, in_markdown, print_table, unfit
from tasks.earthengine.connection import HIGH_VOLUME, Connection
from tasks.errors.input import BadInputError
from tasks.extraction.account import Account
from tests.given import parameters_of

BARE = {"lease storage", "work pool", "block types", "deployments"}
"""What a server without `provision`, and with leases in memory, is warned of."""
UNSEEN = {"other endpoint", "Retry-After"}
PROJECT = "doctor-project"


@pytest.fixture
def parameters(sandbox_url, tmp_path):
    return parameters_of(DoctorParameters, project=PROJECT, endpoint=sandbox_url, output=str(tmp_path / "out"))


@pytest.fixture(scope="module")
def passed(sandbox_url, tmp_path_factory, prefect_server):
    """The state of a run that passed, and its output."""
    folder = tmp_path_factory.mktemp("doctor")
    given = parameters_of(DoctorParameters, project=PROJECT, endpoint=sandbox_url, output=str(folder / "out"))
    return types.SimpleNamespace(state=examine(**given.given(), return_state=True), folder=folder)


def test_the_flow_passes_and_shows_its_table(passed):
    state = passed.state
    found = state.result()
    named = {each.check: each for each in found.findings}
    wrong = {name for name, each in named.items() if each.state not in {"ok", "not tried"}}
    assert wrong <= BARE | {"automation", "quota limit"}
    assert "lease storage" in wrong
    assert found.can_run
    assert re.fullmatch(r"\d+\.\d s", named["dead time"].found)
    with get_client(sync_client=True) as client:
        asked = {"artifacts": {"flow_run_id": {"any_": [str(state.state_details.flow_run_id)]}}}
        (artifact,) = client.request("POST", "/artifacts/filter", json=asked).json()
    assert artifact["key"] == "doctor"
    assert artifact["data"] == in_markdown(found)


def test_a_run_fails_where_a_job_could_not_run(parameters, prefect_server, tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "dead_time", lambda _: None)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UnfitError, match=r"A job cannot run: .*\nOutput, output: ") as raised:
        examine(**parameters.given())
    assert str(tmp_path) not in str(raised.value)
    assert raised.value.examination.counts["fail"] == 1


def test_json_and_table_name_nobody(passed):
    found = passed.state.result()
    shown = found.model_dump_json() + in_markdown(found) + printed(found)
    assert not re.search(rf"{PROJECT}|{re.escape(str(passed.folder))}|/root|/home/", shown)
    assert Examination.model_validate_json(found.model_dump_json(exclude={"can_run", "counts"})) == found
    assert json.loads(found.model_dump_json())["counts"]["fail"] == 0


def printed(found):
    console = Console(width=120, record=True, quiet=False, file=types.SimpleNamespace(write=len, flush=bool))
    print_table(found, console)
    return console.export_text()


def an_examination(*states):
    findings = [
        Finding(
            area="Area",
            check=f"check {state}",
            state=state,
            expected="*e*",
            found="a|b",
            remedy="Do it." * (state != "ok"),
        )
        for state in states
    ]
    facts = {
        "version": "0",
        "date": "2026-01-01T00:00Z",
        "seconds": 1,
        "requests": 2,
        "pixel_requests": 1,
        "repeated": 0,
        "bytes": 3,
    }
    return Examination(**facts, answer_seconds=None, findings=tuple(findings))


@pytest.mark.parametrize(
    ("states", "can_run"), [(("ok", "warn", "not tried"), True), (("ok", "fail"), False), ((), True)]
)
def test_a_job_can_run_if_no_check_failed(states, can_run):
    found = an_examination(*states)
    assert found.can_run == can_run
    text = printed(found)
    assert f"A job can{'' if can_run else 'not'} run" in text
    for state in states:
        assert f"check {state}" in text
        assert f"check {state}" in in_markdown(found)
    assert ("Do it." in text) == bool({"warn", "fail"} & set(states))
    assert ("check fail" in str(unfit(found))) == ("fail" in states)


def test_what_was_found_is_no_markup_of_the_table():
    assert "a\\|b" in in_markdown(an_examination("fail"))


def test_each_check_has_a_name_of_its_own_and_needs_only_earlier_ones():
    seen = set()
    for check in all_checks(list, list, Trial(tuple), "", HIGH_VOLUME):
        assert check.name not in seen
        assert set(check.needs) <= seen, check.name
        assert check.expected
        seen.add(check.name)
    assert len(seen) > 80


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def words(sandbox_url, tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "dead_time", lambda _: None)
    return ["doctor", "--project", PROJECT, "--endpoint", sandbox_url, "--output", str(tmp_path / "out")]


def test_the_command_prints_a_table(words, prefect_server, capsys):
    run(words)
    shown = capsys.readouterr().out
    assert "A job can run" in shown
    assert "nodata of float32" in shown


def test_the_command_prints_json(words, prefect_server, capsys):
    run([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["can_run"] is True
    assert {"area", "check", "state", "expected", "found", "remedy"} == set(found["findings"][0])


def test_the_command_leaves_with_1_where_no_server_answers(words, capsys):
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), pytest.raises(SystemExit) as left:
        run([*words, "--json"])
    assert left.value.code == 1
    found = json.loads(capsys.readouterr().out)
    (failed,) = [each for each in found["findings"] if each["state"] == "fail"]
    assert failed["check"] == "server"
    assert "prefect server start" in failed["remedy"]


@pytest.mark.parametrize(
    "wrong", [["--project=X"], ["--output="], ["--endpoint=https://user:pw@host"], ["--no-such=1"]]
)
def test_bad_input_leaves_with_2(wrong, words, prefect_server):
    with pytest.raises(SystemExit) as left:
        run([*words, *wrong])
    assert left.value.code == 2


def test_without_a_project_nothing_is_examined(monkeypatch, tmp_path):
    monkeypatch.delenv("EARTHENGINE_PROJECT", raising=False)
    with pytest.raises(BadInputError, match="EARTHENGINE_PROJECT"):
        examination(parameters_of(DoctorParameters, output=str(tmp_path)))


# The Prefect server --------------------------------------------------------------------------------------------------


def examined_server(project="my-project", trouble=""):
    account = Account(connection=Connection(project=project))
    found = examined(checks.prefect_server(lambda: account, trouble), Privacy())
    return {each.check: each for each in found}


def test_a_saved_connection_that_is_not_there(prefect_server, tmp_path):
    given = parameters_of(DoctorParameters, connection="earth-engine-connection/none", output=str(tmp_path))
    named = {each.check: each for each in examination(given).findings}
    assert named["connection"].state == "fail"
    assert "deployments.provision" in named["connection"].remedy
    assert named["write"].state == "ok"
    assert named["token"].state == named["masks are exact"].state == "not tried"


def test_the_server_is_away():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        findings = examined_server()
    assert findings["server"].state == "fail"
    assert "prefect server start" in findings["server"].remedy
    assert {each.state for name, each in findings.items() if name != "server"} == {"not tried"}


@pytest.fixture
def limit(prefect_server):
    """The limit of a project of its own, which a test may set."""
    project = "limited-project"
    name = f"tag:earthengine:{project}"
    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=40, active=True))
        yield lambda **values: change(client, name, values)
        client.delete_global_concurrency_limit_by_name(name)


def change(client, name, values):
    client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(**values))
    account = Account(connection=Connection(project="limited-project"))
    return checks.limit(client, account)


@pytest.mark.parametrize(
    ("values", "state", "remedy"),
    [
        ({"limit": 40}, "ok", "^$"),
        ({"limit": 30}, "ok", "^$"),
        ({"active": False}, "fail", "--enable"),
        ({"limit": 0}, "fail", "--limit 40"),
        ({"slot_decay_per_second": 1.0}, "fail", "Delete it"),
        ({"limit": 100}, "warn", "Lower it"),
        ({"active_slots": 3}, "warn", "--active-slots 0"),
    ],
    ids=["the quota", "less", "off", "zero", "decay", "too high", "slots of the dead"],
)
def test_the_limit_of_the_quota(values, state, remedy, limit):
    found = limit(**values)
    assert found.state == state, found
    assert re.search(remedy, found.remedy)


def answering(**answers):
    """A client of a server that answers so."""

    def answer(value):
        def answered(*_, **__):
            if isinstance(value, Exception):
                raise value
            return value

        return answered

    return types.SimpleNamespace(**{name: answer(value) for name, value in answers.items()})


def settings(storage):
    content = {"server": {"concurrency": {"lease_storage": f"prefect.server.concurrency.lease_storage.{storage}"}}}
    return types.SimpleNamespace(json=lambda: content)


NOT_FOUND = prefect.exceptions.ObjectNotFound(Exception())
PAUSED, RUNNING = (types.SimpleNamespace(is_paused=paused, type="process") for paused in (True, False))
OFF = types.SimpleNamespace(enabled=False)
ONLINE = types.SimpleNamespace(status="ONLINE")
SERVER_FAULTS = {
    "another version": (checks.version, {"api_version": "3.0.0"}, "Use Prefect"),
    "leases in memory": (checks.lease_storage, {"request": settings("memory")}, "LEASE_STORAGE"),
    "no pool": (checks.pool, {"read_work_pool": NOT_FOUND}, "provision"),
    "a paused pool": (checks.pool, {"read_work_pool": PAUSED}, "resume"),
    "no worker": (checks.pool, {"read_work_pool": RUNNING, "read_workers_for_work_pool": []}, "worker start"),
    "no block type": (checks.block_types, {"read_block_type_by_slug": NOT_FOUND}, "provision"),
    "no deployments": (checks.deployments, {"read_deployments": []}, "provision"),
    "no automation": (checks.automation, {"read_automations_by_name": []}, "provision"),
    "an automation that is off": (checks.automation, {"read_automations_by_name": [OFF]}, "Switch it on"),
}


@pytest.mark.parametrize("name", SERVER_FAULTS)
def test_a_fault_of_the_server_is_a_warning_with_a_remedy(name):
    check, answers, remedy = SERVER_FAULTS[name]
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        found = check(answering(**answers))
    assert found.state == "warn"
    assert re.search(remedy, found.remedy)


def test_a_server_that_is_set_up_passes():
    client = answering(
        api_version=prefect.__version__,
        request=settings("filesystem"),
        read_work_pool=RUNNING,
        read_workers_for_work_pool=[ONLINE],
        read_block_type_by_slug=None,
        read_deployments=[types.SimpleNamespace(name="region")],
        read_automations_by_name=[types.SimpleNamespace(enabled=True)],
    )
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        found = [check(client) for check, _, _ in SERVER_FAULTS.values()]
    assert {each.state for each in found} == {"ok"}


def test_tasks_that_wait_for_each_other(monkeypatch):
    monkeypatch.setattr(checks, "dead_time", lambda _: 25.0)
    found = checks.tagged(None)
    assert (found.state, "PostgreSQL" in found.remedy) == ("warn", True)

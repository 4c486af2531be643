"""The README can't rot: its Python runs, its commands run, what it lists is what there is."""

import doctest
import importlib
import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

import deployments
import flows
import tasks
from deployments.provision.__main__ import main as provision
from deployments.provision.declaration import Schedule
from flows.command_line import run
from flows.parameters import (
    AuditParameters,
    ExtractionParameters,
    PatchesParameters,
    RegionParameters,
    TimeseriesParameters,
)
from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import EarthEngineError, Stopped
from tasks.earthengine.recipes import BUILT_IN, find
from tasks.extraction.account import Account
from tasks.extraction.retry_policy import RetryPolicy
from tasks.extraction.stop_policy import StopPolicy
from tasks.prefect_io.quota_limit import tag_of
from tasks.storage.store import StorageError
from tests.bench.cases import CASES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
FIRST = re.search(r"^python -m flows region.*$", README, re.MULTILINE)[0]
COMMANDS = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()]


@pytest.fixture
def reader(tmp_path, monkeypatch, sandbox_url):
    """Somebody who reads along: in an empty folder, with the sandbox where the README has it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARTHENGINE_PROJECT", "my-project")
    monkeypatch.setenv("EARTHENGINE_ENDPOINT", sandbox_url)
    return tmp_path


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray with affine 3
@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "python"])
def test_python_runs(block, reader, sandbox_url, prefect_server):
    namespace: dict[str, object] = {}
    exec(compile(block.replace("http://127.0.0.1:9080", sandbox_url), "README.md", "exec"), namespace)
    assert namespace["result"].stored >= 1
    assert namespace["result"].failed == 0


def check_command(command, told, log):
    """What it leaves on standard output, on standard error, and in the folder where it was run."""
    assert '"failed": 0' in json.dumps(json.loads(told))  # nothing else is there
    assert not re.search(r"[\x1b\r]|\d% ", log)  # a bar is for a terminal
    assert any(Path("output", "tiles").rglob("*.tif")) != ("--plan-only" in command)


@pytest.fixture(scope="module")
def first(prefect_server, sandbox_url, tmp_path_factory):
    """The folder of somebody who has run the first command, in a shell."""
    folder = tmp_path_factory.mktemp("reader")
    environment = os.environ | {"PREFECT_API_URL": get_current_settings().api.url}
    environment |= {"EARTHENGINE_PROJECT": "my-project", "EARTHENGINE_ENDPOINT": sandbox_url}
    words = [sys.executable, *shlex.split(FIRST)[1:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=folder, told=done.stdout, log=done.stderr)


def test_the_first_command_runs_in_a_shell(first, monkeypatch):
    monkeypatch.chdir(first.folder)
    check_command(FIRST, first.told, first.log)


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("python -m flows") and line != FIRST])
def test_commands_run(command, reader, prefect_server, request, capsys):
    """In this process: that a shell runs them as well is seen by the first of them."""
    if "flows audit" in command:  # it needs something to look at
        shutil.copytree(request.getfixturevalue("first").folder, reader, dirs_exist_ok=True)
    capsys.readouterr()
    run(shlex.split(command)[3:])
    said = capsys.readouterr()
    check_command(command, said.out, said.err)


def test_every_command_is_one_that_is_tested_or_known():
    known = (
        "make ",
        "export EARTHENGINE_",
        "python -m flows ",
        "python -m deployments.sandbox --port",
        "prefect global-concurrency-limit ",
        "prefect server start",
        "prefect config set PREFECT_API_URL=",
        "prefect worker start --pool pixel-quarry",
        "python -m deployments.provision ",
    )
    assert [command for command in COMMANDS if not command.startswith(known)] == []


def test_the_quota_is_set_and_freed_by_these_commands(prefect_server):
    project = "project-of-its-own"  # runs of this session have made the limit of the other
    commands = re.findall(r"prefect (global-concurrency-limit [^\n`]+)", README)
    environment = os.environ | {"PREFECT_API_URL": get_current_settings().api.url}
    with get_client(sync_client=True) as client:
        seen = []
        for command in commands:
            if "--active-slots" in command:  # what a server that lost its leases leaves behind
                client.increment_concurrency_slots([f"tag:{tag_of(project)}"], 7, "concurrency")
            words = [sys.executable, "-m", "prefect", *shlex.split(command.replace("my-project", project))]
            done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr
            limit = client.read_global_concurrency_limit_by_name(f"tag:{tag_of(project)}")
            seen.append((limit.limit, limit.active, limit.active_slots, limit.slot_decay_per_second))
    assert seen == [(40, True, 0, 0.0), (30, True, 0, 0.0), (30, True, 0, 0.0)]


def test_the_table_of_errors_says_what_the_code_does():
    table = README.split("## When something fails")[1].split("\n\n")[1]
    rows = re.findall(r"^\| ([`\w, ]+) \| [^|]+ \| ([a-z ]+)", table, re.MULTILINE)
    told = {name: action.strip() for names, action in rows for name in re.findall(r"`(\w+)`", names)}
    kinds = [
        kind for kind in kinds_of(EarthEngineError) if kind is not Stopped and kind.__module__.startswith("tasks.")
    ]
    assert told == {kind.__name__: kind.action for kind in kinds}
    stop, retry = StopPolicy(), RetryPolicy()
    assert f"{stop.at_first} tiles in a row failed by one class of error" in table
    assert f"or {stop.in_a_row} in a row by `Transient` or `Throttled`" in table
    assert f"{retry.attempts} tries within about a minute" in table
    assert f"waits that double up to {retry.longest_wait_s:.0f} s" in table
    bounds = [min(retry.first_wait_s * 2**n, retry.longest_wait_s) for n in range(retry.attempts - 1)]
    assert sum(bounds) == pytest.approx(60, rel=0.1)


def test_the_table_of_the_output_s_errors_says_what_the_code_does():
    table = README.split("| error of the output |")[1].split("\n\n")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (yes|no) \|", table, re.MULTILINE))
    assert told == {kind.__name__: "yes" if kind.passing else "no" for kind in kinds_of(StorageError)}


def kinds_of(kind):
    """All classes below one."""
    ours = [child for child in kind.__subclasses__() if child.__module__.startswith("tasks.")]
    return [each for child in ours for each in (child, *kinds_of(child))]


def test_the_parameters_of_the_quota_have_these_defaults():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", README.split("## The quota")[1].split("\n## ")[0], re.MULTILINE)
    assert len(rows) == 4
    account = Account(connection=Connection(project="my-project"))
    told = {"requests_in_flight": account.pace.in_flight, "requests_per_second": account.pace.per_second}
    assert all(
        told.get(name, ExtractionParameters.model_fields[name].default) == float(default) for name, default in rows
    )


def test_every_option_of_provision_that_is_named_exists(capsys):
    options = {option for line in COMMANDS if "provision" in line for option in re.findall(r" --([a-z-]+)", line)}
    assert {"check", "notify", "output", "project"} <= options
    with pytest.raises(SystemExit):
        provision(["--help"])
    known = capsys.readouterr().out
    assert all(f"--{option} " in known or f"[--{option}]" in known for option in options)


def test_the_schedules_that_are_shown_are_those_that_prefect_takes():
    (shown,) = [block for language, block in BLOCKS if language == "yaml"]
    given = [Schedule(**schedule) for schedule in yaml.safe_load(shown)["schedules"]]
    assert [schedule.create().slug for schedule in given] == ["daily", "six-hourly"]


def test_every_picture_is_there():
    pictures = re.findall(r"^!\[[^]]+\]\(([^)]+)\)$", README, re.MULTILINE)
    assert len(pictures) >= 3
    for picture in pictures:
        with Image.open(ROOT / picture) as opened:
            assert opened.width >= 1000


def test_every_case_of_the_bench_that_is_named_exists():
    assert set(re.findall(r"CASE=(\w+)", README)) <= set(CASES)


def test_every_make_target_exists():
    targets = set(re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)) <= targets
    assert {"demo", "test", "check"} <= targets


def test_every_recipe_is_listed_with_its_parameters():
    table = README.split("### Recipes")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*) \|$", table, re.MULTILINE))
    assert set(rows) == set(BUILT_IN)
    for name, parameters in rows.items():
        assert re.findall(r"`(\w+)`", parameters) == list(find(name).parameters.model_fields)


def test_every_option_that_is_named_exists():
    fields = set(ExtractionParameters.model_fields) | {"asset", "recipe", "parameters"}
    for model in (RegionParameters, TimeseriesParameters, PatchesParameters, AuditParameters):
        fields |= set(model.model_fields)
    for option in re.findall(r" --(?:image\.)?([a-z-]+)", "\n".join(c for c in COMMANDS if "-m flows " in c)):
        assert option.replace("-", "_") in fields


def test_no_path_of_a_machine_and_no_index_is_named_in_the_lock():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert lock.count("--hash=sha256:") > 300


def modules():
    for package in (flows, tasks, deployments):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield found.name


@pytest.mark.parametrize("name", list(modules()))
def test_examples_in_docstrings_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0

"""The README can't rot: its Python runs, its commands run, what it lists is what there is."""

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

import deployments
import flows
import tasks
from flows.parameters import Extraction, PatchesParameters, RegionParameters, TimeseriesParameters
from tasks.earthengine.recipes import BUILT_IN, find

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()]


@pytest.fixture
def reader(tmp_path, monkeypatch, sandbox_url):
    """Somebody who reads along: in an empty folder, with the sandbox where the README has it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARTHENGINE_PROJECT", "my-project")
    monkeypatch.setenv("EARTHENGINE_ENDPOINT", sandbox_url)
    return tmp_path


@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "python"])
def test_python_runs(block, reader, sandbox_url, prefect_server):
    namespace: dict[str, object] = {}
    exec(compile(block.replace("http://127.0.0.1:9080", sandbox_url), "README.md", "exec"), namespace)
    assert namespace["result"].stored >= 1
    assert namespace["result"].failed == 0


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("python -m flows")])
def test_commands_run(command, reader, prefect_server):
    words = [sys.executable, *shlex.split(command)[1:]]
    environment = os.environ | {"PREFECT_API_URL": get_current_settings().api.url}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '"failed": 0' in done.stdout
    assert any((reader / "output" / "tiles").rglob("*.tif"))


def test_every_command_is_one_that_is_tested_or_known():
    known = ("make ", "export EARTHENGINE_", "python -m flows.", "python -m deployments.sandbox --port")
    assert [command for command in COMMANDS if not command.startswith(known)] == []


def test_every_make_target_exists():
    targets = set(re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make (\w+)", README)) <= targets
    assert {"demo", "test", "check"} <= targets


def test_every_recipe_is_listed_with_its_parameters():
    table = README.split("### Recipes")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*) \|$", table, re.MULTILINE))
    assert set(rows) == set(BUILT_IN)
    for name, parameters in rows.items():
        assert re.findall(r"`(\w+)`", parameters) == list(find(name).parameters.model_fields)


def test_every_option_that_is_named_exists():
    fields = set(Extraction.model_fields) | {"asset", "recipe", "parameters"}
    for model in (RegionParameters, TimeseriesParameters, PatchesParameters):
        fields |= set(model.model_fields)
    for option in re.findall(r" --(?:image\.)?([a-z-]+)", "\n".join(c for c in COMMANDS if "flows." in c)):
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

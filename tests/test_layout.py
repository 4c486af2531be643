"""The tree is as `tasks/README.md` describes it: Prefect tasks on top, no module longer than 300 lines."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from prefect import Task

from tasks.prefect_io.task import CoreTask

ROOT = Path(__file__).parents[1]
LONGEST = 300
MODULES = [path for folder in ("flows", "tasks") for path in (ROOT / folder).rglob("*.py")]
TASKS = sorted(path.stem for path in (ROOT / "tasks").glob("*.py") if path.stem != "__init__")
PACKAGES = {path.parent.name for path in (ROOT / "tasks").glob("*/__init__.py")}


def test_there_are_modules():
    assert len(MODULES) > 100
    assert {"fetch", "mosaic", "manifest"} <= set(TASKS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_long(path):
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("name", TASKS)
def test_directly_in_tasks_lie_prefect_tasks_and_nothing_else(name):
    module = importlib.import_module(f"tasks.{name}")
    own = {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }
    assert own
    assert all(isinstance(value, CoreTask | Task) for value in own.values()), sorted(own)
    assert not any(inspect.isclass(value) for value in own.values())


def test_no_task_has_the_name_of_a_package():
    assert not PACKAGES & set(TASKS)


def test_the_layers_are_those_of_the_readme():
    """From the top down, as the import contracts have them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["tasks"]]
    assert set(layers[0].split(" | ")) == set(TASKS)
    names = [name for layer in layers[1:] for name in layer.split(" | ")]
    assert set(names) == PACKAGES
    rows = re.findall(r"^\| \[?`tasks/(\w+)/`", (ROOT / "tasks/README.md").read_text(), re.MULTILINE)
    assert rows == names

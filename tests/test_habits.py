"""What people and services expect of a repository: files that GitHub accepts, one version, one set of checks."""

import re
import shlex
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from datetime import date
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tasks.earthengine.connection import USER_AGENT

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
SCHEMAS = {
    "CITATION.cff": "vendor.citation-file-format",
    "dependabot.yml": "vendor.dependabot",
    "ISSUE_TEMPLATE/bug.yml": "vendor.github-issue-forms",
    "ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "ISSUE_TEMPLATE/feature.yml": "vendor.github-issue-forms",
    "workflows/ci.yml": "vendor.github-workflows",
}
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRIBUTING = (GITHUB / "CONTRIBUTING.md").read_text()
CITATION = yaml.safe_load((GITHUB / "CITATION.cff").read_text())
WORKFLOW = yaml.safe_load((GITHUB / "workflows/ci.yml").read_text())
RELEASES = re.findall(r"^## (\d\S*) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def check(schema, path):
    """Check a file with a schema that check-jsonschema brings: nothing is downloaded."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, "--default-filetype", "yaml"]
    return subprocess.run([*command, str(path)], capture_output=True, text=True, check=False, timeout=60)


def recipe(target):
    """Return the commands of a target of the Makefile, as a shell at the top of the checkout gets them."""
    lines = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1].splitlines()
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in lines]


@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items())
def test_github_accepts_its_files(name, schema):
    done = check(schema, GITHUB / name)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("schema", sorted(set(SCHEMAS.values())))
def test_a_file_with_an_unknown_field_is_refused(schema, tmp_path):
    (tmp_path / "file.yml").write_text("unknown: 1\n")
    assert check(schema, tmp_path / "file.yml").returncode == 1


def test_every_form_and_setting_has_a_schema():
    found = {
        path.relative_to(GITHUB).as_posix() for path in GITHUB.rglob("*") if path.suffix in {".yml", ".yaml", ".cff"}
    }
    assert found == set(SCHEMAS)


def test_the_workflow_runs_what_a_developer_runs_with_no_more_rights_than_it_needs():
    (job,) = WORKFLOW["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in job
    assert job["timeout-minutes"] <= 45
    (python,) = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert PROJECT["project"]["requires-python"] == f">={python}"


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_a_form_warns_of_secrets(name):
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    notes = [part["attributes"]["value"] for part in form["body"] if part["type"] == "markdown"]
    assert "No secret belongs here" in notes[0]


def test_a_bug_is_reported_with_what_is_needed_to_repeat_it():
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE/bug.yml").read_text())
    required = {part["id"] for part in form["body"] if part.get("validations", {}).get("required")}
    assert required == {"flow", "service", "command", "message", "expected", "versions"}


def test_the_guide_for_contributors_is_short():
    assert len(CONTRIBUTING.splitlines()) <= 70


def test_every_make_target_that_it_names_exists():
    targets = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", CONTRIBUTING, re.MULTILINE))
    assert {"setup", "check", "test", "test-ui", "bench", "chaos", "lock"} <= named <= targets


def test_every_file_that_it_names_as_code_exists():
    named = re.findall(r"`([\w./-]*/[\w./-]*)`|-m pytest (\S+)`", CONTRIBUTING)
    assert len(named) > 5
    assert [name for pair in named for name in pair if name and not (ROOT / name).exists()] == []


def test_pre_commit_runs_the_commands_of_make_check():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == recipe("check")
    for hook in repository["hooks"]:
        assert (hook["language"], hook["pass_filenames"], hook["always_run"]) == ("system", False, True)
        assert shlex.split(hook["entry"])[0].startswith(".venv/bin/")


def test_editors_break_lines_where_ruff_does():
    config = ConfigParser()
    config.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    assert config["*"]["max_line_length"] == str(PROJECT["tool"]["ruff"]["line-length"])
    assert (config["*"]["indent_style"], config["*"]["indent_size"], config["*"]["end_of_line"]) == ("space", "4", "lf")
    assert config["Makefile"]["indent_style"] == "tab"


def test_there_is_one_version():
    version = PROJECT["project"]["version"]
    assert version == RELEASES[0][0] == CITATION["version"]
    assert f"pixel-quarry/{version.rpartition('.')[0]}" == USER_AGENT


def test_every_release_has_a_date_and_newer_ones_come_first():
    dates = [date.fromisoformat(day) for _, day in RELEASES]
    assert dates == sorted(dates, reverse=True)
    assert CITATION["date-released"] == dates[0]
    versions = [tuple(map(int, version.split("."))) for version, _ in RELEASES]
    assert versions == sorted(set(versions), reverse=True)


def test_the_changelog_has_a_place_for_the_next_release():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings == ["Unreleased", *(f"{version} - {day}" for version, day in RELEASES)]


def test_the_lock_keeps_to_the_bounds_of_the_project():
    lock = dict(
        re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    project = PROJECT["project"]
    asked = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    needs = [Requirement(line) for line in asked]
    assert [
        str(need) for need in needs if not need.specifier.contains(lock.get(need.name.lower().replace("_", "-"), "0"))
    ] == []

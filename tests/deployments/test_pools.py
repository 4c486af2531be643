"""Work pools hold job variables that their workers know, and leave to a run only what it needs of its machine.

There is no Docker, Kubernetes or Cloud Run here: what can be held against Prefect's own schema and server is.
"""

import json
import re
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import PrefectHTTPStatusError

from deployments.pools.__main__ import main
from deployments.pools.template import Pool, standard
from flows.region import extract_region
from tasks.prefect_io.heartbeat import HEARTBEAT_S

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deployments" / "pools").glob("*.yaml"))
# What decides which code runs, with which rights, and what it can read.
CLOSED = {"args", "command", "credentials", "env", "image", "privileged", "service_account_name", "volumes"}

FREQUENCY = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"

each = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def load(file):
    return Pool.model_validate(yaml.safe_load(file.read_text()))


def printed(file, capsys):
    assert main([str(file)]) == 0
    return json.loads(capsys.readouterr().out)


def test_heartbeats_come_as_often_as_those_of_runs_that_we_start():
    """A run of a deployment begins in a process of Prefect's, where nothing of ours can say it."""
    for file in FILES:
        assert load(file).fixed["env"][FREQUENCY] == str(HEARTBEAT_S)
    template = json.loads((ROOT / "deployments" / "pools" / "process.json").read_text())
    heartbeat = template["variables"]["properties"]["environment"]
    assert heartbeat["default"] == {FREQUENCY: str(HEARTBEAT_S)}
    assert heartbeat["properties"][FREQUENCY]["enum"] == [str(HEARTBEAT_S)]


def test_there_is_one_for_each_kind_of_machine():
    assert [load(file).type for file in FILES] == ["cloud-run-v2", "docker", "kubernetes"]


@each
def test_its_worker_knows_every_variable_and_takes_its_value(file):
    pool = load(file)
    schema = standard(pool.type)["variables"]
    for name, value in (pool.fixed | pool.defaults).items():
        jsonschema.validate(value, {"definitions": schema["definitions"]} | schema["properties"][name])


@each
def test_every_value_is_where_the_worker_looks_for_it(file, capsys):
    pool = load(file)
    template = printed(file, capsys)
    text = json.dumps(template["job_configuration"])
    for name, value in pool.fixed.items():
        assert json.dumps(value) in text, name
    assert set(re.findall(r"{{ (\w+) }}", text)) == pool.defaults.keys() == template["variables"]["properties"].keys()
    assert {name: it["default"] for name, it in template["variables"]["properties"].items()} == pool.defaults


@each
def test_nothing_about_earth_engine_and_no_secret_is_in_it(file):
    pool = load(file)
    assert pool.fixed["env"].keys() == {"PREFECT_API_URL", FREQUENCY}
    assert not re.search(r"(?i)api_key|secret|password|token", json.dumps(pool.model_dump()))


@each
def test_its_comments_name_commands_that_are_there(file):
    text = file.read_text()
    commands = [shlex.split(line) for line in re.findall(r"^#   (.+)$", text, re.MULTILINE)]
    (made,) = [words for words in commands if words[:3] == ["python", "-m", "deployments.pools"]]
    assert ROOT / made[3] == file
    (created,) = [words for words in commands if words[:3] == ["prefect", "work-pool", "create"]]
    assert created[4:] == ["--type", load(file).type, "--base-job-template", made[5]]
    (started,) = [words for words in commands if words[:3] == ["prefect", "worker", "start"]]
    assert started[3:] == ["--pool", created[3], "--type", load(file).type]


@each
def test_a_run_changes_its_resources_and_nothing_else(file, capsys, prefect_server):
    """On a real server: it refuses what the schema does not name, also `env`, which a worker would add to its own."""
    template = printed(file, capsys)
    changeable = template["variables"]["properties"]
    assert not CLOSED & changeable.keys()
    with get_client(sync_client=True) as client:
        pool = client.create_work_pool(WorkPoolCreate(name=file.stem, type=load(file).type, base_job_template=template))
        flow_id = client.create_flow(extract_region)
        name = f"on-{file.stem}"
        deployment = client.create_deployment(flow_id, name, work_pool_name=pool.name, enforce_parameter_schema=False)
        try:
            for variable, it in changeable.items():
                value = "1Gi" if "memory" in variable else it["default"]
                client.create_flow_run_from_deployment(deployment, job_variables={variable: value})
            for variable in ("command", "image", "env", "env.PYTHONPATH", "volumes"):
                value = {"PYTHONPATH": "elsewhere"} if variable == "env" else "elsewhere"
                with pytest.raises(PrefectHTTPStatusError, match="422"):
                    client.create_flow_run_from_deployment(deployment, job_variables={variable: value})
        finally:
            client.delete_deployment(deployment)
            client.delete_work_pool(pool.name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pool: pool["defaults"].update(memory_limit="4g"), "'memory_limit' was unexpected"),
        (lambda pool: pool["defaults"].update(mem_limit=4), "'mem_limit'. Failure reason: 4 is not of type 'string'"),
        (lambda pool: pool["defaults"].update(image="other"), "image: both in fixed and in defaults"),
        (lambda pool: pool.update(type="dokcer"), "type = 'dokcer': not a type of work pool. Use one of: "),
        (lambda pool: pool.pop("fixed"), "fixed Field required"),
        (lambda pool: pool.update(variables={}), "variables Extra inputs are not permitted"),
    ],
)
def test_a_mistake_is_named(change, words, tmp_path, capsys):
    pool = yaml.safe_load((ROOT / "deployments" / "pools" / "docker.yaml").read_text())
    change(pool)
    file = tmp_path / "pool.yaml"
    file.write_text(yaml.safe_dump(pool))
    assert main([str(file)]) == 2
    assert words in capsys.readouterr().err


DOCKERFILE = (ROOT / "deployments" / "Dockerfile").read_text()
STEPS = [
    (step.split(maxsplit=1)[0], step.split(maxsplit=1)[1])
    for step in re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    if step
]


def steps(word):
    return [rest for name, rest in STEPS if name == word]


def tracked():
    return subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()


def test_the_image_is_made_of_files_that_are_here_and_in_the_build_context():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    files = tracked()
    sources = {word for copy in steps("COPY") for word in copy.split()[:-1] if not word.startswith("--")}
    assert {f"!{source}" for source in sources} == {line for line in ignored if line.startswith("!")}
    assert ignored.index("*") < min(ignored.index(f"!{source}") for source in sources)
    for source in sources:
        assert source in files or any(file.startswith(source) for file in files if source.endswith("/"))
    assert {"flows/", "tasks/", "deployments/", "requirements.lock"} <= sources


def test_the_image_installs_what_is_locked_and_checks_its_hashes():
    installs = [run for run in steps("RUN") if "pip install" in run]
    assert [("--require-hashes" in run, "requirements.lock" in run, "--no-deps" in run) for run in installs] == [
        (True, True, True),
        (False, False, True),
    ]
    assert all("--no-cache-dir" in run for run in installs)


def test_the_image_runs_a_worker_as_nobody_special():
    (user,) = steps("USER")
    assert user not in {"root", "0"}
    assert [name for name, _ in STEPS].index("USER") < [name for name, _ in STEPS].index("CMD")
    (command,) = steps("CMD")
    assert json.loads(command) == ["prefect", "worker", "start", "--pool", "pixel-quarry", "--type", "process"]
    # Docker and Kubernetes workers replace CMD alone, by `prefect flow-run execute`.
    assert json.loads(steps("ENTRYPOINT")[0]) == ["tini", "-g", "--"]


def test_the_image_holds_no_secret_and_no_account():
    assert not re.search(r"(?i)key|secret|password|token|credential", " ".join(steps("ENV") + steps("ARG")))
    assert "EARTHENGINE_" not in DOCKERFILE
    assert (ROOT / ".dockerignore").read_text().startswith(("*", "#"))


def test_the_image_s_python_is_the_lock_s():
    (version,) = re.findall(r"--python-version (\S+)", (ROOT / "Makefile").read_text())
    assert steps("FROM") == [f"python:{version}-slim"]

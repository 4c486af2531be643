"""The READMEs stay true: their Python and commands run, their tables match the code, their links resolve."""

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
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
import yaml
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from pydantic import BaseModel

import deployments
import flows
import tasks
from deployments.pools.__main__ import main as print_pool
from deployments.provision.__main__ import main as provision
from deployments.provision.declaration import DECLARATION, Schedule
from deployments.provision.declaration import read as read_declaration
from deployments.provision.deployment import Deployment
from deployments.sandbox.__main__ import _parser as sandbox_parser
from deployments.sandbox.derived import COLLECTIONS
from deployments.sandbox.knobs import Knobs
from deployments.sandbox.process import running
from deployments.sandbox.scenes import SAMPLES, open_catalogue
from flows.advanced import AdvancedExtraction
from flows.command_line import BAD_INPUT, FAILED, INTERRUPTED, run
from flows.parameters import (
    AuditParameters,
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
PACKAGES = ("flows", "tasks", "deployments", "tests")
READMES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", *sorted(each for name in PACKAGES for each in (ROOT / name).rglob("README.md")))
}
GUIDES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in sorted((ROOT / "flows" / "guides").glob("*.md"))
    if path.name != "README.md"
}
PAGES = READMES | GUIDES
ALL = "\n".join(PAGES.values())
FENCE = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
PROSE = {name: FENCE.sub("", text) for name, text in PAGES.items()}
BLOCKS = {name: FENCE.findall(text) for name, text in READMES.items()}
FIRST = re.search(r"^python -m flows region.*$", READMES["README.md"], re.MULTILINE)[0]
# A command that several pages show is one command.
COMMANDS = list(
    dict.fromkeys(
        line
        for blocks in BLOCKS.values()
        for language, block in blocks
        if language == "bash"
        for line in block.splitlines()
    )
)


def section(readme, title):
    """Return the text below a heading, up to the next heading of its level or above."""
    marks, rest = re.search(rf"^(#+) {re.escape(title)}\n(.*)", PROSE[readme], re.MULTILINE | re.DOTALL).groups()
    return re.split(rf"^#{{1,{len(marks)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def commands_of(start):
    """Return the commands that begin with these words."""
    return [line for line in COMMANDS if line.startswith(start)]


@pytest.fixture
def reader(tmp_path, monkeypatch, sandbox_url):
    """An empty folder as the working directory, and an environment that points to the sandbox."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARTHENGINE_PROJECT", "my-project")
    monkeypatch.setenv("EARTHENGINE_ENDPOINT", sandbox_url)
    return tmp_path


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray with affine 3
@pytest.mark.parametrize(
    ("readme", "block"),
    [(name, block) for name, blocks in BLOCKS.items() for language, block in blocks if language == "python"],
)
def test_python_runs(readme, block, reader, sandbox_url, prefect_server):
    namespace: dict[str, object] = {}
    exec(compile(block.replace("http://127.0.0.1:9080", sandbox_url), readme, "exec"), namespace)
    assert namespace["result"].stored >= 1
    assert namespace["result"].failed == 0


def check_command(command, shown, log):
    """What it leaves on standard output, on standard error, and in the folder where it was run."""
    assert '"failed": 0' in json.dumps(json.loads(shown))  # nothing else is there
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
    return SimpleNamespace(folder=folder, shown=done.stdout, log=done.stderr)


def test_the_first_command_runs_in_a_shell(first, monkeypatch):
    monkeypatch.chdir(first.folder)
    check_command(FIRST, first.shown, first.log)


@pytest.mark.parametrize("command", [line for line in commands_of("python -m flows") if line != FIRST])
def test_commands_run(command, reader, prefect_server, request, capsys):
    """In this process: that a shell runs them as well is seen by the first of them."""
    if "flows audit" in command:  # it needs something to look at
        shutil.copytree(request.getfixturevalue("first").folder, reader, dirs_exist_ok=True)
    capsys.readouterr()
    run(shlex.split(command)[3:])
    said = capsys.readouterr()
    if "flows doctor" in command:
        assert "A job can run" in said.out
    else:
        check_command(command, said.out, said.err)


def test_every_command_is_one_that_is_tested_or_known():
    known = (
        "make ",
        "export EARTHENGINE_",
        "export PREFECT_SERVER_",  # test_writes_in_turn.py
        "python -m flows ",
        "pixel-quarry profile ",  # test_profile.py
        "python -m deployments.sandbox --port",
        "python -m deployments.sandbox.interpreter",
        "python -m deployments.pools ",
        "curl -X PATCH http://127.0.0.1:9080/sandbox/knobs -d ",
        "prefect global-concurrency-limit ",
        "prefect server start",
        "prefect config set PREFECT_API_URL=",
        "prefect worker start --pool pixel-quarry",
        "python -m deployments.provision ",
        "source .venv/bin/activate",
        "mkdir -p ~/pixels && cd ~/pixels",
        "unset EARTHENGINE_ENDPOINT",
    )
    assert [command for command in COMMANDS if not command.startswith(known)] == []


REAL = "## For the real service"


def steps(text):
    """Yield the blocks of a guide in their order: Python, and each command of a shell with its here-document."""
    for language, block in FENCE.findall(text):
        if language == "python":
            yield block
        elif language == "bash":
            yield from re.findall(r"^(?:cat > .*?^END|[^\n]+)$", block, re.MULTILINE | re.DOTALL)


def deployments_of(*files):
    """Return the deployments that files declare, by their paths on a server."""
    entries = [entry for file in files for entry in read_declaration(file, {"PIXEL_QUARRY_OUTPUT": "output"})]
    return {each.path: each for each in map(Deployment.load, entries)}


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_runs_from_an_empty_folder(*, guide, reader, sandbox_url, prefect_server, monkeypatch, capsys):
    """What follows "For the real service" is not run: the next test looks at it."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    before, _, rest = GUIDES[guide].partition(REAL)
    assert "\n## " in rest
    failed = []
    with running() if "/sandbox/knobs" in before else nullcontext(sandbox_url) as url:
        monkeypatch.setenv("EARTHENGINE_ENDPOINT", url)
        for step in steps(before):
            words = [] if "\n" in step else shlex.split(step)
            if words[:3] == ["python", "-m", "flows"]:
                run(words[3:])
                failed.append(json.loads(capsys.readouterr().out)["failed"])
            elif words[:1] == ["curl"]:
                assert words[1:4] == ["-X", "PATCH", "http://127.0.0.1:9080/sandbox/knobs"]
                assert requests.patch(f"{url}/sandbox/knobs", data=words[-1], timeout=30).ok
            elif words[:3] == ["python", "-m", "deployments.provision"]:
                deployments_of(Path(words[-1]))
            elif words[:3] == ["prefect", "deployment", "run"]:
                found = deployments_of(*Path().glob("*.yaml"), DECLARATION)
                entry = found[words[3]].entry
                given = dict(word.split("=", maxsplit=1) for word in words if "=" in word)
                Deployment.load(entry.model_copy(update={"parameters": entry.parameters | given}))
            elif step.startswith("cat > ") or words[:1] == ["python"]:
                subprocess.run(["bash", "-c", step], check=True, timeout=60)
            elif words[:1] != ["export"]:
                namespace: dict[str, object] = {}
                exec(compile(step, guide, "exec"), namespace)
                assert namespace["result"].stored >= 1
                failed.append(namespace["result"].failed)
    assert failed
    assert set(failed) == {0}


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_goes_to_the_real_service_in_three_lines(guide):
    """The third is a command that was tried on the sandbox, as a plan or with another output."""
    before, _, rest = GUIDES[guide].partition(REAL)
    unset, project, command = next(block for language, block in FENCE.findall(rest)).splitlines()
    assert (unset, project) == ("unset EARTHENGINE_ENDPOINT", "export EARTHENGINE_PROJECT=my-project")
    plain = re.compile(r" --(plan-only|output \S+)$")
    assert plain.sub("", command) in {plain.sub("", step) for step in steps(before)}


def test_the_quota_is_set_and_freed_by_these_commands(prefect_server):
    project = "project-of-its-own"  # runs of this session have made the limit of the other
    commands = re.findall(r"prefect (global-concurrency-limit [^\n`]+)", ALL)
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
    table = section("tasks/earthengine/README.md", "Errors")
    rows = re.findall(r"^\| ([`\w, ]+) \| [^|]+ \| ([a-z ]+)", table, re.MULTILINE)
    shown = {name: action.strip() for names, action in rows for name in re.findall(r"`(\w+)`", names)}
    kinds = [
        kind for kind in kinds_of(EarthEngineError) if kind is not Stopped and kind.__module__.startswith("tasks.")
    ]
    assert shown == {kind.__name__: kind.action for kind in kinds}
    stop, retry = StopPolicy(), RetryPolicy()
    assert f"{stop.at_first} tiles in a row fail with one class of error before any tile is fetched" in table
    assert f"or {stop.in_a_row} in a row with `Transient` or `Throttled`" in table
    assert f"up to {retry.attempts} attempts within about a minute" in table
    assert f"The waits double up to {retry.longest_wait_s:.0f} s" in table
    assert f"`Retry-After` is respected, up to {retry.longest_asked_s / 60:.0f} minutes" in table
    bounds = [min(retry.first_wait_s * 2**n, retry.longest_wait_s) for n in range(retry.attempts - 1)]
    assert sum(bounds) == pytest.approx(60, rel=0.1)


def test_the_table_of_the_output_s_errors_says_what_the_code_does():
    table = section("tasks/storage/README.md", "Errors of the output")
    shown = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (yes|no) \|", table, re.MULTILINE))
    assert shown == {kind.__name__: "yes" if kind.passing else "no" for kind in kinds_of(StorageError)}


def kinds_of(kind):
    """All classes below one."""
    ours = [child for child in kind.__subclasses__() if child.__module__.startswith("tasks.")]
    return [each for child in ours for each in (child, *kinds_of(child))]


def test_the_parameters_of_the_quota_have_these_defaults():
    text = section("tasks/earthengine/README.md", "The quota")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE)
    assert len(rows) == 4
    account = Account(connection=Connection(project="my-project"))
    shown = {"requests_in_flight": account.pace.in_flight, "requests_per_second": account.pace.per_second}
    assert all(
        shown.get(name, AdvancedExtraction.model_fields[name].default) == float(default) for name, default in rows
    )


def test_every_option_of_provision_that_is_named_exists(capsys):
    lines = [*(line for line in COMMANDS if "provision" in line), *re.findall(r"`provision [^`]+`", ALL)]
    options = {option for line in lines for option in re.findall(r" --([a-z-]+)", line)}
    options |= set(re.findall(r"`--([a-z-]+)`", section("deployments/README.md", "What provision does")))
    assert {"check", "notify", "output", "project", "results", "lower-limit", "credentials-file"} <= options
    with pytest.raises(SystemExit):
        provision(["--help"])
    known = capsys.readouterr().out
    assert all(f"--{option} " in known or f"[--{option}]" in known for option in options - {"help"})


def test_the_schedules_that_are_shown_are_those_that_prefect_takes():
    (shown,) = [block for blocks in BLOCKS.values() for language, block in blocks if language == "yaml"]
    given = [Schedule(**schedule) for schedule in yaml.safe_load(shown)["schedules"]]
    assert [schedule.create().slug for schedule in given] == ["daily", "six-hourly"]


def test_every_picture_is_there():
    pictures = {
        name: re.findall(r"^!\[[^]]+\]\(([^)]+)\)$", text, re.MULTILINE) for name, text in PROSE.items() if "![" in text
    }
    assert len(pictures["README.md"]) == 1
    assert sum(map(len, pictures.values())) >= 3
    assert sum(map(len, pictures.values())) == ALL.count("![")
    for name, picture in [(name, picture) for name, found in pictures.items() for picture in found]:
        with Image.open((ROOT / name).parent / picture) as opened:
            assert opened.width >= (500 if name in GUIDES else 1000)  # a guide shows what a run makes


def test_every_case_of_the_bench_that_is_named_exists():
    named = set(re.findall(r"CASE=(\w+)", ALL))
    assert named
    assert named <= set(CASES)


def test_every_make_target_exists():
    targets = set(re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", ALL, re.MULTILINE)) <= targets
    assert {"demo", "test", "check"} <= targets


def test_every_recipe_is_listed_with_its_parameters():
    table = section("flows/README.md", "Recipes")
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*) \|$", table, re.MULTILINE))
    assert set(rows) == set(BUILT_IN)
    for name, parameters in rows.items():
        assert re.findall(r"`(\w+)`", parameters) == list(find(name).parameters.model_fields)


def every_field():
    """The parameters of all flows, those of `advanced` beside the others."""
    fields = {}
    for model in (AuditParameters, PatchesParameters, TimeseriesParameters, RegionParameters):
        fields |= type(model.model_fields["advanced"].default).model_fields
        fields |= model.model_fields
    return fields


def test_every_option_that_is_named_exists():
    named = re.findall(r" --([a-z-]+)", "\n".join(c for c in COMMANDS if "-m flows " in c))
    assert {name.replace("-", "_") for name in named} <= {*every_field(), "json"}


def test_every_parameter_is_listed_with_its_default():
    text = section("flows/README.md", "Parameters")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    assert len(rows) == len(dict(rows))
    assert dict(rows) == {name: written(field) for name, field in every_field().items()}


def written(field):
    """Return the default of a field as the table has it."""
    value = field.get_default(call_default_factory=False)
    if field.is_required():
        return "required"
    if value in ("", []) or isinstance(value, dict | BaseModel):
        return "empty"
    if value is None or isinstance(value, bool):
        return {None: "empty", True: "yes", False: "no"}[value]
    if isinstance(value, tuple):
        return f"`{','.join(f'{number:g}' for number in value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def test_the_exit_codes_are_those_of_the_command_line():
    codes = re.findall(r"^- (\d+): (.*)", section("flows/README.md", "Command line"), re.MULTILINE)
    assert [int(code) for code, _ in codes] == [0, FAILED, BAD_INPUT, INTERRUPTED]
    assert codes[2] == ("2", "bad input.")
    assert codes[3] == ("130", "interrupted by Ctrl-C.")


def test_every_knob_of_the_sandbox_is_listed_with_its_default():
    table = section("deployments/sandbox/README.md", "Knobs")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \| [^|]+ \|$", table, re.MULTILINE))
    assert rows == {name: set_to(value) for name, value in vars(Knobs()).items()}


def set_to(value):
    """Return the default of a knob as the table has it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "off" if value is None or (isinstance(value, float) and not value) else f"{value}"


def test_the_sandbox_takes_its_commands(tmp_path):
    for command in commands_of("python -m deployments.sandbox --port"):
        words = shlex.split(command)[3:]
        given = sandbox_parser().parse_args(words)
        assert given.port == 9080
    patches = [shlex.split(command) for command in commands_of("curl ")]
    assert len(patches) >= 3
    with running(until="2020-03-01") as url:
        for *_, place, option, body in patches:
            assert option == "-d"
            answer = requests.patch(place.replace("http://127.0.0.1:9080", url), data=body, timeout=30)
            assert answer.status_code == 200, answer.text
            assert answer.json().items() >= json.loads(body).items()


def test_the_sandbox_serves_what_its_page_lists():
    catalogue = open_catalogue()
    real, simulated = (
        set(re.findall(r"^\| `([\w/]+)` \|", section("deployments/sandbox/README.md", title), re.MULTILINE))
        for title in ("What is real", "What is simulated")
    )
    assert real == {f"projects/sandbox/assets/{file.stem}" for file in SAMPLES.glob("*.tif")}
    assert simulated == set(COLLECTIONS)
    assert all(catalogue.get(name).properties["simulated"] == 1 for name in simulated)


def test_the_functions_of_the_sandbox_are_printed():
    words = [sys.executable, "-m", *shlex.split("".join(commands_of("python -m deployments.sandbox.interpreter")))[2:]]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, timeout=120)
    assert "Image.normalizedDifference(" in done.stdout


def test_the_pool_that_is_shown_is_printed(monkeypatch, capsys):
    (command,) = commands_of("python -m deployments.pools ")
    words, _, file = command.partition(" > ")
    assert file == "pool.json"
    monkeypatch.chdir(ROOT)
    assert print_pool(shlex.split(words)[3:]) == 0
    assert {"job_configuration", "variables"} == set(json.loads(capsys.readouterr().out))


def test_every_module_and_file_that_is_named_exists():
    spans = set(re.findall(r"`([^`\s]+)`", "".join(PROSE.values())))
    names = {name for name in spans if re.fullmatch(r"(flows|tasks)(\.\w+)+", name)}
    assert {"tasks.errors.QuarryError", "flows.audit.audit_output"} <= names
    for name in names:
        pkgutil.resolve_name(name)
    files = {name for name in spans if re.fullmatch(r"(flows|tasks|deployments|tests)/[\w./-]*", name)}
    assert "deployments/prefect.yaml" in files
    assert [file for file in files if not (ROOT / file).exists()] == []


def slugs(text):
    """Return the anchors of the headings of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("readme", PAGES)
def test_every_link_resolves(readme):
    for link in re.findall(r"\[[^]]*\]\(([^)\s]+)\)", PROSE[readme]):
        if "://" in link:
            assert link.startswith("https://")
            continue
        path, _, anchor = link.partition("#")
        file = ((ROOT / readme).parent / path).resolve() if path else ROOT / readme
        assert file.is_relative_to(ROOT), link
        assert file.exists(), link
        if anchor:
            assert slugs(file.read_text()).count(anchor) == 1, link


def test_every_page_is_reached_from_the_first():
    reached, ahead = set(), ["README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", PROSE.get(page, ""))
        places = {((ROOT / page).parent / link).resolve().relative_to(ROOT).as_posix() for link in links}
        ahead += places - reached
    assert reached >= set(PAGES)


@pytest.mark.parametrize("readme", PAGES)
def test_a_page_is_laid_out_for_readers(readme):
    text, prose = PAGES[readme], PROSE[readme]
    assert "```" not in prose  # each block has a language, and an end
    lines = [re.sub(r"\]\([^)]*\)", "]", line) for line in prose.splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > 120] == []
    assert len(re.findall(r"^# ", prose, re.MULTILINE)) == 1
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|opt)/", text)  # no path of a machine
    if readme in GUIDES:
        assert len(text.splitlines()) <= 120
    if readme == "README.md":
        assert 120 <= len(text.splitlines()) <= 170


def test_each_term_of_the_glossary_is_defined_once():
    terms = re.findall(r"^\| \*\*([a-z, ]+)\*\* \| ", ALL, re.MULTILINE)
    assert terms == [
        "plan",
        "tile",
        "fingerprint",
        "batch",
        "receipt",
        "output",
        "store",
        "product",
        "quota",
        "slot, lease",
    ]
    assert re.findall(r"^\| \*\*([a-z, ]+)\*\* \| ", section("README.md", "Glossary"), re.MULTILINE) == terms


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

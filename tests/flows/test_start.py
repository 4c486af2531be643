"""The start of a run: what is not needed is not imported, what is refused starts nothing, and no setting is changed.

They look at the modules that a process has imported, and not at a clock.
"""

import gc
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest
from prefect.settings import get_current_settings, temporary_settings

from flows import failures
from flows.parameters import AuditParameters
from flows.region import RegionResult
from flows.start import ready
from tasks.prefect_io.heartbeat import HEARTBEAT_S, heartbeats
from tests.given import parameters_of

SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
REGION = ["region", "--image", SCENE, "--scale=30", "--region=-54.60,-25.30,-54.55,-25.26"]
# What takes longest to import, and nobody needs who only reads or refuses parameters.
HEAVY = {"prefect", "ee", "rasterio", "geopandas", "pandas", "matplotlib", "google.cloud", "numpy", "shapely", "pyproj"}


def alone(**more):
    """An environment in which no Prefect server is configured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | more


def started(*words, env=None):
    """A process of `python -m flows`, and the names of all modules that it has imported."""
    command = [sys.executable, "-X", "importtime", "-m", "flows", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env or alone(), timeout=170)
    lines = [re.fullmatch(r"import time:[ \d|]+\|\s*(\S+)", line) for line in done.stderr.splitlines()]
    told = [line for line, found in zip(done.stderr.splitlines(), lines, strict=True) if not found]
    return done, "\n".join(told), {found[1] for found in lines if found}


def modules_after(code):
    """The modules that are there after some code."""
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True, env=alone()).stdout.split())


@pytest.mark.parametrize("name", ["region", "timeseries", "patches", "audit"])
def test_help_imports_neither_prefect_nor_the_client_nor_gdal(name):
    done, _, modules = started(name, "--help")
    assert (done.returncode, "Usage" in done.stdout) == (0, True)
    assert not HEAVY & modules


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([*REGION, "--scale", "x"], "scale = "),
        (["region", "--image", SCENE, "--scale=-1"], "scale = -1: -1 is less than the minimum"),
        ([*REGION, "--tile-size=5"], "tile_size = "),
        ([*REGION, "--output=ftp://elsewhere"], "output = 'ftp://elsewhere': nothing can be written to ftp://"),
        ([*REGION, "--output=gs://-"], "output = 'gs://-': a bucket has a name of 3 to 222 lower-case letters"),
        ([*REGION, "--colour=red"], "Unknown option"),
        (REGION, "project = None: Earth Engine needs a Google Cloud project."),
        ([*REGION, "--project=my-project", "--endpoint=http://elsewhere.example"], "endpoint = "),
    ],
)
def test_a_value_is_refused_before_any_of_that_is_imported(words, told):
    environment = {name: value for name, value in alone().items() if not name.startswith("EARTHENGINE_")}
    done, said, modules = started(*words, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in said
    assert not HEAVY & modules


@pytest.mark.parametrize(
    "name", ["parameters", "run_options", "validation", "form_schema", "command_options", "command_line", "adhoc"]
)
def test_parameters_and_what_reads_them_import_none_of_it(name):
    assert not HEAVY & modules_after(f"import flows.{name}")


def test_a_run_imports_no_more_than_it_needs(prefect_server, sandbox_url, tmp_path):
    """Vector files, Cloud Storage, saved connections and Prefect's own server are for those who use them."""
    server = alone(PREFECT_API_URL=get_current_settings().api.url, PREFECT_HOME=str(tmp_path / "home"))
    words = [*REGION, "--project=my-project", f"--endpoint={sandbox_url}", f"--output={tmp_path / 'out'}"]
    done, said, modules = started(*words, "--plan-only", env=server)
    assert done.returncode == 0, said
    unneeded = {"prefect_gcp", "google.cloud", "google.cloud.storage", "prefect.server.api.server", "pyogrio"}
    unneeded |= {"tasks.storage.cloud", "tasks.prefect_io.connection_block", "matplotlib.pyplot"}
    assert not (unneeded | {"pandas", "geopandas", "pyarrow"}) & modules
    done, said, modules = started(*words, env=server)
    assert done.returncode == 0, said
    assert RegionResult.model_validate_json(done.stdout).stored == 1
    assert not unneeded & modules


# Settings ------------------------------------------------------------------------------------------------------------


def test_to_import_flows_changes_no_setting_and_no_environment():
    code = """
import os
before = dict(os.environ)
import flows
assert "prefect" not in sys.modules
from prefect.settings import get_current_settings
settings = get_current_settings().model_dump_json()
import flows.adhoc, flows.audit, flows.command_line, flows.temporary_server, flows.patches, flows.region
import flows.start, flows.timeseries, tasks.prefect_io.heartbeat
assert get_current_settings().model_dump_json() == settings
assert {name for name, value in os.environ.items() if before.get(name) != value} == set()
"""
    assert "flows.region" in modules_after(code)


def test_a_run_that_we_start_tells_that_it_is_alive_more_often_unless_its_user_has_said_how_often(
    prefect_server, tmp_path
):
    def frequency():
        return get_current_settings().flows.heartbeat_frequency

    before = frequency()
    with ready("flows.audit", "audit_output", parameters_of(AuditParameters, output=str(tmp_path))) as flow:
        assert (flow.name, frequency()) == ("audit-output", HEARTBEAT_S)
    assert frequency() == before
    with temporary_settings({"flows.heartbeat_frequency": 60}), heartbeats():
        assert frequency() == 60


# Garbage -------------------------------------------------------------------------------------------------------------


def test_in_a_process_of_others_python_s_search_for_garbage_is_left_as_it_is(monkeypatch):
    count = failures.fails_with_one_message(lambda _: gc.get_freeze_count())
    before = gc.get_freeze_count()
    assert count(SimpleNamespace(run_retries=0)) == before
    monkeypatch.setattr(failures, "of_deployment", lambda: True)
    assert count(SimpleNamespace(run_retries=0)) > before
    assert gc.get_freeze_count() == 0


# The temporary server ------------------------------------------------------------------------------------------------

# It stands for Prefect's: it answers once it was asked three times, and writes down which signals do not reach it.
SERVER = """
import http.server, os, pathlib, signal, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
assert sys.argv[1:3] == ["-m", "uvicorn"] and "prefect.server.api.server:create_app" in sys.argv
assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "False"
folder = pathlib.Path(__file__).parent
(folder / str(os.getpid())).write_text(str(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])))
asked = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        self.send_response(200 if len(asked) > 2 else 503)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
USER = """
import http.client, os, pathlib, sys
from flows.temporary_server import temporary_server
folder = pathlib.Path(sys.argv[1])
real, sys.executable = sys.executable, str(folder / "python")
def running():
    alive = [pid for pid in (path.name for path in folder.glob("[0-9]*")) if pathlib.Path(f"/proc/{pid}").exists()]
    return len(alive)
def attempt(program, error=None):
    (folder / "python").write_text(f"#!/bin/sh\\n{program}\\n")
    (folder / "python").chmod(0o755)
    with temporary_server() as starting:
        if error:
            raise error
    return starting
serving = f'exec "{real}" "{folder / "server.py"}" "$@"'
for program, error, told in (
    ("exit 1", None, "ended with status 1"),
    (serving, KeyError("refused"), "refused"),
    (f'if [ ! -e "{folder / "once"}" ]; then : > "{folder / "once"}"; exit 3; fi; {serving}', None, None),
):
    try:
        assert attempt(program, error) is True
    except (RuntimeError, KeyError) as failure:
        assert told in str(failure), failure
        assert running() == 0
assert running() == 1
assert attempt("exit 1") is False  # it runs: no other is started
from prefect.server.api.server import SubprocessASGIServer
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    assert client.api_url == f"{SubprocessASGIServer().api_url}/", client.api_url
SubprocessASGIServer().server_process.kill()
SubprocessASGIServer().server_process.wait()
assert attempt(serving) is True  # it was killed: another takes its place
assert running() == 1
"""


def test_a_temporary_server_starts_beside_what_a_run_needs_and_is_left_by_none_that_fails(tmp_path):
    (tmp_path / "server.py").write_text(SERVER)
    environment = alone(PREFECT_HOME=str(tmp_path / "home"), PREFECT_SERVER_EPHEMERAL_ENABLED="true")
    command = [sys.executable, "-c", USER, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Starting temporary server on http://127.0.0.1:") == 4
    masks = [path.read_text() for path in tmp_path.glob("[0-9]*")]
    assert set(masks) == {"True"}
    for path in tmp_path.glob("[0-9]*"):  # with the process its server has ended
        with suppress(ProcessLookupError):
            os.kill(int(path.name), 0)
            pytest.fail(f"server {path.name} is left")


def test_where_nobody_can_sign_in_no_server_is_waited_for_and_none_is_left(tmp_path):
    key = tmp_path / "key.json"
    key.write_text("{}")
    words = [*REGION, "--project=my-project", f"--credentials-file={key}", f"--output={tmp_path / 'out'}"]
    environment = alone(PREFECT_HOME=str(tmp_path / "home"))
    command = [sys.executable, "-m", "flows", *words]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        told = run.stderr.read()
    assert run.returncode == 2
    assert told.splitlines()[-1].startswith(f"credentials_file = '{key}': no usable credentials")
    assert "Beginning flow run" not in told
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)

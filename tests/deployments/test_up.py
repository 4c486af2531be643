"""`make up` starts three services or none, and `make down` stops these and nothing else, whatever became of them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from deployments.sandbox.process import running
from deployments.up.__main__ import main, start
from deployments.up.mark import Mark, end, leader, marked
from deployments.up.service import Place, Service, UpError, launch, log_of, until_ready
from tests.bench.server import free_port

ROOT = Path(__file__).parents[2]
SLEEP = (sys.executable, "-c", "import time; time.sleep(100)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(100)",
)
DIES = (sys.executable, "-c", "print('the reason'); raise SystemExit(3)")


def get(url):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=10)


def bash(script, mark):
    """A shell with a mark, in a session of its own; what it starts inherits the mark."""
    environment = os.environ | mark.environment
    return subprocess.Popen(["bash", "-c", script], env=environment, stdout=subprocess.PIPE, start_new_session=True)


@contextlib.contextmanager
def sleeping(environment=None, command=SLEEP):
    with subprocess.Popen(command, env=os.environ | (environment or {}), stdout=subprocess.PIPE) as process:
        if command is DEAF:
            process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_only_what_has_the_mark_is_ended(tmp_path):
    ours, theirs = Mark("worker", (1, 2), tmp_path), Mark("worker", (1, 2), tmp_path / "other")
    another = Mark("server", (1, 2), tmp_path)
    with (
        sleeping(ours.environment) as process,
        sleeping() as plain,
        sleeping(theirs.environment) as other,
        sleeping(another.environment) as server,
    ):
        assert end(tmp_path, "worker") == 1
        assert process.wait(10) == -signal.SIGTERM
        assert [it.poll() for it in (plain, other, server)] == [None] * 3
        assert end(tmp_path, "worker") == 0


def test_what_a_killed_parent_left_behind_is_ended(tmp_path):
    mark = Mark("worker", (1, 2), tmp_path)
    with bash("setsid sleep 100 & echo $!; wait", mark) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        while child.name() != "sleep":  # while a process becomes another program, nobody can read its environment
            time.sleep(0.01)
        parent.kill()
    assert child.is_running()
    assert end(tmp_path, "worker") == 1
    assert marked(tmp_path) == []
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_children_end_before_their_parent(tmp_path):
    script = (
        "trap 'kill -9 $!; echo parent' TERM; (trap 'echo child; exit' TERM; echo; while :; do sleep .05; done) & wait"
    )
    with bash(script, Mark("worker", (1, 2), tmp_path)) as parent:
        parent.stdout.readline()
        end(tmp_path, "worker")
        assert parent.stdout.read().split()[:1] == [b"child"]


def test_what_does_not_listen_is_killed(tmp_path):
    with sleeping(Mark("worker", (1, 2), tmp_path).environment, DEAF) as process:
        assert end(tmp_path, "worker", patience=0.2) == 1
        assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("name", ["PORT", "SANDBOX_PORT"])
def test_a_port_that_is_taken_is_refused_before_anything_starts(name, tmp_path, capsys):
    with running() as url:
        taken = url.rpartition(":")[2]
        ports = {"PORT": str(free_port()), "SANDBOX_PORT": str(free_port())} | {name: taken}
        arguments = ["--port", ports["PORT"], "--sandbox-port", ports["SANDBOX_PORT"], "--folder", str(tmp_path / "up")]
        assert main(["start", *arguments]) == 1
        message = capsys.readouterr().err
        assert f" {name}={taken} cannot be used" in f" {message}"
        assert f"`make up {name}=" in message
        assert not (tmp_path / "up").exists()
        assert marked(tmp_path / "up") == []
        assert main(["stop", "--folder", str(tmp_path / "up")]) == 0
        assert get(f"{url}/sandbox/statistics").ok


def test_one_folder_has_one_set_of_ports(tmp_path, capsys):
    with sleeping(Mark("server", (1111, 2222), tmp_path).environment):
        assert main(["start", "--port", str(free_port()), "--folder", str(tmp_path)]) == 1
    assert "The services are up already, with PORT=1111 SANDBOX_PORT=2222" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_port_is_a_number_of_sixteen_bits(port, capsys):
    with pytest.raises(SystemExit):
        main(["start", f"--port={port}"])
    assert "from 1 to 65535" in capsys.readouterr().err


@dataclass(frozen=True)
class Broken(Place):
    """A server that lives and a sandbox that does not."""

    def services(self):
        names = {"server": SLEEP, "sandbox": DIES, "worker": SLEEP}
        return tuple(
            Service(name, words, dict(os.environ), lambda _, name=name: name == "server", "")
            for name, words in names.items()
        )


def test_a_failed_start_stops_what_was_started_and_says_why(tmp_path):
    with pytest.raises(UpError, match=r"(?s)The sandbox ended by itself.*sandbox\.log:\n  the reason"):
        start(Broken(tmp_path, free_port(), free_port()), tmp_path / "output")
    assert marked(tmp_path) == []


def test_a_service_that_is_never_ready_is_given_up(tmp_path):
    place = Place(tmp_path, 1, 2)
    service = Service("server", DEAF, dict(os.environ), lambda _: False, "")
    with launch(service, place):
        with pytest.raises(UpError, match=r"The server is not ready after 0 s"):
            list(until_ready(service, place, patience=0.1))
        assert leader(tmp_path, "server", SLEEP) is None
        end(tmp_path, "server", patience=0.2)
    assert log_of(service, place).exists()


def test_nothing_of_the_user_s_account_reaches_a_service(tmp_path, monkeypatch):
    for name in (
        "EARTHENGINE_PROJECT",
        "EARTHENGINE_ENDPOINT",
        "PREFECT_API_KEY",
        "PREFECT_API_URL",
        "PREFECT_PROFILE",
    ):
        monkeypatch.setenv(name, "of the user")
    for service in Place(tmp_path, 1, 2).services():
        assert "of the user" not in service.environment.values()
        assert service.environment["PREFECT_HOME"] == str(tmp_path / "prefect")


def test_make_takes_its_ports_from_its_arguments_alone():
    environment = os.environ | {"PORT": "8080"}
    for arguments, ports in (([], "4200 9080"), (["PORT=4300", "SANDBOX_PORT=9180"], "4300 9180")):
        told = subprocess.check_output(["make", "-n", "up", *arguments], cwd=ROOT, env=environment, text=True)
        port, sandbox = ports.split()
        assert f"-m deployments.up start --port {port} --sandbox-port {sandbox}\n" in told


def command(action, folder, port, sandbox_port):
    words = [sys.executable, "-m", "deployments.up", action, "--folder", folder, "--output", folder / "output"]
    words += ["--port", str(port), "--sandbox-port", str(sandbox_port)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.ui
@pytest.mark.timeout(500)
def test_all_of_it_comes_up_and_goes_down(tmp_path):
    """Also after a `kill -9`; a sandbox of somebody else lives on."""
    port, sandbox_port = free_port(), free_port()
    url, sandbox = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sandbox_port}"
    with running() as other:
        try:
            done = command("start", tmp_path, port, sandbox_port)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Started: server, sandbox, worker." in done.stdout
            assert f"Prefect UI  {url}\n" in done.stdout

            assert "<html" in get(f"{url}/").text
            assert get(f"{url}/ui-settings").json()["api_url"] == f"{url}/api"
            assert get(f"{url}/api/health").json() is True
            assert get(f"{sandbox}/sandbox/statistics").ok
            (worker,) = requests.post(f"{url}/api/work_pools/pixel-quarry/workers/filter", json={}, timeout=10).json()
            assert worker["status"] == "ONLINE"
            assert requests.post(f"{url}/api/deployments/count", json={}, timeout=10).json() >= 5

            again = command("start", tmp_path, port, sandbox_port)
            assert again.returncode == 0, again.stdout + again.stderr
            assert "All services were up already." in again.stdout
            assert "created" not in again.stdout

            before = marked(tmp_path)
            assert {mark.service for _, mark in before} == {"server", "sandbox", "worker"}
            for process, mark in before:
                if mark.service == "worker":
                    process.kill()
        finally:
            down = command("stop", tmp_path, port, sandbox_port)
        assert down.returncode == 0, down.stdout + down.stderr
        assert marked(tmp_path) == []
        assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process, _ in before)
        for address in (url, sandbox):
            with pytest.raises(requests.ConnectionError):
                get(address)
        assert get(f"{other}/sandbox/statistics").ok
    assert command("stop", tmp_path, port, sandbox_port).stdout == "No service is up.\n"
    assert (tmp_path / "prefect" / "prefect.db").exists()

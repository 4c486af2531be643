"""The temporary Prefect server, for a process without a configured server. It starts while a run is prepared.

The server must outlast a run that Ctrl-C interrupts. A terminal sends SIGINT to all processes of a command, and Jupyter
sends it to all processes of a kernel. Without its server, an interrupted run would try to report its end for more than
a minute, and each later run of the process would fail.

Prefect would start the same server later (`SubprocessASGIServer`, the source of the command below). The import of this
class takes two seconds. Here the server starts first, and gets ready during the import. All imports happen in one
thread, because two threads that import Prefect at once find half-imported modules.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Seconds to wait for the server. The first start with a new PREFECT_HOME migrates its database, which takes about 50 s
# on two cores. Prefect itself waits for 20 s.
START_S = 120
# Seconds between two checks whether it answers.
LOOK_S = 0.05
# Exit status of uvicorn if its port is taken.
PORT_TAKEN = 3
REMEDY = "Run again, or start a server with `prefect server start` and set PREFECT_API_URL."


@contextlib.contextmanager
def temporary_server() -> Iterator[bool]:
    """Start Prefect's temporary server during the `with` block, unless it runs already or a server is configured.

    The end of the block waits until the server answers. The server then runs until the process ends. If the block
    raises an error, the server is stopped.

    Yields:
        Whether a server is starting. It cannot be used before the block ends.

    Raises:
        RuntimeError: The server did not start. A second attempt is possible.
    """
    if _is_there():
        yield False
        return
    start = _Start()
    try:
        yield True
        start.finish()
    except BaseException:
        start.stop()
        raise


def _is_there() -> bool:
    """Return whether a server is configured, or a temporary one runs. Prefect may have started it."""
    from prefect.client.base import ServerType, determine_server_type

    if determine_server_type() is not ServerType.EPHEMERAL:
        return True
    known = sys.modules.get("prefect.server.api.server")
    if known is None:
        return False
    server = known.SubprocessASGIServer()
    if server.server_process and server.server_process.poll() is not None:  # it was killed
        server.stop()
        return False
    return bool(server.running)


class _Start:
    """A temporary server that is starting."""

    def __init__(self) -> None:
        from prefect.settings import get_current_settings

        own = get_current_settings()
        asked = own.server.ephemeral
        chosen = "startup_timeout_seconds" in asked.model_fields_set
        self._until = time.monotonic() + (asked.startup_timeout_seconds if chosen else START_S)
        settings = own.copy_with_update(set_defaults={"server.analytics_enabled": False})
        self._environment = os.environ | {
            "PREFECT_UI_ENABLED": "0",
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT__SERVER_FINAL": "1",
            **settings.to_environment_variables(exclude_unset=True),
        }
        self._begin()
        import prefect.main  # noqa: F401 - as in every flow: from here on the log is shown
        from prefect.logging import get_logger

        get_logger().info("Starting temporary server on http://127.0.0.1:%d", self._port)

    def _begin(self) -> None:
        import prefect

        self._port = _free_port()
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(Path(prefect.__file__).parents[1])]
        command += ["--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--log-level", "error", "--lifespan", "on"]
        # The server inherits the mask, and uvicorn does not change it, so Ctrl-C does not end the server. SIGTERM does:
        # this process sends it at its own end.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(command, env=self._environment)  # noqa: S603 - this interpreter
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        atexit.register(self.stop)

    def finish(self) -> None:
        """Wait until the server answers, and register it with Prefect as the temporary server of this process.

        Raises:
            RuntimeError: The server ended, or did not answer in time.
        """
        from prefect.server.api.server import SubprocessASGIServer

        while not self._answers():
            status = self._process.poll()
            if status == PORT_TAKEN:
                self.stop()
                self._begin()
            elif status is not None:
                raise RuntimeError(f"Prefect's temporary server ended with status {status}. {REMEDY}")
            elif time.monotonic() > self._until:
                raise RuntimeError(f"Prefect's temporary server did not start in time. {REMEDY}")
            time.sleep(LOOK_S)
        server: Any = SubprocessASGIServer()
        server.port, server.server_process, server.running = self._port, self._process, True
        atexit.unregister(self.stop)
        atexit.register(server.stop)

    def _answers(self) -> bool:
        asked = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        with contextlib.closing(asked), contextlib.suppress(OSError, http.client.HTTPException):
            asked.request("GET", "/api/health")
            return asked.getresponse().status == http.client.OK
        return False

    def stop(self) -> None:
        """Stop the server before anything has used it."""
        atexit.unregister(self.stop)
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])

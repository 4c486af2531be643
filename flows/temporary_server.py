"""The server that Prefect starts by itself where none is configured: it starts while a run is made ready.

It has to outlast the run that Ctrl-C ends. A terminal sends SIGINT to all processes of a command, and Jupyter to all of
a kernel. Without its server an interrupted run would try to tell how it ended for more than a minute, and each later
one of the process would fail.

It is the one that Prefect would start (`SubprocessASGIServer`, from which the command below is taken), begun earlier:
to import what Prefect starts it with takes two seconds, in which the server itself gets ready. All of that happens in
one thread, since two that import Prefect at once meet modules that are half there.
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

# The first start of a new home migrates its database, about 50 s on two cores; Prefect's own patience is 20 s.
START_S = 120
LOOK_S = 0.05
# Status with which uvicorn ends where its port is taken.
PORT_TAKEN = 3


@contextlib.contextmanager
def temporary_server() -> Iterator[bool]:
    """Start Prefect's temporary server beside the block, unless it runs or another is configured.

    Once the block ends, the server answers, and it lasts as long as the process. If the block raises, none is left.

    Yields:
        Whether one is starting: until the block ends, nothing can be asked of it.

    Raises:
        RuntimeError: it did not start. Another attempt may be made.
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
    """Whether a server is configured, or a temporary one runs: of this module, or of Prefect itself."""
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
    """A server that is starting."""

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
        import prefect.main  # noqa: F401 - as every flow does: from then on the log is shown
        from prefect.logging import get_logger

        get_logger().info("Starting temporary server on http://127.0.0.1:%d", self._port)

    def _begin(self) -> None:
        import prefect

        self._port = _free_port()
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(Path(prefect.__file__).parents[1])]
        command += ["--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--log-level", "error", "--lifespan", "on"]
        # What is started inherits the mask, and uvicorn does not touch it. SIGTERM still ends it, as this process does.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(command, env=self._environment)  # noqa: S603 - this interpreter
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        atexit.register(self.stop)

    def finish(self) -> None:
        """Wait until it answers, and let Prefect take it for the one that it has started."""
        from prefect.server.api.server import SubprocessASGIServer

        while not self._answers():
            status = self._process.poll()
            if status == PORT_TAKEN:
                self.stop()
                self._begin()
            elif status is not None:
                raise RuntimeError(f"Prefect's temporary server ended with status {status}.")
            elif time.monotonic() > self._until:
                raise RuntimeError("Prefect's temporary server did not start in time.")
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
        """End it before anybody has used it."""
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

"""The server that Prefect starts by itself where none is configured: it has to outlast the run that Ctrl-C ends."""

from __future__ import annotations

import signal

from prefect.client.base import ServerType, determine_server_type


def start_server() -> None:
    """Start Prefect's temporary server out of reach of Ctrl-C, unless it runs or another is configured.

    A terminal sends SIGINT to all processes of a command, and Jupyter to all of a kernel. Without its server an
    interrupted run would try to tell how it ended for more than a minute, and each later one of the process would fail.
    """
    if determine_server_type() is not ServerType.EPHEMERAL:
        return
    from prefect.server.api.server import SubprocessASGIServer  # a second, which nobody needs who has a server

    server = SubprocessASGIServer()
    if server.server_process and server.server_process.poll() is not None:  # it was killed
        server.stop()
    # What is started inherits the mask, and uvicorn does not touch it. SIGTERM still ends it, as this process does.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        server.start()
    except BaseException:
        server.stop()  # else it would be taken for started
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""``python -m deployments.sandbox``: a local server that stands in for Google Earth Engine."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import uvicorn

from deployments.sandbox.app import Sandbox
from deployments.sandbox.faulty_http import configuration
from deployments.sandbox.knobs import add_arguments, from_arguments
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.scenes import open_catalogue
from deployments.sandbox.watchdog import watch


class _Server(uvicorn.Server):
    """A server that prints its address as soon as it listens."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"Earth Engine sandbox at {self._url}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployments.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9080, help="port; 0 = any free port (default: %(default)s)")
    parser.add_argument(
        "--scenes",
        type=Path,
        help="folder with GeoTIFFs; NAME.tif is served as the asset projects/sandbox/assets/NAME",
    )
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="end when standard input is closed, for example because the parent process has ended",
    )
    add_arguments(
        parser.add_argument_group("knobs", "off by default; PATCH /sandbox/knobs changes them while the sandbox runs")
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted.

    Returns:
        The exit code 0. Arguments that are not valid end the process with 2.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.scenes is not None and not given.scenes.is_dir():
        parser.error(f"--scenes = {given.scenes}: there is no such folder")
    try:
        application = Sandbox(open_catalogue(given.scenes), from_arguments(given)).application()
    except Refusal as refusal:
        parser.error(refusal.message)
    _allow_many_files()
    watch()
    try:
        listener = socket.create_server((given.host, given.port), family=_family(given.host), backlog=2048)
    except OSError as error:
        parser.error(f"cannot listen on {given.host}:{given.port}: {error}")
    _warn_unless_loopback(listener)
    host = f"[{given.host}]" if ":" in given.host else given.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    server = _Server(configuration(application), url)
    if given.until_eof:
        threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run([listener])
    return 0


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _warn_unless_loopback(listener: socket.socket) -> None:
    host, port, *_ = listener.getsockname()
    if not ipaddress.ip_address(host).is_loopback:
        print(
            f"warning: the sandbox listens on {host} port {port}, not only on loopback: "
            "everyone who can reach it can use it, without credentials",
            file=sys.stderr,
            flush=True,
        )


def _end_with_input(server: Any) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True


def _allow_many_files() -> None:
    """Raise the limit of open files: thousands of requests may wait at the same time, each with a socket."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # not on Windows

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())

"""The fake of Cloud Storage on loopback: in this process, or as ``python -m tests.cloud.fake``."""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from deployments.sandbox.faulty_http import configuration
from tests.cloud.process import serving
from tests.cloud.service import Fake

_PATIENCE = 10.0  # seconds for a start


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, fake: Fake, listener: socket.socket, tell: Callable[[], None]) -> None:
        fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        super().__init__(configuration(fake))
        self._tell = tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()


def _listen(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), backlog=2048)


@contextlib.contextmanager
def fake(**knobs: Any) -> Iterator[Fake]:
    """Serve a fake by a thread of this process, at a free port.

    Args:
        **knobs: See :class:`tests.cloud.service.Fake`.
    """
    service, ready = Fake(**knobs), threading.Event()
    with _listen(0) as listener:
        server = _Server(service, listener, ready.set)
        thread = threading.Thread(target=server.run, args=([listener],), name="fake-cloud-storage", daemon=True)
        thread.start()
        try:
            if not ready.wait(_PATIENCE):
                raise RuntimeError("The fake of Cloud Storage did not start.")
            yield service
        finally:
            server.should_exit = True
            thread.join()


def running(*buckets: str) -> contextlib.AbstractContextManager[str]:
    """Run a fake with some buckets as a process of its own; gives its URL."""
    return serving("tests.cloud.fake", "--port=0", "--until-eof", *(f"--bucket={bucket}" for bucket in buckets))


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.cloud.fake", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 = any free one (default: %(default)s)")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does, as with the parent")
    parser.add_argument("--bucket", action="append", default=[], help="one that is there from the beginning")
    given = parser.parse_args(arguments)
    service = Fake()
    for bucket in given.bucket:
        service.create_bucket(bucket)
    listener = _listen(given.port)
    server = _Server(service, listener, lambda: print(service.url, flush=True))  # noqa: T201 - a command prints
    if given.until_eof:
        threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run([listener])
    return 0


def _end_with_input(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())

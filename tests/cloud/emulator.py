"""The package gcp-storage-emulator on loopback. It ignores preconditions, and keeps everything in memory."""

from __future__ import annotations

import contextlib
import logging
import os
import sys

from tests.cloud.process import serving


def emulator() -> contextlib.AbstractContextManager[str]:
    """Run the emulator at a free port; gives its URL.

    It has a process of its own, since what it imports warns, and warnings are errors here.
    """
    return serving("tests.cloud.emulator")


def main() -> None:
    """Serve until standard input ends."""
    from gcp_storage_emulator.server import create_server

    logging.disable(logging.CRITICAL)  # it logs what it answers
    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    url = f"http://127.0.0.1:{server._api._httpd.server_address[1]}"
    print(url, flush=True)  # noqa: T201 - a command prints
    sys.stdin.buffer.read()
    # At once: its own way waits for its only thread, which may wait for a client that says nothing.
    os._exit(0)


if __name__ == "__main__":
    main()

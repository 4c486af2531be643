"""A server that answers a pixel request with what the sandbox answered the first time, straight from a file.

Making a tile of 1024 x 1024 x 6 costs the sandbox some hundred ms of CPU, on the cores that the client is measured on.

``python -m tests.bench.replay URL FOLDER`` prints its port, and ends with its standard input.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

from tests.bench.jobs import ROOT
from tests.bench.server import environment


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    sandbox = ""
    folder = Path()

    def do_GET(self) -> None:
        """Pass on."""
        self._answer(self._forwarded("GET", b""))

    def do_POST(self) -> None:
        """Answer from the file, if there is one."""
        body = self.rfile.read(int(self.headers["content-length"]))
        if "Pixels" not in self.path:
            return self._answer(self._forwarded("POST", body))
        path = self.folder / hashlib.sha256(self.path.encode() + b"\0" + body).hexdigest()
        if not path.exists():
            status, kind, content = self._forwarded("POST", body)
            if status != 200:
                return self._answer((status, kind, content))
            path.write_bytes(content)
        self._head(200, "application/octet-stream", path.stat().st_size)
        self.wfile.flush()
        with path.open("rb") as file:
            self.connection.sendfile(file)
        return None

    def _forwarded(self, method: str, body: bytes) -> tuple[int, str, bytes]:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, self.sandbox + self.path, data=body or None, timeout=120)
            return answer.status_code, answer.headers.get("content-type", ""), answer.content

    def _answer(self, answer: tuple[int, str, bytes]) -> None:
        status, kind, content = answer
        self._head(status, kind, len(content))
        self.wfile.write(content)

    def _head(self, status: int, kind: str, size: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, *_) -> None:
        """Say nothing."""


@contextlib.contextmanager
def replaying(sandbox: str, folder: Path) -> Iterator[str]:
    """Run one as a process for as long as the block; yields its URL."""
    command = [sys.executable, "-m", "tests.bench.replay", sandbox, str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def main() -> None:
    """Serve."""
    Handler.sandbox, Handler.folder = sys.argv[1], Path(sys.argv[2])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()

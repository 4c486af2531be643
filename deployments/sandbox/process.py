"""The sandbox as a process of its own, for tests, demonstrations and rehearsals."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from deployments.sandbox.knobs import to_arguments

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 10.0  # seconds from asking it to end until it is made to


@contextlib.contextmanager
def running(*, scenes: Path | None = None, **knobs: Any) -> Iterator[str]:
    """Run a sandbox at a free port of loopback, for as long as the block.

    It ends with the block, and with this process if that is killed.

    Args:
        scenes: Folder of GeoTIFFs to serve.
        **knobs: See :class:`deployments.sandbox.knobs.Knobs`.

    Yields:
        Its URL, such as ``http://127.0.0.1:40123``, once it answers there.

    Raises:
        RuntimeError: it ended by itself; with what it printed.
        Refusal: there is no such knob, or no such value.
    """
    command = [sys.executable, "-m", "deployments.sandbox", "--port=0", "--until-eof", *to_arguments(knobs)]
    if scenes is not None:
        command.append(f"--scenes={scenes.resolve()}")
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603 - this interpreter and this package
            command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # it prints one line when it is ready, or ends
            if not line:
                raise RuntimeError(_obituary(process, errors))
            yield line.split()[-1]
            if process.poll() is not None:
                raise RuntimeError(_obituary(process, errors))
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def _obituary(process: subprocess.Popen[str], errors: IO[bytes]) -> str:
    status = process.wait()
    errors.seek(0)
    return f"The sandbox ended with status {status}:\n{errors.read().decode(errors='replace').strip()}"

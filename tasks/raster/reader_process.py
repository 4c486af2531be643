"""Start the process that reads files of users, ask it, and end it if it crashes or hangs."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tasks.errors.input import refused
from tasks.raster.file_reader import Answer, Request

START = 120.0
"""Seconds in which the process must have started. It takes one."""
WAIT, WAIT_OF_BYTE = 60.0, 2 / 2**20
"""Seconds after which reading is given up, and more for each byte of the file: it waits for a disk or a network."""
_PROGRAM = "from tasks.raster.file_reader import main; main()"
"""Not ``-m``: then the classes of the module would be others than those here."""
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PROJ_DATA", "PROJ_LIB", "GDAL_DATA")
"""What the process gets of the environment: no secret, and no option of GDAL."""
_OPTIONS = {
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    # Whatever nevertheless sends a request gets no further than a port that is closed.
    "GDAL_HTTP_PROXY": "http://127.0.0.1:1",
    "GDAL_HTTPS_PROXY": "http://127.0.0.1:1",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_DRIVER_PATH": "disable",
    "GML_DOWNLOAD_SCHEMA": "NO",
    "GML_SKIP_RESOLVE_ELEMS": "ALL",
    "OGR_SQLITE_ALLOW_EXTERNAL_ACCESS": "NO",
    "PROJ_NETWORK": "OFF",
    "PYTHONWARNINGS": "ignore",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}


class _Reader:
    """A running process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.connection, theirs = multiprocessing.Pipe()
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= _OPTIONS | {"PYTHONPATH": os.pathsep.join(str(Path(each).absolute()) for each in sys.path)}
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own program, with no argument of a user
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the run, which then ends this process
            )
        try:
            self.receive(START)
        except BaseException:
            self.end()
            raise

    def receive(self, seconds: float) -> Any:
        """Return what the process sends.

        Raises:
            TimeoutError: It sends nothing in time.
            EOFError: It ended.
        """
        if not self.connection.poll(seconds):
            raise TimeoutError
        # It is made by our own code in a process of the same user, not by the file.
        return self.connection.recv()

    @property
    def usable(self) -> bool:
        """Whether the process is there, and was started by this process: not before a fork."""
        return self.pid == os.getpid() and self.process.poll() is None

    def end(self) -> None:
        """End the process."""
        self.connection.close()
        if self.pid == os.getpid():
            with contextlib.suppress(OSError):
                self.process.kill()
            self.process.wait()


_lock = threading.Lock()
_reader: _Reader | None = None


def _end() -> None:
    global _reader  # noqa: PLW0603 - one process for all files, since its start takes a second
    if _reader is not None:
        _reader.end()
    _reader = None


atexit.register(_end)


def _ask(request: Request, *, again: bool = True) -> Answer:
    """Return the answer of the process, which is started if there is none.

    Raises:
        EOFError: The process ended before it answered.
        TimeoutError: It did not answer in time.
    """
    global _reader  # noqa: PLW0603 - see above
    if _reader is None or not _reader.usable:
        _end()
        _reader = _Reader()
    try:
        _reader.connection.send(request)
        answer: Answer = _reader.receive(WAIT + WAIT_OF_BYTE * request.size)
    except (EOFError, ConnectionError):
        idle = _reader.process.wait(WAIT) == 0  # it ended before it read the request
        _end()
        if not (idle and again):
            raise
        return _ask(request, again=False)
    except BaseException:
        _end()
        raise
    return answer


def read_in_process(file: Path, *, size: int, what: str, parquet: bool, layer: str, fitting: Collection[str]) -> Answer:
    """Read a file in the process.

    Args:
        file: A file that `tasks.raster.user_file` has checked.
        size: Its size in bytes; of a zip, what it unpacks to.
        what: Name of the field in error messages.
        parquet: Whether it is a Parquet file, which GDAL does not read.
        layer: See `tasks.raster.layers.read_layers`.
        fitting: Types of geometries that can be used.

    Raises:
        InputError: The file is refused, or reading it ended the process, or took too long.
    """
    try:
        with _lock, tempfile.TemporaryDirectory(prefix="pixel-quarry-") as folder:
            request = Request(
                file=file,
                cwd=str(Path.cwd()),
                folder=Path(folder),
                size=size,
                what=what,
                parquet=parquet,
                layer=layer,
                fitting=tuple(fitting),
            )
            return _ask(request)
    except (EOFError, ConnectionError) as error:
        reason = "reading it failed: it needs too much memory or time for its size, or its content is damaged"
        raise refused(what, file, reason, "Check it with another program, and store it as GeoPackage") from error
    except TimeoutError as error:
        reason = f"it was not read in {WAIT + WAIT_OF_BYTE * size:.0f} s"
        raise refused(what, file, reason, "Copy it to a local disk, and check it with another program") from error
    except OSError as error:
        reason = f"it cannot be read, since there is no temporary folder or no other process ({error})"
        raise refused(what, file, reason, "Free space in the temporary folder (TMPDIR)") from error

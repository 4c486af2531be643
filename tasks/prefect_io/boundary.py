"""The boundary of flows, tasks, the command line and Python: only errors of this project pass it."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import traceback
from pathlib import Path

import httpx
import prefect
from prefect.exceptions import CancelledRun, ObjectNotFound

from tasks.errors import QuarryError
from tasks.errors.input import brief
from tasks.errors.machine import of_machine
from tasks.errors.redaction import redacted
from tasks.errors.run import RunCancelled, UnexpectedError
from tasks.prefect_io.flow_run import of_deployment, run_logger
from tasks.prefect_io.server import ServerAwayError, server_error

KEPT = "The stored tiles are kept. To resume, run the same job again: only what is missing is fetched."
# Prefect's code that talks to its server.
_TALKING = tuple(str(Path(prefect.__file__).parent / name) for name in ("client", "concurrency"))


def ours(error: Exception) -> QuarryError:
    """Return the error of this project that stands for any exception, with its notes.

    The traceback of an error that nothing here foresees goes to a file and to the log (level DEBUG; ERROR in a worker,
    whose files may vanish with it), so that the bug can be reported.
    """
    if isinstance(error, QuarryError):
        return error
    if isinstance(error, CancelledRun):
        return RunCancelled(str(error))
    known = of_machine(error) or _of_server(error)
    found = known or UnexpectedError(_text(error, _reported(error)))
    if known:
        found.add_note(KEPT)
    for note in getattr(error, "__notes__", ()):
        found.add_note(note)
    return found


def _of_server(error: Exception) -> QuarryError | None:
    """Return the error for what Prefect's engine or client raises if its server fails; None for anything else.

    If something else than a Prefect server answers, such as a proxy with a page of HTML, the client fails with an error
    of JSON or pydantic. So the frames of the traceback decide.
    """
    frames = traceback.extract_tb(error.__traceback__)
    talking = any(frame.filename.startswith(_TALKING) for frame in frames)
    found = server_error(error) if talking or isinstance(error, (httpx.HTTPError, ObjectNotFound)) else None
    if found is None and (talking or str(error).startswith("Failed to reach API")):
        return ServerAwayError(f"The Prefect server failed: {brief(redacted(str(error)))[1:-1]}.")
    return found


def _text(error: Exception, path: Path | None) -> str:
    where = f"The traceback is in {path}" if path else "Run again with PREFECT_LOGGING_LEVEL=DEBUG for the traceback"
    reason = brief(redacted(str(error)))[1:-1].rstrip(".")
    return (
        f"{type(error).__name__}: {reason or '(no message)'}. This is a bug, here or in a library. {where}: report it "
        f"with the traceback. {KEPT}"
    )


def _reported(error: Exception) -> Path | None:
    """Keep the traceback of an error in the log and in a file. Return the path; None if no file can be written."""
    text = redacted("".join(traceback.format_exception(error)))
    with contextlib.suppress(Exception):  # whatever fails here must not hide the error
        run_logger().log(logging.ERROR if of_deployment() else logging.DEBUG, "%s", text)
    with contextlib.suppress(OSError):
        descriptor, name = tempfile.mkstemp(prefix="pixel-quarry-error-", suffix=".txt")
        with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
            file.write(text)
        return Path(name)
    return None

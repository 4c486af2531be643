"""How a run ends in its log: with one line, whoever started it.

Prefect 3.8 logs the state of a run, and in a worker also the error with its traceback, although the error is one of
this project, such as a wrong value, and its message contains all that is to be known. Here the message is logged once,
and Prefect's records of the same end are left out or shortened.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import CancelledRun, ParameterTypeError
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.runtime import flow_run
from prefect.states import Cancelled

from tasks.errors import QuarryError
from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.server import FAULTS

# Messages of Prefect's engine with a traceback: of an attempt of a run that is retried, and of the end of a run.
_ATTEMPT, _END = "Encountered exception during execution", "Engine execution exited with unexpected exception"
_STATE = re.compile(r"(Finished in state (?:Failed|Cancelled))\(")
_TASK = re.compile(r"(Finished in state (?:Failed|Cancelled))\(['\"](\w+): ")
_SIGNALS = re.compile(r"(Crash detected! |Finished in state Crashed\(')Execution was aborted by an? \w+ signal")


@dataclass
class Caller:
    """Python code that called a flow, and waits for its result."""

    gets_error: bool
    """Whether it gets an exception if the run fails: it then shows the message itself."""
    interruption: str | None = None
    """Message of the run if Ctrl-C ended it."""
    run_id: str = ""
    """Id of the run, once its flow has begun."""


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""The caller of the flow; None in a worker."""
_last: list[str] = []
"""The message of the run that ended last in this process."""


@contextlib.contextmanager
def called_by(caller: Caller) -> Iterator[None]:
    """Run a flow for a caller inside the `with` block.

    Raises:
        KeyboardInterrupt: Ctrl-C ended the run. Its state is Cancelled.
    """
    token = _caller.set(caller)
    try:
        yield
    except KeyboardInterrupt:  # while Prefect's engine waited, such as for a retry: it has set the state Crashed
        if caller.run_id:
            with contextlib.suppress(*FAULTS), get_client(sync_client=True) as client:
                client.set_flow_run_state(UUID(caller.run_id), Cancelled(message="Interrupted by Ctrl-C."), force=True)
        raise
    except Exception:  # the state, as an exception; or the server did not take it
        if caller.interruption is None:
            raise
    finally:
        _caller.reset(token)
    if caller.interruption is not None:
        raise KeyboardInterrupt(caller.interruption)


def begin() -> None:
    """Keep the id of the run for its caller."""
    if caller := _caller.get():
        caller.run_id = str(flow_run.id or "")


def log_end(message: str, *, level: int) -> None:
    """Log how a run ends. On the console, a run that Python code called shows it only if the code gets no exception."""
    caller = _caller.get()
    _last[:] = [message]
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(_not_shown_twice)  # a filter is added once, however often this is called
    run_logger().log(level, "%s", message, extra={"caller_shows": bool(caller and caller.gets_error)})


def log_interruption(message: str) -> None:
    """Log that Ctrl-C ended the run, and keep the message for its caller."""
    if caller := _caller.get():
        caller.interruption = message
    log_end(message, level=logging.INFO)


def _not_shown_twice(record: logging.LogRecord) -> bool:
    return not getattr(record, "caller_shows", False)


def _of_flow(record: logging.LogRecord) -> bool:
    """Make one line of a known error, or none if it was logged, and shorten the state of a run that was logged."""
    words, error = str(record.msg), record.exc_info[1] if record.exc_info else None
    if words.startswith((_ATTEMPT, _END)) and isinstance(error, (QuarryError, CancelledRun, ParameterTypeError)):
        text = f"{type(error).__name__}: {error}" if isinstance(error, QuarryError) else str(error)
        record.msg, record.args, record.exc_info = text, (), None
        # `retry_run` logs the error of an attempt, and the state the end of a cancelled run.
        return words.startswith(_END) and not isinstance(error, CancelledRun) and text not in "".join(_last)
    if words.startswith("Crash detected! Execution was aborted by an interrupt"):
        record.levelno, record.levelname = logging.INFO, "INFO"
    if _last and (found := _STATE.match(words)) and repr(_last[0]) in words:
        record.msg = f"{found[1]}()"
    return True


def _of_task(record: logging.LogRecord) -> bool:
    """Lower the level of a task's end that is no error, or whose message the flow logs as the end of the run."""
    words = str(record.msg)
    found = _TASK.match(words)
    if (found and found[2] in _names(QuarryError)) or _SIGNALS.match(words):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg = f"{found[1]}()" if found else words
    return True


def _names(error: type[Any]) -> set[str]:
    return {error.__name__}.union(*(_names(each) for each in error.__subclasses__()))


logging.getLogger("prefect.flow_runs").addFilter(_of_flow)
logging.getLogger("prefect.task_runs").addFilter(_of_task)

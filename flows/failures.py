"""How a flow fails: with one clear message, and with a retry if the cause may be temporary."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Failed
from pydantic import BaseModel

from flows.garbage_collection import rare_garbage_collection
from flows.run_options import RunOptions
from tasks.errors.input import InputError
from tasks.errors.run import RunCancelled
from tasks.prefect_io.boundary import KEPT, ours
from tasks.prefect_io.cancellation import is_cancelled
from tasks.prefect_io.flow_run import of_deployment
from tasks.prefect_io.impatience import impatient
from tasks.prefect_io.run_end import begin, log_end, log_interruption
from tasks.prefect_io.run_retries import check_not_cancelled, retry_run
from tasks.prefect_io.start_watch import begun

P = TypeVar("P", bound=RunOptions)
R = TypeVar("R", bound=BaseModel)


_stored: ContextVar[str | None] = ContextVar("stored", default=None)
"""What a run has stored so far, for the message if a product of it fails."""


def note_stored(words: str) -> None:
    """Keep a sentence about the stored tiles. It is added to an error that ends the flow later."""
    _stored.set(words)


def _accepted(parameters: P | InputError) -> P:
    if isinstance(parameters, InputError):  # see `flows.job.Job.validate_parameters`
        raise parameters
    return parameters


def fails_with_one_message(function: Callable[[P], R]) -> Callable[[P], R]:
    """Let a flow fail with one message and an error of this project, whatever is raised in it.

    If the flow raised an error, Prefect's engine would log it with a traceback of fifty lines. Instead the flow returns
    a failed state that holds the error. A caller from Python still catches this error.

    A run that was cancelled, or that Ctrl-C ended, is Cancelled and not Crashed. The caller still gets the
    `KeyboardInterrupt` (:func:`tasks.prefect_io.run_end.called_by`).
    """

    @functools.wraps(function)
    def called(parameters: P | InputError) -> Any:  # the engine accepts a state as the result
        begun()
        begin()
        _stored.set(None)
        try:
            # The process of a deployment's run runs nothing else.
            with impatient(), rare_garbage_collection() if of_deployment() else contextlib.nullcontext():
                check_not_cancelled()
                return function(_accepted(parameters))
        except RunCancelled as end:
            log_end(str(end), level=logging.INFO)
            return Cancelled(message=str(end))
        except KeyboardInterrupt as signal:
            words = f"Interrupted by Ctrl-C. {_kept(signal)}"
            log_interruption(words)
            return Cancelled(message=words)
        except TerminationSignal as signal:  # a worker sends it to cancel a run, and a system to stop a machine
            if not is_cancelled():
                raise
            words = f"Cancelled. {_kept(signal)}"
            log_end(words, level=logging.INFO)
            return Cancelled(message=words)
        except Exception as raised:  # noqa: BLE001 - nothing but errors of this project leaves a flow
            error = ours(raised)
            if (stored := _stored.get()) and not getattr(error, "__notes__", ()):
                error.add_note(stored)
            if isinstance(parameters, RunOptions) and retry_run(
                error, retries=parameters.advanced.run_retries, delay_s=parameters.advanced.run_retry_delay
            ):
                raise error.with_traceback(None) from None  # Prefect retries only a flow that raises
            words = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
            # In a worker, Prefect logs the error of a failed state with all errors that caused it.
            error.__cause__ = None
            error.__suppress_context__ = True
            log_end(words, level=logging.ERROR)
            return Failed(message=words, data=error)

    return called


def _kept(signal: BaseException) -> str:
    """Return what a run that a signal has ended has stored, and how to resume it."""
    return "\n".join(getattr(signal, "__notes__", ())) or _stored.get() or KEPT

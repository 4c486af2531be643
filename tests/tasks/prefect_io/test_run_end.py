"""The end of a run in its log: one line, whatever ended it; a traceback only of what nothing foresees."""

import logging

import pytest
from prefect.exceptions import CancelledRun, ParameterTypeError

from flows.job import job
from flows.run_options import RunOptions
from tasks.earthengine.errors import Denied
from tasks.errors.input import InputError
from tasks.errors.run import ExtractionFailedError, RunCancelled, UnexpectedError
from tasks.prefect_io import run_end
from tasks.prefect_io.run_end import _not_shown_twice, _of_flow, _of_task
from tasks.storage.store import OutputFull

OURS = [InputError("scale = -3: too small"), Denied("no"), OutputFull("full"), ExtractionFailedError("3 tiles failed")]
BUG = ZeroDivisionError("division by zero")


def record(message, error=None, level=logging.ERROR):
    """A record as Prefect's engine makes it."""
    info = (type(error), error, None) if error else None
    return logging.LogRecord("prefect.flow_runs", level, __file__, 1, message, (), info)


@pytest.fixture
def logged():
    """Let a run log a message as its end."""

    def log(message):
        run_end._last[:] = [message]

    yield log
    run_end._last.clear()


@pytest.mark.parametrize("error", [*OURS, UnexpectedError("a bug")], ids=lambda error: type(error).__name__)
def test_an_error_of_ours_that_was_logged_is_not_logged_again(logged, error):
    logged(f"{type(error).__name__}: {error}\n5 of 9 tiles are stored.")
    assert not _of_flow(record(run_end._END, error))


@pytest.mark.parametrize(
    ("error", "line"), [(OURS[0], f"InputError: {OURS[0]}"), (ParameterTypeError("scale = -3"), "scale = -3")]
)
def test_an_error_that_was_not_logged_is_one_line(error, line):
    seen = record(run_end._END, error)
    assert _of_flow(seen)
    assert (seen.getMessage(), seen.exc_info, seen.levelno) == (line, None, logging.ERROR)


@pytest.mark.parametrize(
    ("message", "error"), [(run_end._ATTEMPT, OURS[1]), (run_end._END, CancelledRun("Cancelled."))]
)
def test_neither_an_attempt_that_is_retried_nor_a_cancellation_is_an_error(message, error):
    assert not _of_flow(record(message, error))


@pytest.mark.parametrize("message", [run_end._ATTEMPT, run_end._END])
def test_what_nothing_foresees_keeps_its_traceback(message):
    seen = record(message, BUG)
    assert _of_flow(seen)
    assert seen.exc_info[1] is BUG


@pytest.mark.parametrize(
    ("message", "level"),
    [
        ("Finished in state Cancelled('Stopped: The run was stopped.')", logging.INFO),
        ('Finished in state Failed("InputError: crs = 1")', logging.INFO),
        ("Crash detected! Execution was aborted by an interrupt signal.", logging.INFO),
        ("Finished in state Crashed('Execution was aborted by a termination signal.')", logging.INFO),
        ("Finished in state Failed('ZeroDivisionError: division by zero')", logging.ERROR),
        ("Finished in state Crashed('out of memory')", logging.ERROR),
    ],
)
def test_the_end_of_a_task_is_an_error_only_if_its_flow_does_not_log_it(message, level):
    seen = record(message)
    assert _of_task(seen)
    assert seen.levelno == level


def test_the_state_of_a_run_does_not_repeat_its_message(logged):
    logged("Cancelled. 3 of 9 tiles.")
    ours, other = (record(f"Finished in state Cancelled({words!r})") for words in (run_end._last[0], "By hand."))
    assert _of_flow(ours)
    assert _of_flow(other)
    assert (ours.msg, other.msg) == ("Finished in state Cancelled()", "Finished in state Cancelled('By hand.')")


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("return_state", [False, True])
@pytest.mark.parametrize(
    ("raised", "caught", "level"),
    [
        (InputError("scale = -3: too small"), InputError, logging.ERROR),
        (RunCancelled("Cancelled. 3 of 9 tiles."), CancelledRun, logging.INFO),
        (KeyboardInterrupt(), KeyboardInterrupt, logging.INFO),
    ],
    ids=["bad input", "cancelled", "Ctrl-C"],
)
def test_a_run_logs_its_end_once_and_a_caller_that_gets_an_error_sees_it_there(
    caplog, raised, caught, level, return_state
):
    """Ctrl-C ends the caller, too, and the state of the run is Cancelled."""

    @job("ending", RunOptions, lambda _: "ending")
    def ending(parameters: RunOptions) -> None:
        raise raised

    logging.getLogger("prefect.flow_runs").propagate = True
    given = {"output": "out", "advanced": {"project": "p", "run_retries": 0}}
    if return_state and caught is not KeyboardInterrupt:
        ending(**given, return_state=True)
    else:
        with pytest.raises(caught):
            ending(**given, return_state=return_state)
    of_run = [seen for seen in caplog.records if seen.name == "prefect.flow_runs"]
    said = [seen for seen in of_run if hasattr(seen, "caller_shows")]
    assert [seen.levelno for seen in said] == [level]
    assert _not_shown_twice(said[0]) is return_state
    assert not any(seen.exc_info for seen in of_run)
    assert [seen for seen in of_run if seen.levelno >= logging.ERROR] == (said if level == logging.ERROR else [])
    state = "Failed" if level == logging.ERROR else "Cancelled"
    assert of_run[-1].getMessage() == f"Finished in state {state}()"

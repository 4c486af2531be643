"""The command line: a subcommand a flow, its options the fields of the form, the words of an error the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from cyclopts import App, CycloptsError

if TYPE_CHECKING:
    from flows.run_options import RunOptions


# Exit codes.
FAILED, BAD_INPUT = 1, 2
# As of a shell's command that SIGINT ended: 128 and the signal's number.
INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """A flow by names, so that the list of commands imports none."""

    module: str
    flow: str
    parameters: str
    help: str

    def load(self) -> Callable[..., None]:
        """Return what runs it, with its options."""
        from flows import parameters
        from flows.command_options import command

        return command(getattr(parameters, self.parameters), self._run)

    def _run(self, given: RunOptions) -> None:
        from flows.start import ready

        with ready(self.module, self.flow, given, _reach_server) as flow:
            from flows.garbage_collection import undisturbed
            from flows.progress_bar import bar

            with undisturbed(), bar():  # the process is ours
                result = flow(given)
        sys.stdout.write(f"{result.model_dump_json(indent=2)}{os.linesep}")


COMMANDS = {
    "region": Command(
        "flows.region",
        "extract_region",
        "RegionParameters",
        "A region of one image, tile by tile, then one mosaic.",
    ),
    "timeseries": Command(
        "flows.timeseries",
        "extract_timeseries",
        "TimeseriesParameters",
        "Every image of a collection between two dates, or since a date, over one grid.",
    ),
    "patches": Command(
        "flows.patches", "extract_patches", "PatchesParameters", "Square patches of one image around points."
    ),
    "audit": Command("flows.audit", "audit_output", "AuditParameters", "An output, or one plan of it."),
}


def run(arguments: Sequence[str] | None = None) -> None:
    """Run what a command line asks for: leave with 1 (failed, cancelled), 2 (bad input) or 130 (Ctrl-C), or return.

    The result is JSON on standard output; all else goes to standard error.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _app(words)(words)
    except CycloptsError as error:
        _leave(BAD_INPUT, f"{error} `--help` lists what there is.")
    except KeyboardInterrupt:
        _leave(INTERRUPTED, "Interrupted. What is stored is kept: run the same again, and only the rest is fetched.")
    except Exception as error:
        _explain(error)
        raise


def _app(words: Sequence[str]) -> App:
    """Return the commands; only of one that is called the options are made, which takes a second."""
    app = App(
        name="python -m flows",
        help="Pixels out of Google Earth Engine. The result is written as JSON.",
        help_format="markdown",
        version_flags=(),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for name, command in COMMANDS.items():
        called = name in words
        app.command(command.load() if called else _nothing, name=name, help=None if called else command.help)
    return app


def _nothing() -> None:
    """Stand for a command that is not called."""


def _reach_server() -> None:
    """Leave if the Prefect server that is configured does not answer: the engine's traceback fills a screen."""
    from tasks.prefect_io.server import server

    with server() as client:
        if client.api_healthcheck() is not None:
            _leave(
                FAILED, f"The Prefect server at {client.api_url} does not answer. Start it, or unset PREFECT_API_URL."
            )


def _explain(error: Exception) -> None:
    """Leave with one message, if the cause is not in the code."""
    from pydantic import ValidationError

    from tasks.errors.input import InputError

    if isinstance(error, ValidationError):
        _leave(BAD_INPUT, "\n".join(details["msg"] for details in error.errors()))
    if isinstance(error, InputError):
        _leave(BAD_INPUT, str(error))
    from prefect.exceptions import CancelledRun

    from tasks.earthengine.errors import EarthEngineError
    from tasks.errors.run import ExtractionFailedError
    from tasks.storage.store import StorageError

    if isinstance(error, CancelledRun):
        _leave(FAILED, str(error))
    if isinstance(error, (EarthEngineError, StorageError, ExtractionFailedError)):
        _leave(FAILED, "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]))


def _leave(code: int, message: str) -> NoReturn:
    sys.stderr.write(f"{message}{os.linesep}")
    sys.exit(code)

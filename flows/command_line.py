"""The command line: one subcommand for each flow. Options and error messages are those of the form."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cyclopts import App, CycloptsError

if TYPE_CHECKING:
    from flows.run_options import RunOptions


# Exit codes.
FAILED, BAD_INPUT = 1, 2
# Shells use 128 plus the number of the signal, which is 2 for SIGINT.
INTERRUPTED = 130
EVERYTHING = "--help-all"
SCRIPT = "pixel-quarry"
"""Name of the installed command. It does the same as `python -m flows`, in any folder."""
FIRST_STEPS = """What to do first:

1. Try it without an account: `make demo` fetches from a sandbox on this machine, `make up` shows it in the Prefect UI.
2. Name your project and your output once: `{name} profile --project my-project --output /data/pixels`
3. Find out whether a job can run: `{name} doctor`
"""


@dataclass(frozen=True)
class Command:
    """A subcommand. It has the names of its flow and parameters, so that the list of commands imports no flow."""

    module: str
    flow: str
    parameters: str
    help: str
    form: str = "flows.parameters"
    """Module of the parameters."""
    made: str | None = None
    """Function that makes the command, as ``module:name``. None = it runs the flow, and prints its result as JSON."""

    def load(self, *, everything: bool) -> Callable[..., None]:
        """Return the function that runs the flow, with its options in its signature.

        Args:
            everything: Whether its help lists all options.
        """
        if self.made is not None:
            made: Callable[..., None] = pkgutil.resolve_name(self.made)(everything=everything)
            return made
        from flows.command_options import command

        return command(self.model(), self._run, everything=everything)

    def model(self) -> type[Any]:
        """Return the class of the parameters."""
        model: type[Any] = pkgutil.resolve_name(f"{self.form}:{self.parameters}")
        return model

    def _run(self, given: RunOptions) -> None:
        from flows.start import ready

        with ready(self.module, self.flow, given, _reach_server) as flow:
            from flows.garbage_collection import rare_garbage_collection
            from flows.progress_bar import bar

            with rare_garbage_collection(), bar():  # this process runs nothing else
                result = flow(**given.given())
        sys.stdout.write(f"{result.model_dump_json(indent=2)}{os.linesep}")


COMMANDS = {
    "region": Command(
        "flows.region",
        "extract_region",
        "RegionParameters",
        "A region of one image: its tiles, then one mosaic.",
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
    "audit": Command("flows.audit", "audit_output", "AuditParameters", "A check of an output, or of one plan in it."),
    "doctor": Command(
        "flows.doctor",
        "examine",
        "DoctorParameters",
        "A check of this machine, the sign-in, Earth Engine, the output and the Prefect server, as a table.",
        form="flows.doctor_parameters",
        made="flows.doctor_command:doctor",
    ),
    "profile": Command(
        "flows.profile",
        "",
        "Profile",
        "Project, connection and output for all runs: show them, or keep them.",
        form="flows.profile",
        made="flows.profile_command:profile",
    ),
}


def run(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, and return if it succeeds.

    The result goes to standard output as JSON. The log and error messages go to standard error. Exit codes of the
    process: 0 success, 1 the run failed or was cancelled, 2 bad input, 130 Ctrl-C.

    Args:
        arguments: Words of the command line. None = those of this process (`sys.argv`).

    Raises:
        SystemExit: The exit code is 1, 2 or 130.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    everything = EVERYTHING in words
    words = ["--help" if word == EVERYTHING else word for word in words]
    try:
        _app(words, everything=everything)(words)
    except CycloptsError as error:
        from tasks.errors.redaction import redacted
        from tasks.errors.shown_text import plain

        shown = plain(redacted(str(error)), lines=True)  # it repeats what was given
        _leave(BAD_INPUT, f"{shown} Use `--help` to list commands and options.")
    except KeyboardInterrupt as signal:
        again = "To resume, run the same command again: only the missing tiles are fetched."
        _leave(INTERRUPTED, str(signal) or f"Interrupted by Ctrl-C. The stored tiles are kept. {again}")
    except Exception as error:  # noqa: BLE001 - nothing but one message leaves a command
        _explain(error)


def _app(words: Sequence[str], *, everything: bool) -> App:
    """Return the commands. Only the command that is called gets its options, since making them takes a second."""
    name = SCRIPT if Path(sys.argv[0]).stem == SCRIPT else "python -m flows"
    about = "Fetch pixels from Google Earth Engine. The result is written to standard output as JSON."
    app = App(
        name=name,
        help=about if words else f"{about}\n\n{FIRST_STEPS.format(name=name)}",
        help_format="markdown",
        version_flags=(),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for each, command in COMMANDS.items():
        called = each in words
        app.command(
            command.load(everything=everything) if called else _nothing,
            name=each,
            help=None if called else command.help,
        )
    return app


def _nothing() -> None:
    """Stand in for a command that is not called."""


def _reach_server() -> None:
    """Exit if the configured Prefect server does not answer. Prefect's engine would print a screen of traceback."""
    from tasks.errors.redaction import redacted
    from tasks.prefect_io.server import server

    with server() as client:
        if client.api_healthcheck() is not None:
            address = redacted(str(client.api_url))
            _leave(FAILED, f"The Prefect server at {address} does not answer. Start it, or unset PREFECT_API_URL.")


def _explain(error: Exception) -> NoReturn:
    """Exit with one message."""
    from tasks.errors.input import InputError

    if isinstance(error, InputError):
        _leave(BAD_INPUT, str(error))
    from tasks.prefect_io.boundary import ours

    own = ours(error)
    _leave(FAILED, "\n".join([f"{type(own).__name__}: {own}", *getattr(own, "__notes__", ())]))


def _leave(code: int, message: str) -> NoReturn:
    sys.stderr.write(f"{message}{os.linesep}")
    sys.exit(code)

"""The command `doctor`: it prints a table, or JSON. It also works where no Prefect server answers."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.command_line import FAILED
from flows.command_options import FIELDS, command
from flows.doctor_parameters import DoctorParameters
from tasks.errors import QuarryError

if TYPE_CHECKING:
    from tasks.doctor.report import Examination

NOTES = (
    "It sends some 40 small pixel requests, and writes some files into the output, which it deletes again. The table "
    "has no secrets and no names. Exit codes: 0 a job can run, 1 a job cannot run, 2 bad input."
)
WIDTH = 120
"""Columns of the table if it is not printed to a terminal."""


class _NoServerError(QuarryError):
    """The configured Prefect server does not answer."""


def doctor(*, everything: bool) -> Callable[..., None]:
    """Return the command: its options are those of the form, and `--json`.

    Args:
        everything: Whether its help lists all options.
    """

    def take(*, json: bool = False, **given: Any) -> None:
        def act(parameters: DoctorParameters) -> None:
            _print(_examined(parameters), as_json=json)

        command(DoctorParameters, act)(**given)

    form = command(DoctorParameters, lambda _: None, everything=everything)
    how = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON, and no table.", group=FIELDS)]
    option = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, annotation=how, default=False)
    given = [option, *inspect.signature(form).parameters.values()]
    take.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]  # cyclopts reads it
    take.__annotations__ = {parameter.name: parameter.annotation for parameter in given}
    take.__doc__ = f"{form.__doc__}\n\n{NOTES}"
    return take


def _examined(parameters: DoctorParameters) -> Examination:
    """Run the flow. Without a Prefect server, run its checks alone: that there is none is one of the findings."""
    from flows.start import ready

    try:
        with ready("flows.doctor", "examine", parameters, _check_server) as flow:
            from tasks.doctor.report import UnfitError

            try:
                found: Examination = flow(**parameters.given())
            except UnfitError as error:
                return error.examination
            return found
    except _NoServerError as error:
        trouble = str(error)
    except RuntimeError as error:
        if isinstance(error, QuarryError):
            raise
        trouble = str(error)  # the temporary server did not start
    from flows.doctor import examination

    return examination(parameters, trouble=trouble)


def _check_server() -> None:
    from tasks.prefect_io.server import server

    with server() as client:
        if (error := client.api_healthcheck()) is not None:
            raise _NoServerError(f"The server at PREFECT_API_URL does not answer ({type(error).__name__}).")


def _print(found: Examination, *, as_json: bool) -> None:
    """Print an examination.

    Raises:
        SystemExit: A job cannot run. The exit code is 1.
    """
    if as_json:
        sys.stdout.write(f"{found.model_dump_json(indent=2)}{os.linesep}")
    else:
        from rich.console import Console

        from tasks.doctor.report import print_table

        print_table(found, Console(width=None if sys.stdout.isatty() else WIDTH))
    sys.stdout.flush()
    if not found.can_run:
        sys.exit(FAILED)

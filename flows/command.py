"""The command line of a flow: the options are the fields of its parameters, the words of an error the same."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from prefect.exceptions import CancelledRun
from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliApp, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from flows.parameters import Extraction
from flows.service import Service
from tasks.earthengine.errors import EarthEngineError
from tasks.raster.refusal import InputError
from tasks.report import ExtractionFailedError
from tasks.storage.store import StorageError

HELP = """Give exactly one of --image.asset, --image.recipe and --image.expression. A value that begins with a minus is
written with an equals sign: --region=-54.60,-25.30,-54.55,-25.26. Lists, GeoJSON and parameters of recipes are JSON."""

# Exit codes; argparse, too, leaves with 2.
FAILED, BAD_INPUT = 1, 2
# As of a shell's command that SIGINT ended: 128 and the signal's number.
INTERRUPTED = 130


def parse(parameters: type[Service], program: str, arguments: Sequence[str]) -> Service:
    """Return the parameters that a command line gives.

    Raises:
        ValidationError: a value can't be; the message is that of the form.
        SystemExit: `--help`, or an option that does not exist.
    """

    class Options(BaseSettings, parameters):  # type: ignore[misc, valid-type]  # one class a flow, made at run time
        model_config = SettingsConfigDict(
            cli_prog_name=program,
            cli_avoid_json=True,
            cli_enforce_required=False,  # of a union one member is required: the model says so better
            cli_hide_none_type=True,
            cli_implicit_flags=True,
            cli_kebab_case=True,
        )

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del settings_cls  # pydantic-settings gives it by position
            # A variable SCALE or OUTPUT in the environment is nobody's parameter.
            return (init_settings,)

    Options.__doc__ = f"{parameters.__doc__}\n\n{HELP if issubclass(parameters, Extraction) else ''}"
    given = CliApp.run(Options, cli_args=list(arguments))
    return parameters.model_validate(given.model_dump(exclude_unset=True))


def run(module: str, name: str, parameters: type[Service], arguments: Sequence[str] | None = None) -> None:
    """Run a flow from the command line and leave with 0, 1 (failed, cancelled), 2 (bad input) or 130 (Ctrl-C).

    The flow is given by name: run by `python -m`, its module is `__main__`, and imported it has its one identity.
    """
    flow = getattr(importlib.import_module(module), name)
    try:
        given = parse(parameters, f"python -m {module}", sys.argv[1:] if arguments is None else arguments)
        if given.asks_earth_engine:
            given.connection()  # what it lacks is told before Prefect takes seconds to start
        result = flow(given)
    except ValidationError as error:
        _leave(BAD_INPUT, "\n".join(details["msg"] for details in error.errors()))
    except (InputError, SettingsError) as error:
        _leave(BAD_INPUT, str(error))
    except CancelledRun as error:
        _leave(FAILED, str(error))
    except KeyboardInterrupt:
        _leave(INTERRUPTED, "Interrupted. What is stored is kept: run the same again, and only the rest is fetched.")
    except (EarthEngineError, StorageError, ExtractionFailedError) as error:
        _leave(FAILED, "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]))
    else:
        sys.stdout.write(f"{result.model_dump_json(indent=2)}{os.linesep}")


def _leave(code: int, message: str) -> None:
    sys.stderr.write(f"{message}{os.linesep}")
    sys.exit(code)

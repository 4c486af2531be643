"""The command `profile`: it shows what applies to all runs and where it is set, or keeps it in a file."""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

from flows.command_options import command
from flows.profile import Profile, filled_in, from_file, path, shown_path, sources
from tasks.errors.input import InputError
from tasks.storage.address import is_block

HEAD = "# The profile of Pixel Quarry: `pixel-quarry profile` shows and changes it. It holds no secrets.\n"


def profile(*, everything: bool) -> Callable[..., None]:
    """Return the command: its options are the fields of a profile.

    Args:
        everything: Whether its help lists all options. It has few.
    """
    take = command(Profile, _keep_and_show, everything=everything)
    take.__doc__ = inspect.cleandoc(f"""
        {Profile.__doc__}

        Without options, it shows what applies and where it is set. With options, it keeps them in {shown_path()}. Empty
        text (`--output=`) removes one. A project replaces a connection, and a connection a project. The environment
        comes before the file: `PIXEL_QUARRY_PROJECT`, `PIXEL_QUARRY_CONNECTION`, `PIXEL_QUARRY_OUTPUT`. What a run is
        given comes before both.
    """)
    return take


def _keep_and_show(given: Profile) -> None:
    if given.model_fields_set:
        _keep(given)
    filled, origins = filled_in({}, sources())
    values = {**filled, **filled.get("advanced", {})}
    if not values.keys() & {"connection", "project"} and (project := os.environ.get("EARTHENGINE_PROJECT")):
        values["project"], origins["project"] = project, "EARTHENGINE_PROJECT"
    for name in Profile.model_fields:
        shown = f"{values[name]}   # from {origins[name]}" if name in values else "not set"
        sys.stdout.write(f"{name} = {shown}{os.linesep}")


def _keep(given: Profile) -> None:
    """Write what is given into the file, with what it had.

    Raises:
        InputError: The file that is there is refused, or it cannot be written.
    """
    new = given.values()
    other = {"project": "connection", "connection": "project"}
    dropped = given.model_fields_set | {other[name] for name in new if name in other}
    if (folder := new.get("output")) and not folder.startswith("gs://") and not is_block(folder):
        new["output"] = str(Path(folder).expanduser().absolute())  # runs begin in any folder
    kept = {name: value for name, value in from_file().values.items() if name not in dropped} | new
    text = "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in kept.items())
    file = path()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as unfinished:
            unfinished.write(HEAD + text)
        Path(unfinished.name).replace(file)
    except OSError as error:
        raise InputError(f"{shown_path()}: the profile cannot be written ({error}). Change its permissions.") from None

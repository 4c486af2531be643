"""The profile of a user: project, connection and output, given once for all runs of this machine.

They are in the environment, or else in a file. They fill in what a run was not given.
"""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from platformdirs import user_config_path
from pydantic import BaseModel, Field, model_validator

from flows.validation import FlowParameters, form_error, matching, refusal
from tasks.earthengine.connection import Connection, initialised, opened
from tasks.errors.input import BadInputError, InputError
from tasks.prefect_io.block_slugs import CONNECTION
from tasks.storage.address import fault_of

NAME = "pixel-quarry"
VARIABLE = "PIXEL_QUARRY_{}"
ACCOUNT = ("project", "endpoint", "credentials_file")
"""Fields of `advanced` that exclude a connection."""


class Profile(FlowParameters):
    """Project, connection and output for all runs: show them, or keep them."""

    output: Annotated[str | None, Field(title="Output")] = None
    """Where files go: a folder, such as `/data/pixels`, a bucket (`gs://bucket/prefix`), or a saved block."""
    connection: Annotated[
        Annotated[str, matching(rf"{CONNECTION}/[a-z0-9-]+", f"{CONNECTION}/name")] | None, Field(title="Connection")
    ] = None
    """A saved connection, such as `earth-engine-connection/pixel-quarry`, in place of a project."""
    project: Annotated[str | None, Field(title="Project")] = None
    """Google Cloud project that is registered for Earth Engine, such as `my-project`."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.output is not None and (reason := fault_of(self.output)):
            remedy = "Give a folder, gs://bucket/prefix, or a saved block such as gcs-bucket/name"
            raise form_error("output", self.output, reason, remedy)
        if self.project is not None:
            try:
                Connection(project=self.project)
            except BadInputError as error:
                raise refusal(error) from None
            if self.connection is not None:
                reason = f"the connection {self.connection} already sets it"
                raise form_error("project", self.project, reason, "Leave out one of them")
        return self

    def values(self) -> dict[str, str]:
        """Return what the profile sets."""
        return self.model_dump(exclude_none=True)


@dataclass(frozen=True)
class Source:
    """Where values that a run was not given come from."""

    name: str
    """As a message names it."""
    values: Mapping[str, str]
    """`output`, `connection` and the fields of `ACCOUNT`."""


def path() -> Path:
    """Return the path of the file."""
    return user_config_path(NAME, appauthor=False) / "profile.toml"


def shown_path() -> str:
    """Return the path of the file as messages show it: `~` is the home folder."""
    file = path()
    with contextlib.suppress(ValueError, RuntimeError):
        return f"~/{file.relative_to(Path.home())}"
    return str(file)


def from_environment() -> Source:
    """Return what the environment sets. An empty variable sets nothing.

    Raises:
        InputError: A value is refused.
    """
    names = {name: VARIABLE.format(name.upper()) for name in Profile.model_fields}
    given = {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)}
    return _checked("the environment (PIXEL_QUARRY_...)", given)


def from_file() -> Source:
    """Return what the file sets; nothing if there is none.

    Raises:
        InputError: The file cannot be read, or a value is refused.
    """
    try:
        given = tomllib.loads(path().read_text("utf-8"))
    except FileNotFoundError:
        given = {}
    except (OSError, ValueError) as error:  # tomllib and the codec raise a ValueError
        remedy = 'Write lines such as output = "/data/pixels", or delete the file'
        raise InputError(f"{shown_path()}: the profile cannot be read ({error}). {remedy}.") from None
    return _checked(shown_path(), given)


def _checked(name: str, given: Mapping[str, Any]) -> Source:
    try:
        return Source(name, Profile.read(given).values())
    except InputError as error:
        raise InputError("\n".join(f"In {name}: {line}" for line in str(error).splitlines())) from None


def sources() -> tuple[Source, Source]:
    """Return the environment and the file, of which the first that sets a value counts.

    Raises:
        InputError: A profile is refused.
    """
    file = from_file()
    if os.environ.get("EARTHENGINE_ENDPOINT"):  # of the environment, which comes first: it excludes a connection
        file = Source(file.name, {name: value for name, value in file.values.items() if name != "connection"})
    return from_environment(), file


def with_client() -> tuple[Source, ...]:
    """Return the sources of :mod:`flows.adhoc`: the client of `ensure_client` before the profile, `ee.Initialize` last.

    Raises:
        InputError: A profile is refused, or the connection of the client has a key that no other run can load.
    """
    first: dict[str, str] = {}
    if (connection := opened()) is not None:
        try:
            reference = connection.reference
        except ValueError:
            raise InputError(
                "connection: that of ensure_client(...) has a key of its own, which a run cannot store. "
                "Save it as a block and give connection=..., or give project=..."
            ) from None
        if reference.block is not None:
            first = {"connection": reference.block}
        else:
            # The endpoint is given as well: the environment must not send these credentials elsewhere.
            first = {name: value for name in ACCOUNT if (value := getattr(reference, name)) is not None}
    last = {} if os.environ.get("EARTHENGINE_PROJECT") else initialised()
    return Source("ensure_client(...)", first), *sources(), Source("ee.Initialize(...)", last)


def filled_in(given: Mapping[str, Any], found: tuple[Source, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return parameters with what they lack from the first source that sets it, and lines that say where from.

    A connection and the fields of `ACCOUNT` exclude each other, wherever they are from. A source that comes later can
    still add a project to a given endpoint or key.

    Args:
        given: Parameters of a flow. Null and empty text are no value, but for `output`.
        found: The sources, the first that counts first.
    """
    filled, origins = dict(given), dict[str, str]()
    advanced = given.get("advanced", {})
    if isinstance(advanced, BaseModel):
        account = {name: getattr(advanced, name, None) for name in ACCOUNT}
    elif isinstance(advanced, Mapping):
        account = {name: advanced.get(name) for name in ACCOUNT}
    else:
        return filled, origins  # it is refused later
    account = {name: value for name, value in account.items() if value not in ("", None)}
    alone, more = not account, dict[str, str]()
    for source in found:
        values = source.values
        if "output" in values and "output" not in filled:
            filled["output"], origins["output"] = values["output"], source.name
        if filled.get("connection") not in ("", None) or "project" in account:
            continue
        if "connection" in values and alone:
            filled["connection"], origins["connection"] = values["connection"], source.name
        elif "project" in values:
            taken = [name for name in ACCOUNT if name in values and (alone or name == "project")]
            more = {name: values[name] for name in taken}
            account = account | more
            origins |= dict.fromkeys(taken, source.name)
    if more:
        filled["advanced"] = (
            advanced.model_copy(update=more) if isinstance(advanced, BaseModel) else {**advanced, **more}
        )
    return filled, origins


_noted: ContextVar[Mapping[str, str] | None] = ContextVar("noted", default=None)
"""Where values of the run come from, by their names; None where Python code called no flow, as in a worker."""


@contextlib.contextmanager
def noted(origins: Mapping[str, str]) -> Iterator[None]:
    """Keep where values come from for the log of a run inside the `with` block."""
    token = _noted.set({**(_noted.get() or {}), **origins})
    try:
        yield
    finally:
        _noted.reset(token)


def lines(parameters: Any, origins: Mapping[str, str]) -> list[str]:
    """Return a line for each source: the parameters that it set."""
    named: dict[str, list[str]] = {}
    for name, source in origins.items():
        value = getattr(parameters.advanced if name in ACCOUNT else parameters, name)
        named.setdefault(source, []).append(f"{name} = {value}")
    return [f"From {source}: {', '.join(values)}." for source, values in named.items()]


def origins_noted() -> Mapping[str, str] | None:
    """Return where values of the run come from, by their names. None = its parameters have not been filled in."""
    return _noted.get()

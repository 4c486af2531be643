"""The options of a command: one for each field of its form, with the same text. Pydantic reads the values."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from cyclopts import Group, Parameter

from flows.form_schema import LAST
from flows.stored_value import LEVELS
from flows.validation import FlowParameters
from tasks.errors.input import BadInputError

HELP = "Write lists as `a,b,c` or as JSON."
SHOWN = 10
"""Options that `--help` lists."""
CHIEF = (
    *("image", "region", "points", "start", "end", "size", "bands", "crs", "scale", "output", "project", "plan_only"),
    *("recipe_parameters", "label", "connection", "plan", "repair", "prune", "verify"),
)
"""Options of `--help`, the first of them first."""
KINDS = {
    "array": "LIST",
    "boolean": "",
    "date": "DATE",
    "integer": "INTEGER",
    "number": "NUMBER",
    "object": "JSON",
    "string": "TEXT",
}
FIELDS = Group("Options", sort_key=0)

S = TypeVar("S", bound=FlowParameters)
T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """An option of a command."""

    path: tuple[str, ...]
    """Names of the nested fields, the outermost first."""
    kinds: tuple[str, ...]
    """JSON types that the option accepts, or `date`."""
    help: str
    group: Group
    shown: bool = True
    """Whether `--help` lists it. `--help-all` lists every option."""

    @property
    def spelling(self) -> str:
        """Name of the option on the command line, without its leading dashes. Those of `advanced` need no prefix."""
        return ".".join(self.path[self.path[0] == LAST :]).replace("_", "-")

    @property
    def name(self) -> str:
        """Name of the argument in Python."""
        return "__".join(self.path)

    def parameter(self) -> inspect.Parameter:
        """Return the option for cyclopts: a flag, or text. Pydantic checks the text, with the messages of the form."""
        flag = "boolean" in self.kinds
        how = Parameter(
            name=f"--{self.spelling}",
            negative=f"--no-{self.spelling}" if flag else (),
            help=self.help,
            group=self.group,
            metavar="|".join(KINDS[kind] for kind in self.kinds),
            show=self.shown,
            json_list=False,
            allow_leading_hyphen=self.structured,  # a box may begin with a negative longitude
        )
        kind: Any = Annotated[bool | None, how] if flag else Annotated[list[str] | None, how]
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=None)

    def read(self, given: bool | list[str]) -> Any:
        """Return the value for pydantic: text, or the value of JSON text. A repeated option gives a list."""
        if isinstance(given, bool):
            return given
        if len(given) > 1:
            return given
        text = given[0]
        if {"integer", "number"} & set(self.kinds):
            with contextlib.suppress(ValueError):  # pydantic refuses it
                number = json.loads(text)
                return number if isinstance(number, int | float) else text
        if self.structured and text.lstrip().startswith(("{", "[")):
            try:
                return json.loads(text)
            except ValueError:
                return text  # pydantic refuses it, and names the expected type
            except RecursionError:
                reason = f"it is nested in more than {LEVELS} levels of lists and objects"
                raise BadInputError(".".join(self.path), text, reason, "Nest it less") from None
        return text

    @property
    def structured(self) -> bool:
        """Whether the option accepts a list or JSON."""
        return not {"array", "object"}.isdisjoint(self.kinds)


def command(parameters: type[S], act: Callable[[S], T], *, everything: bool = True) -> Callable[..., T]:
    """Return a function for cyclopts whose options are the fields of a form.

    The function raises InputError if a value is refused. The message is that of the form.

    Args:
        parameters: The form.
        act: Called with the checked parameters.
        everything: Whether the help lists all options, and not only the first ten that a job needs.
    """
    found = options(parameters)
    if not everything:
        chief = [name for name in CHIEF if name in {option.path[-1] for option in found}][:SHOWN]
        found = tuple(replace(option, shown=option.path[-1] in chief, group=FIELDS) for option in found)

    def take(**given: Any) -> T:
        data: dict[str, Any] = {}
        for option in found:
            value = given.get(option.name)
            if value is not None:
                place = data
                for name in option.path[:-1]:
                    place = place.setdefault(name, {})
                place[option.path[-1]] = option.read(value)
        return act(parameters.read(data))

    taken = [option.parameter() for option in found]
    take.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]  # cyclopts reads it
    take.__annotations__ = {parameter.name: parameter.annotation for parameter in taken}
    notes = [HELP] if any(option.structured for option in found) else []
    if hidden := sum(not option.shown for option in found):
        notes.append(f"`--help-all` lists {hidden} more options: connection, quota, deadlines, retries, limits.")
    take.__doc__ = "\n\n".join([str(parameters.__doc__), *notes])
    return take


def options(parameters: type[FlowParameters]) -> tuple[Option, ...]:
    """Return the options of a form, in its order."""
    schema = parameters.model_json_schema()
    # The form leaves out the default of a field that offers blocks.
    schema["properties"]["output"]["default"] = parameters.model_fields["output"].default
    return tuple(_options(schema, schema.get("$defs", {})))


def _options(
    schema: Mapping[str, Any], models: Mapping[str, Any], outer: tuple[str, ...] = (), group: Group = FIELDS
) -> Iterator[Option]:
    for name, field in sorted(schema["properties"].items(), key=lambda each: each[1]["position"]):
        path = (*outer, name)
        if "$ref" in field:
            inner = models[field["$ref"].rpartition("/")[2]]
            title = field.get("title", inner["title"])
            yield from _options(inner, models, path, Group(title, help=inner["description"], sort_key=1))
            continue
        members = [each for each in field.get("anyOf", [field]) if "$ref" not in each]  # without blocks
        types = [kind for each in members for kind in _types(each)]
        yield Option(path, tuple(types), _help(name, field, name in schema.get("required", ())), group)


def _types(field: Mapping[str, Any]) -> list[str]:
    kinds = field.get("format", field["type"])
    return kinds if isinstance(kinds, list) else [kinds]


def _help(name: str, field: Mapping[str, Any], required: bool) -> str:
    """Return the help of an option, from its field in the form: title, description with bounds, default."""
    title = field["title"]
    known = title.lower() == name.replace("_", " ")
    notes = ["required"] if required else []
    default = field.get("default")
    if default is not None:
        notes.append(f"default {_written(default)}")
    description = " ".join(field["description"].split())
    return " ".join(filter(None, ("" if known else f"{title}:", description, f"[{', '.join(notes)}]" if notes else "")))


def _written(value: Any) -> str:
    """Return a default as the help shows it: lists as `a,b`, booleans as yes or no."""
    if isinstance(value, list):
        return ",".join(map(_written, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)

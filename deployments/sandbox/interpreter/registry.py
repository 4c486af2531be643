"""The table of functions: each row a name of Earth Engine's and what the sandbox does for it.

Names, argument names, defaults and types come from the list of algorithms that ships with the
``earthengine-api`` (991 of them), so a row says only what is computed:

    @function("Image.selfMask")
    def self_mask(image: Image) -> Image: ...

The row gets its arguments by position, in the order of Earth Engine's signature and coerced to its types.
It may take fewer: those it leaves out are refused by name when given, unless they only tune precision or
cost. A row that has a keyword ``catalogue`` is given the catalogue.
"""

from __future__ import annotations

import functools
import importlib.resources
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from deployments.sandbox.catalogue import Catalogue
from deployments.sandbox.interpreter.boundary import refusing
from deployments.sandbox.interpreter.coercion import coerce
from deployments.sandbox.refusal import Refusal

WHERE = "deployments/sandbox/interpreter (python -m deployments.sandbox.interpreter prints the list)"

# They tune how precisely, how costly or in which of several equivalent forms Earth Engine computes.
ADVISORY = frozenset(
    {
        "maxError",
        "tileScale",
        "parallelScale",
        "maxBuckets",
        "minBucketWidth",
        "maxRaw",
        "geodesics",
        "evenOdd",
        "version",
    }
)


@dataclass(frozen=True)
class Argument:
    """One argument of a signature."""

    name: str
    type: str
    optional: bool
    default: Any


@dataclass(frozen=True)
class Function:
    """One row of the table."""

    name: str
    arguments: tuple[Argument, ...]
    taken: int
    """How many of the arguments the implementation takes, from the first."""
    needs_catalogue: bool
    implementation: Callable[..., Any]


FUNCTIONS: dict[str, Function] = {}

Implementation = TypeVar("Implementation", bound=Callable[..., Any])


# In the client (`aggregate_array`), and not in its list of algorithms.
UNLISTED = {
    "AggregateFeatureCollection.array": (
        Argument("collection", "FeatureCollection", optional=False, default=None),
        Argument("property", "String", optional=False, default=None),
    ),
}


@functools.cache
def signatures() -> Mapping[str, tuple[Argument, ...]]:
    """Return the arguments of every function that Earth Engine has, by name."""
    text = importlib.resources.files("ee").joinpath("tests/algorithms.json").read_text(encoding="utf-8")
    listed = {
        row["name"].removeprefix("algorithms/"): tuple(
            Argument(
                argument["argumentName"],
                argument.get("type", "Object"),
                argument.get("optional", False),
                argument.get("defaultValue"),
            )
            for argument in row.get("arguments", [])
        )
        for row in json.loads(text)["algorithms"]
    }
    return UNLISTED | listed


def function(*names: str) -> Callable[[Implementation], Implementation]:
    """Add a row for one or several names with the same signature."""

    def register(implementation: Implementation) -> Implementation:
        for name in names:
            add(name, implementation)
        return implementation

    return register


def add(name: str, implementation: Callable[..., Any]) -> None:
    """Add one row.

    Raises:
        KeyError: Earth Engine has no function of this name.
    """
    parameters = list(inspect.signature(implementation).parameters.values())
    positional = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    FUNCTIONS[name] = Function(
        name=name,
        arguments=signatures()[name],
        taken=len(positional),
        needs_catalogue=any(p.name == "catalogue" for p in parameters),
        implementation=implementation,
    )


def find(name: str) -> Function:
    """Return the row of a name.

    Raises:
        Refusal: 400, the sandbox, or Earth Engine too, has no such function.
    """
    row = FUNCTIONS.get(name)
    if row is not None:
        return row
    if name in signatures():
        raise Refusal(f"{name}: the sandbox does not support this function. Supported ones: {WHERE}.")
    raise Refusal(f"Unknown function: '{name}'. Supported ones: {WHERE}.")


def call(name: str, given: Mapping[str, Any], catalogue: Catalogue) -> Any:
    """Call a function with arguments by name.

    Raises:
        Refusal: 400, an argument is unknown, missing, of the wrong type or not supported, or the function
            refuses its values.
    """
    row = find(name)
    unknown = given.keys() - {argument.name for argument in row.arguments}
    if unknown:
        listed = ", ".join(argument.name for argument in row.arguments)
        raise Refusal(f"{name}: Unrecognized argument '{min(unknown)}'. Arguments: [{listed}].")
    values = list(_values(row, given))
    extra = {"catalogue": catalogue} if row.needs_catalogue else {}
    with refusing(name):
        return row.implementation(*values, **extra)


def _values(row: Function, given: Mapping[str, Any]) -> Iterator[Any]:
    for position, argument in enumerate(row.arguments):
        value = given.get(argument.name)
        if position >= row.taken:
            if value is not None and value != argument.default and argument.name not in ADVISORY:
                raise Refusal(f"{row.name}: the sandbox does not support argument '{argument.name}'.")
            continue
        if value is None:
            if not argument.optional:
                raise Refusal(f"{row.name}: Parameter '{argument.name}' is required and may not be null.")
            value = argument.default
        yield value if value is None else coerce(value, argument.type, f"{row.name}, argument '{argument.name}'")

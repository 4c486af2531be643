"""Lists."""

from __future__ import annotations

import functools
import math
from typing import Any

from deployments.sandbox.interpreter.coercion import coerce
from deployments.sandbox.interpreter.imagecollections import sort_key
from deployments.sandbox.interpreter.registry import add, function
from deployments.sandbox.interpreter.strings import string
from deployments.sandbox.interpreter.values import Algorithm, Filter
from deployments.sandbox.refusal import Refusal

LONGEST = 1_000_000


_MOST_COMPARISONS = 10_000_000


def _affordable(one: list[Any], other: list[Any]) -> None:
    """Refuse to compare each element of a list with each of another if these are very many.

    Raises:
        Refusal: 400.
    """
    if len(one) * len(other) > _MOST_COMPARISONS:
        raise Refusal("Computation timed out.")


def _item(values: list[Any], index: int, where: str) -> Any:
    if not -len(values) <= index < len(values):
        raise Refusal(f"{where}: List index must be between 0 and {len(values)}, or negative. Got {index}.")
    return values[index]


@function("List.get")
def get(values: list[Any], index: int) -> Any:
    """Return an element; negative indices count from the end."""
    return _item(values, index, "List.get")


@function("List.getNumber")
def get_number(values: list[Any], index: int) -> Any:
    """Return an element that must be a number."""
    return coerce(_item(values, index, "List.getNumber"), "Number", "List.getNumber")


@function("List.getString")
def get_string(values: list[Any], index: int) -> Any:
    """Return an element that must be a string."""
    return coerce(_item(values, index, "List.getString"), "String", "List.getString")


@function("List.getGeometry")
def get_geometry(values: list[Any], index: int) -> Any:
    """Return an element that must be a geometry."""
    return coerce(_item(values, index, "List.getGeometry"), "Geometry", "List.getGeometry")


@function("List.map")
def map_list(values: list[Any], body: Algorithm, drop_nulls: bool | None) -> list[Any]:
    """Apply a function to each element."""
    results = [body(value) for value in values]
    return [result for result in results if result is not None] if drop_nulls else results


@function("List.iterate")
def iterate(values: list[Any], body: Algorithm, first: Any) -> Any:
    """Apply a function to each element and the result before."""
    return functools.reduce(lambda result, value: body(value, result), values, first)


@function("List.filter")
def keep(values: list[Any], chosen: Filter) -> list[Any]:
    """Keep the elements that a filter keeps; a plain element is the field ``item``."""
    return [value for value in values if chosen.test(value)]


@function("List.sequence")
def sequence(start: float, end: float | None, step: float | None, count: int | None) -> list[float]:
    """Return numbers from ``start`` by ``step`` up to and with ``end``, or ``count`` of them."""
    by = 1 if step is None else step
    if not all(math.isfinite(number) for number in (start, 0 if end is None else end, by)):
        raise Refusal("List.sequence: The numbers must be finite.")
    if count is not None:
        if end is not None and count > 1:
            by = (end - start) / (count - 1)
        length = count
    elif end is None:
        raise Refusal("List.sequence: Either 'end' or 'count' must be given.")
    elif by == 0:
        raise Refusal("List.sequence: 'step' must not be zero.")
    else:
        length = max(0, math.floor((end - start) / by + 1e-9) + 1)
    if length > LONGEST:
        raise Refusal(f"List.sequence: The list would have {length} elements.")
    return [_plain(start + i * by) for i in range(length)]


def _plain(value: float) -> float:
    return int(value) if float(value).is_integer() and abs(value) < 2**63 else value


@function("List.slice")
def cut(values: list[Any], start: int, end: int | None, step: int | None) -> list[Any]:
    """Return a part of a list."""
    if step == 0:
        raise Refusal("List.slice: 'step' must not be zero.")
    return values[slice(start, end, step)]


@function("List.sort")
def sort(values: list[Any], keys: list[Any] | None) -> list[Any]:
    """Sort a list in natural order, or by keys of the same length."""
    if keys is None:
        return sorted(values, key=sort_key)
    if len(keys) != len(values):
        raise Refusal("List.sort: The key list must have as many elements as the list.")
    order = sorted(range(len(values)), key=lambda i: sort_key(keys[i]))
    return [values[i] for i in order]


@function("List.distinct")
def distinct(values: list[Any]) -> list[Any]:
    """Keep the first of equal elements."""
    try:
        return list(dict.fromkeys(values))
    except TypeError:  # lists, dictionaries, images
        _affordable(values, values)
    kept: list[Any] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return kept


@function("List.flatten")
def flatten(values: list[Any]) -> list[Any]:
    """Put the elements of lists in lists into one."""
    return [part for value in values for part in (flatten(value) if isinstance(value, list) else [value])]


@function("List.set")
def set_item(values: list[Any], index: int, element: Any) -> list[Any]:
    """Replace an element."""
    _item(values, index, "List.set")
    place = index % len(values)
    return [*values[:place], element, *values[place + 1 :]]


@function("List.insert")
def insert(values: list[Any], index: int, element: Any) -> list[Any]:
    """Put an element before another; behind the last one for an index as large as the list."""
    if not -len(values) <= index <= len(values):
        raise Refusal(f"List.insert: List index must be between 0 and {len(values)}, or negative. Got {index}.")
    return [*values[:index], element, *values[index:]]


@function("List.zip")
def zipped(values: list[Any], other: list[Any]) -> list[Any]:
    """Pair the elements of two lists."""
    return [list(pair) for pair in zip(values, other, strict=False)]


@function("List.repeat")
def repeat(value: Any, count: int) -> list[Any]:
    """Return a list of one element many times."""
    if not 0 <= count <= LONGEST:
        raise Refusal(f"List.repeat: 'count' must be between 0 and {LONGEST}, got {count}.")
    return [value] * count


@function("List.join")
def join(values: list[Any], separator: str | None) -> str:
    """Return the elements as one string."""
    return (separator or "").join(string(value) for value in values)


@function("List.indexOf")
def index_of(values: list[Any], element: Any) -> int:
    """Return the place of an element, -1 if there is none."""
    return values.index(element) if element in values else -1


def _replace_all(values: list[Any], old: Any, new: Any) -> list[Any]:
    return [new if value == old else value for value in values]


def _remove_all(values: list[Any], other: list[Any]) -> list[Any]:
    _affordable(values, other)
    return [value for value in values if value not in other]


def _contains_all(values: list[Any], other: list[Any]) -> bool:
    _affordable(values, other)
    return all(element in values for element in other)


def _rotate(values: list[Any], distance: int) -> list[Any]:
    place = distance % len(values) if values else 0
    return values[place:] + values[:place]


add("List.add", lambda values, element: [*values, element])
add("List.cat", lambda values, other: values + other)
add("List.contains", lambda values, element: element in values)
add("List.containsAll", _contains_all)
add("List.equals", lambda values, other: values == other)
add("List.frequency", lambda values, element: values.count(element))
add("List.length", len)
add("List.size", len)
add("List.removeAll", _remove_all)
add("List.remove", lambda values, element: _remove_all(values, [element]))
add("List.replaceAll", _replace_all)
add("List.reverse", lambda values: values[::-1])
add("List.rotate", _rotate)

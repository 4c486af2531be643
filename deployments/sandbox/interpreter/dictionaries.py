"""Dictionaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deployments.sandbox.interpreter.coercion import coerce
from deployments.sandbox.interpreter.metadata import chosen
from deployments.sandbox.interpreter.registry import add, function
from deployments.sandbox.interpreter.values import Algorithm
from deployments.sandbox.refusal import Refusal

Dictionary = dict[str, Any]


def _value(dictionary: Dictionary, key: str, where: str) -> Any:
    if key not in dictionary:
        raise Refusal(f"{where}: Dictionary does not contain key: '{key}'.")
    return dictionary[key]


def _matching(dictionary: Dictionary, selectors: list[str], ignore_missing: bool | None, where: str) -> list[str]:
    """Return the keys that names or regular expressions choose."""
    found: dict[str, None] = {}
    for selector in selectors:
        keys_of = [selector] if selector in dictionary else chosen(dictionary, [selector])
        if not keys_of and not ignore_missing:
            raise Refusal(f"{where}: Dictionary does not contain key: '{selector}'.")
        found |= dict.fromkeys(keys_of)
    return list(found)


@function("Dictionary")
def make(value: Any) -> Dictionary:
    """Make a dictionary of one, of an element's properties, or of a list of keys and values in turn."""
    if value is None:
        return {}
    if isinstance(value, list) and len(value) % 2 == 0:
        return dict(zip(value[::2], value[1::2], strict=True))
    made: Dictionary = coerce(value, "Dictionary", "Dictionary, argument 'input'")
    return made


@function("Dictionary.get")
def get(dictionary: Dictionary, key: str, default: Any) -> Any:
    """Return the value of a key, or a default."""
    return default if key not in dictionary and default is not None else _value(dictionary, key, "Dictionary.get")


def _getter(kind: str) -> Callable[[Dictionary, str], Any]:
    where = f"Dictionary.get{kind}"
    return lambda dictionary, key: coerce(_value(dictionary, key, where), kind, where)


for _kind in ("Number", "String", "Geometry"):
    add(f"Dictionary.get{_kind}", _getter(_kind))


@function("Dictionary.keys")
def keys(dictionary: Dictionary) -> list[str]:
    """List the keys, sorted."""
    return sorted(dictionary)


@function("Dictionary.values")
def values(dictionary: Dictionary, names: list[str] | None) -> list[Any]:
    """List the values in order of the sorted keys, or of the given ones."""
    return [_value(dictionary, key, "Dictionary.values") for key in (sorted(dictionary) if names is None else names)]


@function("Dictionary.set")
def set_value(dictionary: Dictionary, key: str, value: Any) -> Dictionary:
    """Set a key."""
    return {**dictionary, key: value}


@function("Dictionary.combine")
def combine(first: Dictionary, second: Dictionary, overwrite: bool | None) -> Dictionary:
    """Put two dictionaries together; the second one wins unless ``overwrite`` is false."""
    both = {**second, **first} if overwrite is False else {**first, **second}
    return {key: value for key, value in both.items() if value is not None}


@function("Dictionary.fromLists")
def from_lists(names: list[str], items: list[Any]) -> Dictionary:
    """Make a dictionary of keys and values."""
    if len(names) != len(items):
        raise Refusal("Dictionary.fromLists: Lists must be of the same size.")
    return dict(zip(names, items, strict=True))


@function("Dictionary.select")
def select(dictionary: Dictionary, names: list[str], ignore_missing: bool | None) -> Dictionary:
    """Keep some keys."""
    return {name: dictionary[name] for name in _matching(dictionary, names, ignore_missing, "Dictionary.select")}


@function("Dictionary.remove")
def remove(dictionary: Dictionary, names: list[str], ignore_missing: bool | None) -> Dictionary:
    """Drop some keys."""
    dropped = _matching(dictionary, names, ignore_missing, "Dictionary.remove")
    return {key: value for key, value in dictionary.items() if key not in dropped}


@function("Dictionary.rename")
def rename(dictionary: Dictionary, old: list[str], new: list[str], overwrite: bool | None) -> Dictionary:
    """Rename some keys."""
    if len(old) != len(new):
        raise Refusal("Dictionary.rename: Lists 'from' and 'to' must be of the same size.")
    renamed = dict(zip(old, new, strict=True))
    for name in old:
        _value(dictionary, name, "Dictionary.rename")
    clash = [name for name in new if name in dictionary and name not in renamed]
    if clash and not overwrite:
        raise Refusal(f"Dictionary.rename: Dictionary already contains key: '{clash[0]}'.")
    return {renamed.get(key, key): value for key, value in dictionary.items() if key not in clash}


@function("Dictionary.map")
def map_values(dictionary: Dictionary, body: Algorithm) -> Dictionary:
    """Apply a function to each key and value."""
    return {key: body(key, value) for key, value in dictionary.items()}


add("Dictionary.contains", lambda dictionary, key: key in dictionary)
add("Dictionary.size", len)

"""Strings, numbers as text, equality."""

from __future__ import annotations

import json
import re
from typing import Any

from deployments.sandbox.interpreter.coercion import type_name
from deployments.sandbox.interpreter.patterns import pattern
from deployments.sandbox.interpreter.registry import add, function
from deployments.sandbox.refusal import Refusal

# What stands before the number, flags, width, precision, kind, what stands behind it.
_FORMAT = re.compile(r"((?:[^%]|%%)*)%([-+ 0,#]*)(\d{0,3})(?:\.(\d{1,3}))?([a-zA-Z])((?:[^%]|%%)*)", re.DOTALL)
# Of a replacement, as Java reads it: a group ($1), an escaped character (\$), or any other.
_REPLACEMENT = re.compile(r"(\$(\d)|\\(.)|[^$\\])", re.DOTALL)
_LONGEST_FORMAT = 1_000
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|NaN|[-+]?Infinity")
_LONGEST_REPLACEMENT = 1_000


def _pattern(regex: str, flags: str | None, text: str) -> re.Pattern[str]:
    return pattern(regex, ignore_case="i" in (flags or "")).on(text)


@function("String")
def string(value: Any) -> str:
    """Return a value as a string."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(value, default=type_name)
    if value is None:
        return "null"
    if not isinstance(value, str | int | float):
        raise Refusal(f"String: the sandbox does not support the text of a {type_name(value)}.")
    return value if isinstance(value, str) else str(value)


@function("String.replace")
def replace(text: str, regex: str, replacement: str, flags: str | None) -> str:
    """Replace the first match of a regular expression, or all with the flag ``g``."""
    if len(replacement) > _LONGEST_REPLACEMENT:
        raise Refusal(f"String.replace: The replacement must not be longer than {_LONGEST_REPLACEMENT} characters.")
    compiled = _pattern(regex, flags, text)
    parts = _REPLACEMENT.findall(replacement)
    if sum(map(len, (whole for whole, _, _ in parts))) != len(replacement):
        raise Refusal(f"String.replace: Invalid replacement '{replacement}': a '$' or a '\\' stands alone.")
    missing = [group for _, group, _ in parts if group and int(group) > compiled.groups]
    if missing:
        raise Refusal(f"String.replace: Invalid replacement '{replacement}': there is no group {missing[0]}.")

    def replaced(found: re.Match[str]) -> str:
        return "".join(
            (found.group(int(group)) or "") if group else escaped or whole for whole, group, escaped in parts
        )

    return compiled.sub(replaced, text, count=0 if "g" in (flags or "") else 1)


@function("String.match")
def match(text: str, regex: str, flags: str | None) -> list[str]:
    """Return the match and its groups, or all matches with the flag ``g``."""
    compiled = _pattern(regex, flags, text)
    if "g" in (flags or ""):
        return [found.group(0) for found in compiled.finditer(text)]
    found = compiled.search(text)
    return [] if found is None else [found.group(0), *(group or "" for group in found.groups())]


@function("String.split")
def split(text: str, regex: str, flags: str | None) -> list[str]:
    """Split at a regular expression; at none, into characters.

    Without the groups of the expression and without empty strings at the end, as in Google's examples.
    """
    if regex == "":
        return list(text)
    parts, last = [], 0
    for found in _pattern(regex, flags, text).finditer(text):
        if (found.end() > 0 and found.start() < len(text)) or found.group():
            parts.append(text[last : found.start()])
            last = found.end()
    parts.append(text[last:])
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts


@function("String.slice")
def cut(text: str, start: int, end: int | None) -> str:
    """Return a part of a string."""
    return text[slice(start, end)]


@function("Number.parse")
def parse_number(text: str, radix: int | None) -> int | float:
    """Return the number that a string writes."""
    bad = Refusal(f"Number.parse: Cannot parse '{text[:100]}' as a number.")
    if "_" in text or (radix in {None, 10} and not _NUMBER.fullmatch(text.strip())):  # Python reads more
        raise bad
    try:
        value = float(int(text, radix) if radix not in {None, 10} else text)
    except (ValueError, OverflowError):
        raise bad from None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


@function("Number.format")
def format_number(value: float, pattern: str | None) -> str:
    """Return a number as text by a printf pattern of one number."""
    chosen = "%s" if pattern is None else pattern
    found = _FORMAT.fullmatch(chosen) if len(chosen) <= _LONGEST_FORMAT else None
    if found is None:
        raise Refusal(f"Number.format: Invalid pattern '{chosen[:100]}'.")
    before, flags, width, precision, kind, after = found.groups()
    if "," in flags:
        if kind not in "df" or set(flags) - set(",+-0"):
            raise Refusal(f"Number.format: the sandbox does not support the pattern '{chosen[:100]}'.")
        digits = f"{int(value):,d}" if kind == "d" else f"{value:,.{precision or 6}f}"
        number = _aligned(digits, flags, int(width or 0))
        return before.replace("%%", "%") + number + after.replace("%%", "%")
    try:
        return chosen % (int(value) if kind in "dxXo" else value)
    except (TypeError, ValueError, OverflowError):
        raise Refusal(f"Number.format: Invalid pattern '{chosen}'.") from None


def _aligned(number: str, flags: str, width: int) -> str:
    """Return a number with thousands apart, which Python's ``%`` cannot write, in its sign and width."""
    signed = f"+{number}" if "+" in flags and number[0] != "-" else number
    if "0" in flags:
        return signed.zfill(width)
    return signed.ljust(width) if "-" in flags else signed.rjust(width)


@function("Number.clamp")
def clamp(value: float, low: float, high: float) -> float:
    """Hold a number between two limits."""
    return min(max(value, low), high)


@function("Number.unitScale")
def unit_scale(value: float, low: float, high: float) -> float:
    """Scale a number so that [low, high] becomes [0, 1]."""
    if low == high:
        raise Refusal("Number.unitScale: 'min' and 'max' must differ.")
    return (value - low) / (high - low)


@function("String.decodeJSON")
def decode_json(text: str) -> Any:
    """Return the value that a JSON text holds."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"String.decodeJSON: Invalid JSON: {error}.") from None


add("String.cat", lambda one, two: one + two)
add("String.compareTo", lambda one, two: (one > two) - (one < two))
add("String.equals", lambda one, two: one == two)
add("String.index", lambda text, part: text.find(part))
add("String.rindex", lambda text, part: text.rfind(part))
add("String.length", len)
add("String.toLowerCase", lambda text: text.lower())
add("String.toUpperCase", lambda text: text.upper())
add("String.trim", lambda text: text.strip())
add("IsEqual", lambda one, two: one == two)
add("ObjectType", type_name)

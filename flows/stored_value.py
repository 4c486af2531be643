"""Values that a Prefect server can keep: JSON with integers of 64 bits, finite numbers, plain text, and few levels.

A server stores parameters that break these rules, and then answers 500 to each list of runs that holds the run, also
if others ask for it: it writes lists with orjson, which refuses wider integers and more than 254 levels.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from tasks.errors import QuarryError
from tasks.errors.input import SHOWN, BadInputError

LEAST, MOST = -(2**63), 2**63 - 1
"""Bounds of an integer."""
LEVELS = 200
"""Most levels of lists and objects. A server with Prefect 3.8.8 sent 250 levels again, and no more."""
SIZE = 524_288
"""Bytes of JSON that a server takes by default: its setting PREFECT_SERVER_API_MAX_PARAMETER_SIZE."""
_BITS = 14_000
"""Python writes no integer of more than 4,300 digits."""


class _Refused(QuarryError):
    """A part of a value cannot be kept."""

    def __init__(self, part: object, reason: str, remedy: str) -> None:
        super().__init__(part, reason, remedy)
        self.path: list[object] = []


def check_storable(value: object) -> None:
    """Check that a Prefect server can keep a value and send it again.

    Objects that are no JSON are not checked: Prefect does not store parameters that hold one.

    Args:
        value: JSON, or a pydantic model.

    Raises:
        BadInputError: It cannot. The message names the part, such as `recipe_parameters.seed`.
    """
    try:
        _check(value, 0)
    except _Refused as error:
        names = (key if str(key).isprintable() else ascii(key) for key in error.path)
        path = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in names)
        path = path.removeprefix(".") or "parameters"
        raise BadInputError(path if len(path) <= SHOWN else f"{path[:SHOWN]}...", *error.args) from None


def _check(value: object, level: int) -> None:
    if isinstance(value, str):
        if "\0" in value or not _is_unicode(value):
            raise _Refused(value, "it has a NUL character, or half of a surrogate pair", "Remove the character")
    elif isinstance(value, int):
        if not LEAST <= value <= MOST:
            reason = "an integer of more than 64 bits cannot be stored with the run"
            raise _Refused(value, reason, f"Give an integer from {LEAST} to {MOST}, or text")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _Refused(value, "it is not finite, and so no number of JSON", "Give a finite number, or null")
    elif (parts := _parts(value)) is not None:
        if level >= LEVELS:
            raise _Refused(value, f"it is nested in more than {LEVELS} levels of lists and objects", "Nest it less")
        for key, part in parts:
            try:
                _check(key, level)
                _check(part, level + 1)
            except _Refused as error:
                error.path.insert(0, key)
                raise
    elif isinstance(value, Iterator):
        raise _Refused(value, "it can be read only once, and storing the run reads it", "Give a list")
    elif value is not None:
        with contextlib.suppress(PydanticSerializationError, ValueError):  # no JSON, and so not stored
            _check(to_jsonable_python(value), level)


def _parts(value: object) -> Iterable[tuple[object, object]] | None:
    """Return the names or numbers of the parts of a value, with the parts. None = it has no parts."""
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list | tuple | set | frozenset):
        return enumerate(value)
    return vars(value).items() if isinstance(value, BaseModel) else None


def texts(value: object, level: int = 0) -> Iterator[str]:
    """Yield the texts in lists and objects, names included, as deep as a server keeps them."""
    if isinstance(value, str):
        yield value
    elif level < LEVELS:
        for key, part in _parts(value) or ():
            yield from texts(key, level + 1)
            yield from texts(part, level + 1)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def storable(value: Any, level: int = 0) -> Any:
    """Return the JSON value that is nearest to a given one and that a server can keep: what it cannot keep is text."""
    try:
        _check(value, LEVELS)  # of lists and objects, this refuses all
    except _Refused:
        if level >= LEVELS or _parts(value) is None:
            text = value if isinstance(value, str) else str(value) if _is_writable(value) else type(value).__name__
            return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
        if isinstance(value, Mapping):
            return {storable(str(name)): storable(part, level + 1) for name, part in value.items()}
        return [storable(part, level + 1) for _, part in _parts(value) or ()]
    return value


def _is_writable(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= _BITS)


def storable_geojson(value: Any) -> Any:
    """Return GeoJSON whose ids and properties a server can keep; return any other value unchanged.

    Integers of more than 64 bits become text with the same digits, with all integers of the same property. NaN becomes
    null: both are a missing value.
    """
    if not isinstance(value, Mapping):
        return value
    features = value.get("features") if value.get("type") == "FeatureCollection" else [value]
    if not isinstance(features, list) or not all(isinstance(feature, Mapping) for feature in features):
        return value
    held = [{"id": feature.get("id"), **_properties(feature)} for feature in features]
    wide = {name for row in held for name, each in row.items() if _is_wide(each)}
    missing = any(isinstance(each, float) and math.isnan(each) for row in held for each in row.values())
    if not wide and not missing:
        return value
    changed = [_plain(feature, wide) for feature in features]
    return {**value, "features": changed} if value.get("type") == "FeatureCollection" else changed[0]


def _properties(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _is_wide(value: object) -> bool:
    return isinstance(value, int) and not LEAST <= value <= MOST and _is_writable(value)


def _plain(feature: Mapping[str, Any], wide: set[str]) -> dict[str, Any]:
    def plain(name: str, value: Any) -> Any:
        if name in wide and type(value) is int:
            return str(value) if _is_writable(value) else value
        return None if isinstance(value, float) and math.isnan(value) else value

    result = dict(feature)
    if "id" in result:
        result["id"] = plain("id", result["id"])
    if isinstance(result.get("properties"), Mapping):
        result["properties"] = {name: plain(name, each) for name, each in result["properties"].items()}
    return result


def check_size(stored: Mapping[str, Any]) -> None:
    """Check that the JSON of a run's parameters is not larger than a server takes.

    The limit is Prefect's setting, as it is set in this process.

    Raises:
        BadInputError: They are larger.
    """
    size = len(json.dumps(stored, separators=(",", ":")))  # as the server measures them
    if size <= SIZE:
        return
    from prefect.settings import get_current_settings  # the import takes a while, and few parameters are so large

    limit = get_current_settings().server.api.max_parameter_size  # 0 = none
    if 0 < limit < size:
        reason = (
            f"they are {size:,} bytes as JSON, and a Prefect server takes at most {limit:,} "
            "(PREFECT_SERVER_API_MAX_PARAMETER_SIZE)"
        )
        remedy = "Give region or points as the path of a file, and a large expression as an asset or a recipe"
        raise BadInputError("parameters", f"{size:,} bytes", reason, remedy)

"""Values that are written as text: lists, pairs of names and values, JSON."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

from pydantic_core import PydanticCustomError


def csv(value: Any) -> Any:
    """Return the parts of a text such as `a, b, c` or a JSON list; of `all`, none. Return other values unchanged."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _of_json(value)
    return [] if value.strip() == "all" else [part.strip() for part in value.split(",") if part.strip()]


_PAIR = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*(?:[,;\n]\s*(?=[A-Za-z_]\w*\s*=)|[,;]?\s*$)", re.DOTALL)

_NEXT = re.compile(r"\s*(?:[,;\n]\s*|$)")


def pairs(value: Any) -> Any:
    """Return the values of text such as `start=2020-05-01, max_cloud=60` or of a JSON object; of `none`, none.

    A value that is JSON, such as a number or a list, is read as JSON, and any other is text. Return what is not text
    unchanged.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in {"", "none"}:
        return {}
    if text.startswith("{"):
        return _of_json(text)
    found: dict[str, Any] = {}
    end = 0
    while end < len(text):
        pair = _PAIR.match(text, end)
        if pair is None or pair[1] in found:
            raise PydanticCustomError("pairs", "should be written as name=value, name=value, each name once")
        found[pair[1]], end = _whole_json(text, pair.start(2)) or (_of_json(pair[2]), pair.end())
    return found


def _whole_json(text: str, start: int) -> tuple[Any, int] | None:
    """Return the list, object or quoted text that begins in a text, and where the next pair begins; None = no such."""
    with contextlib.suppress(ValueError, RecursionError):
        value, end = json.JSONDecoder().raw_decode(text, start)
        if isinstance(value, list | dict | str) and (after := _NEXT.match(text, end)):
            return value, after.end()
    return None


def _of_json(text: str) -> Any:
    """Return the value of JSON text, and other text unchanged."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text

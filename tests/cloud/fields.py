"""Partial answers: what the parameter ``fields`` selects of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from tests.cloud.refusal import Refusal

# Names with what is selected below each; an empty selection is all.
Selection: TypeAlias = Mapping[str, "Selection"]

_ANYTHING: Selection = {}
OBJECT: Selection = dict.fromkeys(
    (
        *("kind", "id", "selfLink", "mediaLink", "name", "bucket", "generation", "metageneration", "contentType"),
        *("storageClass", "size", "md5Hash", "crc32c", "etag", "timeCreated", "updated", "metadata"),
    ),
    _ANYTHING,
)
LISTING: Selection = {"kind": {}, "nextPageToken": {}, "prefixes": {}, "items": OBJECT}
BUCKET: Selection = dict.fromkeys(
    ("kind", "id", "name", "projectNumber", "location", "locationType", "storageClass", "metageneration", "etag"),
    _ANYTHING,
)
_TOKEN = re.compile(r"[A-Za-z0-9_-]+|[(),/]")


def select(text: str | None, known: Selection, answer: dict[str, Any]) -> dict[str, Any]:
    """Return what a text such as ``items(name,size),nextPageToken`` selects of an answer.

    Args:
        text: None = everything.
        known: The fields that there are.
        answer: The whole.

    Raises:
        Refusal: 400 for no such text, 501 for a field that the fake has not.
    """
    if text is None:
        return answer
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text:
        raise _invalid(text)
    try:
        selection = _selection(tokens)
    except IndexError:
        raise _invalid(text) from None
    if tokens:
        raise _invalid(text)
    _check(selection, known)
    return _select(selection, answer)


def _selection(tokens: list[str]) -> Selection:
    """Take a selection from the front of some tokens."""
    selection: dict[str, Selection] = {}
    while True:
        name, below = _field(tokens)
        selection[name] = below
        if tokens[:1] != [","]:
            return selection
        tokens.pop(0)


def _field(tokens: list[str]) -> tuple[str, Selection]:
    name = tokens.pop(0)
    if name in "(),/":
        raise IndexError(name)
    if tokens[:1] == ["/"]:
        tokens.pop(0)
        return name, dict([_field(tokens)])
    if tokens[:1] == ["("]:
        tokens.pop(0)
        below = _selection(tokens)
        if tokens.pop(0) != ")":
            raise IndexError(name)
        return name, below
    return name, {}


def _check(selection: Selection, known: Selection) -> None:
    for name, below in selection.items():
        if name not in known:
            raise Refusal(501, f"The fake has no field {name!r}.", parameter="fields")
        _check(below, known[name])


def _select(selection: Selection, value: Any) -> Any:
    if not selection:
        return value
    if isinstance(value, list):
        return [_select(selection, each) for each in value]
    return {name: _select(below, value[name]) for name, below in selection.items() if name in value}


def _invalid(text: str) -> Refusal:
    return Refusal(400, f"Invalid field selection {text}", "invalidParameter", parameter="fields")

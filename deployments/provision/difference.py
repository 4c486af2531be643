"""Differences between the declaration and a Prefect server: both sides as plain values, compared in one way."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from pydantic import Secret

Values = Mapping[str, Any]
# Characters shown of a value, and differences shown of a thing: a form may have hundreds.
WIDTH, LINES = 60, 8
_NOTHING = object()


class Thing(ABC):
    """Something that is declared to exist on the server, such as a block or a deployment."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Kind and name, such as ``work pool pixel-quarry``."""

    @property
    @abstractmethod
    def declared(self) -> Values:
        """The values that it is to have."""

    @abstractmethod
    def read(self, client: SyncPrefectClient) -> Values | None:
        """Return the values that it has on the server; None = it does not exist."""

    @abstractmethod
    def write(self, client: SyncPrefectClient) -> None:
        """Create it, or set the declared values."""

    def objection(self, found: Values) -> str | None:
        """Return why it must not be changed, and what to do; None = it may be changed.

        Args:
            found: The values that it has on the server.
        """
        del found
        return None


@dataclass(frozen=True)
class Change:
    """A thing that differs from the declaration."""

    thing: Thing
    is_new: bool
    differences: tuple[str, ...]
    objection: str | None

    def line(self, created: str, updated: str) -> str:
        """Return the change as one line of text.

        Args:
            created: Verb for a thing that does not exist, such as "created".
            updated: Verb for a thing that differs, such as "updated".
        """
        if self.is_new:
            return f"{created} {self.thing.name}"
        more = len(self.differences) - LINES
        shown = [*self.differences[:LINES], *([f"and {more} more"] if more > 0 else [])]
        return f"{updated} {self.thing.name}: {', '.join(shown)}"


def changes(things: Iterable[Thing], client: SyncPrefectClient) -> list[Change]:
    """Return the things that differ from the server or do not exist there. Writes nothing."""
    found = []
    for thing in things:
        there = thing.read(client)
        differing = () if there is None else tuple(differences(there, thing.declared))
        if there is None or differing:
            objection = None if there is None else thing.objection(there)
            found.append(Change(thing, is_new=there is None, differences=differing, objection=objection))
    return found


def differences(found: Values, declared: Values, path: str = "") -> Iterator[str]:
    """Yield each difference of two trees of values, as `path old -> new`.

    >>> list(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": None}))
    ['a.c 2 -> 3', 'd nothing -> null']
    """
    for key in dict.fromkeys([*declared, *found]):
        before, after = found.get(key, _NOTHING), declared.get(key, _NOTHING)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, f"{path}{key}.")
        else:
            yield f"{path}{key} {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    if isinstance(value, Secret):
        return "(not shown)"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."

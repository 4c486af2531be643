"""How much one expression may compute: small requests can ask for values without end.

A list of one list twice, thirty times over, is a page of JSON and a billion elements. Values are weighed as if
nothing in them were shared, because they are when they are sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import shapely

from deployments.sandbox.interpreter.values import Collection, Feature, Geometry
from deployments.sandbox.raster import Image
from deployments.sandbox.refusal import Refusal

LARGEST = 2_000_000
"""Weight of all values of an evaluation together, and of what is sent of them."""
MOST_NODES = 2_000_000
"""Nodes of the expression that are evaluated, those of a mapped function once an element."""

_CHARACTERS = 8  # that weigh as much as an element of a list


@dataclass
class Budget:
    """What an evaluation has left."""

    weight: int = LARGEST
    nodes: int = MOST_NODES

    def step(self) -> None:
        """Count the evaluation of a node.

        Raises:
            Refusal: 400, there were too many.
        """
        self.nodes -= 1
        if self.nodes < 0:
            raise Refusal("Computation timed out.")

    def spend(self, value: Any) -> Any:
        """Return a value, whose weight is taken away.

        Raises:
            Refusal: 400, nothing is left.
        """
        self.weight -= weight(value, self.weight)
        if self.weight < 0:
            raise Refusal("Computed value is too large.")
        return value


def weight(value: Any, enough: int = LARGEST, *, deep: bool = False) -> int:
    """Return how large a value is, in about as many elements of lists.

    Args:
        value: Any value of an expression.
        enough: Where to stop counting.
        deep: Count images of a collection and properties of elements whole, as they are when they are sent.
    """
    total, waiting = 0, [iter((value,))]
    while waiting and total <= enough:
        for part in waiting[-1]:
            own, parts = _weighed(part, deep=deep)
            total += own
            if total > enough:
                break
            if parts is not None:
                waiting.append(parts)
                break
        else:
            waiting.pop()
    return total


def _weighed(value: Any, *, deep: bool) -> tuple[int, Iterator[Any] | None]:
    """Return the weight of a value itself, and its parts."""
    own, parts = 1, None
    if isinstance(value, str | bytes):
        own += len(value) // _CHARACTERS
    elif isinstance(value, list | tuple):
        parts = iter(value)
    elif isinstance(value, Mapping):
        own, parts = 1 + len(value), iter(value.values())
    elif isinstance(value, Geometry):
        own += 2 * int(shapely.get_num_coordinates(value.shape))
    elif isinstance(value, Image):
        own, parts = 1 + 8 * len(value.bands), iter(value.properties.values()) if deep else None
    elif isinstance(value, Collection):
        own, parts = 1 + 8 * len(value.elements), iter(value.elements) if deep else None
    elif isinstance(value, Feature) and deep:
        parts = iter((value.geometry, value.properties))
    return own, parts

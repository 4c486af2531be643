"""Prefect tasks over functions of the core."""

from __future__ import annotations

from typing import TypeVar, cast

from prefect.utilities.annotations import quote

T = TypeVar("T")


def unvisited(value: T) -> T:
    """Return a task's argument that Prefect does not search for futures: 20,000 receipts take it five seconds."""
    return cast("T", quote(value))

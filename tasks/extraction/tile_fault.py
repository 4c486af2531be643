"""What can be wrong with a tile of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What can be wrong with a tile of a plan."""

    DAMAGED = "damaged"
    """The stored bytes do not match the tile's receipt."""
    MISSING = "missing"
    """Nothing is stored at the tile's key."""
    FAILED = "failed"
    """The tile was requested, but could not be fetched."""
    UNRECEIPTED = "unreceipted"
    """Something is stored at the tile's key, but no receipt lists the tile."""


@dataclass(frozen=True, slots=True)
class TileFault:
    """What is wrong with one tile."""

    kind: Fault
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


GONE = TileFault(Fault.MISSING, "its file is gone")

"""The catalogue: which assets the sandbox serves."""

from __future__ import annotations

from typing import Protocol

from deployments.sandbox.raster import Asset
from deployments.sandbox.refusal import Refusal


class Catalogue(Protocol):
    """Assets by name, children by parent."""

    def get(self, name: str) -> Asset:
        """Return an asset by full resource name or by id.

        Raises:
            Refusal: 404, with the text that Earth Engine uses.
        """
        ...

    def children(self, name: str) -> tuple[Asset, ...]:
        """Return the direct children of a collection or folder, in order of ``system:index``."""
        ...


class Missing(Refusal):
    """Earth Engine's refusal of an asset that is not there."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(f'Asset "{name}" does not exist or doesn\'t allow this operation.{hint}', 404)
        self.hint = hint
        """What the sandbox adds where Earth Engine may well have the asset; empty, or with a space before it."""


def missing(name: str, hint: str = "") -> Missing:
    """Return the refusal of an asset that is not there.

    Args:
        name: Full resource name.
        hint: See `Missing`.
    """
    return Missing(name, hint)


def not_found(refusal: Refusal, function: str, kind: str, asset_id: str) -> Refusal:
    """Return the refusal of a function that loads an asset, made of the refusal of the asset."""
    hint = refusal.hint if isinstance(refusal, Missing) else ""
    return Refusal(
        f"{function}: {kind} asset '{asset_id}' not found (does not exist or caller does not have access).{hint}"
    )

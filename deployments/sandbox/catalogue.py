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


def missing(name: str) -> Refusal:
    """Return Earth Engine's refusal of an asset that is not there, by its full resource name."""
    return Refusal(f'Asset "{name}" does not exist or doesn\'t allow this operation.', 404)

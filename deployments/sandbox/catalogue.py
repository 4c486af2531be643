"""The catalogue: which assets the sandbox serves."""

from __future__ import annotations

from typing import Protocol

from deployments.sandbox.raster import Asset


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

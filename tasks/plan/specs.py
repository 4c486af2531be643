"""What a plan is made from: the image, and which of its pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from odc.geo.types import XY

from tasks.plan.plan import TileFormat
from tasks.raster.grid import ORIGIN


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What the user named: exactly one of the three."""

    asset: str | None = None
    recipe: str | None = None
    recipe_parameters: Mapping[str, Any] | None = None
    expression: Mapping[str, Any] | None = None
    name: str = "expression"
    """Label of an expression."""
    as_of: date | None = None


@dataclass(frozen=True, kw_only=True)
class PixelSpec:
    """What every plan needs besides its image and its place."""

    bands: Sequence[str] | None
    """None = all."""
    crs: str
    """``utm``, ``native``, or anything pyproj knows."""
    scale: float | None
    """Pixel size in CRS units; None with ``native``."""
    anchor: XY[float] = ORIGIN
    """Some pixel corner (x, y) in CRS units: corners lie there plus whole multiples of the scale."""
    tile_format: TileFormat
    max_requests: int = 100_000
    """A plan of more is refused."""
    clip: bool = False
    """Whether pixels outside the region are masked, and tiles outside it are not asked for."""

"""What a plan is made from: an image, and the choice of its pixels."""

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
    """The image that a user names: exactly one of `asset`, `recipe` and `expression`."""

    asset: str | None = None
    recipe: str | None = None
    recipe_parameters: Mapping[str, Any] | None = None
    expression: Mapping[str, Any] | None = None
    name: str = "expression"
    """Name of an expression, for messages and the folder of its tiles."""
    as_of: date | None = None


@dataclass(frozen=True, kw_only=True)
class PixelSpec:
    """Bands, grid and format of a plan. Image and region (or points) are not part of it."""

    bands: Sequence[str] | None
    """Names of the bands. None = all bands."""
    crs: str
    """``utm``, ``native``, or any CRS that pyproj knows."""
    scale: float | None
    """Pixel size in CRS units. None with ``native``."""
    anchor: XY[float] = ORIGIN
    """A point (x, y) in CRS units where a pixel has a corner. Other corners are whole multiples of the scale away."""
    tile_format: TileFormat
    max_requests: int = 100_000
    """A plan with more requests is refused."""
    clip: bool = False
    """Whether pixels outside the region are masked. If so, tiles outside it are not requested."""
    leave_out: bool = False
    """Whether tiles outside the region are not requested although nothing is masked, if they are most of the grid."""

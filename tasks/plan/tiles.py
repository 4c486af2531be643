"""The pixel grids of a plan: a tiled region, or a set of patches. A tile is an integer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo import wh_
from odc.geo.geobox import GeoBox
from odc.geo.types import Shape2d

from tasks.raster.crs import crs_of
from tasks.raster.tiling import Tiling


@dataclass(frozen=True, kw_only=True)
class PixelGrid:
    """The grid of one request."""

    crs: str
    """Authority code or WKT, as Earth Engine is told."""
    affine: Affine
    """From (column, row) to CRS units, top-left corner of the top-left pixel."""
    width: int
    height: int

    def json(self) -> dict[str, Any]:
        """Return the REST form (PixelGrid of the v1 reference)."""
        a = self.affine
        return {
            "affineTransform": {
                "scaleX": a.a,
                "shearX": a.b,
                "translateX": a.c,
                "shearY": a.d,
                "scaleY": a.e,
                "translateY": a.f,
            },
            "dimensions": {"width": self.width, "height": self.height},
            ("crsCode" if is_code(self.crs) else "crsWkt"): self.crs,
        }

    @property
    def geobox(self) -> GeoBox:
        """The same grid as odc-geo's value."""
        return GeoBox(self.shape, self.affine, crs_of(self.crs))

    @property
    def shape(self) -> Shape2d:
        """Height and width in pixels."""
        return wh_(self.width, self.height)


def is_code(crs: str) -> bool:
    """Whether a CRS is an authority code (``EPSG:32621``) rather than WKT."""
    return "[" not in crs


def corners(grids: Iterable[PixelGrid]) -> NDArray[np.float64]:
    """Return the corners of grids, clockwise from the first pixel's, in CRS units: shape (grid, 4, 2) of (x, y)."""
    # Not `affine @ corner`: an object each is ten times slower.
    given = [(m.a, m.b, m.c, m.d, m.e, m.f, grid.width, grid.height) for grid in grids for m in (grid.affine,)]
    a, b, c, d, e, f, width, height = np.array(given, np.float64).reshape(-1, 8).T[..., np.newaxis]
    column, row = width * (0, 1, 1, 0), height * (0, 0, 1, 1)
    return np.stack([a * column + b * row + c, d * column + e * row + f], axis=-1)


class Tiles(Protocol):
    """A finite, ordered set of pixel grids."""

    def __len__(self) -> int:
        """Number of tiles."""
        ...

    @property
    def pixels(self) -> int:
        """Number of pixels in all tiles, of one band."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The CRS that occur."""
        ...

    def zones(self) -> NDArray[np.int32]:
        """Return for each tile its CRS, as an index into `names`."""
        ...

    def grid(self, tile: int) -> PixelGrid:
        """Return the grid of a tile by arithmetic.

        Raises:
            IndexError: there is no such tile.
        """
        ...

    def name(self, tile: int) -> str | None:
        """Return a name that a person can place, or None where the fingerprint is the name."""
        ...

    def json(self) -> dict[str, Any]:
        """Return what :func:`tiles_from_json` reads back; it decides the identity of the whole."""
        ...


@dataclass(frozen=True, kw_only=True)
class RegionTiles:
    """One grid, cut into square tiles; those at the right and the bottom edge are clipped."""

    crs: str
    tiling: Tiling
    kept: tuple[int, ...] | None = None
    """Tiles of the tiling that are asked for, in order; None = all."""

    def __len__(self) -> int:
        return len(self.tiling) if self.kept is None else len(self.kept)

    @property
    def names(self) -> tuple[str, ...]:
        """The one CRS."""
        return (self.crs,)

    def zones(self) -> NDArray[np.int32]:
        """Return zeroes."""
        return np.zeros(len(self), np.int32)

    def place(self, tile: int) -> int:
        """Return the number of a tile in the whole tiling."""
        if not 0 <= tile < len(self):
            raise IndexError(tile)
        return tile if self.kept is None else self.kept[tile]

    @property
    def pixels(self) -> int:
        """Pixels of the tiles that are asked for."""
        if self.kept is None:
            return int(self.tiling.geobox.shape.x) * int(self.tiling.geobox.shape.y)
        return sum(self.tiling.window(tile).pixels for tile in self.kept)

    def grid(self, tile: int) -> PixelGrid:
        """Return the grid of a tile."""
        box = self.tiling.tile(self.place(tile))
        return PixelGrid(crs=self.crs, affine=box.affine, width=int(box.shape.x), height=int(box.shape.y))

    def name(self, tile: int) -> str:
        """Row and column of the tile."""
        return self.tiling.name(self.place(tile))

    def json(self) -> dict[str, Any]:
        """The whole grid and the size of a tile."""
        box = self.tiling.geobox
        return {
            "kind": "region",
            "crs": self.crs,
            "affine": list(box.affine)[:6],
            "shape": [int(box.shape.y), int(box.shape.x)],
            "tile_size": self.tiling.tile_size,
            "kept": None if self.kept is None else list(self.kept),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchTiles:
    """Square north-up patches of one size and scale, each in its own CRS."""

    crs: tuple[str, ...]
    """The CRS that occur."""
    zone: NDArray[np.int32]
    """Index into `crs`, one a patch."""
    left: NDArray[np.float64]
    """X of the left edge, CRS units, one a patch."""
    top: NDArray[np.float64]
    """Y of the top edge, CRS units, one a patch."""
    scale: float
    """Pixel size, CRS units."""
    size: int
    """Pixels a side."""

    def __len__(self) -> int:
        return len(self.zone)

    @property
    def pixels(self) -> int:
        """Pixels of all patches, those that overlap counted twice."""
        return len(self) * self.size**2

    @property
    def names(self) -> tuple[str, ...]:
        """All that occur."""
        return self.crs

    def zones(self) -> NDArray[np.int32]:
        """Return the CRS of each patch."""
        return self.zone

    def grid(self, tile: int) -> PixelGrid:
        """Return the grid of a patch."""
        if not 0 <= tile < len(self):
            raise IndexError(tile)
        return PixelGrid(
            crs=self.crs[self.zone[tile]],
            affine=Affine(self.scale, 0.0, float(self.left[tile]), 0.0, -self.scale, float(self.top[tile])),
            width=self.size,
            height=self.size,
        )

    def name(self, tile: int) -> None:
        """Patches have no name: the index file says which point each belongs to."""
        return

    def json(self) -> dict[str, Any]:
        """All patches, as columns."""
        return {
            "kind": "patches",
            "crs": list(self.crs),
            "zone": self.zone.tolist(),
            "left": self.left.tolist(),
            "top": self.top.tolist(),
            "scale": self.scale,
            "size": self.size,
        }


def tiles_from_json(value: dict[str, Any]) -> RegionTiles | PatchTiles:
    """Read back what `json()` of either kind gave."""
    if value["kind"] == "region":
        height, width = value["shape"]
        box = GeoBox(wh_(width, height), Affine(*value["affine"]), crs_of(value["crs"]))
        tiling = Tiling(geobox=box, tile_size=value["tile_size"])
        return RegionTiles(
            crs=value["crs"], tiling=tiling, kept=None if value["kept"] is None else tuple(value["kept"])
        )
    return PatchTiles(
        crs=tuple(value["crs"]),
        zone=np.asarray(value["zone"], np.int32),
        left=np.asarray(value["left"], np.float64),
        top=np.asarray(value["top"], np.float64),
        scale=value["scale"],
        size=value["size"],
    )

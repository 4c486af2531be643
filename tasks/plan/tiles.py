"""Pixel grids of a plan: a region cut into tiles, or a set of patches. A tile is a number."""

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

# Up to so many times the pixels of its tiles, a grid is one mosaic. Beyond, the mosaic would be nearly all nodata.
SPARSE = 4


@dataclass(frozen=True, kw_only=True)
class PixelGrid:
    """The pixel grid of one request."""

    crs: str
    """Authority code or WKT, as Earth Engine gets it."""
    affine: Affine
    """From (column, row) to CRS units. (0, 0) is the top-left corner of the top-left pixel."""
    width: int
    height: int

    def json(self) -> dict[str, Any]:
        """Return the grid in the form of the REST API (PixelGrid of the v1 reference)."""
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
        """The same grid as a GeoBox of odc-geo."""
        return GeoBox(self.shape, self.affine, crs_of(self.crs))

    @property
    def shape(self) -> Shape2d:
        """Height and width in pixels."""
        return wh_(self.width, self.height)


def is_code(crs: str) -> bool:
    """Return whether a CRS is an authority code (``EPSG:32621``) and not WKT."""
    return "[" not in crs


def corners(grids: Iterable[PixelGrid]) -> NDArray[np.float64]:
    """Return the corners of grids in CRS units, shape (grid, 4, 2): (x, y), clockwise from the top-left corner."""
    # `affine @ corner` makes an object for each corner, which is ten times slower.
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
        """Number of pixels of one band in all tiles."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """All CRS of the tiles, each once."""
        ...

    @property
    def largest(self) -> int:
        """Number of a tile that has as many pixels as any."""
        ...

    def zones(self) -> NDArray[np.int32]:
        """Return the CRS of each tile as an index into `names`, shape (tile,)."""
        ...

    def grid(self, tile: int) -> PixelGrid:
        """Return the pixel grid of a tile. It is computed from the number of the tile.

        Raises:
            IndexError: There is no such tile.
        """
        ...

    def name(self, tile: int) -> str | None:
        """Return a name that shows where the tile is, or None if its fingerprint is its only name."""
        ...

    def json(self) -> dict[str, Any]:
        """Return all grids as JSON values, which :func:`tiles_from_json` reads. They are part of the fingerprint."""
        ...


@dataclass(frozen=True, kw_only=True)
class RegionTiles:
    """One grid cut into square tiles. Tiles at the right and the bottom edge are clipped."""

    crs: str
    tiling: Tiling
    kept: tuple[int, ...] | None = None
    """Numbers of the tiles of `tiling` that are requested, in order. None = all."""
    map_edge: float | None = None
    """Left edge of the map, CRS units: pixels beyond it are requested on its other side. None = none lie beyond."""

    def __len__(self) -> int:
        return len(self.tiling) if self.kept is None else len(self.kept)

    @property
    def names(self) -> tuple[str, ...]:
        """The one CRS."""
        return (self.crs,)

    def zones(self) -> NDArray[np.int32]:
        """Return zeroes, shape (tile,): all tiles have the one CRS."""
        return np.zeros(len(self), np.int32)

    def place(self, tile: int) -> int:
        """Return the number of a tile in the whole tiling.

        Raises:
            IndexError: There is no such tile.
        """
        if not 0 <= tile < len(self):
            raise IndexError(tile)
        return tile if self.kept is None else self.kept[tile]

    @property
    def pixels(self) -> int:
        """Number of pixels of one band in the tiles that are requested."""
        if self.kept is None:
            return int(self.tiling.geobox.shape.x) * int(self.tiling.geobox.shape.y)
        return sum(self.tiling.window(tile).pixels for tile in self.kept)

    @property
    def is_sparse(self) -> bool:
        """Whether the tiles are a small part of the grid, as those of fields that are far apart."""
        shape = self.tiling.geobox.shape
        return int(shape.x) * int(shape.y) > SPARSE * self.pixels

    @property
    def largest(self) -> int:
        """Number of a tile that has as many pixels as any. The first tile may be clipped at an edge."""
        if self.kept is None:
            return 0
        shape, side = self.tiling.geobox.shape, self.tiling.tile_size
        whole, most, largest = min(side, shape.x) * min(side, shape.y), 0, 0
        for number, tile in enumerate(self.kept):
            pixels = self.tiling.window(tile).pixels
            if pixels > most:
                most, largest = pixels, number
            if most == whole:  # nearly always one of the first
                break
        return largest

    def grid(self, tile: int) -> PixelGrid:
        """Return the pixel grid of a tile."""
        box = self.tiling.tile(self.place(tile))
        return PixelGrid(crs=self.crs, affine=box.affine, width=int(box.shape.x), height=int(box.shape.y))

    def name(self, tile: int) -> str:
        """Return the name of a tile, made from its row and column."""
        return self.tiling.name(self.place(tile))

    def json(self) -> dict[str, Any]:
        """Return the whole grid, the tile size and the tiles that are requested."""
        box = self.tiling.geobox
        return {
            "kind": "region",
            "crs": self.crs,
            "affine": list(box.affine)[:6],
            "shape": [int(box.shape.y), int(box.shape.x)],
            "tile_size": self.tiling.tile_size,
            "kept": None if self.kept is None else list(self.kept),
            **({} if self.map_edge is None else {"map_edge": self.map_edge}),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchTiles:
    """Patches of one size and scale, each in its own CRS. They are square and north-up unless `pixel` is given."""

    crs: tuple[str, ...]
    """All CRS of the patches, each once."""
    zone: NDArray[np.int32]
    """CRS of each patch as an index into `crs`, shape (patch,)."""
    left: NDArray[np.float64]
    """x of the corners of the first pixels in CRS units, shape (patch,)."""
    top: NDArray[np.float64]
    """y of the corners of the first pixels in CRS units, shape (patch,)."""
    scale: float
    """Pixel size in CRS units. If `pixel` is given, the square root of a pixel's area."""
    size: int
    """Pixels per side of a patch."""
    pixel: tuple[float, float, float, float] | None = None
    """`(a, b, d, e)` of the affine of an image's own grid, whose pixels are oblong, sheared or south-up. None = pixels
    are square and north-up: `(scale, 0, 0, -scale)`."""
    beyond: bool = False
    """Whether a patch reaches beyond the map: its pixels there are requested on the other side."""

    def __len__(self) -> int:
        return len(self.zone)

    @property
    def pixels(self) -> int:
        """Number of pixels of one band in all patches. Where patches overlap, pixels are counted once for each."""
        return len(self) * self.size**2

    @property
    def largest(self) -> int:
        """The first: all patches have the same size."""
        return 0

    @property
    def names(self) -> tuple[str, ...]:
        """All CRS of the patches, each once."""
        return self.crs

    def zones(self) -> NDArray[np.int32]:
        """Return the CRS of each patch as an index into `names`, shape (patch,)."""
        return self.zone

    def grid(self, tile: int) -> PixelGrid:
        """Return the pixel grid of a patch."""
        if not 0 <= tile < len(self):
            raise IndexError(tile)
        a, b, d, e = self.pixel or (self.scale, 0.0, 0.0, -self.scale)
        return PixelGrid(
            crs=self.crs[self.zone[tile]],
            affine=Affine(a, b, float(self.left[tile]), d, e, float(self.top[tile])),
            width=self.size,
            height=self.size,
        )

    def name(self, tile: int) -> None:
        """Return None: patches have no name. The patch index lists the point of each."""
        return

    def json(self) -> dict[str, Any]:
        """Return all patches as columns."""
        return {
            "kind": "patches",
            "crs": list(self.crs),
            "zone": self.zone.tolist(),
            "left": self.left.tolist(),
            "top": self.top.tolist(),
            "scale": self.scale,
            "size": self.size,
            **({} if self.pixel is None else {"pixel": list(self.pixel)}),
            **({"beyond": True} if self.beyond else {}),
        }


def tiles_from_json(value: dict[str, Any]) -> RegionTiles | PatchTiles:
    """Return the tiles from the JSON values that their `json()` returned: fields of a stored plan, checked."""
    if value["kind"] == "region":
        height, width = value["shape"]
        box = GeoBox(wh_(width, height), Affine(*value["affine"]), crs_of(value["crs"]))
        tiling = Tiling(geobox=box, tile_size=value["tile_size"])
        return RegionTiles(crs=value["crs"], tiling=tiling, kept=value["kept"], map_edge=value["map_edge"])
    for name in value["crs"]:
        crs_of(name)
    return PatchTiles(
        crs=value["crs"],
        zone=np.asarray(value["zone"], np.int32),
        left=np.asarray(value["left"], np.float64),
        top=np.asarray(value["top"], np.float64),
        scale=value["scale"],
        size=value["size"],
        pixel=value["pixel"],
        beyond=value["beyond"],
    )

"""Tilings: a grid cut into tiles, where a tile is an integer."""

from __future__ import annotations

from dataclasses import dataclass

from affine import Affine
from odc.geo import iyx_, wh_
from odc.geo.geobox import GeoBox
from odc.geo.types import Index2d, Shape2d

from tasks.raster.window import Window


@dataclass(frozen=True)
class Tiling:
    """A grid cut into square tiles, row by row; the last of a row or column is clipped to the grid.

    Nothing is stored a tile: a tiling of a million costs what one of ten does.

    Raises:
        ValueError: the tile size is not positive.
    """

    geobox: GeoBox
    tile_size: int
    """Pixels a side."""

    def __post_init__(self) -> None:
        if self.tile_size < 1:
            raise ValueError(f"tile_size {self.tile_size} is no tile: give at least 1 pixel a side")

    @property
    def shape(self) -> Shape2d:
        """Number of tiles: ``y`` down, ``x`` across."""
        size = self.geobox.shape
        return wh_(int(-(-size.x // self.tile_size)), int(-(-size.y // self.tile_size)))

    def __len__(self) -> int:
        """Return the number of tiles."""
        tiles = self.shape
        return int(tiles.x * tiles.y)

    def position(self, i: int) -> Index2d:
        """Return where a tile lies among tiles: ``y`` is its row, ``x`` its column.

        Raises:
            IndexError: there is no such tile.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"tile {i} of {len(self)}")
        row, column = divmod(i, self.shape.x)
        return iyx_(row, column)

    def window(self, i: int) -> Window:
        """Return the rows and columns of the grid that a tile covers."""
        size, position = self.geobox.shape, self.position(i)
        top, left = position.y * self.tile_size, position.x * self.tile_size
        return Window(
            rows=slice(top, min(top + self.tile_size, size.y)), columns=slice(left, min(left + self.tile_size, size.x))
        )

    def tile(self, i: int) -> GeoBox:
        """Return the grid of a tile."""
        window, affine = self.window(i), self.geobox.affine
        x, y = affine @ (window.columns.start, window.rows.start)
        return GeoBox(window.shape, Affine(affine.a, affine.b, x, affine.d, affine.e, y), self.geobox.crs)

    def name(self, i: int) -> str:
        """Return the name of a tile, such as ``r0003_c0007``, by its place among tiles."""
        position = self.position(i)
        return f"r{position.y:04d}_c{position.x:04d}"

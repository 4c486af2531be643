"""Tilings: a grid cut into tiles, where a tile is an integer."""

from __future__ import annotations

from dataclasses import dataclass

from affine import Affine
from odc.geo.geobox import GeoBox


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
    def shape(self) -> tuple[int, int]:
        """Tiles ``(down, across)``."""
        height, width = self.geobox.shape
        return -(-height // self.tile_size), -(-width // self.tile_size)

    def __len__(self) -> int:
        """Return the number of tiles."""
        down, across = self.shape
        return down * across

    def position(self, i: int) -> tuple[int, int]:
        """Return the ``(row, column)`` of a tile among tiles.

        Raises:
            IndexError: there is no such tile.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"tile {i} of {len(self)}")
        return divmod(i, self.shape[1])

    def window(self, i: int) -> tuple[slice, slice]:
        """Return the rows and columns of the grid that a tile covers."""
        height, width = self.geobox.shape
        row, column = (place * self.tile_size for place in self.position(i))
        return (
            slice(row, min(row + self.tile_size, height)),
            slice(column, min(column + self.tile_size, width)),
        )

    def tile(self, i: int) -> GeoBox:
        """Return the grid of a tile."""
        rows, columns = self.window(i)
        a, b, _, d, e, _ = tuple(self.geobox.affine)[:6]
        x, y = self.geobox.affine @ (columns.start, rows.start)
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        return GeoBox(shape, Affine(a, b, x, d, e, y), self.geobox.crs)

    def name(self, i: int) -> str:
        """Return the name of a tile, such as ``r0003_c0007``, by its place among tiles."""
        row, column = self.position(i)
        return f"r{row:04d}_c{column:04d}"

"""Laws of tilings."""

import pickle

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from tasks.raster.tiling import Tiling
from tasks.raster.window import Window


@given(st.integers(1, 60), st.integers(1, 60), st.integers(3, 40))
def test_tiles_partition_the_grid(height: int, width: int, size: int) -> None:
    affine = Affine(0.5, 0.1, -17.0, 0.05, -0.7, 44.0)  # sheared
    grid = GeoBox((height, width), affine, "EPSG:32633")
    tiling = Tiling(grid, size)
    hits = np.zeros(grid.shape, dtype=int)
    names = set()
    for i in range(len(tiling)):
        window, tile = tiling.window(i), tiling.tile(i)
        window.of_array(hits)[...] += 1
        assert tile.shape == window.shape == window.of_array(hits).shape
        assert max(tile.shape) <= size
        assert tile.crs == grid.crs
        # The far corner, by the grid's own transform, is the far corner of the tile.
        corner = (window.columns.stop, window.rows.stop)
        assert tile.affine @ (tile.shape[1], tile.shape[0]) == pytest.approx(affine @ corner, abs=1e-9)
        names.add(tiling.name(i))
    assert (hits == 1).all()
    assert len(names) == len(tiling)


def test_tiles_go_row_by_row() -> None:
    tiling = Tiling(GeoBox((25, 38), Affine(10, 0, 1000, 0, -10, 9000), "EPSG:32633"), 10)
    assert (tiling.shape.y, tiling.shape.x) == (3, 4)
    assert len(tiling) == 12
    assert tiling.name(7) == "r0001_c0003"
    assert tiling.window(7) == Window(rows=slice(10, 20), columns=slice(30, 38))
    assert tiling.tile(11) == GeoBox((5, 8), Affine(10, 0, 1300, 0, -10, 8800), "EPSG:32633")
    for missing in (12, -1):
        with pytest.raises(IndexError, match=f"tile = {missing}: the tiling has 12 tiles"):
            tiling.tile(missing)
    with pytest.raises(ValueError, match="tile_size = 0"):
        Tiling(tiling.geobox, 0)


def test_a_million_tiles_cost_no_more_than_one() -> None:
    affine = Affine(10, 0, 0, 0, -10, 0)
    small = Tiling(GeoBox((256, 256), affine, "EPSG:32633"), 256)
    large = Tiling(GeoBox((256_000, 256_000), affine, "EPSG:32633"), 256)
    assert len(large) == 1_000_000
    assert large.tile(999_999).affine @ (0, 0) == (255_744 * 10, -255_744 * 10)
    assert abs(len(pickle.dumps(large)) - len(pickle.dumps(small))) < 16

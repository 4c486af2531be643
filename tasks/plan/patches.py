"""Make the patches of a plan: square grids around points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.types import XY

from tasks.plan.lattice import Lattice
from tasks.plan.map_edge import edge_beyond
from tasks.plan.tiles import PatchTiles
from tasks.raster.crs import canonical_crs, utm_codes
from tasks.raster.grid import ORIGIN, PatchCorners, goes_round, native_patch_corners, patch_corners
from tasks.raster.reprojection import check_area_of_use
from tasks.raster.world_map import map_edge

if TYPE_CHECKING:
    import geopandas


def patch_tiles(
    points: geopandas.GeoDataFrame,
    *,
    crs: str,
    scale: float,
    size: int,
    anchor: XY[float] = ORIGIN,
) -> tuple[PatchTiles, NDArray[np.int64]]:
    """Return the distinct patches around points, and the patch of each point.

    Args:
        points: Centres in WGS 84.
        crs: CRS of the patches. ``utm`` = for each point, its own UTM zone.
        scale: Pixel size in CRS units.
        size: Pixels per side of a patch.
        anchor: See :class:`tasks.plan.specs.PixelSpec`.

    Returns:
        The patches, and for each point the number of its patch, shape (point,). Points may share a patch.
    """
    lon, lat = points.geometry.x.to_numpy(), points.geometry.y.to_numpy()
    if crs.strip().lower() == "utm":
        codes = utm_codes(lon, lat)
    else:
        check_area_of_use(shapely.MultiPoint(np.column_stack([lon, lat])), canonical_crs(crs), "points")
        codes = np.full(len(lon), canonical_crs(crs), dtype=object)
    return _distinct(
        points,
        codes,
        lambda lons, lats, name: patch_corners(lons, lats, name, scale, size, anchor=anchor),
        scale=scale,
        size=size,
    )


def native_patch_tiles(
    points: geopandas.GeoDataFrame, *, lattice: Lattice, size: int
) -> tuple[PatchTiles, NDArray[np.int64]]:
    """Return the distinct patches of an image's own pixels around points, and the patch of each point.

    Args:
        points: Centres in WGS 84.
        lattice: The pixels of the image. Patches may go beyond its edges.
        size: Pixels per side of a patch.

    Returns:
        See :func:`patch_tiles`.
    """
    a, b, d, e = lattice.affine.a, lattice.affine.b, lattice.affine.d, lattice.affine.e
    plain = (b, d) == (0, 0) and a == -e > 0
    return _distinct(
        points,
        np.full(len(points), lattice.crs, dtype=object),
        lambda lons, lats, name: _on(lattice, native_patch_corners(lons, lats, name, lattice.affine, size), size),
        scale=a if plain else math.sqrt(abs(lattice.affine.determinant)),
        size=size,
        pixel=None if plain else (a, b, d, e),
        turns=lattice.shape is None or goes_round(lattice.grid(None)),
    )


def _on(lattice: Lattice, corners: PatchCorners, size: int) -> PatchCorners:
    """Return patches moved to the copy of a map that repeats itself on which an image has its pixels."""
    edge = map_edge(lattice.crs)
    if edge is None or lattice.shape is None or lattice.affine.b or goes_round(lattice.grid(None)):
        return corners
    west, _, east, _ = lattice.grid(None).boundingbox
    across = np.array([0.0, lattice.affine.a * size])

    def apart(left: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray((left + across.max() <= west) | (left + across.min() >= east))

    left = corners.left
    for turn in (edge[1], -edge[1]):
        left = np.where(apart(left) & ~apart(corners.left + turn), corners.left + turn, left)
    return replace(corners, left=left)


def _outermost(tiles: PatchTiles) -> list[int]:
    """Return the numbers of the westernmost and the easternmost patch of each CRS."""
    chosen = [np.flatnonzero(tiles.zone == number) for number in range(len(tiles.crs))]
    return [int(each[pick(tiles.left[each])]) for each in chosen for pick in (np.argmin, np.argmax) if len(each)]


def _distinct(
    points: geopandas.GeoDataFrame,
    codes: NDArray[Any],
    corners_of: Callable[[NDArray[np.float64], NDArray[np.float64], str], PatchCorners],
    *,
    scale: float,
    size: int,
    pixel: tuple[float, float, float, float] | None = None,
    turns: bool = True,
) -> tuple[PatchTiles, NDArray[np.int64]]:
    import pandas as pd  # imported here, because it takes half a second, and a region does not need it

    lon, lat = points.geometry.x.to_numpy(), points.geometry.y.to_numpy()
    lon = np.where(lon == 180, -180.0, lon)  # the same place, and so the same patch
    zone, names = pd.factorize(codes, sort=True)
    corners = pd.DataFrame({"zone": zone, "left": 0.0, "top": 0.0})
    for number, name in enumerate(names):
        chosen = zone == number
        patches = corners_of(lon[chosen], lat[chosen], str(name))
        corners.loc[chosen, "left"], corners.loc[chosen, "top"] = patches.left, patches.top
    # pandas groups by hashing. numpy.unique sorts, which takes 1.5 s for a million rows.
    tile_of_point = corners.groupby(["zone", "left", "top"], sort=True).ngroup()
    distinct = corners.drop_duplicates().sort_values(["zone", "left", "top"])
    tiles = PatchTiles(
        crs=tuple(map(str, names)),
        zone=distinct["zone"].to_numpy(np.int32),
        left=distinct["left"].to_numpy(),
        top=distinct["top"].to_numpy(),
        scale=scale,
        size=size,
        pixel=pixel,
    )
    if turns:
        tiles = replace(tiles, beyond=any(edge_beyond(tiles.grid(n)) is not None for n in _outermost(tiles)))
    return tiles, tile_of_point.to_numpy().astype(np.int64, copy=False)

"""Make the patches of a plan: square grids around points."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.types import XY

from tasks.plan.lattice import Lattice
from tasks.plan.tiles import PatchTiles
from tasks.raster.crs import canonical_crs, utm_codes
from tasks.raster.grid import ORIGIN, PatchCorners, native_patch_corners, patch_corners

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
    codes = utm_codes(lon, lat) if crs.strip().lower() == "utm" else np.full(len(lon), canonical_crs(crs), dtype=object)
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
        lambda lons, lats, name: native_patch_corners(lons, lats, name, lattice.affine, size),
        scale=a if plain else math.sqrt(abs(lattice.affine.determinant)),
        size=size,
        pixel=None if plain else (a, b, d, e),
    )


def _distinct(
    points: geopandas.GeoDataFrame,
    codes: NDArray[Any],
    corners_of: Callable[[NDArray[np.float64], NDArray[np.float64], str], PatchCorners],
    *,
    scale: float,
    size: int,
    pixel: tuple[float, float, float, float] | None = None,
) -> tuple[PatchTiles, NDArray[np.int64]]:
    import pandas as pd  # imported here, because it takes half a second, and a region does not need it

    lon, lat = points.geometry.x.to_numpy(), points.geometry.y.to_numpy()
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
    return tiles, tile_of_point.to_numpy().astype(np.int64, copy=False)

"""Scenes with known values, what a sandbox serves of them, and the pixels of a plan as they are fetched."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from tasks.earthengine.transport import fetch
from tasks.extraction.tile_file import assemble, decode
from tasks.raster.stitch import Piece

A = np.arange(400, dtype="uint16").reshape(20, 20) + 1


def at(x, y, scale=30.0):
    """The affine of north-up pixels whose corner is (x, y)."""
    return Affine(scale, 0, x, 0, -scale, y)


def scene(path: Path, values, affine, crs="EPSG:32621", *, bands=None, **tags):
    """Write a GeoTIFF: values (y, x), or (band, y, x)."""
    values = np.asarray(values)
    stack = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": len(stack), "height": stack.shape[1], "width": stack.shape[2]}
    with rasterio.open(path, "w", dtype=stack.dtype, crs=crs, transform=affine, **profile) as file:
        file.write(stack)
        file.descriptions = bands or [f"b{number}" for number in range(1, len(stack) + 1)]
        file.update_tags(**tags)


def fetched(connection, plan, source=0):
    """Values of the first band of one image of a region's plan, shape (y, x), masked as they come."""
    whole = plan.tiles.tiling.geobox.shape
    found = np.ma.masked_all((whole.y, whole.x), plan.bands[0].dtype)
    for tile in range(len(plan.tiles)):
        window = plan.tiles.tiling.window(plan.tiles.place(tile))
        found[window.rows, window.columns] = patch(connection, plan, source * len(plan.tiles) + tile)
    return found


def patch(connection, plan, index=0):
    """Values of the first band of one tile, shape (y, x), masked as they come."""
    pixels = decode(plan, index, fetch(connection, plan.request(index)).body)
    raster = assemble(plan, index, [Piece(window=None, content=pixels)]).raster
    return np.ma.MaskedArray(raster.values[0], ~raster.valid[0])

"""What is fetched: images, places, parameters, the same for the flow and for the reference."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import ee
import geopandas
import numpy as np
import pyproj
import rasterio
import shapely

PROJECT = "my-project"
SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
LIGHT = "projects/sandbox/assets/bench_light"
SAMPLES = Path("deployments/sandbox/samples")
CRS = "EPSG:32621"
LEFT, TOP = 734_745.0, -2_784_495.0
"""Corner of the scene, which is 15.6 km wide and 29.7 km high."""
BANDS = ("a", "b", "c", "d")
IMAGES = {"light": BANDS, "scene": BANDS, "six": ("a", "b", "c", "d", "e", "f")}
# Read with getPixels: exact masks double the sandbox's work for a tile (about 6 ms of CPU to 15 ms), and at 82 requests
# a second it would then need more than one of two cores, so that no client could keep to its quota.
MASKS = os.environ.get("BENCH_MASKS", "unknown")

# A lattice of 48,444 places; a patch of 256 px at up to 30 m lies within the scene at every one of them.
_COLUMNS, _STEP = 132, 60.0
# Deadlines for the bench; the defaults wait for five minutes of computing. One in 250,000 of its latencies is longer.
DEADLINES = {"read_deadline": 4, "computation_limit": 6}


def write_scenes(folder: Path) -> Path:
    """Write the assets of the bench: the sandbox's samples, and one that is cheap to serve and to compress.

    `light` has four bands of uint16 on the grid of the scene, smooth but another patch at every place.
    """
    shutil.copytree(SAMPLES, folder, ignore=shutil.ignore_patterns("*.md"))
    with rasterio.open(folder / f"{SCENE.rsplit('/', maxsplit=1)[-1]}.tif") as scene:
        profile = scene.profile | {"count": 4, "dtype": "uint16", "nodata": None, "compress": None}
        rows, columns = np.mgrid[: scene.height, : scene.width]
    with rasterio.open(folder / f"{LIGHT.rsplit('/', maxsplit=1)[-1]}.tif", "w", **profile) as file:
        file.descriptions = BANDS
        file.write(np.stack([1_000 + 40 * rows + columns, rows, columns, rows + columns]).astype(np.uint16))
    return folder


def image(name):
    """Return an image of uint16 bands.

    `light` is stored, see above. `scene` is computed and has real pixels in all bands, for what compressing costs.
    `six` is that with six bands.
    """
    if name == "light":
        return ee.Image(LIGHT)
    scene = ee.Image(SCENE)
    made = scene.addBands(scene.select(["B2"])) if name == "scene" else scene.addBands(scene)
    return made.rename(list(IMAGES[name]))


def write_points(path: Path, count: int, *, first: int = 0, scale: float = 5.0, step: float = _STEP, columns=_COLUMNS):
    """Write a CSV of `count` places from the `first` on, each the centre of a patch of its own."""
    number = np.arange(first, first + count)
    half = 128 * scale
    x = LEFT + half + step * (number % columns)
    y = TOP - half - step * (number // columns)
    lon, lat = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    path.write_text("lon,lat\n" + "".join(f"{a:.9f},{b:.9f}\n" for a, b in zip(lon, lat, strict=True)))
    return str(path)


def write_region(path: Path, *, width: float, height: float) -> str:
    """Write a box of some metres from the scene's corner as a vector file, so that its grid is exactly that box."""
    box = shapely.box(LEFT, TOP - height, LEFT + width, TOP)
    geopandas.GeoDataFrame(geometry=[box], crs=CRS).to_file(path)
    return str(path)


def source(name: str) -> dict:
    """Return an image as a flow takes it; the client must be initialised."""
    if name == "light":
        return {"asset": LIGHT}
    return {"expression": ee.serializer.encode(image(name)), "name": name}


def patches(points: str, *, name: str = "light", scale: float = 5.0, masks: str = MASKS, **more) -> dict:
    """Return the parameters of `extract_patches`."""
    wanted = {"points": points, "image": source(name), "crs": CRS, "scale": scale, "size": 256, "masks": masks}
    return wanted | {"project": PROJECT, "allow_failures": True} | more


def known(parameters: dict) -> dict:
    """Return the parameters with the deadlines of the bench."""
    return DEADLINES | parameters

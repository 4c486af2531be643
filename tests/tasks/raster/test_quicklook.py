"""Laws of quicklooks."""

import io
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from tasks.raster.cog import MosaicTile, write_mosaic
from tasks.raster.quicklook import quicklook, quicklooks
from tasks.raster.raster import Raster
from tasks.raster.window import Window
from tests.rasters import encode_geotiff

AFFINE = Affine(28.5, 0.0, 630_534.0, 0.0, -30.0, 228_114.0)


def pixels(png: bytes) -> np.ndarray:
    """Return the picture as bytes, shape (y, x, 4)."""
    return np.round(matplotlib.image.imread(io.BytesIO(png)) * 255).astype(int)


def raster_of(values: np.ndarray, valid: np.ndarray | None = None) -> Raster:
    names = ("blue", "green", "red", "nir")[: len(values)]
    return Raster(values=values, valid=valid, bands=names, geobox=GeoBox(values.shape[1:], AFFINE, "EPSG:32119"))


def ramp(height: int, width: int) -> np.ndarray:
    return np.broadcast_to(np.arange(width, dtype=np.uint16) * 10, (height, width))


def test_three_bands_are_stretched_between_percentiles_of_valid_pixels() -> None:
    values = np.stack([ramp(40, 101), ramp(40, 101)[:, ::-1] + 500, ramp(40, 101) * 2])
    values[:, 0, 0] = 60_000  # an outlier, masked
    valid = np.ones(values.shape, dtype=bool)
    valid[:, 0, 0] = False
    valid[1, 39, 100] = False

    picture = pixels(quicklook(raster_of(values, valid)))

    assert picture.shape == (40, 101, 4)
    assert picture[0, 0].tolist() == [0, 0, 0, 0]
    assert picture[39, 100].tolist() == [0, 0, 0, 0], "masked in one band is transparent"
    assert (np.delete(picture[:, :, 3].ravel(), [0, 40 * 101 - 1]) == 255).all()
    # Of values 0, 10, ..., 1000, the 2nd percentile is 20 and the 98th 980.
    expected = np.round(np.clip((np.arange(101) * 10 - 20) / 960, 0, 1) * 255)
    assert np.abs(picture[5, :, 0] - expected).max() <= 1
    assert np.abs(picture[5, :, 1] - expected[::-1]).max() <= 1
    assert np.abs(picture[5, :, 2] - expected).max() <= 1


def test_one_band_is_coloured_by_viridis() -> None:
    values = ramp(7, 300)[np.newaxis].astype(np.float32)
    values[0, 3, 150] = np.nan
    picture = pixels(quicklook(raster_of(values)))
    assert picture[0, 0].tolist() == [68, 1, 84, 255]
    assert picture[0, 299].tolist() == [253, 231, 37, 255]
    assert picture[3, 150].tolist() == [0, 0, 0, 0]
    brightness = picture[0, :, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) >= -1).all(), "brighter means more"


def test_bands_are_chosen_by_name() -> None:
    values = np.stack([ramp(9, 50), ramp(9, 50)[:, ::-1], ramp(9, 50), ramp(9, 50)[:, ::-1]])
    raster = raster_of(values)
    picture = pixels(quicklook(raster, bands=["nir", "red", "green"]))
    assert picture[0, 0].tolist() == [255, 0, 255, 255]
    with pytest.raises(ValueError, match=r"no band 'swir'\. Choose among blue, green, red, nir"):
        quicklook(raster, bands=["swir"])
    with pytest.raises(ValueError, match="one band or three"):
        quicklook(raster, bands=["nir", "red"])


def test_a_file_looks_like_its_raster(tmp_path: Path) -> None:
    values = np.stack([ramp(40, 70), ramp(40, 70) + 3, ramp(40, 70)[:, ::-1]])
    valid = np.ones(values.shape, dtype=bool)
    valid[:, 10:20, 5:9] = False
    valid[2, 30, 30] = False
    raster = raster_of(values, valid)
    path = tmp_path / "tile.tif"
    path.write_bytes(encode_geotiff(raster))
    assert quicklook(path) == quicklook(raster)
    assert quicklook(path, bands=["red"]) == quicklook(raster, bands=["red"])


def test_large_rasters_are_thinned(tmp_path: Path) -> None:
    raster = raster_of(ramp(700, 1500)[np.newaxis])
    assert pixels(quicklook(raster, max_size=300)).shape == (140, 300, 4)
    piece = MosaicTile(window=Window(rows=slice(0, 700), columns=slice(0, 1500)), source=lambda: raster)
    path = write_mosaic([piece], raster.geobox, tmp_path / "m.tif", bands=raster.bands)
    small = pixels(quicklook(path, max_size=300))
    assert small.shape == (140, 300, 4)
    assert small[0, 0].tolist() == [68, 1, 84, 255]
    assert small[0, 299].tolist() == [253, 231, 37, 255]


def test_nothing_to_see_is_a_picture_too() -> None:
    empty = raster_of(np.ones((3, 8, 11), np.uint8), np.zeros((3, 8, 11), bool))
    assert not pixels(quicklook(empty)).any()
    flat = pixels(quicklook(raster_of(np.full((3, 8, 11), 9, np.uint8))))
    assert (flat == [127, 127, 127, 255]).all()


def test_the_ends_of_float32_and_infinities_are_drawn() -> None:
    """Their difference is beyond float32, which made the stretch infinite."""
    values = np.array([[[-3e38, 3e38], [0, np.inf]]], np.float32)
    raster = Raster(
        values=values, valid=None, bands=("a",), geobox=GeoBox((2, 2), Affine(1, 0, 0, 0, -1, 0), "EPSG:32633")
    )
    (picture,) = quicklooks([raster])
    drawn = np.asarray(picture)
    assert drawn[1, 1, 3] == 0
    assert len({tuple(pixel) for pixel in drawn.reshape(-1, 4)[:3].tolist()}) == 3


MEASURED = """
import resource, sys
from pathlib import Path
import numpy as np, rasterio
from rasterio.enums import Resampling
from tasks.raster.quicklook import thumbnail

SIDE = 7_000
path = Path(sys.argv[1], "large.tif")
profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 4, "dtype": "uint8", "crs": "EPSG:32622"}
profile |= {"tiled": True, "sparse_ok": True, "compress": "zstd", "transform": rasterio.Affine(1, 0, 0, 0, -1, 0)}
for more in ({}, {"nodata": 9}, {"alpha": "YES"}, {"mask": True}):
    masked = more.pop("mask", False)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile, **more) as file:
        if masked:
            file.write_mask(np.ones((600, 600), bool), window=((0, 600), (0, 600)))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4, 8, 16], Resampling.nearest)
    rasterio.open(path).close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for source in (path, path.open("rb")):
        values, valid = thumbnail(source, max_size=400)
        assert values.shape == valid.shape == (3, 400, 400)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_picture_of_a_large_file_needs_the_memory_of_a_small_one(tmp_path: Path) -> None:
    """The mask, too, is read from overviews. Whole, the masks of these three bands would take 150 MB."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert max(map(int, done.stdout.split())) < 60

"""Laws of the colours of pixels, and of the thumbnails that are drawn in them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from tasks.raster.cog import MosaicTile, write_mosaic
from tasks.raster.colours import CHANNELS, Quantity, colour_key
from tasks.raster.raster import Raster
from tasks.raster.thumbnail import thumbnail
from tasks.raster.window import Window
from tests.rasters import encode_geotiff

AFFINE = Affine(28.5, 0.0, 630_534.0, 0.0, -30.0, 228_114.0)


def drawn(source, *, bands=None, max_size: int = 1024, quantity: Quantity | None = None) -> np.ndarray:
    """Return a source in its colours, shape (y, x, 4)."""
    look = thumbnail(source, bands=bands, max_size=max_size)
    key = colour_key([look], bands=list("rgb")[: len(look.values)], quantity=quantity or Quantity())
    return key.rgba(look).astype(int)


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

    picture = drawn(raster_of(values, valid))

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
    picture = drawn(raster_of(values))
    assert picture[0, 0].tolist() == [68, 1, 84, 255]
    assert picture[0, 299].tolist() == [253, 231, 36, 255]
    assert picture[3, 150].tolist() == [0, 0, 0, 0]
    brightness = picture[0, :, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) >= -1).all(), "brighter means more"


def test_bands_are_chosen_by_name() -> None:
    values = np.stack([ramp(9, 50), ramp(9, 50)[:, ::-1], ramp(9, 50), ramp(9, 50)[:, ::-1]])
    raster = raster_of(values)
    picture = drawn(raster, bands=["nir", "red", "green"])
    assert picture[0, 0].tolist() == [255, 0, 255, 255]
    with pytest.raises(ValueError, match=r"no band 'swir'\. Choose among blue, green, red, nir"):
        thumbnail(raster, bands=["swir"])
    with pytest.raises(ValueError, match="one band or three"):
        thumbnail(raster, bands=["nir", "red"])


def test_a_file_looks_like_its_raster(tmp_path: Path) -> None:
    values = np.stack([ramp(40, 70), ramp(40, 70) + 3, ramp(40, 70)[:, ::-1]])
    valid = np.ones(values.shape, dtype=bool)
    valid[:, 10:20, 5:9] = False
    valid[2, 30, 30] = False
    raster = raster_of(values, valid)
    path = tmp_path / "tile.tif"
    path.write_bytes(encode_geotiff(raster))
    assert (drawn(path) == drawn(raster)).all()
    assert (drawn(path, bands=["red"]) == drawn(raster, bands=["red"])).all()


def test_large_rasters_are_thinned(tmp_path: Path) -> None:
    raster = raster_of(ramp(700, 1500)[np.newaxis])
    assert drawn(raster, max_size=300).shape == (140, 300, 4)
    piece = MosaicTile(window=Window(rows=slice(0, 700), columns=slice(0, 1500)), source=lambda: raster)
    path = write_mosaic([piece], raster.geobox, tmp_path / "m.tif", bands=raster.bands)
    small = drawn(path, max_size=300)
    assert small.shape == (140, 300, 4)
    assert small[0, 0].tolist() == [68, 1, 84, 255]
    assert small[0, 299].tolist() == [253, 231, 36, 255]


def test_nothing_to_see_is_a_picture_too() -> None:
    empty = raster_of(np.ones((3, 8, 11), np.uint8), np.zeros((3, 8, 11), bool))
    assert not drawn(empty).any()
    assert not drawn(empty, bands=["red"]).any()
    flat = drawn(raster_of(np.full((3, 8, 11), 9, np.uint8)))
    assert (flat == [127, 127, 127, 255]).all()


def test_the_ends_of_float32_and_infinities_are_drawn() -> None:
    """Their difference is beyond float32, which made the stretch infinite."""
    values = np.array([[[-3e38, 3e38], [0, np.inf]]], np.float32)
    raster = Raster(
        values=values, valid=None, bands=("a",), geobox=GeoBox((2, 2), Affine(1, 0, 0, 0, -1, 0), "EPSG:32633")
    )
    picture = drawn(raster)
    assert picture[1, 1, 3] == 0
    assert len({tuple(pixel) for pixel in picture.reshape(-1, 4)[:3].tolist()}) == 3


def key_of(*values: np.ndarray, valid: np.ndarray | None = None, quantity: Quantity | None = None):
    looks = [thumbnail(raster_of(each, valid)) for each in values]
    names = ["blue", "green", "red"][: len(looks[0].values)]
    return colour_key(looks, bands=names, quantity=quantity or Quantity())


def test_few_whole_numbers_are_classes_with_colours_of_their_own():
    values = np.resize(np.array([11, 2, 30, 2], np.float32), (1, 8, 8))
    key = key_of(values)
    assert [text for text, _ in key.entries] == ["2", "11", "30"]
    picture = key.rgba(thumbnail(raster_of(values)))
    for value, (_, colour) in zip((2, 11, 30), key.entries, strict=True):
        assert (np.abs(picture[values[0] == value][:, :3] / 255 - colour) < 0.01).all()
    assert len({colour for _, colour in key.entries}) == 3


@pytest.mark.parametrize(
    "values",
    [np.arange(64.0).reshape(1, 8, 8), np.resize([0.25, 0.5], (1, 8, 8)), np.arange(4.0).reshape(1, 2, 2)],
    ids=["many values", "fractions", "few pixels"],
)
def test_what_may_be_measurements_has_a_colour_bar(values):
    assert key_of(values.astype(np.float32)).is_ramp


def test_numbers_whose_quantity_is_known_are_no_classes():
    values = np.resize(np.array([1000, 9000], np.int16), (1, 8, 8))
    key = key_of(values, quantity=Quantity("vegetation index", "", 1e-4))
    assert key.is_ramp
    assert key.limits == (pytest.approx((0.1, 0.9)),)
    assert key.quantity.text == "vegetation index"
    assert key.quantity.formula == "stored value x 0.0001"


@pytest.mark.parametrize("value", [7.0, 0.25, -3e38])
def test_one_value_alone_is_named(value):
    key = key_of(np.full((1, 1, 1), value, np.float32))
    assert len(key.entries) == 1
    assert float(key.entries[0][0].replace(",", "")) == pytest.approx(value, rel=0.01)


def test_nearly_constant_bands_keep_their_outliers():
    values = np.full((1, 30, 30), 0.5, np.float32)
    values[0, 0, 0] = 0.9
    assert key_of(values).limits == (pytest.approx((0.5, 0.9)),)


def test_the_legend_of_three_bands_has_their_stretch_in_physical_units():
    values = np.stack([ramp(4, 101), ramp(4, 101) * 2, ramp(4, 101) * 3])
    key = key_of(values, quantity=Quantity("reflectance", "", 1e-4))
    texts = [text for text, _ in key.entries]
    assert texts == ["red: blue, 0.002 to 0.098", "green: green, 0.004 to 0.196", "blue: red, 0.006 to 0.294"]
    assert [text.partition(":")[0] for text in texts] == list(CHANNELS)


def test_all_pictures_of_a_sheet_have_one_stretch_and_the_share_without_data():
    valid = np.ones((1, 4, 100), bool)
    valid[0, :2] = False
    key = key_of(ramp(4, 100)[np.newaxis], 5 * ramp(4, 100)[np.newaxis], valid=valid)
    assert key.no_data == pytest.approx(0.5)
    assert key.clipped == (True, True)
    assert key.limits[0][1] > 4500


def test_a_long_and_narrow_raster_keeps_its_shorter_side():
    look = thumbnail(raster_of(np.zeros((1, 20, 10_000), np.uint8)), max_size=800)
    assert look.values.shape == (1, 20, 770)
    assert look.shape == (20, 10_000)


MEASURED = """
import resource, sys
from pathlib import Path
import numpy as np, rasterio
from rasterio.enums import Resampling
from tasks.raster.thumbnail import thumbnail

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
        values, valid, _ = thumbnail(source, max_size=400)
        assert values.shape == valid.shape == (3, 400, 400)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_picture_of_a_large_file_needs_the_memory_of_a_small_one(tmp_path: Path) -> None:
    """The mask, too, is read from overviews. Whole, the masks of these three bands would take 150 MB."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert max(map(int, done.stdout.split())) < 60

"""An index is one of reflectance, or it is refused: held against arithmetic by hand on the stored numbers."""

import io
import json
import re
from types import SimpleNamespace

import ee
import numpy as np
import pytest

from tasks.earthengine.connection import ensure_client
from tasks.earthengine.expression import canonical, encode
from tasks.earthengine.recipes import WORLD, find
from tasks.earthengine.transport import PixelRequest, fetch
from tasks.errors.input import BadInputError

SCENE = "LANDSAT/LC08/C02/T1_L2/LC08_224078_20200518"
GRID = {
    "dimensions": {"width": 64, "height": 64},
    "affineTransform": {"scaleX": 30, "scaleY": -30, "translateX": 735_000, "translateY": -2_800_000},
    "crsCode": "EPSG:32621",
}
LAKE = [-54.6, -25.3, -54.55, -25.26]


def pixels(connection, image):
    """Return the pixels of an image as a structured array; `mask` is 0 where one of its bands is masked."""
    ensure_client(connection)
    image = ee.Image(image)
    mask = image.mask().reduce(ee.Reducer.min()).rename("mask").toByte()
    body = {"expression": json.loads(canonical(encode(image.addBands(mask)))), "fileFormat": "NPY", "grid": GRID}
    answer = fetch(connection, PixelRequest(asset=None, body=json.dumps(body).encode()))
    return np.load(io.BytesIO(answer.body))


def ndvi(asset, red, nir):
    return find("ndvi").build({"asset": asset, "red": red, "nir": nir})


@pytest.mark.parametrize("prefix", ["", "projects/earthengine-public/assets/"])
def test_ndvi_of_landsat_collection_2_is_that_of_reflectance(prefix, connection):
    ensure_client(connection)
    stored = pixels(connection, ee.Image(SCENE).select(["SR_B5", "SR_B4"]))
    nir, red = (stored[band].astype(float) * 0.0000275 - 0.2 for band in ("SR_B5", "SR_B4"))
    got = pixels(connection, ndvi(f"{prefix}{SCENE}", "SR_B4", "SR_B5"))
    valid = got["mask"] > 0
    assert valid.mean() > 0.1
    np.testing.assert_allclose(got["NDVI"][valid], ((nir - red) / (nir + red))[valid], rtol=1e-6, atol=1e-7)
    raw_nir, raw_red = (stored[band][valid].astype(float) for band in ("SR_B5", "SR_B4"))
    assert np.abs((raw_nir - raw_red) / (raw_nir + raw_red) - got["NDVI"][valid]).max() > 0.1  # what it was before


@pytest.mark.parametrize(
    ("red", "nir", "expected"),
    [
        (0.04, 0.36, 0.8),
        (0.19, 0.21, 0.05),
        (0.3, 0.1, -0.5),
        (0.0, 0.5, 1.0),
        (-0.01, 0.5, None),  # no index of a negative reflectance
        (0.02, -0.001, None),
    ],
)
def test_numbers_of_landsat_by_hand(red, nir, expected, connection, monkeypatch):
    """An image of constants stands for the scene, with the numbers of these reflectances."""
    ensure_client(connection)
    numbers = [round((value + 0.2) / 0.0000275) for value in (red, nir)]
    scene = ee.Image(numbers).rename(["SR_B4", "SR_B5"]).toUint16()
    monkeypatch.setattr("tasks.earthengine.radiometry.ee", SimpleNamespace(Image=lambda _: scene))
    got = pixels(connection, ndvi(SCENE, "SR_B4", "SR_B5"))[0, 0]
    assert got["mask"] == (expected is not None)
    if expected is not None:
        assert got["NDVI"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("asset", "red", "nir"),
    [
        ("projects/sandbox/assets/landsat7_nc_2000", "B3", "B4"),
        ("users/me/scene", "SR_B4", "SR_B5"),
        ("COPERNICUS/S2_SR_HARMONIZED/20200518T133849_20200518T134204_T21JYM", "B4", "B8"),
        ("COPERNICUS/S2_HARMONIZED/x", "B4", "B8A"),
        ("LANDSAT/LC09/C02/T1_TOA/x", "B4", "B5"),
        ("MODIS/061/MOD13Q1/2020_01_01", "sur_refl_b01", "sur_refl_b02"),
        ("MODIS/061/MYD09GA/2020_01_01", "sur_refl_b01", "sur_refl_b02"),
        ("MODIS/061/MCD43A4/2020_01_01", "Nadir_Reflectance_Band1", "Nadir_Reflectance_Band2"),
        ("NASA/VIIRS/002/VNP09GA/2020_01_01", "I1", "I2"),
        ("NASA/HLS/HLSL30/v002/x", "B4", "B5"),
        ("NOAA/CDR/AVHRR/SR/V5/x", "SREFL_CH1", "SREFL_CH2"),
        ("USDA/NAIP/DOQQ/x", "R", "N"),
    ],
)
def test_where_no_offset_is_the_expression_stays_as_it_was(asset, red, nir, connection):
    """So no stored output of these is fetched again: a scale that both bands share changes no index."""
    ensure_client(connection)
    before = ee.Image(asset).normalizedDifference([nir, red]).rename(["NDVI"]).toFloat()
    assert canonical(encode(ndvi(asset, red, nir))) == canonical(encode(before))


@pytest.mark.parametrize(
    "collection",
    [f"LANDSAT/L{which}/C02/T{tier}_L2" for which in ("T04", "T05", "E07", "C08", "C09") for tier in (1, 2)],
)
def test_every_landsat_of_level_2_is_converted(collection, connection):
    ensure_client(connection)
    text = canonical(encode(ndvi(f"{collection}/x", "SR_B3", "SR_B4")))
    assert "2.75e-05" in text
    assert "-0.2" in text


@pytest.mark.parametrize(
    ("asset", "red", "nir", "named"),
    [
        ("COPERNICUS/S2_SR/x", "B4", "B8", "Use COPERNICUS/S2_SR_HARMONIZED/x"),
        ("COPERNICUS/S2/x", "B4", "B8", "Use COPERNICUS/S2_HARMONIZED/x"),
        ("LANDSAT/LC08/C02/T1/x", "B4", "B5", "Use LANDSAT/LC08/C02/T1_TOA/x"),
        ("NOAA/GOES/16/MCMIPC/x", "CMI_C02", "CMI_C03", "scale and offset of this public collection are not known"),
        ("COPERNICUS/S3/OLCI/x", "Oa08_radiance", "Oa17_radiance", "not known"),
        ("LANDSAT/LC08/C02/T1_L2/x", "ST_B10", "SR_B5", "recipe_parameters.red = 'ST_B10'"),
        ("LANDSAT/LC08/C02/T1_L2/x", "SR_B4", "QA_PIXEL", "recipe_parameters.nir = 'QA_PIXEL'"),
        ("MODIS/061/MOD13Q1/2020_01_01", "NDVI", "EVI", "not a reflectance band of MODIS/061/MOD13Q1"),
    ],
)
def test_what_would_be_wrong_without_a_word_is_refused(asset, red, nir, named, connection):
    ensure_client(connection)
    with pytest.raises(BadInputError, match=re.escape(named)):
        ndvi(asset, red, nir)


def test_the_median_of_landsat_is_reflectance_and_that_of_sentinel_2_ten_thousandths(connection):
    given = {"start": "2020-05-18", "end": "2020-05-19"}
    landsat = pixels(connection, find("landsat_median").build(given | {"missions": [8]}, region=LAKE))
    stored = pixels(connection, ee.Image(SCENE).select(["SR_B4"]))
    both = (landsat["mask"] > 0) & (stored["mask"] > 0)
    assert both.any()
    expected = stored["SR_B4"][both] * 0.0000275 - 0.2
    close = np.isclose(landsat["SR_B4"][both], expected, rtol=1e-6)
    assert close.mean() > 0.9  # two scenes of the day overlap at their edge
    assert landsat["SR_B4"].dtype == np.float32


def test_a_recipe_for_the_whole_world_has_no_filter_of_place(connection):
    ensure_client(connection)
    given = {"start": "2020-05-01", "end": "2020-06-01"}
    for name in ("sentinel2_median", "landsat_median"):
        everywhere, here = (canonical(encode(find(name).build(given, region=box))) for box in (WORLD, LAKE))
        assert "Filter.intersects" in here
        assert "Filter.intersects" not in everywhere
        one, other = (pixels(connection, find(name).build(given, region=box)) for box in (WORLD, [-55, -26, -54, -25]))
        assert (one["mask"] > 0).any()
        assert one.tobytes() == other.tobytes()

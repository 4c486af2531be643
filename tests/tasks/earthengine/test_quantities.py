"""What numbers stand for: known for public collections and recipes, and never guessed."""

import pytest

from tasks.earthengine.quantities import quantity
from tasks.earthengine.recipe_names import RECIPES
from tasks.raster.colours import AS_STORED


@pytest.mark.parametrize(
    ("origin", "band", "text", "of_10000"),
    [
        ("MODIS/061/MOD13Q1", "NDVI", "vegetation index", 1.0),
        ("MODIS/061/MOD13Q1/2020_01_01", "EVI", "vegetation index", 1.0),
        ("projects/earthengine-public/assets/MODIS/061/MOD11A2", "LST_Day_1km", "surface temperature (K)", 200.0),
        ("COPERNICUS/S2_SR_HARMONIZED", "B8A", "reflectance", 1.0),
        ("LANDSAT/LC08/C02/T1_L2", "SR_B4", "reflectance", 0.075),
        ("LANDSAT/LC09/C02/T1_L2/LC09_224078_20220101", "ST_B10", "surface temperature (K)", 183.1802),
        ("sentinel2_median", "B4", "reflectance", 1.0),
        ("landsat_median", "SR_B4", "reflectance", 10_000.0),
        ("modis_ndvi", "EVI", "vegetation index", 1.0),
        ("ndvi", "NDVI", "vegetation index", 10_000.0),
        ("elevation", "elevation", "elevation (m)", 10_000.0),
    ],
)
def test_numbers_become_physical_values(origin, band, text, of_10000):
    found = quantity(origin, band)
    assert found.text == text
    assert 10_000 * found.scale + found.offset == pytest.approx(of_10000)


@pytest.mark.parametrize(
    ("origin", "band"),
    [
        ("MODIS/061/MOD13Q1", "SummaryQA"),
        ("COPERNICUS/S2", "B4"),
        ("projects/mine/assets/MODIS/061/MOD13Q1", "NDVI"),
        ("sentinel2_median", "mean"),
        ("expression", "NDVI"),
        ("my_module:ndvi", "NDVI"),
        ("", ""),
    ],
)
def test_what_is_not_known_is_shown_as_it_is_stored(origin, band):
    assert quantity(origin, band) == AS_STORED


def test_each_recipe_is_known():
    bands = ("B4", "SR_B4", "NDVI", "NDVI", "NDVI", "elevation")
    assert all(quantity(recipe, band).name for recipe, band in zip(RECIPES, bands, strict=True))

"""Recipes give what their table says, on the sandbox, and take only what they declare."""

import sys
from datetime import date

import ee
import pytest

from tasks.earthengine.connection import ensure_client
from tasks.earthengine.expression import encode
from tasks.earthengine.metadata import compute, image_info
from tasks.earthengine.recipes import BUILT_IN, find
from tasks.errors.input import BadInputError

BOX = [-55.0, -26.0, -54.0, -25.0]
DATES = {"start": "2020-05-01", "end": "2020-06-01"}
GIVES = {
    "sentinel2_median": (DATES, {"B2", "B3", "B4", "B8", "B11", "B12"}, "uint16"),
    "landsat_median": (DATES, {"SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"}, "float32"),
    "ndvi": ({"asset": "projects/sandbox/assets/landsat7_nc_2000", "red": "B3", "nir": "B4"}, {"NDVI"}, "float32"),
    "elevation": ({}, {"elevation"}, "int16"),
}


@pytest.mark.parametrize(("name", "given", "bands", "dtype"), [(name, *gives) for name, gives in GIVES.items()])
def test_a_recipe_gives_the_bands_and_the_type_that_it_says(*, name, given, bands, dtype, connection):
    ensure_client(connection)
    info = image_info(connection, encode(find(name).build(given, region=BOX)))
    assert {band.id for band in info.bands} == bands
    assert {band.dtype for band in info.bands} == {dtype}


def test_every_recipe_is_tried_and_documented():
    assert set(GIVES) | {"modis_ndvi", "sentinel2_ndvi"} == set(BUILT_IN)
    for function in BUILT_IN.values():
        assert "band" in function.__doc__.lower()


def test_both_landsats_are_merged(connection):
    """In 2021 the sandbox has scenes of both, in 2020 of the older one only."""
    ensure_client(connection)
    given = {"start": "2021-11-01", "end": "2022-03-01"}
    both = find("landsat_median").build(given, region=BOX)
    old = find("landsat_median").build(given | {"missions": [8]}, region=BOX)
    assert encode(both) != encode(old)
    assert len(image_info(connection, encode(both)).bands) == 6


def test_modis_is_a_collection_with_the_quality_mask(connection):
    ensure_client(connection)
    collection = find("modis_ndvi").build({"worst_quality": 0}).filterDate("2020-01-01", "2020-03-01")
    assert compute(connection, encode(collection.size())) == 4


def test_each_sentinel2_image_has_its_index_and_what_names_its_acquisition(connection):
    """Its two granules of a date are then one file, as those of the collection are."""
    ensure_client(connection)
    collection = find("sentinel2_ndvi").build({}, as_of=date(2020, 4, 20)).filterDate("2020-04-10", "2020-05-10")
    own = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterDate("2020-04-10", "2020-04-20")
    for name in ("system:index", "system:time_start", "DATATAKE_IDENTIFIER"):
        kept = compute(connection, encode(collection.aggregate_array(name)))
        assert kept == compute(connection, encode(own.aggregate_array(name)))
        assert len(kept) == 2
    info = image_info(connection, encode(ee.Image(collection.first())))
    assert [(band.id, band.dtype) for band in info.bands] == [("NDVI", "float32")]


MODULE = '''
from datetime import date
import ee

def brightness(*, factor: int = 2, as_of: date | None = None, region: list[float] | None = None) -> ee.Image:
    """Brightness."""
    return ee.Image.constant(factor).set("as_of", str(as_of)).set("west", region[0])
'''


def test_a_recipe_of_the_user_is_found_by_module_and_function(tmp_path, monkeypatch, connection):
    (tmp_path / "my_recipes.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_recipes", raising=False)
    ensure_client(connection)
    recipe = find("my_recipes:brightness")
    assert recipe.signature() == "factor (default 2)"
    image = recipe.build({"factor": "7"}, region=BOX, as_of=date(2020, 1, 2))
    assert compute(connection, encode(image.get("as_of"))) == "2020-01-02"
    assert compute(connection, encode(image.get("west"))) == -55
    with pytest.raises(BadInputError, match="as_of"):
        recipe.build({"as_of": "2020-01-01"}, region=BOX)

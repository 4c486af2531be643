"""What the user named becomes images to be planned: how each is asked for, and by what it is known again."""

import json
from dataclasses import replace
from datetime import date

import ee
import pytest

from tasks.earthengine.connection import ensure_client
from tasks.earthengine.expression import encode
from tasks.errors.input import BadInputError
from tasks.plan.images import find_image
from tasks.plan.plan import TileFormat
from tasks.plan.series import find_series
from tasks.plan.sources import source
from tasks.plan.specs import ImageSpec

SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
BOX = [-55.0, -26.0, -54.0, -25.0]
LAKE = {
    "type": "Polygon",
    "coordinates": [[[-54.6, -25.3], [-54.5, -25.3], [-54.5, -25.2], [-54.6, -25.2], [-54.6, -25.3]]],
}


@pytest.mark.parametrize(
    ("asset", "bands", "output", "method", "wire", "wire_bands"),
    [
        # signed, of one type: the nodata value of getPixels' GeoTIFF tells masked pixels apart
        (
            "MODIS/061/MOD13Q1/2020_01_01",
            ["NDVI", "EVI"],
            TileFormat(masks="nodata"),
            "get",
            "GEO_TIFF",
            ("NDVI", "EVI"),
        ),
        ("USGS/SRTMGL1_003", None, TileFormat(masks="nodata"), "get", "GEO_TIFF", ("elevation",)),
        # exactly: the mask travels as a band
        ("USGS/SRTMGL1_003", None, TileFormat(), "compute", "NPY", ("elevation", "valid_0")),
        (SCENE, ["B4", "B2"], TileFormat(), "compute", "NPY", ("B4", "B2", "valid_0")),
        ("MODIS/061/MOD13Q1/2020_01_01", ["NDVI", "SummaryQA"], TileFormat(), "compute", "NPY", None),
        ("USGS/SRTMGL1_003", None, TileFormat(file_format="NPY"), "compute", "NPY", ("elevation", "valid_0")),
        (SCENE, None, TileFormat(masks="unknown"), "get", "NPY", ("B2", "B3", "B4")),
        (SCENE, None, TileFormat(file_format="PNG", visualization="{}"), "get", "PNG", ("B2", "B3", "B4")),
    ],
)
def test_a_stored_image_is_asked_for_so_that_its_mask_is_kept(
    *, asset, bands, output, method, wire, wire_bands, connection
):
    image = find_image(connection, ImageSpec(asset=asset), None)
    chosen = source(connection, image, image.bands(bands), output)
    assert (chosen.asset is not None, chosen.expression is not None) == (method == "get", method == "compute")
    assert chosen.wire == wire
    assert wire_bands in {chosen.wire_bands, None}
    assert len(chosen.wire_dtypes) == len(chosen.wire_bands)
    assert chosen.version.endswith("Z")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (lambda: ee.Image.constant([1, 2]).toUint16(), "uint16"),
        (lambda: ee.Image.constant(1).toInt16().addBands(ee.Image.constant(2).toFloat()), "float32, int16"),
        (lambda: ee.Image.constant(1).toInt64(), "int64"),
    ],
)
def test_masks_are_not_read_from_nodata_where_they_can_not_be(image, words, connection):
    ensure_client(connection)
    opened = find_image(connection, ImageSpec(expression=encode(image())), None)
    with pytest.raises(BadInputError, match=f"masks = 'nodata'.*{words}.*masks=exact"):
        source(connection, opened, opened.bands(None), TileFormat(masks="nodata"))


def test_nine_bands_need_two_bands_of_masks(connection):
    ensure_client(connection)
    image = ee.Image.constant(list(range(9))).toByte()
    opened = find_image(connection, ImageSpec(expression=encode(image)), None)
    chosen = source(connection, opened, opened.bands(None), TileFormat())
    assert chosen.wire_bands[9:] == ("valid_0", "valid_1")
    assert chosen.wire_dtypes == ("uint8",) * 11


def test_an_expression_is_pinned_by_a_day_or_said_to_be_unpinned(connection):
    ensure_client(connection)
    expression = encode(ee.Image(SCENE))
    assert find_image(connection, ImageSpec(expression=expression), None).version == "unpinned"
    pinned = find_image(connection, ImageSpec(expression=expression, as_of=date(2020, 6, 1)), None)
    assert pinned.version == "as_of:2020-06-01"


def test_as_of_bounds_what_a_recipe_reads(connection):
    parameters = {"start": "2020-05-01", "end": "2020-08-01"}
    whole = find_image(connection, ImageSpec(recipe="sentinel2_median", recipe_parameters=parameters), BOX)
    early = find_image(
        connection, ImageSpec(recipe="sentinel2_median", recipe_parameters=parameters, as_of=date(2020, 6, 1)), BOX
    )
    assert "2020-08-01" in json.dumps(whole.expression)
    assert "2020-08-01" not in json.dumps(early.expression)
    assert "2020-06-01" in json.dumps(early.expression)


def series(connection, named):
    return find_series(connection, named, start=date(2020, 5, 1), end=date(2020, 5, 25), geometry=LAKE, box=BOX)


def test_a_series_is_one_image_a_day_by_date(connection):
    found = series(connection, ImageSpec(asset="MODIS/061/MOD13Q1"))
    assert [image.name for image in found] == ["MOD13Q1/2020-05-08", "MOD13Q1/2020-05-24"]
    assert [image.asset for image in found] == [
        "projects/earthengine-public/assets/MODIS/061/MOD13Q1/2020_05_08",
        "projects/earthengine-public/assets/MODIS/061/MOD13Q1/2020_05_24",
    ]


def test_images_of_one_day_become_one_with_the_versions_of_both(connection):
    (first, second) = series(connection, ImageSpec(asset="COPERNICUS/S2_SR_HARMONIZED"))
    assert [first.info.time.date(), second.info.time.date()] == [date(2020, 5, 8), date(2020, 5, 18)]
    assert first.origin == "COPERNICUS/S2_SR_HARMONIZED"
    versions = json.loads(second.version)
    assert {name.rsplit("_", 1)[-1] for name, _ in versions} == {"T21JYM", "T21JYN"}
    assert all(version.endswith("Z") for _, version in versions)
    assert second.asset is None


def test_a_recipe_of_a_collection_gives_the_same_days_as_the_asset(connection):
    stored = series(connection, ImageSpec(asset="MODIS/061/MOD13Q1"))
    computed = series(connection, ImageSpec(recipe="modis_ndvi"))
    days = [[image.info.time.date() for image in images] for images in (stored, computed)]
    assert days[0] == days[1]
    assert [band.id for band in computed[0].info.bands] == ["NDVI", "EVI"]
    assert computed[0].expression != computed[1].expression


def test_bands_of_one_name_are_refused(connection):
    image = find_image(connection, ImageSpec(asset=SCENE), None)
    twice = replace(image, info=replace(image.info, bands=image.info.bands[:1] * 2))
    with pytest.raises(BadInputError, match=r"it has several bands named 'B2'\. Rename its bands"):
        twice.bands(None)

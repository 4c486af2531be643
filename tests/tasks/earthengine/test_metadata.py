"""Metadata read plainly is what the official client reads."""

import json
from datetime import date

import ee
import numpy as np
import pytest
import shapely
from affine import Affine

from tasks.earthengine.connection import ensure_client
from tasks.earthengine.errors import Rejected, TooHeavy
from tasks.earthengine.expression import encode
from tasks.earthengine.image_info import _dtype
from tasks.earthengine.metadata import get_asset, image_info, list_computed, list_images

REGION = {"type": "Point", "coordinates": [-54.55, -25.28]}


def test_a_listing_is_that_of_the_client(connection):
    ensure_client(connection)
    parent = "projects/earthengine-public/assets/COPERNICUS/S2_SR_HARMONIZED"
    ours = list_images(
        connection, "COPERNICUS/S2_SR_HARMONIZED", start=date(2020, 5, 1), end=date(2020, 6, 1), region=REGION
    )
    theirs = ee.data.listImages(
        {
            "parent": parent,
            "filter": 'startTime >= "2020-05-01T00:00:00Z" AND endTime < "2020-06-01T00:00:00Z" AND '
            f'intersects("{json.dumps(REGION).replace(chr(34), chr(39))}")',
        }
    )["images"]
    assert [image.id for image in ours] == [image["id"] for image in theirs] != []


def test_a_listing_pages_through_everything(connection, monkeypatch):
    from tasks.earthengine import metadata

    pages = []
    real = metadata._call

    def call(connection, method, path, **content):
        content["params"]["pageSize"] = "7"
        pages.append(content["params"].get("pageToken"))
        return real(connection, method, path, **content)

    monkeypatch.setattr(metadata, "_call", call)
    found = list(
        list_images(connection, "MODIS/061/MOD13Q1", start=date(2020, 1, 1), end=date(2022, 1, 1), region=None)
    )
    assert len(found) == len({image.id for image in found}) == 46
    assert len(pages) == 7


def test_a_composite_that_ends_later_is_of_the_day_it_begins(connection):
    (image,) = list_images(connection, "MODIS/061/MOD13Q1", start=date(2020, 1, 1), end=date(2020, 1, 2), region=None)
    assert image.id == "MODIS/061/MOD13Q1/2020_01_01"


def star(x, y, radius, *, corners=3000):
    """A star of four thin arms along the diagonals: of its box most is outside of it."""
    turns = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = radius * (0.02 + np.abs(np.sin(2 * turns)) ** 40)
    return shapely.Polygon(np.column_stack([x + reach * np.cos(turns), y + reach * np.sin(turns)]))


def test_a_region_of_any_number_of_corners_can_be_listed(connection):
    """Of a star of 3,000 corners the images are listed that touch it, and not those that touch its box alone."""
    span = {"start": date(2020, 5, 1), "end": date(2020, 6, 1)}
    listed = list(list_images(connection, "COPERNICUS/S2_SR_HARMONIZED", **span, region=None))
    footprints = {image.id: shapely.geometry.shape(image.geometry) for image in listed}
    west, south, east, north = shapely.union_all(list(footprints.values())).bounds
    # Its box overlaps the north-western corner of all images, its arm to the south-east ends short of some.
    hits = misses = 0
    for x, y in [(west, north), (west - 0.3, (south + north) / 2), ((west + east) / 2, north + 0.3), (east, south)]:
        region = star(x, y, 0.5)
        assert len(json.dumps(shapely.geometry.mapping(region))) > 100_000
        found = [
            image.id
            for image in list_images(
                connection, "COPERNICUS/S2_SR_HARMONIZED", **span, region=shapely.geometry.mapping(region)
            )
        ]
        assert found == [name for name, footprint in footprints.items() if footprint.intersects(region)]
        boxed = [name for name, footprint in footprints.items() if footprint.intersects(shapely.box(*region.bounds))]
        hits, misses = hits + len(found), misses + len(boxed) - len(found)
    assert hits
    assert misses


def test_what_is_everywhere_touches_a_long_region(connection):
    found = list_images(
        connection,
        "MODIS/061/MOD13Q1",
        start=date(2020, 1, 1),
        end=date(2020, 2, 1),
        region=shapely.geometry.mapping(star(-54.5, -25.3, 0.2)),
    )
    assert len(list(found)) == 2


def test_stored_and_loaded_tell_the_same_of_an_image(connection):
    ensure_client(connection)
    for asset in ("projects/sandbox/assets/landsat7_nc_2000", "MODIS/061/MOD13Q1/2020_01_01", "USGS/SRTMGL1_003"):
        stored, loaded = get_asset(connection, asset), image_info(connection, encode(ee.Image(asset)))
        assert stored.bands == loaded.bands
        assert stored.time == loaded.time


def test_the_grid_of_a_clipped_image_begins_at_its_origin(connection):
    ensure_client(connection)
    asset = ee.Image("projects/sandbox/assets/landsat8_224077_20200518")
    whole = get_asset(connection, asset.getInfo()["id"]).bands[0].transform
    box = [whole.c + 30 * 7, whole.f - 30 * 20, whole.c + 30 * 12, whole.f - 30 * 11]
    clipped = asset.clip(ee.Geometry.Rectangle(box, "EPSG:32621", False))
    band = image_info(connection, encode(clipped)).bands[0]
    assert (band.shape.x, band.shape.y) == (5, 9)
    assert band.transform == Affine(30, 0, whole.c + 210, 0, -30, whole.f - 330)


def test_what_is_no_image_is_named(connection):
    ensure_client(connection)
    with pytest.raises(TypeError, match="ImageCollection"):
        image_info(connection, encode(ee.ImageCollection("MODIS/061/MOD13Q1").limit(1)))
    with pytest.raises(TypeError, match="int"):
        image_info(connection, encode(ee.Number(3)))
    with pytest.raises(Rejected, match="NOPE"):
        get_asset(connection, "NOPE")


@pytest.mark.parametrize(
    ("precision", "limits", "dtype"),
    [
        ("INT", {"max": 255}, "uint8"),
        ("int", {"min": 0, "max": 65535}, "uint16"),
        ("INTEGER", {"min": -128, "max": 127}, "int8"),
        ("INT", {"min": -32768, "max": 32767}, "int16"),
        ("INT", {"min": -1, "max": 255}, "int16"),
        ("INT", {"max": 4294967295}, "uint32"),
        ("INT", {"min": -2147483648, "max": 2147483647}, "int32"),
        ("INT", {"min": -9007199254740991, "max": 9007199254740991}, "float64"),
        ("FLOAT", {}, "float32"),
        ("double", {}, "float64"),
    ],
)
def test_types_are_the_smallest_that_hold_the_range(precision, limits, dtype):
    assert _dtype(precision, limits) == dtype


@pytest.mark.parametrize("most", [1, 7, 46, 250])
def test_a_computed_collection_is_listed_whole_in_pages_that_fit(connection, monkeypatch, most):
    """The images of 2020 and 2021, also if an answer can hold only so many."""
    from tasks.earthengine import metadata

    real, asked = metadata.compute, []

    def limited(connection, expression):
        values = real(connection, expression)
        asked.append(len(values))
        if len(values) > most:
            raise TooHeavy("Computed value is too large.")
        return values

    monkeypatch.setattr(metadata, "compute", limited)
    ensure_client(connection)
    found = list(list_computed(connection, ee.ImageCollection("MODIS/061/MOD13Q1")))
    stored = list_images(connection, "MODIS/061/MOD13Q1", start=date(2020, 1, 1), end=date(2022, 1, 1), region=None)
    assert [(image.id, image.time, image.end) for image in found] == [
        (image.id.rsplit("/", 1)[-1], image.time, image.end) for image in stored
    ]
    assert [[band.id for band in image.bands] for image in found] == [[band.id for band in found[0].bands]] * len(found)
    assert len(found) == 46

"""Doubts: each likely mistake is asked about once, from metadata alone, and a plan that is right is never doubted."""

from datetime import UTC, date, datetime

import geopandas
import pytest
import shapely

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection
from tasks.errors.input import BadInputError
from tasks.plan.doubts import date_doubts
from tasks.plan.plan import TileFormat
from tasks.plan.planning import plan_patches, plan_region, plan_timeseries
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.raster.region import read_region

LANDSAT = "projects/sandbox/assets/landsat8_224078_20200518"  # west -54.671, south -25.426, east -54.511, north -25.156
HERE = [-54.60, -25.30, -54.55, -25.26]


@pytest.fixture(scope="module")
def connection():
    with running() as url:
        yield Connection(project="my-project", endpoint=url)


def pixels(scale=30.0, crs="EPSG:32621"):
    return PixelSpec(bands=None, crs=crs, scale=scale, tile_format=TileFormat())


def region(connection, box, asset=LANDSAT, **options):
    area = read_region(box)
    return plan_region(connection, ImageSpec(asset=asset), pixels(**options), region=area, tile_size=256)


def patches(connection, points):
    table = geopandas.GeoDataFrame(geometry=[shapely.Point(point) for point in points], crs="EPSG:4326")
    return plan_patches(connection, ImageSpec(asset=LANDSAT), pixels(), points=table, size=16)[0]


def series(connection, box, start, end, asset="LANDSAT/LC08/C02/T1_L2"):
    spec = PixelSpec(bands=("SR_B4",), crs="EPSG:32621", scale=300.0, tile_format=TileFormat())
    area = read_region(box)
    return plan_timeseries(connection, ImageSpec(asset=asset), spec, region=area, start=start, end=end, tile_size=256)


@pytest.mark.parametrize(
    ("box", "options", "doubt"),
    [
        ([-54.60, -25.30, -54.10, -25.26], {}, "Only 17% of the region lies on"),
        ([-54.5905, -25.2605, -54.5902, -25.2602], {"scale": 300.0}, "pixels of 300 metres. Is scale in metres"),
        ([-54.5905, -25.2625, -54.5870, -25.2602], {"scale": 1.0}, "900 times as many pixels"),
    ],
    ids=["partly outside", "one pixel", "finer than the image"],
)
def test_a_region_that_looks_like_a_mistake_is_asked_about(connection, box, options, doubt):
    (text,) = region(connection, box, **options).doubts
    assert doubt in text
    assert text.endswith("?")


@pytest.mark.parametrize(
    "box",
    [HERE, [-54.70, -25.45, -54.50, -25.14], None],
    ids=["inside", "a little larger", "whole image"],
)
def test_a_region_that_is_right_is_not_doubted(connection, box):
    if box is None:
        made = plan_region(connection, ImageSpec(asset=LANDSAT), pixels(), region=None, tile_size=256)
    else:
        made = region(connection, box)
    assert made.doubts == ()


def test_global_images_are_not_doubted_for_their_place(connection):
    assert region(connection, [2.0, 40.0, 2.1, 40.1], "USGS/SRTMGL1_003", crs="EPSG:32631").doubts == ()


def test_swapped_coordinates_are_named_as_such(connection):
    west, south, east, north = HERE
    with pytest.raises(BadInputError, match="Give longitude first: with longitude and latitude swapped"):
        region(connection, [south, west, north, east], crs="EPSG:32621")
    with pytest.raises(BadInputError, match="Give longitude first"):
        patches(connection, [(south, west), (north, east)])
    with pytest.raises(BadInputError, match=r"Give a place on the image\.$"):
        region(connection, [-52.0, -25.30, -51.9, -25.26])


def test_points_that_are_mostly_swapped_are_asked_about(connection):
    good, bad = (-54.6, -25.3), (-25.3, -54.6)
    (text,) = patches(connection, [good, bad, bad]).doubts
    assert "Only 33% of the points lie" in text
    assert "Does points give longitude first?" in text
    assert patches(connection, [good, good, bad]).doubts == ()


def test_dates_far_from_the_images_are_asked_about(connection):
    first, last = series(connection, HERE, date(2010, 1, 1), date(2026, 1, 1)).doubts
    assert "The first image of this region is of 2020-03-15, 10 years after start" in first
    assert "The last image of this region is of 2020-10-09, 5 years before end" in last
    assert series(connection, HERE, date(2020, 3, 1), date(2020, 10, 31)).doubts == ()


def test_a_series_without_an_image_names_the_dates_of_the_collection(connection):
    with pytest.raises(BadInputError, match="has images from 2020-03-15 to 2020-10-"):
        series(connection, HERE, date(2015, 1, 1), date(2016, 1, 1))


@pytest.mark.parametrize("end", [None, date(2030, 1, 1)])
def test_the_end_of_a_growing_series_is_not_doubted(end):
    times = [datetime(2020, 1, 5, tzinfo=UTC), datetime(2020, 6, 1, tzinfo=UTC)]
    assert len(date_doubts(times, date(2020, 1, 1), end)) == (end is not None)


def test_doubts_are_no_part_of_a_plan(connection):
    made = region(connection, [-54.60, -25.30, -54.10, -25.26])
    assert made.doubts
    assert made.doubts[0] not in str(made.json())

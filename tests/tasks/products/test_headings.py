"""Titles say what, when and where: in degrees that people read, also across 180 degrees and at the poles."""

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from tasks.plan.plan import Band, Plan, Source, TileFormat
from tasks.plan.tiles import PatchTiles, RegionTiles
from tasks.products.headings import degrees, left_out, title, where
from tasks.raster.crs import SINUSOIDAL, crs_of
from tasks.raster.tiling import Tiling


def source(**more):
    given = {"name": "a", "version": "1", "wire": "NPY", "wire_bands": ("B1",), "wire_dtypes": ("uint8",)} | more
    return Source(**given)


def plan_of(*sources, crs="EPSG:32633", left=500_000, top=5_000_000, scale=20.0, shape=(100, 200)):
    box = GeoBox(shape, Affine(scale, 0, left, 0, -scale, top), crs_of(crs))
    tiles = RegionTiles(crs=crs, tiling=Tiling(geobox=box, tile_size=64))
    bands = (Band(id="B1", dtype="uint8"),)
    return Plan(name="region", sources=sources or (source(),), tiles=tiles, bands=bands, tile_format=TileFormat())


@pytest.mark.parametrize(
    ("sources", "more", "text"),
    [
        ([{"origin": "sentinel2_median"}], {}, "sentinel2_median"),
        ([{"origin": "sentinel2_median"}], {"label": "itaipu", "dates": "May"}, "itaipu: sentinel2_median, May"),
        ([{"origin": "L/a", "time": "2020-01-01T12:00:00+00:00"}], {"dates": "May"}, "L/a, 2020-01-01"),
        (
            [{"origin": f"MODIS/X/{day}", "title": f"2020-01-{day}T134211Z"} for day in (10, 11, 26)],
            {"label": " "},
            "MODIS/X, 2020-01-10 to 2020-01-26",
        ),
        ([{"origin": "MODIS/X", "title": "2020-01-01"}], {}, "MODIS/X, 2020-01-01"),
        ([{"name": "expression/2020"}], {}, "expression/2020"),
    ],
)
def test_a_title_says_what_and_when(sources, more, text):
    assert title(plan_of(*(source(**each) for each in sources)), **more) == text


@pytest.mark.parametrize(
    ("sides", "text"),
    [
        ([-54.66, -25.42, -54.53, -25.10], "25.42° to 25.10° S, 54.66° to 54.53° W"),
        ([-1, -2, 3, 4], "2.0° S to 4.0° N, 1.0° W to 3.0° E"),
        ([179.5, 10, -179.5, 11], "10.0° to 11.0° N, 179.5° E to 179.5° W"),
        ([-180, 60, 180, 90], "60° to 90° N, all longitudes"),
        ([10, 50, 10, 50], "50.00000° N, 10.00000° E"),
        ([10.00001, 50.00002, 10.00051, 50.00012], "50.00002° to 50.00012° N, 10.00001° to 10.00051° E"),
    ],
)
def test_a_place_is_in_degrees_that_tell_its_sides_apart(sides, text):
    assert degrees(sides) == text


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "45.135° to 45.153° N, 15.000° to 15.051° E · EPSG:32633 (UTM zone 33N) · 20 m pixels"),
        (
            {"crs": SINUSOIDAL, "left": -5_500_000, "top": -2_800_000, "scale": 231.65635826},
            "SR-ORG:6974 (MODIS sinusoidal) · 231.7 m pixels",
        ),
        ({"crs": "EPSG:4326", "left": 179, "top": 1, "scale": 0.01}, "0.0° to 1.0° N, 179.0° E to 179.0° W"),
        ({"crs": "EPSG:4326", "left": 10, "top": 1, "scale": 0.01}, "EPSG:4326 (WGS 84) · 0.01 degrees pixels"),
        ({"crs": "EPSG:3413", "left": -1e5, "top": 5e4, "scale": 1000.0}, "89.0° to 90.0° N, all longitudes"),
    ],
    ids=["utm", "sinusoidal", "across 180", "degrees", "pole"],
)
def test_a_place_has_its_crs_and_the_size_of_its_pixels(more, text):
    assert text in where(plan_of(**more))


def test_patches_lie_between_their_middles_and_name_each_zone():
    tiles = PatchTiles(
        crs=("EPSG:32632", "EPSG:32633"),
        zone=np.array([0, 1], np.int32),
        left=np.array([500_000.0, 500_000.0]),
        top=np.array([5_000_000.0, 5_100_000.0]),
        scale=10.0,
        size=8,
    )
    text = where(replace(plan_of(), tiles=tiles))
    assert "45.2° to 46.1° N, 9.0° to 15.0° E" in text
    assert "EPSG:32632 (UTM zone 32N) and EPSG:32633 (UTM zone 33N)" in text


def test_images_that_are_left_out_are_counted_and_one_is_named():
    assert left_out(plan_of()) == ""
    assert "1 image of the collection" in left_out(replace(plan_of(), left_out={"M/2020": "it has no time"}))
    assert left_out(replace(plan_of(), left_out={"a": "", "b": ""})).endswith("such as a")

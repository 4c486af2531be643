"""A pixel size in the units of another CRS is refused, and no sound one is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo import xy_

from tasks.errors.input import BadInputError
from tasks.plan.units import DEGREE, check_units, metres_per_unit

LANDSAT, SENTINEL2, MODIS, ERA5, AERIAL, DRONE, CHIRPS = 30.0, 10.0, 231.7, 27_830.0, 0.25, 0.01, 5566.0


@pytest.mark.parametrize(
    ("crs", "scale", "more", "words"),
    [
        # metres for degrees
        ("EPSG:4326", 30, {"patch": 64}, ["degree", "1,920 degrees", "scale=0.00027"]),
        ("EPSG:4326", 30, {"patch": 64, "own": [LANDSAT]}, ["degree", "1,920 degrees", "scale=0.00027"]),
        ("EPSG:4326", 10, {"patch": 1, "own": [SENTINEL2]}, ["degree", "scale=9e-05", "111,320 times"]),
        ("EPSG:4326", 10, {"patch": 8}, ["degree", "scale=9e-05", "80 degrees"]),
        ("EPSG:4326", 1, {"patch": 64, "own": [AERIAL]}, ["degree", "64 degrees", "scale=9e-06"]),
        ("EPSG:4326", 30, {"area": (0.05, 0.05)}, ["degree", "30 degrees wide (3,340 km)", "scale=0.00027"]),
        ("EPSG:4326", 30, {"area": (300.0, 150.0), "own": [LANDSAT]}, ["degree", "scale=0.00027"]),
        ("EPSG:4326", 10, {"area": (40.0, 35.0)}, ["degree", "4 x 3.5 pixels", "scale=9e-05"]),  # a continent
        ("EPSG:4326", 10, {"area": (40.0, 35.0), "own": [MODIS]}, ["degree", "scale=9e-05"]),
        ("EPSG:4326", 250, {"area": (40.0, 40.0)}, ["degree", "scale=0.0022"]),
        ("EPSG:4267", 30, {"patch": 64}, ["degree", "scale=0.00027"]),
        ("EPSG:4807", 30, {"patch": 64}, ["grad", "scale=0.0003"]),
        # degrees for metres
        ("EPSG:32621", 0.00027, {"patch": 256}, ["metre", "0.06912 metres", "scale=30"]),
        ("EPSG:32621", 0.00027, {"area": (2000.0, 2000.0)}, ["metre", "0.00027 metres", "scale=30"]),
        ("EPSG:32621", 0.0022, {"own": [MODIS]}, ["metre", "scale=2.4e+02"]),
        ("EPSG:32621", 0.0022, {}, ["metre", "scale=2.4e+02"]),
        ("EPSG:32621", 0.05, {"own": [CHIRPS]}, ["metre", "1/111,320 of the image's own pixel"]),
        ("EPSG:32621", 0.25, {"own": [ERA5], "patch": 16}, ["metre", "4 metres", "scale=2.8e+04"]),
        ("EPSG:3857", 0.00009, {"own": [SENTINEL2]}, ["metre", "scale=10"]),
        ("EPSG:2263", 0.00027, {"patch": 256}, ["US survey foot", "feet", "scale=99"]),
        ("SR-ORG:6974", 0.002, {}, ["metre"]),
        # neither
        ("EPSG:32621", 1_000_000, {"patch": 256}, ["metre", "wider than the world"]),
        ("EPSG:32621", 3_000_000, {"area": (9e3, 9e3), "own": [LANDSAT]}, ["metre", "such as 30"]),
    ],
)
def test_a_scale_in_other_units_is_refused(crs, scale, more, words):
    with pytest.raises(BadInputError) as caught:
        check_units(crs, scale, **more)
    assert str(caught.value).startswith(f"scale = {scale}")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("crs", "scale", "more"),
    [
        ("EPSG:32621", 0.1, {"own": [0.1]}),  # aerial imagery of 10 cm
        ("EPSG:32621", 0.25, {"own": [AERIAL], "patch": 64}),
        ("EPSG:32621", 0.25, {"patch": 64}),
        ("EPSG:32621", 0.01, {"own": [DRONE]}),
        ("EPSG:32621", 0.005, {}),
        ("EPSG:32621", 0.002, {"own": [0.002]}),
        ("EPSG:32621", 30, {"area": (3.0, 3.0)}),  # a region smaller than a pixel
        ("EPSG:32621", 250, {"area": (20.0, 20.0), "own": [10.0]}),
        ("EPSG:32621", 10, {"own": [111_320.0]}),  # an image of a degree beside Sentinel-2
        ("EPSG:32621", 1000, {"own": [0.1], "area": (50.0, 50.0)}),
        ("EPSG:2263", 98.4, {"own": [LANDSAT]}),  # feet
        ("EPSG:2263", 0.5, {"own": [AERIAL], "patch": 256}),
        ("EPSG:4326", 1, {"own": [ERA5], "area": (0.01, 0.01)}),  # a field on a climate grid
        ("EPSG:4326", 1, {"patch": 64}),
        ("EPSG:4326", 5, {"area": (360.0, 180.0), "own": [LANDSAT]}),
        ("EPSG:4326", 5, {"area": (0.1, 0.1)}),
        ("EPSG:4326", 5, {"patch": 16}),
        ("EPSG:4326", 10, {"area": (360.0, 180.0)}),  # zones of the world
        ("EPSG:4326", 15, {"area": (1.0, 1.0), "own": [2.5 * DEGREE]}),
        ("EPSG:4326", 0.25, {"patch": 1440}),
        ("EPSG:4326", 9e-7, {"own": [0.1]}),
        ("EPSG:4326", 0.00027, {"patch": 64, "own": [LANDSAT]}),
        ("EPSG:3857", 156_543.03, {"area": (4e7, 4e7)}),  # zoom level 0
        ("EPSG:3857", 156_543.03, {"patch": 256}),
        ("EPSG:6933", 25_000, {"patch": 64}),
        ("SR-ORG:6974", 231.65635826395825, {"own": [231.65635826395825]}),
    ],
)
def test_a_sound_scale_is_none_of_this(crs, scale, more):
    check_units(crs, scale, **more)


@given(own=st.floats(0.01, 300_000), times=st.floats(1 / 12_000, 18_000), size=st.integers(1, 64))
def test_any_scale_not_too_far_from_the_images_own_is_sound(own, times, size):
    """For regions. A patch that is wider than the world is never."""
    for crs in ("EPSG:4326", "EPSG:32621", "EPSG:2263", "EPSG:3413"):
        side = own * times
        if 0.001 < side < 10 * DEGREE:
            check_units(crs, side / metres_per_unit(crs), own=[own])
            if side * size < 40_000_000:
                check_units(crs, side / metres_per_unit(crs), own=[own], patch=size)


@given(own=st.floats(0.5, 100_000), times=st.floats(0.3, 3))
def test_any_swap_of_metres_and_degrees_is_refused(own, times):
    wanted = own * times
    with pytest.raises(BadInputError, match="the unit of EPSG:4326 is the degree"):
        check_units("EPSG:4326", wanted, own=[own], patch=8)
    with pytest.raises(BadInputError, match="the unit of EPSG:32621 is the metre"):
        check_units("EPSG:32621", wanted / DEGREE, own=[own], area=(1e4, 1e4))


def test_an_anchor_outside_the_world_is_refused():
    with pytest.raises(BadInputError, match=r"anchor = \[500015.*degree"):
        check_units("EPSG:4326", 0.00027, anchor=xy_(500_015.0, 4_000_015.0))
    check_units("EPSG:4326", 0.00027, anchor=xy_(-180.0, 90.0))
    check_units("EPSG:4513", 30, anchor=xy_(45_500_015.0, 4_000_015.0))  # with the number of its zone

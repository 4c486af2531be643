"""Laws of footprints: nothing that touches is left out, and of what is left to this side nothing else stays."""

import itertools
import json

import numpy as np
import pytest
import shapely
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pyproj import Geod

from tasks.earthengine.footprint import MAX_TEXT, covering, listing_filter, touches

BOX = shapely.box(10, 40, 12, 41)


def geodesic(polygon):
    """The polygon as a globe has it: its edges cut along great circles."""
    globe = Geod(ellps="sphere")
    ring = shapely.get_coordinates(polygon)
    points = []
    for (x0, y0), (x1, y1) in itertools.pairwise(ring):
        points += [(x0, y0), *([] if x0 == x1 else globe.npts(x0, y0, x1, y1, 30))]
    return shapely.Polygon(points)


@settings(deadline=None)
@example(west=0.0, south=38.0, width=10.0, height=1.0)  # the corners of the cover are farther apart than the region's
@given(west=st.floats(-180, 179), south=st.floats(-89, 88), width=st.floats(0.001, 180), height=st.floats(0.001, 60))
def test_a_covering_polygon_covers_on_the_globe(west, south, width, height):
    region = shapely.box(west, south, min(180, west + width), min(90, south + height))
    assume(shapely.area(region) > 0)
    cover = covering(region)
    assert geodesic(cover).buffer(1e-9).covers(region)
    assert len(listing_filter(shapely.geometry.mapping(region.segmentize(max(width, height) / 500)))[0]) <= MAX_TEXT


def test_half_of_the_globe_is_not_for_the_server():
    corners = np.column_stack([np.linspace(-170, 170, 900), np.linspace(-60, 60, 900) ** 2 / 100])
    region = shapely.geometry.mapping(shapely.LineString(corners).buffer(1))
    term, test = listing_filter(region)
    assert term is None
    assert test(shapely.geometry.mapping(shapely.box(-1, -1, 1, 1)))
    assert not test(shapely.geometry.mapping(shapely.box(-1, 60, 1, 70)))


def test_a_short_region_is_all_the_server_s():
    term, test = listing_filter(shapely.geometry.mapping(BOX))
    inner = term.removeprefix('intersects("').removesuffix('")')
    assert shapely.geometry.shape(json.loads(inner.replace("'", '"'))).equals(BOX)
    assert test(shapely.geometry.mapping(shapely.box(50, 0, 51, 1)))


@pytest.mark.parametrize(
    ("footprint", "expected"),
    [
        (None, True),
        ({}, True),
        ({"type": "Polygon", "coordinates": [[["-Infinity", "-Infinity"], ["Infinity", "-Infinity"], [0, 9]]]}, True),
        ({"type": "Nonsense"}, True),
        ({"type": "Polygon", "coordinates": []}, True),
        (shapely.geometry.mapping(shapely.box(11.9, 40.9, 13, 42)), True),
        (shapely.geometry.mapping(shapely.box(12.1, 40.9, 13, 42)), False),
        # The outline alone, as `system:footprint` has it, with the region inside.
        (shapely.geometry.mapping(shapely.box(0, 30, 20, 50).exterior), True),
        # A bow tie.
        ({"type": "Polygon", "coordinates": [[[9, 39], [13, 42], [13, 39], [9, 42], [9, 39]]]}, True),
        (shapely.geometry.mapping(shapely.box(-180, -90, 180, 90)), True),
        (shapely.geometry.mapping(shapely.box(370.5, 40.2, 371, 40.7)), True),
    ],
)
def test_what_touches_is_kept(footprint, expected):
    assert touches(footprint, BOX) is expected


@pytest.mark.parametrize("x", [179.5, -179.5])
@pytest.mark.parametrize("east", [-179, 181])
def test_a_footprint_across_the_antimeridian_is_on_both_sides(east, x):
    """Whether its corners jump from 179 to -179 or go on to 181."""
    ring = [(179, 0), (east, 0), (east, 2), (179, 2), (179, 0)]
    footprint = {"type": "Polygon", "coordinates": [ring]}
    assert touches(footprint, shapely.box(x - 0.1, 1, x + 0.1, 1.2))
    assert not touches(footprint, shapely.box(x - 0.1, 2.1, x + 0.1, 2.2))


@pytest.mark.parametrize("x", [178, -178])
def test_a_footprint_beyond_180_ends_where_it_ends(x):
    ring = [(179, 0), (181, 0), (181, 2), (179, 2), (179, 0)]
    assert not touches({"type": "Polygon", "coordinates": [ring]}, shapely.box(x - 0.1, 1, x + 0.1, 1.2))

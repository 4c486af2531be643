"""Laws of the globe: any region in any CRS is covered by its tiles, and areas are those of GeographicLib."""

import contextlib

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors.input import InputError
from tasks.raster import globe
from tasks.raster.clip import touching
from tasks.raster.grid import covering_geobox
from tasks.raster.region import read_region
from tasks.raster.reprojection import check_area_of_use, lonlat
from tasks.raster.small_parts import on_grid
from tasks.raster.tile_outlines import degrees, map_corners, tile_outlines
from tasks.raster.tiling import Tiling
from tasks.raster.world_map import area_of_use, is_degrees
from tests.tasks.raster.globe_cases import GEOD, area_km2

CRS = [
    "EPSG:4326",
    "EPSG:3857",
    "EPSG:6933",
    "EPSG:3413",
    "EPSG:3031",
    "EPSG:32601",
    "EPSG:32660",
    "EPSG:32733",
    "EPSG:3035",
    "EPSG:2193",
    "EPSG:3338",
    "EPSG:3832",
    "EPSG:8857",
]


@st.composite
def regions(draw):
    """A region on the globe as GeoJSON: a circle of 16 corners around any place, with poles and 180 degrees often."""
    lon = draw(st.one_of(st.floats(-180, 180), st.sampled_from([180.0, -180.0, 179.9, -179.9])))
    lat = draw(st.one_of(st.floats(-90, 90), st.sampled_from([90.0, -90.0, 89.5, -89.9])))
    radius = draw(st.floats(5e3, 6e5))
    shape = shapely.Point(0, 0).buffer(radius, quad_segs=4)
    local = f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84 +type=crs"
    return lonlat(shape, local), np.pi * radius**2 / 1e6


@settings(max_examples=40, deadline=None)
@given(regions(), st.sampled_from(CRS))
def test_tiles_cover_any_region_and_none_is_far_away(region, crs):
    place, circle = region
    assert place.is_valid
    west, south, east, north = place.bounds
    assert (west >= -180, south >= -90, east <= 180, north <= 90) == (True,) * 4
    assert area_km2(place) == pytest.approx(circle, rel=0.04)  # 16 corners: 97.4 % of the circle
    area = area_of_use(crs)
    read = read_region(shapely.geometry.mapping(place))
    if not globe.touch(area, place):
        with pytest.raises(InputError, match=f"crs = '{crs}': it is made for"):
            check_area_of_use(read.wgs84, crs, "region")
        return
    scale = np.sqrt(circle * 1e6) / 60 / (111_000 if is_degrees(crs) else 1)
    if not area.buffer(1e-6).covers(place):  # partly outside: refused only where the transform is not sound
        with contextlib.suppress(InputError):
            covering_geobox(read, crs, scale)
        return
    box = covering_geobox(read, crs, scale)
    tiling = Tiling(box, max(32, int(box.shape.x) // 100))
    geometry = on_grid(read, crs, box)
    kept = touching(geometry, tiling)
    sides = [each.boundingbox for each in (tiling.tile(int(number)) for number in kept)]
    corners = np.array([[(w, n), (e, n), (e, s), (w, s)] for w, s, e, n in sides])
    tiles = tile_outlines(corners, crs)
    tiles = [tile for tile in tiles if tile is not None and not tile.is_empty]
    assert all(tile.is_valid for tile in tiles)
    whole = shapely.union_all(tiles)
    assert area_km2(place - whole.buffer(1e-7)) <= 1e-3 * area_km2(place)
    for tile in tiles:
        assert globe.touch(tile.buffer(1e-6), place.buffer(0.02 * np.sqrt(place.area)))


@settings(max_examples=60, deadline=None)
@given(regions(), st.sampled_from([crs for crs in CRS if crs != "EPSG:8857"]))
def test_outlines_of_tiles_have_the_area_of_the_tiles(region, crs):
    """A tile around the place, against the area that pyproj's Geod gives for a ring of 400 points."""
    place, circle = region
    lon, lat = globe.centre(place)
    if not globe.touch(area_of_use(crs), shapely.Point(lon, lat)):
        return
    polar = crs in {"EPSG:3413", "EPSG:3031"}
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(
        lon, lat if polar else np.clip(lat, -80, 80)
    )
    side = np.sqrt(circle * 1e6) / 20 / (111_000 if is_degrees(crs) else 1)
    corners = np.array([[(x - side, y + side), (x + side, y + side), (x + side, y - side), (x - side, y - side)]])
    (outline,) = tile_outlines(corners, crs)
    edge = shapely.get_coordinates(shapely.segmentize(shapely.Polygon(corners[0]), side / 50))
    ring = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(*edge.T)
    assert outline.is_valid
    assert area_km2(outline) == pytest.approx(abs(GEOD.polygon_area_perimeter(*ring)[0]) / 1e6, rel=0.01)


def test_tiles_at_the_pole_are_boxes_on_the_map():
    """Four corners around the pole would be a line on the map."""
    square = np.array([[(-4e5, 4e5), (4e5, 4e5), (4e5, -4e5), (-4e5, -4e5)]])
    (around,) = map_corners(square, "EPSG:3413")
    assert around[:, 0].tolist() == [-180, 180, 180, -180]
    assert around[:2, 1].tolist() == [90, 90]
    (beside,) = map_corners(square / 2 + np.array([2e5, 2e5]), "EPSG:3413")  # the pole is its corner
    assert beside[:, 0] == pytest.approx([45, 135, 135, 45])
    (away,) = map_corners(square / 40 + np.array([2e6, 0]), "EPSG:3413")
    assert away.tolist() == degrees(square / 40 + np.array([2e6, 0]), "EPSG:3413")[0].tolist()


def test_points_beyond_a_map_of_the_world_are_no_outline():
    """The corner of a MODIS tile off the world has no place. The part of a tile on the world keeps its area."""
    side = 1111950.5196666666
    left, top = -20015109.354, 10007554.677
    rows, columns = np.mgrid[:18, :36]
    x, y = left + columns.ravel() * side, top - rows.ravel() * side
    corners = np.stack([np.stack(xy, -1) for xy in ((x, y), (x + side, y), (x + side, y - side), (x, y - side))], 1)
    outlines = tile_outlines(corners, "SR-ORG:6974")
    there = [each for each in outlines if each is not None and not each.is_empty]
    assert all(each.is_valid for each in there)
    sphere = 4 * np.pi * 6371007.181**2 / 1e6
    assert sum(map(area_km2, there)) == pytest.approx(sphere, rel=1e-3)

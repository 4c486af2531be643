"""Laws of planning: patches are where their points are, and neighbouring jobs give the same expression."""

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo import wh_, xy_

from tasks.earthengine.image_info import BandInfo, ImageInfo
from tasks.plan.grids import region_box, region_tiles
from tasks.plan.images import ImageRecord
from tasks.plan.patches import patch_tiles
from tasks.plan.plan import TileFormat
from tasks.plan.planning import plan_patches, plan_region
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.raster.region import read_region

places = st.lists(st.tuples(st.floats(-179.9, 179.9), st.floats(-79.9, 83.9)), min_size=1, max_size=6)


def frame(points):
    return geopandas.GeoDataFrame(geometry=[shapely.Point(*point) for point in points], crs=4326)


@settings(deadline=None, max_examples=60)
@given(points=places, size=st.integers(1, 65), scale=st.sampled_from([10.0, 30.0, 231.65635826395825]))
def test_each_point_lies_within_half_a_pixel_of_the_centre_of_its_patch(points, size, scale):
    tiles, tile_of_point = patch_tiles(frame(points), crs="utm", scale=scale, size=size)
    assert len(tile_of_point) == len(points)
    assert set(tile_of_point) == set(range(len(tiles)))
    for (lon, lat), tile in zip(points, tile_of_point, strict=True):
        grid = tiles.grid(int(tile))
        x, y = pyproj.Transformer.from_crs(4326, grid.crs, always_xy=True).transform(lon, lat)
        column, row = ~grid.affine @ (x, y)
        assert abs(column - size / 2) <= 0.5 + 1e-6
        assert abs(row - size / 2) <= 0.5 + 1e-6
        assert grid.affine.c / scale == pytest.approx(round(grid.affine.c / scale), abs=1e-6)


def test_points_in_one_pixel_share_a_patch():
    tiles, tile_of_point = patch_tiles(
        frame([(10.0, 50.0), (11.0, 50.0), (10.00001, 50.0)]), crs="EPSG:32632", scale=30.0, size=9
    )
    assert len(tiles) == 2
    assert tile_of_point[0] == tile_of_point[2] != tile_of_point[1]


def test_a_hundred_thousand_patches_are_planned_as_arrays():
    rng = np.random.default_rng(1)
    points = geopandas.GeoDataFrame(
        geometry=geopandas.points_from_xy(rng.uniform(5, 15, 100_000), rng.uniform(45, 50, 100_000)), crs=4326
    )
    tiles, tile_of_point = patch_tiles(points, crs="utm", scale=10.0, size=64)
    assert tiles.crs == ("EPSG:32631", "EPSG:32632", "EPSG:32633")
    assert len(tiles) == len(np.unique(tile_of_point))


@given(
    st.tuples(st.floats(-179, 178), st.floats(-89, 88), st.floats(0.001, 0.9), st.floats(0.001, 0.9)),
)
def test_the_box_of_a_recipe_covers_the_region_in_whole_degrees(place):
    west, south, width, height = place
    region = shapely.box(west, south, west + width, south + height)
    box = region_box(region)
    assert shapely.box(*box).covers(region)
    assert all(float(side).is_integer() for side in box)
    assert box[2] - box[0] <= 3
    assert box[3] - box[1] <= 3


def plan(connection, **changes):
    given = {"bands": ["B4"], "crs": "utm", "scale": 30.0, "tile_format": TileFormat()} | changes
    region = given.pop("region", [-54.60, -25.30, -54.55, -25.26])
    tile_size = given.pop("tile_size", 64)
    return plan_region(
        connection,
        ImageSpec(asset="projects/sandbox/assets/landsat8_224078_20200518"),
        PixelSpec(**given),
        region=read_region(region),
        tile_size=tile_size,
    )


def test_the_grids_of_neighbouring_regions_line_up(connection):
    one, other = plan(connection).grid(0), plan(connection, region=[-54.583, -25.291, -54.571, -25.277]).grid(0)
    assert one.crs == other.crs == "EPSG:32721"
    columns, rows = ~one.affine @ (other.affine.c, other.affine.f)
    assert (columns, rows) == pytest.approx((round(columns), round(rows)), abs=1e-9)


def test_the_anchor_puts_a_composite_on_the_grid_of_landsat(connection):
    """Landsat's pixel corners in UTM lie at odd multiples of 15 m."""
    native = plan(connection, crs="native", scale=None).grid(0)
    anchored = plan(connection, crs="EPSG:32621", anchor=xy_(15.0, 15.0)).grid(0)
    plain = plan(connection, crs="EPSG:32621").grid(0)
    assert (anchored.affine, anchored.crs) == (native.affine, native.crs)
    assert (plain.affine.c - native.affine.c) % 30 == 15


def test_the_anchor_moves_patches_too():
    tiles, _ = patch_tiles(frame([(10.0, 50.0)]), crs="EPSG:32632", scale=30.0, size=8, anchor=xy_(15.0, 5.0))
    assert (tiles.left[0] % 30, tiles.top[0] % 30) == (15, 5)


def test_the_same_job_is_the_same_plan_and_another_is_not(connection):
    first = plan(connection).fingerprint
    assert plan(connection).fingerprint == first
    others = [
        plan(connection, bands=["B3"]),
        plan(connection, scale=60.0),
        plan(connection, crs="EPSG:32621"),
        plan(connection, tile_size=128),
        plan(connection, region=[-54.60, -25.30, -54.54, -25.26]),
        plan(connection, tile_format=TileFormat(codec="none")),
    ]
    assert len({first, *(other.fingerprint for other in others)}) == 7


def test_a_further_point_changes_no_other_patch_of_a_recipe(connection):
    """The recipe's box grew with the points, in whole degrees, and the expression of every patch with it."""
    spec = ImageSpec(recipe="landsat_median", recipe_parameters={"start": "2020-05-01", "end": "2020-06-01"})
    pixels = PixelSpec(bands=["SR_B4"], crs="utm", scale=30.0, tile_format=TileFormat())
    few, many = (
        plan_patches(connection, spec, pixels, points=frame(points), size=16)[0]
        for points in ([(-54.58, -25.28)], [(-54.58, -25.28), (-53.2, -24.1), (20.0, 50.0)])
    )
    assert few.key(0) in {many.key(index) for index in range(len(many))}
    assert (len(few), len(many)) == (1, 3)


def test_the_grid_of_a_whole_image_covers_its_footprint_not_the_blank_edge_of_its_own_grid():
    to_degrees = pyproj.Transformer.from_crs(32621, 4326, always_xy=True).transform
    slanted = [(601_000, 7_199_000), (629_000, 7_195_000), (627_000, 7_172_000), (600_500, 7_175_000)]
    footprint = shapely.Polygon([to_degrees(*corner) for corner in slanted])
    own = Affine(30.0, 0.0, 600_000.0, 0.0, -30.0, 7_200_000.0)
    band = BandInfo(id="B", dtype="uint8", crs="EPSG:32621", transform=own, shape=wh_(1000, 1000))
    info = ImageInfo(id="a", bands=(band,), geometry=shapely.geometry.mapping(footprint))
    image = ImageRecord(name="a", origin="a", info=info, asset="a", expression=None, version="v")
    pixels = PixelSpec(bands=None, crs="utm", scale=30.0, tile_format=TileFormat())
    tiles, _ = region_tiles([image], ["B"], pixels, None, 2048)
    assert tuple(tiles.grid(0).affine)[:6] == (30.0, 0.0, 600_480.0, 0.0, -30.0, 7_199_010.0)
    assert tiles.grid(0).shape == wh_(951, 901)

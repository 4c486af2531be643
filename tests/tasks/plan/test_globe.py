"""Areas across 180 degrees and around the poles, planned and fetched: the rows of the issue, and their siblings."""

from datetime import date
from functools import partial
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection
from tasks.earthengine.transport import fetch
from tasks.errors.input import BadInputError
from tasks.extraction.tile_fetcher import TileFetcher
from tasks.plan.plan import TileFormat
from tasks.plan.planning import plan_patches, plan_region, plan_timeseries
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.plan.tiles import corners
from tasks.raster.frame import outlines as frame_outlines
from tasks.raster.globe import bounds
from tasks.raster.region import read_region
from tasks.raster.reprojection import lonlat, reproject
from tasks.raster.tile_outlines import map_corners, tile_outlines
from tasks.storage.local import LocalStore
from tests.tasks.extraction.extracting import a_session, extract
from tests.tasks.raster.globe_cases import area_km2

A = np.arange(400, dtype=np.uint16).reshape(20, 20) + 1
SCALES = [("native", None), ("utm", 600.0), ("EPSG:4326", 0.005), ("EPSG:3857", 600.0)]
GRIDS = {
    "fiji": ("EPSG:32760", Affine(600, 0, 814000, 0, -600, 8179000)),
    "aleutians": ("EPSG:32601", Affine(3000, 0, 270000, 0, -3000, 5750000)),
    "north": ("EPSG:3413", Affine(10000, 0, -100000, 0, -10000, 100000)),
    "south": ("EPSG:3031", Affine(10000, 0, -70000, 0, -10000, 130000)),
    "degrees": ("EPSG:4326", Affine(0.1, 0, 179, 0, -0.1, -16)),
    "landsat": ("EPSG:32621", Affine(30, 0, 600000, 0, -30, 7200000)),
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    world = np.arange(1, 64801, dtype=np.uint16).reshape(180, 360)
    images = {name: (A, *grid) for name, grid in GRIDS.items()} | {
        "world": (world, "EPSG:4326", Affine(1, 0, -180, 0, -1, 90)),
        "half_a_pixel": (world, "EPSG:4326", Affine(1, 0, -180.5, 0, -1, 90)),
        "from_greenwich": (np.roll(world, -180, axis=1), "EPSG:4326", Affine(1, 0, 0, 0, -1, 90)),
    }
    (folder / "series").mkdir()
    for name, (values, crs, affine) in images.items():
        height, width = values.shape
        path = folder / ("series/fiji_20200101.tif" if name == "fiji_day" else f"{name}.tif")
        profile = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": values.dtype}
        for target in (path, folder / "series/fiji_20200101.tif") if name == "fiji" else (path,):
            with rasterio.open(target, "w", crs=crs, transform=affine, **profile) as file:
                file.write(values, 1)
    return folder


@pytest.fixture(scope="module")
def connection(scenes: Path):
    with running(scenes=scenes) as url:
        yield Connection(project="my-project", endpoint=url)


def plan(connection, image, region=None, *, crs="native", scale=None, tile_size=512, clip=True):
    pixels = PixelSpec(bands=None, crs=crs, scale=scale, tile_format=TileFormat(), clip=clip)
    spec = ImageSpec(asset=f"projects/sandbox/assets/{image}")
    return plan_region(connection, spec, pixels, region=region and read_region(region), tile_size=tile_size)


def outlines(made):
    grids = [made.grid(index) for index in range(len(made))]
    return shapely.union_all(tile_outlines(corners(grids), grids[0].crs))


@pytest.mark.parametrize("image", GRIDS)
@pytest.mark.parametrize(("crs", "scale"), [("native", None), ("own", None), ("EPSG:6933", 5000), ("EPSG:4326", 0.05)])
def test_a_whole_image_is_planned_in_the_few_requests_that_cover_it(connection, image, crs, scale):
    """Without a region, the first was 4,320 requests, and those at the poles were refused."""
    own, affine = GRIDS[image]
    if crs == "own":
        crs, scale = own, affine.a
    if image == "landsat" and crs == "EPSG:6933":
        scale = 30
    if crs == "EPSG:4326" and image != "degrees":
        scale = affine.a / 1e5
    if own in {"EPSG:3413", "EPSG:3031"} and crs in {"EPSG:4326", "EPSG:6933"}:
        return  # a square around a pole is a strip around the world there
    if image == "degrees" and crs == "EPSG:6933":
        return  # refused: test_what_is_stored_beyond_180_is_not_reprojected
    made = plan(connection, image, crs=crs, scale=scale)
    assert len(made) == (1 if made.grid(0).crs == own or crs == "EPSG:4326" else len(made)) <= 4
    truth = pyproj.Transformer.from_crs(own, 4326, always_xy=True).transform(*(affine @ (10, 10)))
    assert shapely.distance(outlines(made), shapely.Point(truth)) < 1e-6


@pytest.mark.parametrize("image", ["fiji", "aleutians"])
def test_utm_is_the_zone_of_the_centre_on_the_right_side_of_180(connection, image):
    own, affine = GRIDS[image]
    made = plan(connection, image, crs="utm", scale=affine.a)
    x, y = affine @ (10, 10)
    lon, lat = pyproj.Transformer.from_crs(own, 4326, always_xy=True).transform(x, y)
    assert made.grid(0).crs == f"EPSG:{32600 if lat > 0 else 32700}".replace("00", f"{int((lon + 180) // 6 + 1):02d}")
    assert len(made) <= 2


def square(west, east):
    ring = [[west, -16.5], [east, -16.5], [east, -16.46], [west, -16.46], [west, -16.5]]
    return {"type": "Polygon", "coordinates": [ring]}


FIJI = [
    [179.98, -16.5, -179.98, -16.46],
    [179.98, -16.5, 180.02, -16.46],
    square(179.98, -179.98),
    square(179.98, 180.02),
    square(-180.02, -179.98),
    {
        "type": "MultiPolygon",
        "coordinates": [
            [[[179.98, -16.5], [180, -16.5], [180, -16.46], [179.98, -16.46], [179.98, -16.5]]],
            [[[-180, -16.5], [-179.98, -16.5], [-179.98, -16.46], [-180, -16.46], [-180, -16.5]]],
        ],
    },
    shapely.geometry.mapping(shapely.box(179.98, -16.5, 180, -16.46) | shapely.box(-180, -16.5, -179.98, -16.46)),
]


@pytest.mark.parametrize("region", FIJI)
@pytest.mark.parametrize(
    ("crs", "scale"),
    [
        ("native", None),
        ("utm", 600.0),
        ("EPSG:32760", 600.0),
        ("EPSG:3832", 600.0),
        ("EPSG:4326", 0.005),
        ("EPSG:3857", 600.0),
    ],
)
def test_every_way_to_write_a_region_across_180_is_one_small_grid(connection, region, crs, scale):
    made = plan(connection, "fiji", region, crs=crs, scale=scale)
    assert len(made) == 1
    grid = made.grid(0)
    assert 5 <= grid.width <= 12
    assert 5 <= grid.height <= 12
    truth = shapely.box(179.98, -16.5, 180, -16.46) | shapely.box(-180, -16.5, -179.98, -16.46)
    covered = outlines(made)
    assert shapely.area(truth - covered.buffer(1e-6)) == 0
    assert area_km2(covered) < 3 * area_km2(truth)


@pytest.mark.parametrize("lon", [179.99, -179.99, 180, -180])
@pytest.mark.parametrize(
    ("crs", "scale"), [("native", None), ("utm", 600.0), ("EPSG:4326", 0.005), ("EPSG:3857", 600.0)]
)
def test_points_on_both_sides_of_180_touch_the_image(connection, lon, crs, scale):
    points = geopandas.GeoDataFrame(geometry=[shapely.Point(lon, -16.48)], crs=4326)
    pixels = PixelSpec(bands=None, crs=crs, scale=scale, tile_format=TileFormat())
    made, _ = plan_patches(connection, ImageSpec(asset="projects/sandbox/assets/fiji"), pixels, points=points, size=4)
    assert len(made) == 1
    x, y = pyproj.Transformer.from_crs(4326, made.grid(0).crs, always_xy=True).transform(lon, -16.48)
    column, row = ~made.grid(0).affine @ (x, y)
    width = {"EPSG:4326": 360 / 0.005, "EPSG:3857": 40075016.68557849 / 600}.get(crs, np.inf)
    assert min(abs(column - 2), abs(column + width - 2), abs(column - width - 2)) <= 0.5 + 1e-6
    assert abs(row - 2) <= 0.5 + 1e-6


def test_the_points_180_and_minus_180_share_a_patch(connection):
    points = geopandas.GeoDataFrame(geometry=[shapely.Point(180, -16.48), shapely.Point(-180, -16.48)], crs=4326)
    for crs, scale in (("utm", 600.0), ("EPSG:4326", 0.005), ("EPSG:3857", 600.0), ("native", None)):
        pixels = PixelSpec(bands=None, crs=crs, scale=scale, tile_format=TileFormat())
        spec = ImageSpec(asset="projects/sandbox/assets/fiji")
        made, tile_of_point = plan_patches(connection, spec, pixels, points=points, size=4)
        assert (len(made), tile_of_point.tolist()) == (1, [0, 0])


@pytest.mark.parametrize(("image", "lat", "crs"), [("north", 90, "EPSG:3413"), ("south", -90, "EPSG:3031")])
def test_a_patch_lies_on_the_pole_whatever_the_longitude_of_its_point(connection, image, lat, crs):
    points = geopandas.GeoDataFrame(geometry=[shapely.Point(lon, lat) for lon in (0, 77, -180, 180)], crs=4326)
    pixels = PixelSpec(bands=None, crs=crs, scale=10000.0, tile_format=TileFormat())
    spec = ImageSpec(asset=f"projects/sandbox/assets/{image}")
    made, tile_of_point = plan_patches(connection, spec, pixels, points=points, size=4)
    assert (len(made), set(tile_of_point)) == (1, {0})
    assert ~made.grid(0).affine @ (0, 0) == pytest.approx((2, 2))


def test_a_square_around_the_pole_is_planned_in_its_own_crs(connection, tmp_path):
    square = shapely.box(-40000, -35000, 30000, 45000)
    member = {"type": "name", "properties": {"name": "EPSG:3413"}}
    geojson = shapely.geometry.mapping(square) | {"crs": member}
    geopandas.GeoDataFrame(geometry=[square], crs="EPSG:3031").to_file(tmp_path / "square.gpkg")
    for image, region, crs in (("north", geojson, "EPSG:3413"), ("south", str(tmp_path / "square.gpkg"), "EPSG:3031")):
        for made in (plan(connection, image, region), plan(connection, image, region, crs=crs, scale=5000.0)):
            assert len(made) == 1
            assert shapely.covers(made.tiles.tiling.geobox.extent.geom, square)
            pole = shapely.Point(12, 90 if crs == "EPSG:3413" else -90)
            assert shapely.intersects(outlines(made), pole)
        with pytest.raises(ValueError, match=r"no UTM zone.*EPSG:3413.*EPSG:3031"):
            plan(connection, image, region, crs="utm", scale=30.0)


@pytest.mark.parametrize(
    ("region", "crs", "words"),
    [
        ([10, 50, 11, 51], "EPSG:32621", r"crs = 'EPSG:32621': it is made for \[-60.*'utm' \(here EPSG:32632\)"),
        ([-55, -20, -54, -19], "EPSG:3035", r"crs = 'EPSG:3035': it is made for \[-35\.5.*'utm' \(here EPSG:32721\)"),
        ([-55, 40, -54, 41], "EPSG:3413", r"crs = 'EPSG:3413': it is made for \[-180\.000, 60"),
        ([0, 86, 10, 88], "EPSG:3857", r"crs = 'EPSG:3857': it is made for .*'EPSG:3413'"),
        ([0, -89, 10, -88], "EPSG:32631", r"crs = 'EPSG:32631': it is made for .*'EPSG:3031'"),
        ([-180, -90, 180, 90], "EPSG:3413", r"crs = 'EPSG:3413': .*such as 'EPSG:4326'"),
        ([-180, -60, 180, 60], "EPSG:32633", r"crs = 'EPSG:32633': .*'EPSG:6933'"),
        ([170, -50, -170, -40], "EPSG:27700", r"crs = 'EPSG:27700': it is made for .*'EPSG:6933'"),
    ],
)
def test_what_lies_outside_the_area_of_use_is_refused_by_its_name(connection, region, crs, words):
    with pytest.raises(ValueError, match=words):
        plan(connection, "world", region, crs=crs, scale=1000.0)


@pytest.mark.parametrize(
    ("region", "crs"),
    [
        ([-45, 59.5, -43, 60.5], "EPSG:3413"),
        ([-53.5, -10, -52.8, -9], "EPSG:32621"),
        ([-54.6, -25.3, -54.5, -25.2], "EPSG:32621"),
        ([12, 70, 25, 81], "EPSG:32633"),
        ([172, 51, -163, 56], "EPSG:3338"),
        ([170, -48, -176, -34], "EPSG:2193"),
        ([-180, 60, 180, 90], "EPSG:3413"),
        ([-180, -90, 180, -60], "EPSG:3031"),
    ],
    ids=[
        "south Greenland",
        "beside the zone",
        "Landsat's north",
        "Svalbard",
        "Aleutians",
        "Chatham",
        "Arctic",
        "Antarctica",
    ],
)
def test_what_touches_the_area_of_use_is_planned(connection, region, crs):
    made = plan(connection, "world", region, crs=crs, scale=20000.0, tile_size=64)
    covered = outlines(made)
    place = read_region(region).wgs84
    assert area_km2(place - covered.buffer(1e-6)) < 1e-3 * area_km2(place)


def test_a_native_grid_is_never_refused(connection):
    """A part of the region has no place in the CRS of the image: only the part at the image is needed."""
    made = plan(connection, "fiji", [-180, -80, 180, 80])
    assert made.tiles.tiling.geobox.shape == (20, 20)
    assert plan(connection, "north", [-180, -80, 180, 90]).tiles.tiling.geobox.shape == (20, 20)


@pytest.mark.parametrize(("crs", "scale"), [("native", None), ("EPSG:4326", 1.0), ("EPSG:4326", 0.7)])
@pytest.mark.parametrize("image", ["world", "from_greenwich"])
@pytest.mark.parametrize(
    "region", [[177, -20, -177, -15], [-10, -20, 10, -15], [170, -90, -170, -80]], ids=["180", "0", "pole"]
)
def test_pixels_run_on_past_the_edge_of_the_map(connection, scenes, image, region, crs, scale, tmp_path):
    """Pixel by pixel what rasterio reads of the two halves, at the centres of the pixels."""
    made = plan(connection, image, region, crs=crs, scale=scale, tile_size=16, clip=False)
    store, ask = LocalStore(tmp_path), partial(fetch, connection)
    with a_session() as session:
        receipts = extract(TileFetcher(plan=made, ask=ask, session=session, store=store), 0, len(made)).receipt.tiles
    with rasterio.open(scenes / f"{image}.tif") as file:
        values, inverse = file.read(1), ~file.transform
    for receipt in receipts:
        assert receipt.key is not None
        with rasterio.open(tmp_path / receipt.key) as tile:
            columns, rows = np.meshgrid(np.arange(tile.width) + 0.5, np.arange(tile.height) + 0.5)
            x, y = inverse @ (tile.transform @ (columns, rows))
            inside = (y >= 0) & (y < 180)
            assert (tile.read_masks(1) > 0).tolist() == inside.tolist()
            wanted = values[np.floor(y[inside]).astype(int), np.floor(x[inside]).astype(int) % 360]
            assert tile.read(1)[inside].tolist() == wanted.tolist()
            assert tile.transform == made.grid(receipt.index).affine


@pytest.mark.parametrize("crs", ["utm", "EPSG:3857"])
def test_what_is_stored_beyond_180_is_not_reprojected(connection, crs):
    with pytest.raises(BadInputError, match=r"EPSG:4326 from 0 to 360 degrees.*crs=native, or crs=EPSG:4326"):
        plan(connection, "from_greenwich", [-61, -20, -60, -19], crs=crs, scale=5000.0)
    assert len(plan(connection, "from_greenwich", [60, -20, 61, -19], crs=crs, scale=5000.0)) == 1
    # ERA5 begins half a pixel before -180: it is of the whole world as any other image is.
    assert len(plan(connection, "half_a_pixel", [-61, -20, -60, -19], crs=crs, scale=5000.0)) == 1
    points = geopandas.GeoDataFrame(geometry=[shapely.Point(-60, -20)], crs="EPSG:4326")
    spec = ImageSpec(asset="projects/sandbox/assets/from_greenwich")
    pixels = PixelSpec(bands=None, crs=crs, scale=5000.0, tile_format=TileFormat())
    with pytest.raises(BadInputError, match=r"Use crs=native\.$"):
        plan_patches(connection, spec, pixels, points=points, size=4)


def test_a_series_across_180_finds_its_images(connection):
    pixels = PixelSpec(bands=None, crs="utm", scale=600.0, tile_format=TileFormat(), clip=True)
    spec = ImageSpec(asset="projects/sandbox/assets/series")
    for region in FIJI[:2]:
        made = plan_timeseries(
            connection,
            spec,
            pixels,
            region=read_region(region),
            start=date(2020, 1, 1),
            end=date(2020, 2, 1),
            tile_size=64,
        )
        assert (len(made.sources), len(made.tiles)) == (1, 1)


def test_a_footprint_of_the_far_side_does_not_touch(connection):
    with pytest.raises(ValueError, match=r"does not touch .*fiji, which is at \[179\.9.*, -16\.5.*, -179\.9"):
        plan(connection, "fiji", [0, -16.5, 1, -16.4], crs="utm", scale=600.0)


def test_bounds_cross_180_as_geojson_has_them():
    assert bounds(read_region([170, -10, -170, 10]).geometry) == [170, -10, -170, 10]
    assert bounds(read_region([-170, -10, 170, 10]).geometry) == [-170, -10, 170, 10]


@pytest.mark.parametrize(
    "box",
    [(-175, -60, 175, 60), (-180, -60, 179, 60), (-179.9, -90, 180, 90), (0, -60, 355, 60), (-190, -60, 160, 60)],
)
def test_a_box_is_as_wide_as_it_is_given(box):
    """Wider than 340 degrees, it was read as its complement: one degree for [-180, 179]."""
    west, south, east, north = box
    assert read_region(list(box)).geometry.area == pytest.approx((east - west) * (north - south))
    corners_of_a_tile = np.array([[(west, north), (east, north), (east, south), (west, south)]], float)
    assert tile_outlines(corners_of_a_tile, "EPSG:4326")[0].area == pytest.approx((east - west) * (north - south))


def test_a_polygon_that_jumps_at_180_is_logged():
    lines = []
    read_region(square(-175, 175), note=lines.append)
    assert lines == ["region: an edge of 350 degrees takes the short way across 180 degrees"]
    read_region(square(-170, 170), note=lines.append)
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("low", "high", "share"), [(-1, 1, 1), (-2 / 3, 1, 5 / 6), (-2 / 3, 2 / 3, 2 / 3), (0, 1, 1 / 2)]
)
def test_a_map_of_the_whole_world_is_the_whole_world(low, high, share):
    """The grid of a MODIS image: its outline had no area, and points and boxes on it did not touch it."""
    x, y = 20015109.354, 10007554.677
    found = lonlat(shapely.box(-x, low * y, x, high * y), "SR-ORG:6974")
    assert found.is_valid
    assert found.area / (360 * 180) == pytest.approx(share, abs=1e-9)
    assert shapely.covers(found, shapely.Point(10, 20).buffer(5))


@pytest.mark.parametrize("source", [3857, 6933])
@pytest.mark.parametrize("target", ["EPSG:3857", "EPSG:6933", "EPSG:4326", "EPSG:32760"])
def test_a_region_at_both_edges_of_its_map_is_one_area(source, target):
    """66,792 columns wide it was, in its own and in another CRS."""
    x, south = pyproj.Transformer.from_crs(4326, source, always_xy=True).transform(179.98, -16.5)
    edge, north = pyproj.Transformer.from_crs(4326, source, always_xy=True).transform(180, -16.46)
    edge = abs(edge)
    split = shapely.MultiPolygon([shapely.box(x, south, edge, north), shapely.box(-edge, south, -x, north)])
    member = {"crs": {"type": "name", "properties": {"name": f"EPSG:{source}"}}}
    region = read_region(shapely.geometry.mapping(split) | member)
    assert bounds(region.wgs84) == pytest.approx([179.98, -16.5, -179.98, -16.46], abs=1e-6)
    west, _, east, _ = reproject(region.geometry, region.crs, target).bounds
    wide = {"EPSG:4326": 0.04, "EPSG:3857": 40075016.69 / 9000, "EPSG:6933": 34735060.89 / 9000, "EPSG:32760": 4275}
    assert east - west == pytest.approx(wide[target], rel=0.02)


def test_a_region_across_180_is_drawn_without_a_line_there():
    """On the sinusoidal map, a slit of 2 m was left along 180 degrees."""
    region = read_region([150, 50, -150, 75])
    there = lonlat(reproject(region.geometry, region.crs, "SR-ORG:6974"), "SR-ORG:6974")
    (ring,) = frame_outlines(there, 180)
    assert shapely.Polygon(ring).area == pytest.approx(60 * 25, rel=1e-3)


def test_tiles_partly_outside_the_world_are_boxes_on_the_coverage_map():
    """The tile h35v10 of MODIS at Fiji: PROJ places two of its corners on the other side of the globe."""
    tile = 20015109.354 / 18
    left, top = 17 * tile, -tile
    ring = np.array([[(left, top), (left + tile, top), (left + tile, top - tile), (left, top - tile)]])
    found = map_corners(ring, "SR-ORG:6974")[0]
    assert found.min(axis=0) == pytest.approx([170 / np.cos(np.radians(10)), -np.degrees(np.arccos(17 / 18))], abs=1e-3)
    assert found.max(axis=0) == pytest.approx([180, -10], abs=1e-3)


def test_a_box_that_crosses_180_is_logged_with_its_width():
    lines = []
    read_region([-54.5, -25.3, -54.6, -25.2], note=lines.append)  # most likely the sides were swapped
    assert lines == ["region: the box crosses 180 degrees. It reaches from -54.5 eastwards and is 359.9 wide"]
    read_region([-54.6, -25.3, -54.5, -25.2], note=lines.append)
    assert len(lines) == 1

"""Original pixels are original, bit for bit, or the native grid is refused with the two images and the difference."""

import json
from datetime import date

import ee
import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo import wh_

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection, ensure_client
from tasks.earthengine.expression import encode
from tasks.earthengine.image_info import BandInfo, ImageInfo
from tasks.earthengine.transport import fetch
from tasks.errors.input import InputError
from tasks.extraction.tile_file import decode, pixels_wanted
from tasks.plan.images import ImageRecord
from tasks.plan.lattice import native_lattice
from tasks.plan.plan import Plan, TileFormat
from tasks.plan.planning import plan_patches, plan_region, plan_timeseries
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.products.features import series_features
from tasks.raster.region import read_region
from tests.tasks.plan.scenes import A, at, fetched, patch, scene

WHOLE = [-54.90, 64.895, -54.86, 64.915]
"""A box round all scenes in EPSG:32621."""
ROOT = "projects/sandbox/assets"
X, Y = 600000, 7200000
SHEARED = Affine(30, 4, X, -2, -28, Y)
OBLONG = Affine(30, 0, X, 0, -20, Y)
SOUTH_UP = Affine(30, 0, X, 0, 30, Y - 600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes: single ones, and collections of two or three dates by the way in which their grids differ."""
    root = tmp_path_factory.mktemp("scenes")
    scene(root / "lacking" / "i0.tif", A[:10], at(X, Y), bands=["b2"], DATE_ACQUIRED="2020-01-01")
    scene(root / "lacking" / "i1.tif", [A, A], at(X, Y), bands=["b1", "b2"], DATE_ACQUIRED="2020-01-02")
    scene(root / "a.tif", A, at(X, Y))
    scene(root / "coarse.tif", A, at(X, Y, 250))
    for name, affine in (("sheared", SHEARED), ("oblong", OBLONG), ("south_up", SOUTH_UP)):
        scene(root / f"{name}.tif", A, affine)
    series = {
        "same": [(A, at(X, Y)), (A + 6, at(X, Y))],
        "parts": [(A[:10, :10], at(X, Y)), (A, at(X, Y))],  # the first covers a quarter
        "beside": [(A, at(X, Y)), (A, at(X + 600, Y - 90)), (A[:4], at(X - 60, Y + 30))],
        "half": [(A, at(X, Y)), (A, at(X + 15, Y))],
        "sizes": [(A, at(X, Y)), (A, at(X, Y, 60))],
        "zones": [(A, at(X, Y)), (A, at(315000, Y))],
        "turned": [(A, at(X, Y)), (A, SOUTH_UP)],
        "granules": [(A, at(X, Y)), (A + 500, at(X + 600, Y))],
        "odd_granules": [(A, at(X, Y)), (A + 500, at(X + 610, Y))],
    }
    for name, images in series.items():
        for number, (values, affine) in enumerate(images):
            crs = "EPSG:32622" if (name, number) == ("zones", 1) else "EPSG:32621"
            when = f"2020-01-01T13:42:{11 + number:02d}Z" if "granules" in name else f"2020-01-0{number + 1}"
            tags = {"DATE_ACQUIRED": when, "DATATAKE_IDENTIFIER": "one", "MGRS_TILE": f"T{number}"}
            scene(root / name / f"i{number}.tif", values, affine, crs, **tags)
    return root


@pytest.fixture(scope="module")
def connection(folder):
    with running(scenes=folder) as url:
        here = Connection(project="my-project", endpoint=url)
        ensure_client(here)
        yield here


def native(**changes):
    return PixelSpec(**{"bands": None, "crs": "native", "scale": None, "tile_format": TileFormat()} | changes)


def timeseries(connection, asset, region=WHOLE, *, end=date(2020, 2, 1), group_by="auto", missing="fail", **changes):
    return plan_timeseries(
        connection,
        asset if isinstance(asset, ImageSpec) else ImageSpec(asset=f"{ROOT}/{asset}"),
        native(**changes),
        region=read_region(region),
        start=date(2020, 1, 1),
        end=end,
        tile_size=16,
        group_by=group_by,
        missing_bands=missing,
    )


def region(connection, asset, place, **changes):
    spec = ImageSpec(asset=f"{ROOT}/{asset}") if isinstance(asset, str) else asset
    return plan_region(connection, spec, native(**changes), region=place and read_region(place), tile_size=16)


def patches(connection, asset, points, size, **changes):
    frame = geopandas.GeoDataFrame(geometry=[shapely.Point(*point) for point in points], crs=4326)
    spec = ImageSpec(asset=f"{ROOT}/{asset}") if isinstance(asset, str) else asset
    return plan_patches(connection, spec, native(**changes), points=frame, size=size)


def lonlat(x, y, crs="EPSG:32621"):
    return pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)


def stored(path, affine, shape):
    """What rasterio reads of a scene in a grid that lines up with it: masked outside the scene."""
    with rasterio.open(path) as file:
        left, top = (round(offset) for offset in ~file.transform @ (affine.c, affine.f))
        values = file.read(1)
    found = np.ma.masked_all(shape, values.dtype)
    for row, column in np.ndindex(*shape):
        if 0 <= row + top < values.shape[0] and 0 <= column + left < values.shape[1]:
            found[row, column] = values[row + top, column + left]
    return found


def same(found, expected):
    return (found.mask == expected.mask).all() and (found.filled(0) == expected.filled(0)).all()


def test_images_of_other_extents_are_each_whole(connection, folder):
    """The first image covers a quarter: a mean of 200.5 of 400 pixels, not 95.5 of 100."""
    plan = timeseries(connection, "parts")
    box = plan.tiles.tiling.geobox
    assert (box.shape, tuple(box.affine)[:6]) == ((20, 20), (30, 0, X, 0, -30, Y))
    first, second = fetched(connection, plan, 0), fetched(connection, plan, 1)
    assert (first.count(), second.count(), second.mean()) == (100, 400, 200.5)
    assert (first.compressed() == A[:10, :10].ravel()).all()
    assert (second.compressed() == A.ravel()).all()


def test_the_grid_is_the_union_of_images_that_line_up(connection, folder):
    plan = timeseries(connection, "beside")
    box = plan.tiles.tiling.geobox
    assert (box.affine.c, box.affine.f, box.shape) == (X - 60, Y + 30, (24, 42))
    for number in range(3):
        found = fetched(connection, plan, number)
        assert same(found, stored(folder / "beside" / f"i{number}.tif", box.affine, box.shape))
        assert found.count() == (400, 400, 80)[number]


def test_the_grid_does_not_depend_on_which_image_is_first(connection, folder, tmp_path):
    """The same scenes at other dates."""
    for number, (values, affine) in enumerate([(A[:4], at(X - 60, Y + 30)), (A, at(X + 600, Y - 90)), (A, at(X, Y))]):
        scene(tmp_path / "beside" / f"i{number}.tif", values, affine, DATE_ACQUIRED=f"2020-01-0{number + 1}")
    with running(scenes=tmp_path) as url:
        other = timeseries(Connection(project="my-project", endpoint=url), "beside")
    assert other.tiles.json() == timeseries(connection, "beside").tiles.json()


def test_images_of_one_grid_have_the_plan_they_always_had(connection):
    plan = timeseries(connection, "same")
    assert tuple(plan.tiles.tiling.geobox.affine)[:6] == (30, 0, X, 0, -30, Y)
    assert plan.tiles.json() == region(connection, "a", WHOLE).tiles.json()


@pytest.mark.parametrize(
    ("asset", "words"),
    [
        ("half", "i0 and i1 differ: their origins are 0.5 columns and 0 rows apart"),
        ("sizes", "i0 and i1 differ: pixels of 30 x -30 and 60 x -60"),
        ("zones", "i0 and i1 differ: CRS EPSG:32621 and EPSG:32622"),
        ("turned", "i0 and i1 differ: pixels of 30 x -30 and 30 x 30"),
        ("odd_granules", "i0 and i1 differ: their origins are 20.33333 columns and 0 rows apart"),
    ],
)
def test_images_that_do_not_line_up_are_refused_with_the_difference(connection, asset, words):
    with pytest.raises(InputError, match=words) as caught:
        timeseries(connection, asset, [-54.95, 64.85, -54.80, 64.95])
    assert "Give crs and scale, or choose images of one grid" in str(caught.value)


def test_two_granules_of_one_overpass_are_no_computed_image(connection, folder):
    plan = timeseries(connection, "granules")
    box = plan.tiles.tiling.geobox
    assert (box.affine.c, box.affine.f, box.shape) == (X, Y, (20, 40))
    found = np.ma.masked_all((20, 40), "uint16")
    for number in range(len(plan.sources)):  # one mosaic, or an image a granule
        part = fetched(connection, plan, number)
        found[~part.mask] = part[~part.mask]
    assert (found == np.hstack([A, A + 500])).all()
    assert not found.mask.any()


def test_images_of_a_day_that_line_up_are_joined_on_their_grid(connection):
    plan = timeseries(connection, "granules", group_by="day")
    assert len(plan.sources) == 1
    assert (fetched(connection, plan) == np.hstack([A, A + 500])).all()
    with pytest.raises(InputError, match=r"i0 and i1 differ: their origins are 20\.33333 columns"):
        timeseries(connection, "odd_granules", group_by="day")


def test_an_image_that_lacks_a_band_counts_with_its_extent(connection):
    plan = timeseries(connection, "lacking", bands=["b1", "b2"], missing="mask")
    assert plan.tiles.tiling.geobox.shape == (20, 20)
    assert fetched(connection, plan, 0).mask.all()  # b1
    assert (fetched(connection, plan, 1) == A).all()


def test_a_growing_series_keeps_its_grid_when_an_image_is_added(connection, folder, tmp_path):
    """A grid that is cut to the images would change with the next, and so would the folder of the series."""
    for number, (values, affine) in enumerate([(A, at(X, Y)), (A, at(X + 600, Y - 90))]):
        scene(tmp_path / "beside" / f"i{number}.tif", values, affine, DATE_ACQUIRED=f"2020-01-0{number + 1}")
    with running(scenes=tmp_path) as url:
        before = timeseries(Connection(project="my-project", endpoint=url), "beside", end=None)
    after = timeseries(connection, "beside", end=None)
    assert before.tiles.json() == after.tiles.json()
    third = fetched(connection, after, 2)
    assert same(third, stored(folder / "beside/i2.tif", after.tiles.tiling.geobox.affine, third.shape))


def test_a_computed_series_has_the_grids_of_its_images(connection, folder):
    def darker(image):
        return image.subtract(1).toUint16().copyProperties(image, ["system:time_start", "system:index"])

    spec = ImageSpec(expression=encode(ee.ImageCollection(f"{ROOT}/beside").map(darker)), name="darker")
    plan = timeseries(connection, spec)
    assert plan.tiles.json() == timeseries(connection, "beside").tiles.json()
    found = fetched(connection, plan, 1)
    assert (found.count(), found.mean()) == (400, 199.5)
    half = ImageSpec(expression=encode(ee.ImageCollection(f"{ROOT}/half").map(darker)), name="darker")
    with pytest.raises(InputError, match=r"differ: their origins are 0\.5 columns"):
        timeseries(connection, half)


def test_the_series_of_a_recipe_keeps_the_grid_of_modis(connection):
    spec = ImageSpec(recipe="modis_ndvi")
    given = {"region": read_region([-54.6, -25.3, -54.55, -25.26]), "start": date(2020, 5, 1), "end": date(2020, 6, 1)}
    made = plan_timeseries(connection, spec, native(bands=["NDVI"]), **given, tile_size=64)
    stored_ = plan_timeseries(
        connection, ImageSpec(asset="MODIS/061/MOD13Q1"), native(bands=["NDVI"]), **given, tile_size=64
    )
    assert made.tiles.json() == stored_.tiles.json()


@pytest.mark.parametrize(
    "image",
    [
        lambda: ee.ImageCollection(f"{ROOT}/same").median(),
        lambda: ee.ImageCollection(f"{ROOT}/same").mosaic(),
        lambda: ee.Image.constant(1),
    ],
)
def test_a_composite_has_no_grid_of_its_own(connection, image):
    spec = ImageSpec(expression=encode(image()), name="composite")
    for plan in (lambda: region(connection, spec, WHOLE), lambda: patches(connection, spec, [(-54.88, 64.905)], 4)):
        with pytest.raises(InputError, match=r"crs = 'native'.*computed image without a grid of its own\. Give a CRS"):
            plan()


def test_a_computed_image_of_one_grid_is_read_on_it(connection):
    spec = ImageSpec(expression=encode(ee.Image(f"{ROOT}/a").add(1)), name="more")
    plan = region(connection, spec, None)
    assert (fetched(connection, plan) == A + 1).all()


def test_bands_of_other_grids_are_refused_with_the_difference(connection):
    spec = ImageSpec(asset="COPERNICUS/S2_SR_HARMONIZED")
    given = {"region": read_region([-54.6, -25.3, -54.55, -25.26]), "start": date(2020, 5, 1), "end": date(2020, 5, 10)}
    with pytest.raises(InputError, match=r"'B4' and 'B11' of .*: pixels of 10 x -10 and 20 x -20.*such as B4, B3\."):
        plan_timeseries(connection, spec, native(bands=["B4", "B11", "B3"]), **given, tile_size=64)
    plan = plan_timeseries(connection, spec, native(bands=["B4", "B3"]), **given, tile_size=64)
    assert plan.tiles.tiling.geobox.affine.a == 10


@pytest.mark.parametrize("name", ["a", "oblong", "sheared", "south_up"])
@pytest.mark.parametrize("size", [3, 4])
def test_patches_have_the_pixels_of_the_image(connection, folder, name, size):
    """Points: in the middle, in a corner pixel, and beyond the edge within half a patch."""
    with rasterio.open(folder / f"{name}.tif") as file:
        affine = file.transform
    places = [(9.5, 9.5), (0.2, 0.2), (19.9, 0.1), (20.4, 12.5), (3.05, 3.05), (3.1, 3.2)]
    points = [lonlat(*(affine @ place)) for place in places]
    plan, tile_of_point = patches(connection, name, points, size)
    # The last two are in one pixel, and nearest to one corner.
    assert len(set(tile_of_point.tolist())) == len(places) - 1
    for (column, row), tile in zip(places, tile_of_point.tolist(), strict=True):
        grid = plan.grid(tile)
        assert (grid.affine.a, grid.affine.b, grid.affine.d, grid.affine.e) == (affine.a, affine.b, affine.d, affine.e)
        left, top = (round(offset) for offset in ~affine @ (grid.affine.c, grid.affine.f))
        assert abs(left + size / 2 - column) <= 0.5 + 1e-3
        assert abs(top + size / 2 - row) <= 0.5 + 1e-3
        assert same(patch(connection, plan, tile), stored(folder / f"{name}.tif", grid.affine, (size, size)))
    assert Plan.from_json(json.loads(json.dumps(plan.json()))) == plan


def test_patches_of_modis_lie_on_its_grid(connection):
    plan, _ = patches(
        connection, ImageSpec(asset="MODIS/061/MOD13Q1/2020_01_01"), [(-54.58, -25.28)], 8, bands=["NDVI"]
    )
    affine = plan.grid(0).affine
    column, row = (affine.c + 20015109.353988) / 231.65635826395825, (10007554.676994 - affine.f) / 231.65635826395834
    assert (column, row) == pytest.approx((round(column), round(row)), abs=1e-6)
    assert (affine.a, affine.e) == (231.65635826395825, -231.65635826395834)


SMALL = [-54.875861, 64.90451, -54.87477, 64.904943]
"""A box smaller than a pixel of 250 m, on rows 1 and 2 of column 2."""


def polygon(west, south, east, north):
    return shapely.geometry.mapping(shapely.box(west, south, east, north))


@pytest.mark.parametrize("grid", [{}, {"crs": "EPSG:32621", "scale": 250.0}])
@pytest.mark.parametrize(("place", "clip"), [(SMALL, False), (SMALL, True), (polygon(*SMALL), True)])
def test_a_region_smaller_than_a_pixel_gives_the_pixels_it_lies_on(connection, grid, place, clip):
    plan = region(connection, "coarse", place, clip=clip, **grid)
    assert fetched(connection, plan).tolist() == [[23], [43]]
    assert pixels_wanted(plan, 0) == 2


def test_a_small_field_beside_a_large_one_is_kept(connection):
    """Of the large one the pixels whose centre is inside; of the small one those it touches."""
    fields = {
        "type": "MultiPolygon",
        "coordinates": [
            polygon(*SMALL)["coordinates"],
            polygon(*lonlat(X + 2500, Y - 3500), *lonlat(X + 3500, Y - 2500))["coordinates"],
        ],
    }
    plan = region(connection, "coarse", fields, clip=True, crs="EPSG:32621", scale=250.0)
    found = fetched(connection, plan)
    assert set(found.compressed().tolist()) >= {23, 43}
    assert 2 + 9 <= found.count() <= 2 + 16


def test_of_an_image_only_its_edge_lies_in_the_region(connection):
    """A polygon that covers only centres beyond the image keeps the pixels of the image that it touches."""
    edge = region(connection, "coarse", polygon(*lonlat(X - 900, Y - 400), *lonlat(X + 60, Y - 200)), clip=True)
    assert set(fetched(connection, edge).compressed().tolist()) <= {1, 21, 41}
    assert fetched(connection, edge).count() >= 1


def test_a_region_at_the_edge_of_the_image(connection, folder):
    west, south, east, north = X, Y - 600, X + 600, Y

    def box(left, bottom, right, top):
        ring = shapely.box(left, bottom, right, top)
        return {**shapely.geometry.mapping(ring), "crs": {"type": "name", "properties": {"name": "EPSG:32621"}}}

    partly = region(connection, "a", box(west - 300, south + 50, west + 50, north + 300), clip=True)
    found = fetched(connection, partly)
    assert (found.shape, found.mask[:18].any(), found.mask[18].all()) == ((19, 2), False, True)
    assert (found[:18] == A[:18, :2]).all()
    sliver = region(connection, "a", box(west - 300, south + 50, west + 9, north), clip=True)
    assert fetched(connection, sliver).compressed().tolist() == A[:19, 0].tolist()
    for beside in (box(east, south, east + 300, north), box(west - 300, south, west, north)):
        with pytest.raises(InputError, match="region"):
            region(connection, "a", beside, clip=True)


def test_each_small_feature_has_pixels_although_it_is_part_of_a_larger_polygon(connection):
    """A narrow field along a large one: together they are one polygon, but both have rows in the table of a series."""
    west, south, east, north = X + 2500, Y - 3500, X + 3500, Y - 2500
    fields = [shapely.box(west, south, east, north), shapely.box(east, south + 200, east + 60, south + 280)]
    features = [
        {"type": "Feature", "properties": {"n": n}, "geometry": f.__geo_interface__} for n, f in enumerate(fields)
    ]
    given = {"type": "FeatureCollection", "features": features}
    place = {**given, "crs": {"type": "name", "properties": {"name": "EPSG:32621"}}}
    plan = region(connection, "coarse", place, clip=True)
    found = fetched(connection, plan)
    zones = series_features(plan, read_region(place), per_feature=True).zones
    values = []
    for zone in range(2):
        mask = np.zeros(found.shape, bool)
        for tile in range(len(plan.tiles.tiling)):
            for part in zones.parts(tile):
                if part.zone == zone:
                    part.window.of_array(plan.tiles.tiling.window(tile).of_array(mask))[part.mask] = True
        values.append(found[mask])
    # Rows 10 to 13 and columns 10 to 13; row 12 and 13 (200 to 280 m above the lower edge) of column 14.
    assert values[0].tolist() == A[10:14, 10:14].ravel().tolist()
    assert values[1].tolist() == A[12:14, 14].tolist()
    whole = series_features(plan, read_region(place), per_feature=False).zones
    assert (
        sum(part.pixels for tile in range(len(plan.tiles.tiling)) for part in whole.parts(tile)) == found.count() == 18
    )


def test_a_polygon_round_the_image_that_does_not_touch_it_is_refused(connection):
    around = shapely.box(X - 900, Y - 1500, X + 1500, Y + 900) - shapely.box(X - 90, Y - 690, X + 690, Y + 90)
    place = {**shapely.geometry.mapping(around), "crs": {"type": "name", "properties": {"name": "EPSG:32621"}}}
    with pytest.raises(InputError, match="it does not touch the image"):
        region(connection, "a", place, clip=True)


@pytest.mark.parametrize("masks", ["exact", "unknown"])
def test_a_part_beyond_an_image_is_answered_for_every_kind_of_mask(connection, masks):
    plan = timeseries(connection, "parts", tile_format=TileFormat(masks=masks))
    if masks == "exact":
        assert fetched(connection, plan, 0)[10:].mask.all()
    else:  # getPixels: zeroes, which is why the tag is MASK=unknown
        values = decode(plan, 0, fetch(connection, plan.request(0)).body).raster.values[0]
        assert (values == np.pad(A[:10, :10], (0, 6))).all()


def test_a_clipped_image_keeps_the_pixels_and_the_lattice_of_the_whole(connection):
    corner = ee.Geometry.Rectangle([*lonlat(X + 95, Y - 295), *lonlat(X + 295, Y - 95)], None, False)
    spec = ImageSpec(expression=encode(ee.Image(f"{ROOT}/a").clip(corner)), name="clipped")
    plan = region(connection, spec, None)
    box = plan.tiles.tiling.geobox
    assert ((box.affine.c - X) % 30, (box.affine.f - Y) % 30) == (0, 0)
    left, top = round((box.affine.c - X) / 30), round((Y - box.affine.f) / 30)
    found = fetched(connection, plan)
    assert found.count() >= 36
    expected = A[top : top + box.shape.y, left : left + box.shape.x]
    assert (found.compressed() == expected[~found.mask]).all()


def test_an_image_without_bounds_is_read_on_its_grid_in_a_region(connection):
    def unbounded():
        return ee.Image(f"{ROOT}/a").unmask(7).reproject("EPSG:32621", [30, 0, 15, 0, -30, 15])

    spec = ImageSpec(expression=encode(unbounded()), name="unbounded")
    box = region(connection, spec, WHOLE).tiles.tiling.geobox
    assert (box.affine.c % 30, box.affine.f % 30) == (15, 15)
    with pytest.raises(InputError, match=r"region.*unbounded.*Give a region"):
        region(connection, spec, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crs": "EPSG:4326", "scale": 30.0}, r"scale = 30\.0: .*degree.* 1,920 degrees.*scale=0\.00027"),
        ({"crs": "EPSG:32621", "scale": 0.00027}, r"scale = 0\.00027: .*metre.*0\.01728 metres.*scale=30"),
        ({"crs": "utm", "scale": 0.00027}, r"scale = 0\.00027: the unit of EPSG:32621 is the metre"),
    ],
)
def test_units_are_checked_for_patches_as_for_regions(connection, changes, words):
    """Before: a grid 1,920 degrees wide, `Completed`, and empty; a patch of 2 cm with one value."""
    with pytest.raises(InputError, match=words):
        patches(connection, "a", [(-54.88, 64.905)], 64, **changes)
    for place in (None, WHOLE):
        with pytest.raises(InputError, match=words.partition(".*")[0]):
            region(connection, "a", place, **changes)


def test_a_pixel_larger_than_the_whole_image_is_refused(connection):
    """Its centre lies beside the image, so it would be masked."""
    with pytest.raises(InputError, match=r"scale = 5000.*larger than the whole image.*such as 30, the image's own"):
        region(connection, "a", None, crs="utm", scale=5000.0)


def record(name, crs, affine, shape):
    band = BandInfo(id="b1", dtype="uint16", crs=crs, transform=affine, shape=shape)
    info = ImageInfo(id=name, bands=(band,))
    return ImageRecord(name=name, origin=name, info=info, asset=name, expression=None, version="unpinned")


LATTICES = [
    ("EPSG:32621", Affine(30, 0, 600015, 0, -30, 7200015)),
    ("EPSG:4326", Affine(0.1, 0, -180.05, 0, -0.1, 90.05)),
    ("EPSG:4326", Affine(0.000277777777778, 0, -54.000138888888889, 0, -0.000277777777778, 10.000138888888889)),
    ("SR-ORG:6974", Affine(231.65635826395825, 0, -20015109.353988, 0, -231.65635826395834, 10007554.676994)),
    ("EPSG:3413", Affine(25, 7, -1000.5, -3, -20, 333)),
]
offsets = st.tuples(st.integers(-4000, 4000), st.integers(-4000, 4000), st.integers(1, 300), st.integers(1, 300))


@settings(deadline=None)
@given(
    lattice=st.sampled_from(LATTICES),
    images=st.lists(offsets, min_size=1, max_size=6),
    noise=st.floats(-4e-7, 4e-7),
    order=st.randoms(use_true_random=False),
)
def test_images_that_line_up_have_one_lattice_in_any_order(lattice, images, noise, order):
    """Each image is a whole number of pixels away from the grid, and within its extent."""
    crs, affine = lattice
    records = []
    for number, (column, row, width, height) in enumerate(images):
        x, y = affine @ (column + noise * (number % 2), row)
        placed = Affine(affine.a, affine.b, x, affine.d, affine.e, y)
        records.append(record(f"i{number}", crs, placed, wh_(width, height)))
    found = native_lattice(records, ["b1"])
    grid = found.grid(None)
    left, top = min(each[0] for each in images), min(each[1] for each in images)
    right, bottom = (max(each[n] + each[n + 2] for each in images) for n in (0, 1))
    assert (grid.shape.x, grid.shape.y) == (right - left, bottom - top)
    for each, (column, row, _, _) in zip(records, images, strict=True):
        transform = each.info.bands[0].transform
        places = ~grid.affine @ (transform.c, transform.f)
        assert places == pytest.approx((column - left, row - top), abs=1e-5)
    order.shuffle(records)
    again = native_lattice(records, ["b1"]).grid(None)
    assert (again.affine, again.shape) == (grid.affine, grid.shape)


@given(
    lattice=st.sampled_from(LATTICES), part=st.floats(0.001, 0.999), whole=st.integers(-4000, 4000), row=st.booleans()
)
def test_images_a_part_of_a_pixel_apart_are_refused_in_any_order(lattice, part, whole, row):
    crs, affine = lattice
    x, y = affine @ ((whole, whole + part) if row else (whole + part, whole))
    one = record("one", crs, affine, wh_(9, 9))
    other = record("other", crs, Affine(affine.a, affine.b, x, affine.d, affine.e, y), wh_(9, 9))
    for images in ([one, other], [other, one]):
        with pytest.raises(InputError, match=r"one and other differ|other and one differ"):
            native_lattice(images, ["b1"])


@pytest.mark.parametrize("name", ["a", "oblong", "sheared", "south_up"])
@given(places=st.lists(st.tuples(st.floats(0.01, 19.99), st.floats(0.01, 19.99)), min_size=1, max_size=5))
@settings(deadline=None, max_examples=20)
def test_a_patch_of_one_pixel_is_the_pixel_that_the_point_lies_in(connection, folder, name, places):
    with rasterio.open(folder / f"{name}.tif") as file:
        affine = file.transform
        xys = [affine @ place for place in places]
        plan, tile_of_point = patches(connection, name, [lonlat(*xy) for xy in xys], 1)
        for place, tile in zip(places, tile_of_point.tolist(), strict=True):
            if min(abs(offset - round(offset)) for offset in place) > 1e-4:  # else rounding decides
                grid = plan.grid(tile).affine
                found = tuple(round(offset) for offset in ~affine @ (grid.c, grid.f))
                assert found == (int(place[0]), int(place[1]))

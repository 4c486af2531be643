"""Real scenes through the whole core, held against rasterio's own reading of the same files.

The scenes are those of ../shared/data where that folder is, and else the samples that ship with the sandbox: the same
names, cut smaller. What is expected is read from the files with rasterio (or GDAL's EEDAI driver, or Google's client),
never by code of the sandbox.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection, ensure_client
from tasks.earthengine.expression import canonical, encode
from tasks.earthengine.transport import PixelRequest, fetch
from tasks.extraction.permits import Pace
from tasks.extraction.tile_fetcher import TileFetcher
from tasks.plan.plan import Plan, TileFormat
from tasks.plan.planning import plan_region, plan_timeseries
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.plan.tiles import RegionTiles
from tasks.products.mosaic import make_mosaic
from tasks.raster.crs import crs_of
from tasks.raster.encode import read_geotiff
from tasks.raster.region import Region, read_region
from tasks.raster.tiling import Tiling
from tasks.storage.local import LocalStore
from tasks.storage.receipt import TileReceipt, receipt_key
from tests.rasters import equal, valid_share
from tests.tasks.extraction import extracting
from tests.tasks.extraction.extracting import a_session

ROOT = Path(__file__).parents[2]
SHARED, SAMPLES = ROOT.parent / "shared" / "data", ROOT / "deployments" / "sandbox" / "samples"
NORTH, SOUTH, CAROLINA = "landsat8_224077_20200518", "landsat8_224078_20200518", "landsat7_nc_2000"
ASSETS = "projects/sandbox/assets"
MODIS = "MODIS/061/MOD13Q1"
MODIS_LEFT, MODIS_TOP, MODIS_WIDTH, MODIS_HEIGHT = (
    -20015109.353988,
    10007554.676994,
    231.65635826395825,
    231.65635826395834,
)
ITAIPU = [-54.72, -25.45, -54.35, -25.1]
"""Longitudes and latitudes: wider than the sample, so that some of it is masked."""

# The unmodified client in a process of its own, so that no session of another test is touched.
CLIENT = """
import json, pathlib, sys, ee
ee.deprecation._FetchDataCatalogStac = dict  # it would ask another machine
ee.Initialize(credentials=None, url=sys.argv[1], project="my-project")
for number, asked in enumerate(json.load(sys.stdin)):
    if "assetId" in asked:
        answer = ee.data.getPixels(asked)
    else:
        image = ee.deserializer.decodeCloudApi(asked.pop("expression"))
        answer = ee.data.computePixels(asked | {"expression": image})
    pathlib.Path(sys.argv[2], str(number)).write_bytes(answer)
"""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A file as rasterio reads it."""

    path: Path
    values: NDArray[Any]
    """(band, y, x), zero where masked."""
    valid: NDArray[np.bool_]
    """(band, y, x)."""
    crs: Any
    transform: Affine
    bands: tuple[str, ...]

    @property
    def box(self) -> list[float]:
        """``[left, bottom, right, top]`` in units of the CRS; the scenes are north up."""
        height, width = self.values.shape[1:]
        (left, top), (right, bottom) = self.transform @ (0, 0), self.transform @ (width, height)
        return [left, bottom, right, top]

    def around_edge(self, width: int, height: int) -> Window:
        """A window of odd size around the middle of the slanted edge between data and no data."""
        mixed = np.flatnonzero(self.valid[0].any(axis=1) & ~self.valid[0].all(axis=1))
        row = int(mixed[len(mixed) // 2])
        column = int(np.flatnonzero(np.diff(self.valid[0, row]))[0])
        rows, columns = self.valid.shape[1:]
        left, top = min(max(column - width // 2, 1), columns - width), min(max(row - height // 2, 1), rows - height)
        assert 0 < self.valid[0, top : top + height, left : left + width].mean() < 1
        return Window(left, top, width, height)


def read(path: Path) -> Scene:
    with rasterio.open(path) as file:
        valid = file.read_masks() > 0
        values = np.where(valid, file.read(), np.zeros((), file.dtypes[0]))
        return Scene(
            path=path, values=values, valid=valid, crs=file.crs, transform=file.transform, bands=file.descriptions
        )


@pytest.fixture(scope="module")
def scenes() -> Path:
    names = {NORTH, SOUTH, CAROLINA}
    return SHARED if names <= {path.stem for path in SHARED.glob("*.tif")} else SAMPLES


@pytest.fixture(scope="module")
def connection(scenes: Path) -> Iterator[Connection]:
    with running(scenes=scenes) as url:
        yield Connection(project="my-project", endpoint=url)


@pytest.fixture(scope="module")
def public(sandbox_url: str) -> Connection:
    """The shared sandbox, for what needs no scenes."""
    return Connection(project="my-project", endpoint=sandbox_url)


@pytest.fixture(scope="module")
def north(scenes: Path) -> Scene:
    return read(scenes / f"{NORTH}.tif")


@pytest.fixture(scope="module")
def south(scenes: Path) -> Scene:
    return read(scenes / f"{SOUTH}.tif")


@pytest.fixture(scope="module")
def carolina(scenes: Path) -> Scene:
    return read(scenes / f"{CAROLINA}.tif")


def wanted(
    crs: str = "native", scale: float | None = None, *, bands: Sequence[str] | None = None, **output: Any
) -> PixelSpec:
    return PixelSpec(bands=bands, crs=crs, scale=scale, tile_format=TileFormat(**output))


def plan_scene(
    connection: Connection, name: str, how: PixelSpec, *, region: Region | None = None, tile: int = 256
) -> Plan:
    return plan_region(connection, ImageSpec(asset=f"{ASSETS}/{name}"), how, region=region, tile_size=tile)


def extract(connection: Connection, plan: Plan, output: Path) -> tuple[TileReceipt, ...]:
    """What a flow does between its plan and its mosaic, without Prefect."""
    store = LocalStore(output)
    with a_session(Pace()) as session:
        fetcher = TileFetcher(plan=plan, ask=partial(fetch, connection), session=session, store=store)
        outcome = extracting.extract(fetcher, 0, len(plan))
    assert outcome.error is None
    receipt = outcome.receipt
    store.put(receipt_key(plan.folder, 0, len(plan), "a-run"), receipt.encode())
    assert [tile.reason for tile in receipt.tiles if tile.status == "failed"] == []
    return receipt.tiles


def extract_mosaic(connection: Connection, plan: Plan, output: Path) -> Path:
    tiles = extract(connection, plan, output)
    return output / make_mosaic(LocalStore(output), plan, tiles, source=0, name="mosaic")


def assert_same(got: Scene, expected: Scene) -> None:
    """Every pixel and every mask bit of every band, and the grid."""
    assert got.bands == expected.bands
    assert got.crs == expected.crs
    assert got.transform == expected.transform
    assert got.values.dtype == expected.values.dtype
    np.testing.assert_array_equal(got.valid, expected.valid)
    np.testing.assert_array_equal(got.values, expected.values)


# A scene in its own grid ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(connection: Connection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mosaic of a whole scene from tiles of 256 px."""
    return extract_mosaic(connection, plan_scene(connection, SOUTH, wanted()), tmp_path_factory.mktemp("whole"))


def test_a_whole_scene_is_every_pixel_and_mask_bit_of_the_file(whole: Path, south: Scene) -> None:
    assert 0 < south.valid.mean() < 1
    assert_same(read(whole), south)
    with rasterio.open(whole) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)] * 3
        assert file.overviews(1)
        assert file.tags()["DATE_ACQUIRED"] == "2020-05-18"
        assert "MASK" not in file.tags()


def test_with_an_unknown_mask_the_pixels_are_the_same(connection: Connection, south: Scene, tmp_path: Path) -> None:
    plan = plan_scene(connection, SOUTH, wanted(masks="unknown"))
    assert plan.sources[0].asset
    assert plan.sources[0].wire == "NPY"
    with rasterio.open(extract_mosaic(connection, plan, tmp_path)) as file:
        assert file.tags()["MASK"] == "unknown"
        assert (file.crs, file.transform, file.descriptions) == (south.crs, south.transform, south.bands)
        np.testing.assert_array_equal(file.read(), south.values)


def test_a_part_of_a_scene_begins_and_ends_at_its_pixels(connection: Connection, south: Scene, tmp_path: Path) -> None:
    """A region inside one pixel of each corner gives just these pixels, bands in the order asked for."""
    window = south.around_edge(333, 251)
    a, place = south.transform, south.transform @ Affine.translation(window.col_off, window.row_off)
    inner = [
        *(place @ (0.3, window.height - 0.6)),
        *(place @ (window.width - 0.2, 0.9)),
    ]
    region = read_region(inner, crs=str(south.crs))
    plan = plan_scene(connection, SOUTH, wanted(bands=["B4", "B2"]), region=region, tile=100)
    got = read(extract_mosaic(connection, plan, tmp_path))
    rows, columns = window.toslices()
    chosen = [2, 0]
    expected = replace(
        south,
        values=south.values[chosen][:, rows, columns],
        valid=south.valid[chosen][:, rows, columns],
        transform=Affine(a.a, a.b, place.c, a.d, a.e, place.f),
        bands=("B4", "B2"),
    )
    assert_same(got, expected)


@pytest.mark.parametrize(("name", "grid"), [(CAROLINA, wanted()), (SOUTH, wanted("EPSG:4326", 0.00031))])
def test_the_size_of_tiles_does_not_show(
    connection: Connection, scenes: Path, tmp_path: Path, name: str, grid: PixelSpec
) -> None:
    scene = read(scenes / f"{name}.tif")
    window = scene.around_edge(433, 351)
    (left, top), (right, bottom) = (
        scene.transform @ (window.col_off, window.row_off),
        scene.transform @ (window.col_off + window.width, window.row_off + window.height),
    )
    region = None if grid.scale is None else read_region([left, bottom, right, top], crs=scene.crs.to_wkt())
    small, large = (
        read(extract_mosaic(connection, plan_scene(connection, name, grid, region=region, tile=size), out))
        for size, out in ((100, tmp_path / "100"), (256, tmp_path / "256"))
    )
    assert 0 < small.valid.mean() < 1
    assert_same(small, large)
    if grid.scale is None:
        assert_same(small, scene)


# Computed images -----------------------------------------------------------------------------------------------


def plan_computed(connection: Connection, image: ee.Image, box: GeoBox) -> Plan:
    """Plan a computed image over a scene's own grid.

    The planner lays computed images on whole multiples of the scale, and Landsat's pixels begin at the halves.
    """
    named, crs = ImageSpec(expression=encode(image)), str(box.crs)
    region = read_region(list(box.boundingbox.bbox), crs=crs)
    plan = plan_region(connection, named, wanted(crs, abs(box.affine.a)), region=region, tile_size=256)
    assert isinstance(plan.tiles, RegionTiles)
    return replace(plan, tiles=replace(plan.tiles, tiling=Tiling(box, 256)))


def test_bands_keep_masks_of_their_own_and_valid_zeroes(connection: Connection, south: Scene, tmp_path: Path) -> None:
    """The bands of a scene share one mask and hold no zero: a computed image has to show that both are kept."""
    low, high = np.percentile(south.values[south.valid], [20, 80]).round().tolist()
    ensure_client(connection)
    image = ee.Image(f"{ASSETS}/{SOUTH}")
    image = image.where(image.lt(low), 0).updateMask(image.lt(high)).toUint16()
    box = GeoBox(south.values.shape[1:], south.transform, crs_of("EPSG:32621"))
    got = read(extract_mosaic(connection, plan_computed(connection, image, box), tmp_path))
    valid = south.valid & (south.values < high)
    assert len({band.tobytes() for band in valid}) == 3
    assert ((south.values < low) & valid).any()
    values = np.where(valid & (south.values >= low), south.values, np.uint16(0))
    assert_same(got, replace(south, values=values, valid=valid))


@pytest.mark.parametrize("order", [(NORTH, SOUTH), (SOUTH, NORTH)])
def test_two_scenes_mosaicked_have_the_last_on_top_where_it_is_valid(
    connection: Connection, north: Scene, south: Scene, tmp_path: Path, order: tuple[str, str]
) -> None:
    by_name = {NORTH: north, SOUTH: south}
    boxes = np.array([north.box, south.box])
    left, bottom = boxes[:, :2].min(axis=0)
    right, top = boxes[:, 2:].max(axis=0)
    shape = (round((top - bottom) / 30), round((right - left) / 30))
    values, valid = np.zeros((3, *shape), np.uint16), np.zeros((3, *shape), bool)
    for name in order:
        scene = by_name[name]
        row, column = round((top - scene.transform.f) / 30), round((scene.transform.c - left) / 30)
        place = (slice(None), slice(row, row + scene.values.shape[1]), slice(column, column + scene.values.shape[2]))
        values[place] = np.where(scene.valid, scene.values, values[place])
        valid[place] |= scene.valid

    ensure_client(connection)
    image = ee.ImageCollection([ee.Image(f"{ASSETS}/{name}") for name in order]).mosaic()
    affine = Affine(30, 0, left, 0, -30, top)
    plan = plan_computed(connection, image, GeoBox(shape, affine, crs_of("EPSG:32621")))
    got = read(extract_mosaic(connection, plan, tmp_path))
    assert_same(got, replace(south, values=values, valid=valid, transform=affine))


def test_ndvi_is_that_of_numpy(connection: Connection, carolina: Scene, tmp_path: Path) -> None:
    recipe = ImageSpec(recipe="ndvi", recipe_parameters={"asset": f"{ASSETS}/{CAROLINA}", "red": "B3", "nir": "B4"})
    wkt = carolina.crs.to_wkt()
    plan = plan_region(connection, recipe, wanted(wkt, 28.5), region=read_region(carolina.box, crs=wkt), tile_size=200)
    with rasterio.open(extract_mosaic(connection, plan, tmp_path)) as file:
        got, mask = file.read(1), file.read_masks(1) > 0
        assert file.dtypes == ("float32",)
        assert file.descriptions == ("NDVI",)
        assert file.transform == carolina.transform
        assert file.crs == carolina.crs
    red, nir = carolina.values[2].astype(np.float64), carolina.values[3].astype(np.float64)
    valid = carolina.valid[2] & carolina.valid[3]
    assert 0 < valid.mean() < 1
    np.testing.assert_array_equal(mask, valid)
    expected = (nir[valid] - red[valid]) / (nir[valid] + red[valid])
    np.testing.assert_array_max_ulp(got[valid], expected.astype(np.float32), maxulp=1)
    assert (got[valid] < 0).any()
    assert (got[valid] > 0).any()


# Other grids ---------------------------------------------------------------------------------------------------


def source_pixels(crs: Any, transform: Affine, shape: tuple[int, int], scene: Scene) -> NDArray[np.float64]:
    """Where the centres of a grid's pixels lie in a scene: (2, y, x), columns and rows, by pyproj."""
    rows, columns = np.indices(shape) + 0.5
    xs, ys = transform @ (columns, rows)
    if crs != scene.crs:
        xs, ys = Transformer.from_crs(crs.to_wkt(), scene.crs.to_wkt(), always_xy=True).transform(xs, ys)
    return np.array(~scene.transform @ (xs, ys))


def by_hand(scene: Scene, places: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The pixels of a scene in which points lie, zero and masked outside."""
    columns, rows = np.floor(places).astype(int)
    height, width = scene.values.shape[1:]
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    at = np.where(inside, rows, 0), np.where(inside, columns, 0)
    return scene.values[:, *at] * inside, scene.valid[:, *at] & inside


# At 30 m in the scene's own CRS every sample point lies on the corner of four pixels.
@pytest.mark.parametrize(
    ("crs", "scale"),
    [("EPSG:4326", 0.00027), ("EPSG:32721", 31.7), ("EPSG:32621", 29.3), ("EPSG:32621", 30.0), ("EPSG:32721", 7.5)],
)
def test_other_grids_agree_with_the_warper_of_gdal(
    connection: Connection, south: Scene, tmp_path: Path, crs: str, scale: float
) -> None:
    window = south.around_edge(431, 287)
    left, top = south.transform @ (window.col_off - 9, window.row_off - 5)
    right, bottom = south.transform @ (window.col_off + window.width, window.row_off + window.height)
    region = read_region([left, bottom, right, top], crs="EPSG:32621")
    plan = plan_scene(connection, SOUTH, wanted(crs, scale), region=region)
    got = read(extract_mosaic(connection, plan, tmp_path))
    assert got.crs == rasterio.CRS.from_string(crs)
    assert 0 < got.valid.mean() < 1
    shape = got.values.shape[1:]
    grid = {"crs": got.crs, "transform": got.transform, "width": shape[1], "height": shape[0]}
    with (
        rasterio.open(south.path) as file,
        # Without a tolerance its transformer is an approximation, and GDAL has none for exactly 0.
        WarpedVRT(file, **grid, resampling=Resampling.nearest, tolerance=1e-9) as warped,
    ):
        warped_values, warped_valid = warped.read(), warped.read_masks() > 0
    differs = ((got.values != warped_values * warped_valid) | (got.valid != warped_valid)).any(axis=0)
    assert differs.mean() <= 0.001
    places = source_pixels(got.crs, got.transform, shape, south)
    from_edge = np.abs(places - np.round(places)).min(axis=0)
    assert (from_edge[differs] < 0.01).all()
    # Away from the edges of pixels there is one answer, and no library is needed to find it.
    values, valid = by_hand(south, places)
    clear = from_edge >= 0.01
    np.testing.assert_array_equal(got.valid[:, clear], valid[:, clear])
    np.testing.assert_array_equal(got.values[:, clear], values[:, clear])
    assert clear.mean() > 0.9 or scale == 30.0


def sheared(scene: Scene, columns: int = 211, rows: int = 157) -> PixelRequest:
    """A rotated and sheared grid of oblong pixels across the edge of a scene's data."""
    window = scene.around_edge(columns, rows)
    x, y = scene.transform @ (window.col_off + 20.3, window.row_off - 7.8)
    affine = {"scaleX": 27.1, "shearX": 11.3, "translateX": x, "shearY": -8.7, "scaleY": -23.9, "translateY": y}
    body = {
        "fileFormat": "NPY",
        "grid": {
            "affineTransform": affine,
            "dimensions": {"width": columns, "height": rows},
            "crsCode": "EPSG:32621",
        },
        "bandIds": ["B3", "B2"],
    }
    return PixelRequest(asset=f"{ASSETS}/{SOUTH}", body=json.dumps(body).encode())


def npy(path: Path, data: bytes) -> NDArray[Any]:
    path.write_bytes(data)
    array: NDArray[Any] = np.load(path)
    return array


def test_a_sheared_grid_is_read_pixel_by_pixel(connection: Connection, south: Scene, tmp_path: Path) -> None:
    request = sheared(south)
    grid = json.loads(request.body)["grid"]
    got = npy(tmp_path / "pixels.npy", fetch(connection, request).body)
    transform = Affine(
        *(grid["affineTransform"][k] for k in ("scaleX", "shearX", "translateX")),
        *(grid["affineTransform"][k] for k in ("shearY", "scaleY", "translateY")),
    )
    places = source_pixels(south.crs, transform, (157, 211), south)
    values, valid = by_hand(south, places)
    assert 0 < valid.mean() < 1
    clear = np.abs(places - np.round(places)).min(axis=0) > 1e-6
    assert clear.mean() > 0.99
    assert got.shape == (157, 211)
    np.testing.assert_array_equal(got["B3"][clear], values[1][clear])
    np.testing.assert_array_equal(got["B2"][clear], values[0][clear])


# Other clients -------------------------------------------------------------------------------------------------


def test_gdal_s_own_client_reads_the_same_pixels(connection: Connection, whole: Path, south: Scene) -> None:
    window = south.around_edge(301, 217)
    with (
        rasterio.Env(EEDA_URL=f"{connection.endpoint}/v1/", EEDA_BEARER="x"),
        rasterio.open(f"EEDAI:{ASSETS}/{SOUTH}", PIXEL_ENCODING="NPY") as theirs,
        rasterio.open(whole) as ours,
    ):
        assert (theirs.shape, theirs.transform, theirs.crs) == (ours.shape, ours.transform, ours.crs)
        assert theirs.descriptions == ours.descriptions
        values = theirs.read(window=window)
        np.testing.assert_array_equal(values, ours.read(window=window))
    np.testing.assert_array_equal(values, south.values[:, *window.toslices()])


def test_our_narrow_call_gives_what_google_s_client_gives_byte_for_byte(
    connection: Connection, south: Scene, tmp_path: Path
) -> None:
    ensure_client(connection)
    ndvi = ImageSpec(recipe="ndvi", recipe_parameters={"asset": f"{ASSETS}/{SOUTH}", "red": "B4", "nir": "B3"})
    region = read_region(south.box, crs="EPSG:32621")
    picture = wanted(file_format="PNG", visualization=canonical({"ranges": [{"min": 7000, "max": 15000}]}))
    image = ImageSpec(asset=f"{MODIS}/2020_05_08")
    plans = {
        "stored, NPY": plan_scene(connection, SOUTH, wanted(masks="unknown"), tile=300),
        "with mask bands": plan_scene(connection, SOUTH, wanted(), tile=300),
        "computed": plan_region(connection, ndvi, wanted("EPSG:4326", 0.0003), region=region, tile_size=300),
        "stored, GeoTIFF": plan_region(
            connection, image, wanted(bands=["NDVI", "EVI"], masks="nodata"), region=read_region(ITAIPU), tile_size=100
        ),
        "picture": plan_scene(connection, SOUTH, picture, tile=300),
    }
    assert {name: (plan.sources[0].wire, plan.sources[0].asset is None) for name, plan in plans.items()} == {
        "stored, NPY": ("NPY", False),
        "with mask bands": ("NPY", True),
        "computed": ("NPY", True),
        "stored, GeoTIFF": ("GEO_TIFF", False),
        "picture": ("PNG", False),
    }
    requests = [sheared(south)]
    for plan in plans.values():
        last = plan.grid(len(plan) - 1)
        assert last.width != last.height  # an edge tile
        requests += [plan.request(i) for i in (0, len(plan) // 2, len(plan) - 1)]
    asked = [json.loads(r.body) | ({"assetId": r.asset} if r.asset else {}) for r in requests]
    subprocess.run(
        [sys.executable, "-c", CLIENT, connection.endpoint, str(tmp_path)],
        input=json.dumps(asked),
        text=True,
        check=True,
        timeout=120,
    )
    for number, request in enumerate(requests):
        assert (tmp_path / str(number)).read_bytes() == fetch(connection, request).body, asked[number]


# A time series on a grid that is not GDAL's ----------------------------------------------------------------------


def plan_modis(connection: Connection, bands: Sequence[str], masks: str) -> Plan:
    return plan_timeseries(
        connection,
        ImageSpec(asset=MODIS),
        wanted(bands=bands, masks=masks),
        region=read_region(ITAIPU),
        start=date(2020, 3, 1),
        end=date(2020, 6, 1),
        tile_size=90,
    )


def test_every_date_lies_on_the_global_grid(public: Connection, tmp_path: Path) -> None:
    plan = plan_modis(public, ["NDVI", "EVI"], "nodata")
    tiles = extract(public, plan, tmp_path)
    assert [source.label for source in plan.sources] == [
        "2020-03-05",
        "2020-03-21",
        "2020-04-06",
        "2020-04-22",
        "2020-05-08",
        "2020-05-24",
    ]
    grids, means = set(), set()
    for number, source in enumerate(plan.sources):
        path = tmp_path / make_mosaic(LocalStore(tmp_path), plan, tiles, source=number, name=source.label)
        date_of = read(path)
        across = (date_of.transform.c - MODIS_LEFT) / MODIS_WIDTH
        down = (MODIS_TOP - date_of.transform.f) / MODIS_HEIGHT
        assert across == pytest.approx(round(across), abs=1e-6)
        assert down == pytest.approx(round(down), abs=1e-6)
        assert (date_of.transform.a, date_of.transform.e) == (MODIS_WIDTH, -MODIS_HEIGHT)
        assert date_of.crs.to_dict()["proj"] == "sinu"
        assert date_of.crs.to_dict()["R"] == 6371007.181
        assert 0 < date_of.valid.mean() < 1
        grids.add((date_of.transform, date_of.values.shape))
        with (
            rasterio.Env(EEDA_URL=f"{public.endpoint}/v1/", EEDA_BEARER="x"),
            rasterio.open(f"EEDAI:{MODIS}/{source.label.replace('-', '_')}:NDVI,EVI", PIXEL_ENCODING="NPY") as theirs,
        ):
            height, width = date_of.values.shape[1:]
            window = Window(round(across), round(down), width, height)
            np.testing.assert_array_equal(date_of.values, theirs.read(window=window))
        means.add(float(date_of.values[date_of.valid].mean()))
    assert len(grids) == 1
    assert len(means) == len(plan.sources)  # each date has its own pixels


@pytest.mark.parametrize("bands", [["EVI", "NDVI"], ["SummaryQA"]])
def test_geotiff_of_get_pixels_is_as_good_as_mask_bands(public: Connection, tmp_path: Path, bands: list[str]) -> None:
    """Where no stored value equals the nodata value, it must not show in the pixels nor in the mask which was used."""
    stored, computed = (plan_modis(public, bands, masks) for masks in ("nodata", "exact"))
    assert {(source.wire, source.asset is None) for source in stored.sources} == {("GEO_TIFF", False)}
    assert {(source.wire, source.asset is None) for source in computed.sources} == {("NPY", True)}
    assert len(stored) == len(computed) > len(stored.sources)
    one, other = extract(public, stored, tmp_path / "stored"), extract(public, computed, tmp_path / "computed")
    assert [tile.status for tile in one] == [tile.status for tile in other]
    shares = set()
    for tiff, numpy in zip(one, other, strict=True):
        if tiff.key is None or numpy.key is None:
            continue
        raster = read_geotiff(LocalStore(tmp_path / "stored").get(tiff.key))
        assert equal(raster, read_geotiff(LocalStore(tmp_path / "computed").get(numpy.key)))
        shares.add(valid_share(raster))
    assert len(shares) > 2

"""Two clients that know nothing of the sandbox: Google's earthengine-api, and GDAL's EEDAI driver."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from affine import Affine
from rasterio.io import MemoryFile

from deployments.sandbox.process import running
from tests.deployments.sandbox.conftest import initialized

RASTER = Affine(12.5, 0, 600_003, 0, -17, 5_100_009)
SHAPE = (3, 71, 59)
"""(band, y, x)"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one scene: not square, off-origin, partly masked, of signed integers."""
    folder = tmp_path_factory.mktemp("scenes")
    values = np.random.default_rng(11).integers(-500, 3000, SHAPE).astype("i2")
    values[:, 5:30, :20] = -999
    values[1, 40:, 50:] = -999
    with rasterio.open(
        folder / "scene_20210704.tif",
        "w",
        driver="GTiff",
        count=3,
        height=71,
        width=59,
        dtype="int16",
        crs="EPSG:32632",
        transform=RASTER,
        nodata=-999,
    ) as file:
        file.write(values)
        file.descriptions = ("red", "green", "blue")
    return folder


@pytest.fixture(scope="module")
def url(scenes: Path) -> Iterator[str]:
    with running(scenes=scenes) as address:
        yield address


@pytest.fixture(scope="module")
def truth(scenes: Path) -> np.ma.MaskedArray[Any, Any]:
    """The scene as rasterio reads it: masked, of shape (3, 71, 59)."""
    with rasterio.open(scenes / "scene_20210704.tif") as file:
        read: np.ma.MaskedArray[Any, Any] = file.read(masked=True)
        return read


@pytest.fixture(scope="module")
def ee(url: str) -> Iterator[Any]:
    with initialized(url) as client:
        yield client


SCENE = "projects/sandbox/assets/scene_20210704"
GRID = {
    "dimensions": {"width": 31, "height": 23},
    "affineTransform": {
        "scaleX": 12.5,
        "translateX": 600_003 + 12.5 * 12,
        "scaleY": -17,
        "translateY": 5_100_009 - 17 * 25,
    },
    "crsCode": "EPSG:32632",
}


def test_information_of_many_kinds(ee: Any) -> None:
    image = ee.Image(SCENE)
    assert image.bandNames().getInfo() == ["red", "green", "blue"]
    info = image.getInfo()
    assert [band["crs_transform"] for band in info["bands"]] == [[12.5, 0, 600003, 0, -17, 5100009]] * 3
    assert [band["dimensions"] for band in info["bands"]] == [[59, 71]] * 3
    assert image.projection().nominalScale().getInfo() == pytest.approx((12.5 * 17) ** 0.5, rel=0.2)
    assert ee.Date(image.get("system:time_start")).format("YYYY-MM-dd").getInfo() == "2021-07-04"
    collection = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED")
    size = collection.size().getInfo()
    assert size == len(collection.aggregate_array("system:index").getInfo()) > 3
    assert collection.limit(2).getInfo()["features"][1]["bands"]
    assert ee.List([1, 2, ee.Number(3).add(4)]).getInfo() == [1, 2, 7]
    assert ee.Dictionary({"a": ee.String("b").cat("c")}).getInfo() == {"a": "bc"}


def test_errors_come_through_with_their_text(ee: Any) -> None:
    with pytest.raises(ee.EEException, match=r"not found|does not exist"):
        ee.data.getAsset("projects/sandbox/assets/none")
    with pytest.raises(ee.EEException, match=r"Band pattern 'infrared' did not match any bands"):
        ee.Image(SCENE).select("infrared").getInfo()
    with pytest.raises(ee.EEException, match=r"projects\.image\.export is not supported by the sandbox"):
        ee.batch.Export.image.toDrive(ee.Image(SCENE)).start()
    with pytest.raises(ee.EEException, match=r"Invalid value at 'file_format'"):
        ee.data.getPixels({"assetId": SCENE, "fileFormat": "numpy_ndarray"})


def test_get_pixels_and_compute_pixels_equal_rasterio(ee: Any, truth: Any) -> None:
    expected = truth.filled(0)[:, 25:48, 12:43]
    asked = {"fileFormat": "NUMPY_NDARRAY", "grid": GRID, "bandIds": ["blue", "red"]}
    stored = ee.data.getPixels(asked | {"assetId": SCENE})
    computed = ee.data.computePixels(asked | {"expression": ee.Image(SCENE)})
    for array in (stored, computed):
        assert array.shape == (23, 31)
        np.testing.assert_array_equal(array["blue"], expected[2])
        np.testing.assert_array_equal(array["red"], expected[0])


def test_computed_pixels_are_computed(ee: Any, truth: Any) -> None:
    red, green = truth[0].astype("f8"), truth[1].astype("f8")
    image = ee.Image(SCENE)
    ratio = image.select("green").divide(image.select("red").add(1000)).rename("ratio")
    content = ee.data.computePixels({"fileFormat": "GEO_TIFF", "expression": ratio.toFloat()})
    with MemoryFile(content) as file, file.open() as dataset:
        assert dataset.transform == RASTER
        assert dataset.dtypes == ("float32",)
        read = dataset.read(1, masked=True)
    expected = green / (red + 1000)
    np.testing.assert_array_equal(read.mask, np.ma.getmaskarray(expected))
    np.testing.assert_allclose(read.compressed(), expected.compressed(), rtol=1e-6)


def test_pictures_are_pictures(ee: Any) -> None:
    options = {"ranges": [{"min": -500, "max": 3000}]}
    asked = {"assetId": SCENE, "grid": GRID, "visualizationOptions": options}
    assert ee.data.getPixels(asked)[:4] == b"\x89PNG"  # AUTO, and partly masked
    assert ee.data.getPixels(asked | {"fileFormat": "JPEG"})[:3] == b"\xff\xd8\xff"


def test_listings_page_through_the_client(ee: Any) -> None:
    parent = "COPERNICUS/S2_SR_HARMONIZED"
    whole = ee.data.listAssets(parent)["assets"]
    assert len(whole) == ee.ImageCollection(parent).size().getInfo()
    pages: list[Any] = []
    token = None
    while token != "":
        page = ee.data.listAssets({"parent": parent, "pageSize": 4} | ({"pageToken": token} if token else {}))
        pages += page["assets"]
        token = page.get("nextPageToken", "")
    assert pages == whole
    first, last = whole[2]["startTime"], whole[-2]["startTime"]
    some = ee.data.listImages({"parent": parent, "startTime": first, "endTime": last, "view": "BASIC"})["images"]
    expected = [a["id"] for a in whole if first <= a["startTime"] and a.get("endTime", a["startTime"]) < last]
    assert [image["id"] for image in some] == expected
    assert 0 < len(some) < len(whole)
    point = whole[0]["geometry"]["coordinates"][0][0]
    assert ee.data.listImages({"parent": parent, "region": {"type": "Point", "coordinates": point}})["images"]
    nowhere = {"type": "Point", "coordinates": [0, 89]}
    assert ee.data.listImages({"parent": parent, "region": nowhere})["images"] == []
    assert [a["id"] for a in ee.data.listAssets("projects/sandbox/assets")["assets"]] == [SCENE]
    assert ee.data.listBuckets("projects/sandbox")["assets"][0]["id"] == SCENE


def test_roots_and_folders_are_answered(ee: Any) -> None:
    assert ee.data.getAssetRoots() == []  # of "my-project", which has no assets here
    assert ee.data.listBuckets("projects/earthengine-legacy") == {}
    for root in ("projects/my-project/assets", "projects/my-project/assets/", "projects/earthengine-legacy/assets"):
        assert ee.data.listAssets(root) == {"assets": []}
        assert ee.data.getAsset(root)["type"] == "FOLDER"
    assert ee.data.getAsset("projects/sandbox/assets")["type"] == "FOLDER"
    public = ee.data.listAssets("projects/earthengine-public/assets")["assets"]
    assert [(asset["type"], asset["id"]) for asset in public] == [
        ("FOLDER", name) for name in ("COPERNICUS", "LANDSAT", "MODIS", "USGS")
    ]
    assert [a["id"] for a in ee.data.listAssets("LANDSAT")["assets"]] == ["LANDSAT/LC08", "LANDSAT/LC09"]
    (landsat,) = ee.data.listAssets("LANDSAT/LC08/C02")["assets"]
    assert (landsat["type"], landsat["id"]) == ("IMAGE_COLLECTION", "LANDSAT/LC08/C02/T1_L2")
    assert [a["type"] for a in ee.data.listAssets("USGS")["assets"]] == ["IMAGE"]
    for nothing in ("users/nobody", "NO/SUCH", "projects/my-project/assets/none"):
        with pytest.raises(ee.EEException, match="does not exist"):
            ee.data.listAssets(nothing)


# What the client asks for by other ways than the expression language, with the method that the sandbox names.
UNSUPPORTED: dict[str, Callable[[Any], Any]] = {
    "maps.create": lambda ee: ee.Image(SCENE).getMapId({"min": 0}),
    "thumbnails.create": lambda ee: ee.Image(SCENE).getThumbURL({"min": 0, "max": 9}),
    "thumbnails.create ": lambda ee: ee.Image(SCENE).getDownloadURL({"scale": 30}),
    "videoThumbnails.create": lambda ee: ee.ImageCollection([ee.Image(SCENE)]).getVideoThumbURL({"dimensions": 9}),
    "filmstripThumbnails.create": lambda ee: ee.ImageCollection([ee.Image(SCENE)]).getFilmstripThumbURL({}),
    "tables.create": lambda ee: ee.FeatureCollection([]).getDownloadURL("csv"),
    "maps.create ": lambda ee: ee.FeatureCollection([]).getMapId({}),
    "table.computeFeatures": lambda ee: ee.data.computeFeatures({"expression": ee.FeatureCollection([])}),
    "assets.listFeatures": lambda ee: ee.data.listFeatures({"assetId": SCENE}),
    "assets.getIamPolicy": lambda ee: ee.data.getIamPolicy(SCENE),
    "assets.getIamPolicy ": lambda ee: ee.data.getAssetAcl(SCENE),
    "assets.setIamPolicy": lambda ee: ee.data.setAssetAcl(SCENE, {"owners": []}),
    "assets.create": lambda ee: ee.data.createFolder("projects/my-project/assets/new"),
    "assets.create ": lambda ee: ee.data.createAsset({"type": "FOLDER"}, "projects/my-project/assets/new"),
    "assets.delete": lambda ee: ee.data.deleteAsset(SCENE),
    "assets.copy": lambda ee: ee.data.copyAsset(SCENE, SCENE + "_copy"),
    "assets.move": lambda ee: ee.data.renameAsset(SCENE, SCENE + "_moved"),
    "assets.patch": lambda ee: ee.data.updateAsset(SCENE, {"properties": {"a": 1}}, ["properties.a"]),
    "image.import": lambda ee: ee.data.startIngestion("a", {"id": "projects/my-project/assets/n", "tilesets": []}),
    "table.import": lambda ee: ee.data.startTableIngestion("a", {"id": "projects/my-project/assets/n", "sources": []}),
    "image.export": lambda ee: ee.batch.Export.image.toDrive(ee.Image(SCENE)).start(),
    "table.export": lambda ee: ee.batch.Export.table.toDrive(ee.FeatureCollection([])).start(),
    "video.export": lambda ee: ee.batch.Export.video.toDrive(ee.ImageCollection([])).start(),
    "updateConfig": lambda ee: ee.data.updateProjectConfig({"maxConcurrentExports": 1}, ["max_concurrent_exports"]),
    "operations.cancel": lambda ee: ee.data.cancelOperation("projects/my-project/operations/A"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", UNSUPPORTED)
def test_other_requests_are_refused_by_the_name_of_their_method(ee: Any, method: str) -> None:
    with pytest.raises(ee.EEException, match=rf"Method projects\.{method.strip()} is not supported by the sandbox"):
        UNSUPPORTED[method](ee)


def test_what_the_sandbox_lacks_is_not_the_user_s_mistake(ee: Any) -> None:
    for built in (
        ee.Image("LANDSAT/LE07/C02/T1_L2/LE07_001001_20200101"),
        ee.ImageCollection("COPERNICUS/S1_GRD"),
        ee.ImageCollection("MODIS/061/MOD09GA").first(),
    ):
        with pytest.raises(ee.EEException, match=r"not found .* the sandbox has only COPERNICUS/S2_SR_HARMONIZED"):
            built.getInfo()
    with pytest.raises(ee.EEException, match="the sandbox has only"):
        ee.data.getAsset("COPERNICUS/S1_GRD")
    with pytest.raises(ee.EEException, match=r"does not exist or doesn't allow this operation\.$"):
        ee.data.getAsset("projects/sandbox/assets/none")


def test_the_rest_of_the_client_s_metadata(ee: Any) -> None:
    asset = ee.data.getAsset(SCENE)
    assert asset["type"] == "IMAGE"
    assert asset["startTime"].startswith("2021-07-04")
    assert ee.data.listOperations() == []
    assert ee.data.getProjectConfig()["name"] == "projects/my-project/config"
    assert "Image.load" in ee.data.getAlgorithms()


def test_many_threads_share_the_client(ee: Any, truth: Any) -> None:
    expected = truth.filled(0)
    barrier = threading.Barrier(8)

    def fetch(i: int) -> bool:
        barrier.wait(timeout=30)
        moved = GRID["affineTransform"] | {"translateX": 600_003 + 12.5 * i}  # type: ignore[operator] # a dict in a dict
        asked = {"fileFormat": "NUMPY_NDARRAY", "grid": GRID | {"affineTransform": moved}}
        array = ee.data.computePixels(asked | {"expression": ee.Image(SCENE)})
        return bool((array["green"] == expected[1, 25:48, i : i + 31]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fetch, range(24)))


# GDAL --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["NPY", "GEO_TIFF", "AUTO"])
def test_gdal_reads_an_asset_as_the_file_itself(url: str, truth: Any, encoding: str) -> None:
    with (
        rasterio.Env(EEDA_URL=f"{url}/v1/", EEDA_BEARER="none"),
        rasterio.open(f"EEDAI:{SCENE}", PIXEL_ENCODING=encoding) as dataset,
    ):
        assert (dataset.count, *dataset.shape) == SHAPE
        assert dataset.transform == RASTER
        assert dataset.crs == rasterio.CRS.from_epsg(32632)
        assert dataset.descriptions == ("red", "green", "blue")
        # EEDAI asks GeoTIFF for no nodata: what is masked has the value that the sandbox wrote there.
        fill = 0 if encoding == "NPY" else -(2**15)
        np.testing.assert_array_equal(dataset.read(), truth.filled(fill))


def test_gdal_reads_bytes_as_png(url: str) -> None:
    """The shipped Landsat 7 sample: EEDAI takes PNG for up to three bands of bytes."""
    with running() as own:
        answer = requests.post(
            f"{own}/v1/projects/sandbox/assets/landsat7_nc_2000:getPixels", json={"fileFormat": "NPY"}, timeout=60
        )
        array = np.load(io.BytesIO(answer.content))
        bands = ",".join(array.dtype.names[:3])
        with (
            rasterio.Env(EEDA_URL=f"{own}/v1/", EEDA_BEARER="none"),
            rasterio.open(f"EEDAI:projects/sandbox/assets/landsat7_nc_2000:{bands}", PIXEL_ENCODING="PNG") as dataset,
        ):
            read = dataset.read()
        assert "assets.getPixels" in requests.get(f"{own}/sandbox/statistics", timeout=20).json()["requests"]
    for values, name in zip(read, array.dtype.names, strict=False):
        np.testing.assert_array_equal(values, array[name])


def test_gdal_reads_the_sinusoidal_grid(url: str) -> None:
    asset = "MODIS/061/MOD13Q1"
    parent = f"{url}/v1/projects/earthengine-public/assets/{asset}"
    listed = requests.get(f"{parent}:listAssets", params={"pageSize": 1}, timeout=20).json()["assets"][0]
    with (
        rasterio.Env(EEDA_URL=f"{url}/v1/", EEDA_BEARER="none"),
        rasterio.open(f"EEDAI:{listed['id']}:NDVI", PIXEL_ENCODING="NPY") as dataset,
    ):
        grid = listed["bands"][0]["grid"]
        assert dataset.shape == (grid["dimensions"]["height"], grid["dimensions"]["width"])
        window = rasterio.windows.Window(63_000, 51_000, 37, 19)
        read = dataset.read(1, window=window)
        corner = dataset.transform @ (63_000, 51_000)
    transform = grid["affineTransform"] | {"translateX": corner[0], "translateY": corner[1]}
    body = {
        "fileFormat": "NPY",
        "bandIds": ["NDVI"],
        "grid": {"dimensions": {"width": 37, "height": 19}, "affineTransform": transform},
    }
    own = requests.post(f"{url}/v1/{listed['name']}:getPixels", data=json.dumps(body), timeout=60)
    np.testing.assert_array_equal(read, np.load(io.BytesIO(own.content))["NDVI"])

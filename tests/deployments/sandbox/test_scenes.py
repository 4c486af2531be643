"""The catalogue against the files that it serves."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from shapely.geometry import Point

from deployments.sandbox.raster import UINT8, UINT16, Asset, Grid
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.scenes import SAMPLES, acquired, asset_name, open_catalogue

ROOT = "projects/sandbox/assets"
WEST = SAMPLES / "landsat8_224077_20200518.tif"


def write(path: Path, value: int = 7, tags: dict[str, str] | None = None) -> None:
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=5,
        height=3,
        count=1,
        dtype="uint8",
        crs="EPSG:32633",
        transform=Affine(10, 2, 5e5, 1, -10, 4e6),
    ) as out:
        out.write(np.full((1, 3, 5), value, np.uint8))
        out.update_tags(**(tags or {}))


def first_pixel(asset: Asset) -> int:
    assert asset.image is not None
    band = asset.image.bands[0]
    grid = Grid(crs=band.projection.crs, transform=band.projection.transform, width=1, height=1)
    return int(band.read(grid).values[0, 0])


def test_the_samples_are_served_and_small() -> None:
    catalogue = open_catalogue()
    images = catalogue.children(ROOT)
    files = sorted(SAMPLES.glob("*.tif"))
    assert [image.name for image in images] == [f"{ROOT}/{path.stem}" for path in files]
    assert len(files) == 3
    assert (SAMPLES / "PROVENANCE.md").is_file()
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) <= 4_000_000
    assert catalogue.get(ROOT).type == "FOLDER"


def test_an_image_says_what_its_file_says() -> None:
    asset = open_catalogue().get(f"{ROOT}/{WEST.stem}")
    assert (asset.type, asset.id) == ("IMAGE", asset.name)
    assert asset.start_time == datetime(2020, 5, 18, tzinfo=UTC)
    assert asset.size_bytes == WEST.stat().st_size
    assert asset.update_time.timestamp() == pytest.approx(WEST.stat().st_mtime, abs=1e-3)
    assert asset.properties["SPACECRAFT_ID"] == "LANDSAT_8"
    assert asset.properties["DATE_ACQUIRED"] == "2020-05-18"
    assert asset.properties["WRS_PATH_ROW"] == 224077
    assert asset.properties["system:index"] == WEST.stem
    assert asset.image is not None
    assert asset.image.properties["system:time_start"] == 1589760000000
    assert asset.image.id == asset.id
    assert [(band.id, band.type) for band in asset.image.bands] == [(n, UINT16) for n in ("B2", "B3", "B4")]
    assert {band.dimensions for band in asset.image.bands} == {(520, 600)}
    with rasterio.open(WEST) as dataset:
        assert asset.image.bands[2].projection.transform == dataset.transform
        assert asset.image.bands[2].projection.crs == "EPSG:32621"
        corners = [dataset.transform @ at for at in ((0.5, 0.5), (519.5, 0.5), (0.5, 599.5), (519.5, 599.5))]
    to_degrees = Transformer.from_crs("EPSG:32621", "EPSG:4326", always_xy=True)
    assert asset.geometry is not None
    for corner in corners:
        assert asset.geometry.contains(Point(to_degrees.transform(*corner)))
    outside = to_degrees.transform(731205 - 15, -2775615 - 3000)
    assert not asset.geometry.contains(Point(outside))


def test_a_year_alone_is_its_first_of_january() -> None:
    asset = open_catalogue().get(f"{ROOT}/landsat7_nc_2000")
    assert asset.start_time == datetime(2000, 1, 1, tzinfo=UTC)
    assert asset.image is not None
    assert [band.type for band in asset.image.bands] == [UINT8] * 5
    assert asset.image.bands[0].projection.crs.startswith("PROJCS[")


@pytest.mark.parametrize(
    ("tags", "stem", "day"),
    [
        ({"DATE_ACQUIRED": "2019-02-03", "TIFFTAG_DATETIME": "2021:01:01 00:00:00"}, "a_20200518", "2019-02-03"),
        ({"TIFFTAG_DATETIME": "2021:06:30 12:30:00"}, "a_20200518", "2021-06-30T12:30"),
        ({"DATE_ACQUIRED": "2021-06-30T23:30:00-03:00"}, "a", "2021-07-01T02:30"),
        ({"DATE_ACQUIRED": "2021-06-30T23:30:00"}, "a", "2021-06-30T23:30"),
        ({"DATE_ACQUIRED": "2021-06-30 23:30"}, "a_20200518", "2021-06-30T23:30"),
        ({"DATE_ACQUIRED": "20210630T233000Z"}, "a", "2021-06-30T23:30"),
        ({"DATE_ACQUIRED": "soon"}, "a_20200518", "2020-05-18"),
        ({}, "LC08_224078_2020-05-18_v2", "2020-05-18"),
        ({}, "x20200231_20200301", "2020-03-01"),
        ({}, "t120200518", None),
        ({}, "dem_2000", None),
    ],
)
def test_when_an_image_was_taken(tags: dict[str, str], stem: str, day: str | None) -> None:
    expected = datetime.fromisoformat(day).replace(tzinfo=UTC) if day else None
    assert acquired(tags, stem) == expected


def test_folders_are_collections_and_new_and_changed_files_are_seen(tmp_path: Path) -> None:
    write(tmp_path / "alone.tif")
    write(tmp_path / "series" / "b_20210105.tif", 2, {"CLOUD_COVER": "12.5"})
    catalogue = open_catalogue(tmp_path)
    assert [(a.type, a.name) for a in catalogue.children(ROOT)] == [
        ("IMAGE", f"{ROOT}/alone"),
        ("IMAGE_COLLECTION", f"{ROOT}/series"),
    ]
    assert catalogue.get(f"{ROOT}/series").type == "IMAGE_COLLECTION"
    assert len(catalogue.children(f"{ROOT}/series")) == 1
    write(tmp_path / "series" / "a_20210101.TIF", 1)
    write(tmp_path / "late.tiff", 9)
    images = catalogue.children(f"{ROOT}/series")
    assert [image.properties["system:index"] for image in images] == ["a_20210101", "b_20210105"]
    assert [first_pixel(image) for image in images] == [1, 2]
    assert images[1].properties["CLOUD_COVER"] == 12.5
    assert first_pixel(catalogue.get(f"{ROOT}/late")) == 9

    path = tmp_path / "series" / "b_20210105.tif"
    before = catalogue.get(f"{ROOT}/series/b_20210105")
    later = path.stat().st_mtime_ns + 5_000_000_000
    write(path, 77)
    os.utime(path, ns=(later, later))
    after = catalogue.get(f"{ROOT}/series/b_20210105")
    assert first_pixel(after) == 77
    assert after.update_time > before.update_time
    assert catalogue.get(f"{ROOT}/series/b_20210105") is after  # and is not read again while it stays
    path.unlink()
    assert len(catalogue.children(f"{ROOT}/series")) == 1
    with pytest.raises(Refusal):
        catalogue.get(f"{ROOT}/series/b_20210105")


def test_what_is_no_image_is_left_out_and_the_rest_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "good.tif")
    (tmp_path / "half.tif").write_bytes((tmp_path / "good.tif").read_bytes()[:40])
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / ".hidden.tif").write_bytes(b"")
    catalogue = open_catalogue(tmp_path)
    assert [asset.name for asset in catalogue.children(ROOT)] == [f"{ROOT}/good"]
    assert "half.tif is not served" in caplog.text
    # A file that was being copied is served once it is whole.
    shutil.copy(tmp_path / "good.tif", tmp_path / "half.tif")
    assert len(catalogue.children(ROOT)) == 2


@pytest.mark.parametrize(
    "name",
    [
        f"{ROOT}/missing",
        f"{ROOT}/../samples/landsat7_nc_2000",
        f"{ROOT}/a/b/c",
        f"{ROOT}/.",
        f"{ROOT}/a//b",
        f"{ROOT}x/landsat7_nc_2000",
        "projects/other/assets/landsat7_nc_2000",
        "projects/earthengine-public/assets/COPERNICUS/S2_SR",
        "MODIS/061/MOD13Q1/2020_01_02",
        "MODIS/061/MOD13Q1X",
        "users/someone/thing",
        "x\0y",
        "",
    ],
)
def test_an_unknown_asset_is_refused_as_earth_engine_does(name: str) -> None:
    with pytest.raises(Refusal, match="does not exist or") as refusal:
        open_catalogue().get(name)
    assert refusal.value.status == 404
    expected = f'Asset "{asset_name(name)}" does not exist or doesn\'t allow this operation.'
    found, space, hint = refusal.value.message.partition(" Of Earth Engine's public catalogue ")
    assert found == expected
    # Earth Engine may well have a public asset that the sandbox lacks.
    assert bool(space) == asset_name(name).startswith("projects/earthengine-public/")
    assert not space or hint.startswith("the sandbox has only COPERNICUS/S2_SR_HARMONIZED")


def test_names_are_those_of_the_official_client() -> None:
    """Every id becomes the name that earthengine-api makes of it."""
    from ee import _cloud_api_utils as client

    for text in (
        f"{ROOT}/a",
        "USGS/SRTMGL1_003",
        "users/me/a",
        "projects/my-project/a",
        "projects/my-project/assets/a/b",
    ):
        assert asset_name(text) == client.convert_asset_id_to_asset_name(text)


def test_an_image_has_no_children() -> None:
    with pytest.raises(Refusal, match="not a folder"):
        open_catalogue().children("USGS/SRTMGL1_003")


def test_scenes_are_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="--scenes"):
        open_catalogue(tmp_path / "none")

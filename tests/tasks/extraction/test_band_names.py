"""Bands of any name arrive under that name in every file, or are refused before the first pixel request."""

import csv
import json
from dataclasses import replace
from functools import partial

import ee
import numpy as np
import pytest
import rasterio
from affine import Affine

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection, ensure_client
from tasks.earthengine.expression import encode
from tasks.earthengine.transport import fetch
from tasks.errors.input import BadInputError
from tasks.extraction.permits import Pace
from tasks.extraction.tile_fetcher import TileFetcher
from tasks.extraction.tile_file import read_back
from tasks.plan.plan import TileFormat
from tasks.plan.planning import plan_region
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.products.mosaic import make_mosaic
from tasks.products.series import make_series
from tasks.raster.region import read_region
from tasks.storage.local import LocalStore
from tasks.storage.receipt import receipt_key
from tests.tasks.extraction import extracting
from tests.tasks.extraction.extracting import a_session

LAKE = [-54.6, -25.3, -54.59, -25.29]
NAMES = (
    *("植被", "Ндві", "🌳", "é", "a b", "a'b", 'a"b', "a\\b", "a/b", "a.b", "1999", "B1 ", "b1", "B1", "valid_0"),
    *("band_1", "x" * 300, "a,b", "<&>", "=1+1", "\u200b", "_x", "$a_$", "$"),
)
ORDINARY = ("NDVI", "B8A", "sur_refl_b01", "QA60", "B-1", "1999_ftv", "a b")


def extract(connection, image, tmp_path, **output):
    ensure_client(connection)
    wanted = PixelSpec(bands=output.pop("bands", None), crs="EPSG:32721", scale=30, tile_format=TileFormat(**output))
    spec = ImageSpec(asset=image) if isinstance(image, str) else ImageSpec(expression=encode(image))
    plan = plan_region(connection, spec, wanted, region=read_region(LAKE), tile_size=64)
    store = LocalStore(tmp_path)
    with a_session(Pace()) as session:
        fetcher = TileFetcher(plan=plan, ask=partial(fetch, connection), session=session, store=store)
        outcome = extracting.extract(fetcher, 0, len(plan))
    assert outcome.error is None
    assert {(tile.status, tile.reason) for tile in outcome.receipt.tiles} == {("stored", None)}
    store.put(receipt_key(plan.folder, 0, len(plan), "a-run"), outcome.receipt.encode())
    return plan, store, outcome.receipt.tiles


def numbered(names):
    """Band k holds k + 1, and pixels of the second band are masked."""
    image = ee.Image.constant(list(range(1, len(names) + 1))).toInt16().rename(list(names))
    return image.updateMask(ee.Image.constant([int(k != 1) for k in range(len(names))]))


@pytest.mark.parametrize(("masks", "wire"), [("exact", "NPY"), ("unknown", "NPY"), ("nodata", "GEO_TIFF")])
def test_a_mosaic_has_the_names_of_the_bands(connection, tmp_path, masks, wire):
    ensure_client(connection)
    plan, store, tiles = extract(connection, numbered(NAMES), tmp_path, masks=masks)
    assert plan.sources[0].wire == wire
    with rasterio.open(tmp_path / make_mosaic(store, plan, tiles, source=0, name="mosaic")) as file:
        assert file.descriptions == NAMES
        valid = file.read_masks() > 0
        for number, values in enumerate(file.read()):
            masked = number == 1 and masks != "unknown"
            assert valid[number].any() != masked
            if number != 1:
                assert set(values[valid[number]].tolist()) == {number + 1}


def test_npy_tiles_have_the_names_and_are_found_again(connection, tmp_path):
    ensure_client(connection)
    with pytest.raises(BadInputError, match=r"an NPY file keeps its masks in bands named valid_0, valid_1, valid_2"):
        extract(connection, numbered(NAMES), tmp_path, file_format="NPY")
    names = tuple(name for name in NAMES if name != "valid_0")
    plan, store, tiles = extract(connection, numbered(names), tmp_path, file_format="NPY")
    for tile in tiles:
        array = np.load(tmp_path / tile.key)
        assert array.dtype.names == (*names, "valid_0", "valid_1", "valid_2")
        assert [np.unique(array[name]).tolist() for name in names] == [
            [0] if k == 1 else [k + 1] for k in range(len(names))
        ]
        again = read_back(plan, tile.index, tile.fingerprint, store.get(tile.key))
        assert list(again.bands) == list(tile.bands)


def test_a_table_has_the_names(connection, tmp_path):
    ensure_client(connection)
    names = ("植被", "🌳", "_x", "$a_$", "x" * 300, "a,b", 'a"b', "a\\b")
    plan, store, tiles = extract(connection, numbered(names), tmp_path)
    dated = replace(plan, sources=(replace(plan.sources[0], time="2020-05-01T00:00:00"),))
    table, _ = make_series(store, dated, tiles)
    with (tmp_path / table).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(row["band"] for row in rows) == names


def test_one_band_is_chosen_by_its_name(connection, tmp_path):
    ensure_client(connection)
    plan, store, tiles = extract(connection, numbered(NAMES), tmp_path, bands=["🌳", "b1"])
    with rasterio.open(tmp_path / make_mosaic(store, plan, tiles, source=0, name="mosaic")) as file:
        assert file.descriptions == ("🌳", "b1")
        assert [int(values.max()) for values in file.read()] == [3, 13]


@pytest.mark.parametrize("masks", ["exact", "unknown"])
def test_a_stored_image_of_such_a_name(tmp_path, masks):
    (tmp_path / "scenes").mkdir()
    profile = {"width": 80, "height": 80, "count": 2, "dtype": "uint16", "crs": "EPSG:32721"}
    transform = Affine(30, 0, 741_000, 0, -30, 7_201_000)
    with rasterio.open(tmp_path / "scenes" / "a.tif", "w", driver="GTiff", transform=transform, **profile) as file:
        file.write(np.stack([np.full((80, 80), 7, np.uint16), np.full((80, 80), 9, np.uint16)]))
        file.descriptions = ("植被", "B2")
    with running(scenes=tmp_path / "scenes") as url:
        connection = Connection(project="my-project", endpoint=url)
        plan, store, tiles = extract(connection, "projects/sandbox/assets/a", tmp_path / "out", masks=masks)
    with rasterio.open(tmp_path / "out" / make_mosaic(store, plan, tiles, source=0, name="mosaic")) as file:
        assert file.descriptions == ("植被", "B2")
        assert [int(values.max()) for values in file.read()] == [7, 9]


def test_ordinary_names_are_requested_as_they_are(connection, tmp_path):
    """The identity of a tile, by which stored tiles are found again, depends on the names in its request."""
    ensure_client(connection)
    plan, _, _ = extract(connection, numbered(ORDINARY), tmp_path)
    assert plan.sources[0].wire_bands == (*ORDINARY, "valid_0")
    assert json.loads(plan.request(0).body)["bandIds"] == [*ORDINARY, "valid_0"]


@pytest.mark.parametrize("name", ["", " B1", "a\nb", "a\tb", "\x01", "\x85", "\u3000x"])
def test_a_name_that_no_file_can_keep_is_refused(connection, tmp_path, name):
    ensure_client(connection)
    with pytest.raises(BadInputError, match=r"^bands = .*no file can keep the name of the band .*Rename the band"):
        extract(connection, ee.Image.constant([1, 2]).toInt16().rename(["B1", name]), tmp_path)
    plan, _, _ = extract(connection, numbered(["B1", name]).select([0]), tmp_path)
    assert [band.id for band in plan.bands] == ["B1"]

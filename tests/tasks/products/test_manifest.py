"""Laws of the manifest: one row a tile, in order, that says where it lies and what became of it."""

import io
import json
from dataclasses import replace

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pandas.testing import assert_frame_equal
from pyarrow import parquet
from pyproj import CRS, Transformer

from tasks.plan.tiles import PatchTiles, RegionTiles
from tasks.products import manifest as manifest_module
from tasks.products.manifest import encoded, make_manifest, rows
from tasks.raster.crs import SINUSOIDAL, SINUSOIDAL_PROJ, crs_of
from tasks.raster.globe import bounds
from tasks.raster.region import read_region
from tasks.raster.tiling import Tiling
from tasks.storage.band_summary import Bands, BandSummary
from tasks.storage.local import LocalStore
from tasks.storage.receipt import TileObject, TileReceipt
from tests.tasks.extraction.test_checkpoint import Earth, extract, folder, series

COLUMNS = [
    *("tile", "source", "date", "status", "key", "fingerprint", "crs", "left", "bottom", "right", "top"),
    *(
        "width",
        "height",
        "bytes",
        "crc32c",
        "valid_share",
        "attempts",
        "seconds",
        "reason",
        "image",
        "time_start",
        "time_end",
    ),
    *("images", "superseded", "geometry"),
]
LAEA = crs_of("+proj=laea +lat_0=52 +lon_0=10").to_wkt()


def region(crs, affine, *, kept=None):
    tiling = Tiling(GeoBox((24, 40), affine, crs_of(crs)), 16)
    return replace(series(1, 2), tiles=RegionTiles(crs=crs, tiling=tiling, kept=kept))


def patches(zones=(0, 1, 2, 1, 0)):
    """Patches in three zones, in an order in which they alternate."""
    count = len(zones)
    tiles = PatchTiles(
        crs=("EPSG:32632", "EPSG:32633", "EPSG:32733"),
        zone=np.array(zones, np.int32),
        left=400_000.0 + 1_000 * np.arange(count),
        top=np.where(np.array(zones) == 2, 9_000_000.0, 5_000_000.0) + 777 * np.arange(count),
        scale=10.0,
        size=32,
    )
    return replace(series(1), tiles=tiles)


def receipts(plan):
    """One of each status, in turn."""
    tiles = []
    for index in range(len(plan)):
        tile = TileReceipt(
            index=index, fingerprint=plan.tile_fingerprint(index), status="empty", pixels=100, attempts=1 + index % 3
        )
        if index % 3 == 0:
            bands = Bands(BandSummary(valid=25 + index, counted=9, mean=1.0, min=0.0, max=2.0) for _ in range(2))
            file = TileObject(key=plan.key(index), size=1000 + index, crc32c=f"crc{index}=", version="7")
            tile = replace(tile, status="stored", bands=bands, seconds=0.5 * index, objects=(file,))
        if index % 3 == 1:
            tile = replace(tile, status="failed", reason=f"Rejected: no band in {index}")
        tiles.append(tile)
    return tuple(tiles)


PLANS = {
    "UTM": region("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_000_000)),
    "some tiles": region("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_000_000), kept=(1, 4, 5)),
    "upwards": region("EPSG:32633", Affine(10, 0, 500_000, 0, 10, 5_000_000)),
    "sheared": region("EPSG:32633", Affine(9, 4, 500_000, 3, -8, 5_000_000)),
    "turned": region("EPSG:32633", Affine.translation(500_000, 5_000_000) @ Affine.rotation(137) @ Affine.scale(10)),
    "degrees": region("EPSG:4326", Affine(0.01, 0, -54.6, 0, -0.01, -25.3)),
    "MODIS": region(SINUSOIDAL, Affine(463.3127, 0, -5_559_752.6, 0, -463.3127, -2_779_876.3)),
    "WKT": region(LAEA, Affine(100, 0, -2_000, 0, -100, 3_000)),
    "polar": region("EPSG:3413", Affine(100, 0, -200_000, 0, -100, -1_000_000)),
    "patches": patches(),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_a_row_says_where_its_tile_lies(plan):
    table = rows(plan, receipts(plan))
    assert list(table.columns) == COLUMNS
    assert table["tile"].tolist() == list(range(len(plan)))
    assert table.crs == "EPSG:4326"
    for row in table.itertuples():
        grid, (source, _) = plan.grid(row.tile), plan.locate(row.tile)
        box = grid.geobox
        assert (row.source, row.date) == (source.origin, source.time[:10])
        assert (row.crs, row.width, row.height) == (grid.crs, box.shape.x, box.shape.y)
        found = (row.left, row.bottom, row.right, row.top)
        assert found == pytest.approx(box.extent.boundingbox.bbox, rel=1e-12)
        crs = SINUSOIDAL_PROJ if grid.crs == SINUSOIDAL else grid.crs
        to_degrees = Transformer.from_crs(CRS.from_user_input(crs), "EPSG:4326", always_xy=True)
        centre = to_degrees.transform(*(box.affine @ (box.shape.x / 2, box.shape.y / 2)))
        assert row.geometry.is_valid
        assert row.geometry.contains(shapely.Point(centre))
        corners = {(0, 0), (box.shape.x, 0), (0, box.shape.y), (box.shape.x, box.shape.y)}
        expected = [to_degrees.transform(*(box.affine @ corner)) for corner in corners]
        found = shapely.get_coordinates(row.geometry)[:-1]
        assert sorted(map(tuple, found)) == [pytest.approx(corner, abs=1e-9) for corner in sorted(expected)]


def test_a_row_says_what_became_of_its_tile():
    plan = PLANS["UTM"]
    tiles = receipts(plan)
    table = rows(plan, tiles)
    for row, tile in zip(table.itertuples(), tiles, strict=True):
        assert (row.status, row.fingerprint, row.bytes) == (tile.status, tile.fingerprint, tile.size)
        assert (row.attempts, row.seconds) == (tile.attempts, tile.seconds)
        for found, said in ((row.key, tile.key), (row.crc32c, tile.crc32c), (row.reason, tile.reason)):
            assert pd.isna(found) if said is None else found == said
        share = {"stored": (25 + tile.index) / 100, "empty": 0.0}.get(tile.status)
        assert np.isnan(row.valid_share) if share is None else row.valid_share == pytest.approx(share)


def test_what_is_not_known_of_a_source_is_empty_and_its_folder_stands_for_its_name():
    plan = series(1)
    plan = replace(plan, sources=(replace(plan.sources[0], origin="", time=None),))
    table = rows(plan, receipts(plan))
    assert set(table["source"]) == {plan.sources[0].name}
    assert table["date"].isna().all()


def test_of_some_tiles_there_are_their_rows_and_of_none_there_are_none():
    plan = PLANS["patches"]
    tiles = receipts(plan)
    assert rows(plan, tiles[3:])["tile"].tolist() == [3, 4]
    assert_frame_equal(rows(plan, tiles).iloc[3:].reset_index(drop=True), rows(plan, tiles[3:]), check_dtype=False)
    assert (len(rows(plan, ())), list(rows(plan, ()).columns)) == (0, COLUMNS)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(-50, 50), st.floats(-50, 50)).filter(
        lambda a: abs(a[0] * a[3] - a[1] * a[2]) > 1
    )
)
def test_bounds_are_those_of_the_grid_however_it_is_sheared(given):
    a, b, d, e = given
    plan = region("EPSG:32633", Affine(a, b, 500_000, d, e, 5_000_000))
    table = rows(plan, receipts(plan))
    for row in table.itertuples():
        box = plan.grid(row.tile).geobox
        assert (row.left, row.bottom, row.right, row.top) == pytest.approx(box.extent.boundingbox.bbox)


@pytest.mark.parametrize("plan", [PLANS["UTM"], PLANS["patches"], PLANS["WKT"]], ids=["UTM", "patches", "WKT"])
@pytest.mark.parametrize("status", ["all", "stored", "empty", "failed"])
def test_what_is_read_back_is_what_was_written(tmp_path, plan, status):
    tiles = tuple(tile for tile in receipts(plan) if status in {"all", tile.status})
    key = make_manifest(folder(tmp_path), plan, tiles)
    assert key == f"{plan.folder}/manifest.parquet"
    table = geopandas.read_parquet(tmp_path / key)
    expected = rows(plan, tiles)
    for path, tile in zip(table.pop("path"), tiles, strict=True):
        assert pd.isna(path) if tile.key is None else path == str(tmp_path / tile.key)
    assert list(table.columns) == COLUMNS
    assert table.crs == "EPSG:4326"
    assert table.geometry.to_wkb().tolist() == expected.geometry.to_wkb().tolist()
    # A column of text is one in every file, also where no tile has any: manifests of many plans are one table.
    assert_frame_equal(pd.DataFrame(table), pd.DataFrame(expected).astype(table.dtypes))
    assert (table["reason"].dtype, table["key"].dtype) == ("str", "str")


@pytest.mark.parametrize("plan", [PLANS["patches"], PLANS["turned"]], ids=["patches", "turned"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_manifest_in_parts_is_that_in_one(tmp_path, monkeypatch, plan, size):
    tiles = receipts(plan)
    whole = tmp_path / "whole.parquet"
    whole.write_bytes(encoded([rows(plan, tiles)]))
    parts = tmp_path / "parts.parquet"
    parts.write_bytes(encoded(rows(plan, tiles[start : start + size]) for start in range(0, len(tiles), size)))
    assert_frame_equal(geopandas.read_parquet(whole), geopandas.read_parquet(parts))
    for file in (whole, parts):
        (column,) = (about := json.loads(parquet.read_metadata(file).metadata[b"geo"]))["columns"].values()
        assert column["bbox"] == rows(plan, tiles).total_bounds.tolist()
        assert column["geometry_types"] == ["Polygon"]
        assert about["primary_column"] == "geometry"
    monkeypatch.setattr(manifest_module, "ROW_GROUP", size)
    key = make_manifest(folder(tmp_path), plan, tiles)
    assert_frame_equal(geopandas.read_parquet(tmp_path / key).drop(columns="path"), geopandas.read_parquet(whole))


@pytest.mark.parametrize("schema_too", [True, False])
def test_a_geoparquet_file_is_a_region_wherever_its_metadata_stand(tmp_path, schema_too):
    """pyarrow gave only the metadata of a stored Arrow schema, which a manifest did not have: "without geometry"."""
    plan = PLANS["UTM"]
    file = tmp_path / "manifest.parquet"
    file.write_bytes(encoded([rows(plan, receipts(plan))]))
    assert b"geo" in parquet.read_schema(file).metadata
    if schema_too:  # a writer that adds its metadata at the end, to a file with an Arrow schema
        table, about = parquet.read_table(file), parquet.read_metadata(file).metadata[b"geo"]
        with parquet.ParquetWriter(file, table.schema.remove_metadata()) as writer:
            writer.write_table(table.replace_schema_metadata())
            writer.add_key_value_metadata({"geo": about})
    assert bounds(read_region(file).geometry) == pytest.approx(rows(plan, receipts(plan)).total_bounds.tolist())


def test_a_tile_outside_of_what_its_crs_covers_has_no_outline_and_no_part_in_the_bounding_box():
    here, nowhere = (
        geopandas.GeoDataFrame({"tile": [0]}, geometry=[shape], crs="EPSG:4326")
        for shape in (shapely.box(7, 0, 8, 1), None)
    )
    data = encoded([here, nowhere])
    (column,) = json.loads(parquet.read_metadata(io.BytesIO(data)).metadata[b"geo"])["columns"].values()
    assert column["bbox"] == [7, 0, 8, 1]
    assert column["geometry_types"] == ["Polygon"]
    assert len(geopandas.read_parquet(io.BytesIO(data))) == 2


def test_a_manifest_is_written_again_only_if_tiles_have_changed(tmp_path):
    plan = series(1)
    puts = []

    class Store(LocalStore):
        def put(self, key, data):
            puts.append(key)
            return super().put(key, data)

    store = Store(tmp_path, durable=False)
    (receipt,), _ = extract(plan, folder(tmp_path))
    refused = {plan.request(1).body}
    (failed,), _ = extract(plan, folder(tmp_path / "other"), fetch=Earth(refused=refused))
    key = make_manifest(store, plan, receipt.tiles)
    written = (tmp_path / key).read_bytes()
    slower = tuple(replace(tile, seconds=9.0, attempts=5) for tile in receipt.tiles)
    assert make_manifest(store, plan, slower) == key
    assert (tmp_path / key).read_bytes() == written
    assert puts.count(key) == 1
    make_manifest(store, plan, failed.tiles)
    assert geopandas.read_parquet(tmp_path / key)["status"].tolist().count("failed") == 1
    (tmp_path / key).write_bytes(b"")
    make_manifest(store, plan, receipt.tiles)
    assert (tmp_path / key).read_bytes() == written

"""Laws of a resumed run: tiles without a receipt are found by their bytes, and nothing else is; there is room for more.

Whatever is killed leaves tiles that are whole, and no receipt of them.
"""

import io
import json
import logging
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from flows.lookup import look_up
from tasks.errors.input import BadInputError
from tasks.extraction.checkpoint import read_checkpoint
from tasks.extraction.free_space import check_free_space
from tasks.extraction.tile_fetcher import TileFetcher
from tasks.plan.plan import TileFormat
from tasks.raster.raster import Raster
from tasks.storage.receipt import Receipt
from tests.rasters import encode_geotiff
from tests.tasks.extraction.extracting import a_session
from tests.tasks.extraction.test_checkpoint import EMPTY, PICTURES, Earth, extract, folder, forget, series, tiles_of

PNG, JPEG = (TileFormat(file_format=name, codec="none", visualization="{}") for name in PICTURES)
NPY = TileFormat(file_format="NPY", codec="none")
CODECS = ("zstd", "deflate", "none")
# What rasterio says of a GeoTIFF that is cut.
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")


def bare(tile):
    return replace(tile, attempts=0, seconds=0.0)


def timeless(tile):
    """A receipt without when and how its tile was fetched."""
    return replace(bare(tile), objects=tuple(replace(one, version=None) for one in tile.objects))


def killed(plan, store, fetch=None):
    """Fetch a plan, and lose the receipts; return them."""
    (receipt,), _ = extract(plan, store, fetch=fetch)
    forget(store, plan)
    return receipt


@pytest.mark.parametrize(
    ("output", "mask", "dtype", "wire"),
    [
        *((TileFormat(codec=codec), mask, "uint16", "NPY") for codec in CODECS for mask in ("full", "alike", "apart")),
        (TileFormat(), "apart", "float32", "NPY"),
        (TileFormat(), "apart", "int8", "NPY"),
        (TileFormat(masks="unknown"), "full", "uint8", "NPY"),
        (TileFormat(masks="nodata"), "lowest", "int16", "GEO_TIFF"),
        (TileFormat(clip="POLYGON ((500 900, 850 900, 500 700, 500 900))"), "alike", "uint16", "NPY"),
        (NPY, "alike", "float32", "NPY"),
        (PNG, "full", "uint8", "PNG"),
        (JPEG, "full", "uint8", "JPEG"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.codec,
)
def test_tiles_whose_receipts_are_lost_are_told_again_without_a_request(tmp_path, output, mask, dtype, wire):
    plan, store = series(1, output=output, dtype=dtype, wire=wire), folder(tmp_path)
    receipt = killed(plan, store, Earth(mask, dtype))
    checkpoint = read_checkpoint(plan, store)
    stored = [tile.index for tile in receipt.tiles if tile.status == "stored"]
    assert len(stored) >= 3
    assert (sorted(checkpoint.unverified), dict(checkpoint.tiles), checkpoint.faults) == (stored, {}, {})
    (again,), asked = extract(plan, store, fetch=Earth(mask, dtype), checkpoint=checkpoint)
    found = output.file_format == "GEO_TIFF"  # of the formats, it alone says which tile it is
    assert asked == [tile.index for tile in receipt.tiles if tile.status == "empty" or not found]
    assert {tile.attempts for tile in again.tiles if tile.status == "stored"} == ({0} if found else {1})
    assert [timeless(tile) for tile in again.tiles] == [timeless(tile) for tile in receipt.tiles]
    assert Receipt.from_json(json.loads(again.encode())) == again


def test_of_some_lost_receipts_the_others_stand(tmp_path):
    plan, store = series(1, 2), folder(tmp_path)
    extract(plan, store, (0, 7), (7, 12))
    forget(store, plan, 7)
    checkpoint = read_checkpoint(plan, store)
    assert [(span.start, span.stop) for span in checkpoint.spans] == [(0, 7)]
    assert (sorted(checkpoint.tiles), sorted(checkpoint.unverified)) == (list(range(7)), [7, 9, 10, 11])
    assert extract(plan, store, checkpoint=checkpoint)[1] == [EMPTY + 6]


def npy(dtype, shape=(16, 16), names=("a", "b", "valid_0")):
    with io.BytesIO() as file:
        np.save(file, np.full(shape, 2**60, [(name, "u1" if name == "valid_0" else dtype) for name in names]))
        return file.getvalue()


@pytest.mark.parametrize(
    ("output", "foreign"),
    [
        *((output, what) for output in (TileFormat(), NPY, PNG, JPEG) for what in (b"", b"<html>", "cut", "beginning")),
        (TileFormat(), "another tile"),
        (TileFormat(), "no fingerprint"),
        *((NPY, npy(dtype)) for dtype in ("<i8", "?", "<U3", "<c8")),
        *((NPY, npy("<u2", **other)) for other in ({"shape": (16, 15)}, {"names": ("a", "b")}, {"names": ("a",)})),
    ],
    ids=lambda value: value.file_format if isinstance(value, TileFormat) else str(value)[:20],
)
def test_what_is_no_such_tile_is_not_taken_for_one_but_replaced(tmp_path, output, foreign):
    plan = series(1, output=output, wire=output.file_format if output in {PNG, JPEG} else "NPY")
    store, key = folder(tmp_path), plan.key(1)
    killed(plan, store)
    before = tiles_of(store)
    data, grid = before[key], plan.grid(1).geobox
    plain = Raster(values=np.ones((2, 16, 16), "u2"), valid=None, bands=("a", "b"), geobox=grid)
    wrong = {
        "cut": data[:-1],
        "beginning": data[: len(data) // 2],
        "another tile": before[plan.key(3)],
        "no fingerprint": encode_geotiff(plain),
    }
    store.put(key, wrong.get(foreign, foreign))
    checkpoint = read_checkpoint(plan, store)
    assert 1 in checkpoint.unverified
    _, asked = extract(plan, store, checkpoint=checkpoint)
    assert asked == ([1, EMPTY] if output.file_format == "GEO_TIFF" else list(range(6)))
    assert tiles_of(store) == before


@pytest.mark.parametrize("mask", ["full", "alike", "apart"])
@pytest.mark.parametrize("codec", CODECS)
def test_a_geotiff_that_is_cut_anywhere_is_not_taken(tmp_path, mask, codec):
    """GDAL passes over a mask whose directory is cut off, as if all pixels were valid."""
    plan, store, fetch = series(1, output=TileFormat(codec=codec)), folder(tmp_path), Earth(mask)
    killed(plan, store, Earth(mask))
    key = plan.key(1)
    data = store.get(key)
    with a_session() as session:
        for size in (*range(0, len(data), 97), *range(len(data) - 250, len(data), 6)):
            store.put(key, data[:size])
            known = read_checkpoint(plan, store)
            fetcher = TileFetcher(plan=plan, ask=fetch, session=session, store=store, checkpoint=known)
            assert fetcher.fetch(1).attempts == 1, f"{size} of {len(data)} bytes were taken for a tile"
            assert store.get(key) == data


@pytest.mark.parametrize("output", [TileFormat(), TileFormat(codec="none"), NPY], ids=lambda o: o.file_format + o.codec)
def test_what_another_run_has_stored_meanwhile_is_as_good_as_ours(tmp_path, output):
    """Neither knew of the other as it began: both fetch, and what is second finds the same bytes."""
    plan, store = series(1, output=output), folder(tmp_path)
    (first,), _ = extract(plan, store)
    before = list(store.list("tiles/"))
    (second,), _ = extract(plan, store, run="run-0002")
    assert list(map(bare, second.tiles)) == list(map(bare, first.tiles))
    assert list(store.list("tiles/")) == before


@pytest.mark.parametrize("how", ["unreceipted", "damaged"])
def test_a_run_says_what_is_stored_before_and_sweeps_what_killed_ones_left(tmp_path, caplog, how):
    plan, store = series(1), folder(tmp_path)
    extract(plan, store, (0, 1), (1, 6))
    place = tmp_path / plan.key(1)
    if how == "unreceipted":
        forget(store, plan, 0)
    else:
        place.write_bytes(b"")
    left = place.with_name(f".{place.name}.000000000000-1-abc.part")
    left.write_bytes(b"unfinished")
    os.utime(left, (0, 0))  # of a process elsewhere, a day ago
    with caplog.at_level(logging.INFO, "pixel_quarry"):
        checkpoint = look_up(plan, store, verify="quick")
    assert (len(checkpoint.tiles), len(checkpoint.unverified)) == (5, 1)
    words = {"unreceipted": "1 without a receipt", "damaged": "1 damaged"}[how]
    assert any(f"5 of 6 tiles are stored, {words} (" in message for message in caplog.messages)
    assert not left.exists()


def test_of_an_output_that_is_not_there_nothing_is_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "pixel_quarry"):
        assert not look_up(series(1), folder(tmp_path / "out"), verify="full").tiles
    assert caplog.messages == []


def room(free):
    return SimpleNamespace(free_bytes=lambda: free, uri="/out/put")


# Two days of 24 x 40 pixels in two bands of two bytes are 7,680 bytes in 12 tiles, of which half are missing.
WHOLE = 3_840


@pytest.mark.parametrize(
    "output", [TileFormat(), TileFormat(codec="deflate"), PNG, JPEG], ids=lambda o: o.file_format + o.codec
)
def test_what_cannot_fit_is_refused_and_what_may_not_is_warned_of(output):
    plan = series(1, 2, output=output)
    with pytest.raises(BadInputError) as refused:
        check_free_space(room(959), plan, missing=6)
    assert str(refused.value) == (
        "output = '/out/put': 959 Bytes are free, and the 6 missing tiles take 3.8 kB before compression. "
        "Free some space, or give an output with more room. Nothing was fetched."
    )
    for free in (960, WHOLE - 1):
        warning = check_free_space(room(free), plan, missing=6)
        assert "6 missing tiles take 3.8 kB before compression. The free space may not suffice." in warning
    assert check_free_space(room(WHOLE), plan, missing=6) is None


@pytest.mark.parametrize("output", [TileFormat(codec="none"), NPY], ids=lambda output: output.file_format)
def test_what_is_not_compressed_needs_room_for_all_of_it(output):
    plan = series(1, 2, output=output)
    with pytest.raises(BadInputError, match=r"3\.8 kB are free, and the 6 missing tiles take 3\.8 kB\. Free"):
        check_free_space(room(WHOLE - 1), plan, missing=6)
    assert check_free_space(room(WHOLE), plan, missing=6) is None


@pytest.mark.parametrize(("free", "missing"), [(0, 0), (None, 12), (None, 0)])
def test_no_room_is_asked_for_nothing_or_where_there_is_no_end_of_it(free, missing):
    assert check_free_space(room(free), series(1, 2), missing=missing) is None

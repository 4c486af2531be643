"""What is drawn ahead, while tiles are awaited, is what would be drawn once they are there."""

import io
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from matplotlib.text import Text
from odc.geo.geobox import GeoBox
from PIL import Image

from tasks.plan.plan import Band, Plan, Source, TileFormat
from tasks.plan.tiles import PatchTiles
from tasks.products import coverage
from tasks.products.coverage import Status, draw, draw_ahead
from tasks.products.pictures import Picture, Thumbnails, evenly_spaced, make_contact_sheet, make_tile_sheet, shown_of
from tasks.raster import house_style
from tasks.raster.crs import crs_of
from tasks.raster.raster import Raster
from tasks.storage.address import open_store
from tasks.storage.checksum import crc32c
from tasks.storage.receipt import TileObject, TileReceipt
from tests.rasters import encode_geotiff

COUNT = 4


@pytest.fixture
def plan():
    source = Source(name="a", asset="a", version="1", wire="NPY", wire_bands=("B1",), wire_dtypes=("uint8",))
    tiles = PatchTiles(
        crs=("EPSG:32632",),
        zone=np.zeros(COUNT, np.int32),
        left=600_000.0 + 90 * np.arange(COUNT),
        top=np.full(COUNT, 5_000_000.0),
        scale=10.0,
        size=8,
    )
    return Plan(
        name="patches", sources=(source,), tiles=tiles, bands=(Band(id="B1", dtype="uint8"),), tile_format=TileFormat()
    )


def write(store, key, value):
    """Store a patch of values from `value` on, and return the checksum of its file."""
    values = (value + np.arange(64, dtype=np.uint8)).reshape(1, 8, 8)
    box = GeoBox((8, 8), Affine(10, 0, 600_000, 0, -10, 5_000_000), crs_of("EPSG:32632"))
    data = encode_geotiff(
        Raster(values=values, valid=np.broadcast_to(np.True_, values.shape), bands=("B1",), geobox=box)
    )
    store.put(key, data)
    return crc32c(data)


def test_a_sheet_with_looks_that_were_taken_ahead_is_the_same(plan, tmp_path):
    store = open_store(str(tmp_path))
    keys = [f"tiles/{number}.tif" for number in range(COUNT)]
    sums = [write(store, key, 20 * number) for number, key in enumerate(keys[:3])]
    thumbnails = Thumbnails()
    thumbnails.take(store, plan, keys)  # the last is not there yet
    sums = [*sums[:2], write(store, keys[2], 100), write(store, keys[3], 150)]  # and one is replaced
    files = [Picture(key, key, checksum) for key, checksum in zip(keys, sums, strict=True)]
    _, ahead = make_contact_sheet(store, plan, files, thumbnails)
    _, plain = make_contact_sheet(store, plan, files)
    assert ahead == plain
    assert Image.open(io.BytesIO(ahead)).size > (0, 0)


def test_files_that_were_looked_at_are_not_read_again(plan, tmp_path):
    store = open_store(str(tmp_path))
    checksum = write(store, "tiles/0.tif", 7)
    thumbnails = Thumbnails()
    thumbnails.take(store, plan, ["tiles/0.tif"])
    store.delete("tiles/0.tif")
    assert make_contact_sheet(store, plan, [Picture("0", "tiles/0.tif", checksum)], thumbnails)


def test_a_file_that_is_no_picture_is_left_to_the_sheet(plan, tmp_path):
    store = open_store(str(tmp_path))
    store.put("tiles/0.tif", b"no GeoTIFF")
    files = [Picture("1", "tiles/1.tif", write(store, "tiles/1.tif", 7))]
    thumbnails = Thumbnails()
    thumbnails.take(store, plan, ["tiles/0.tif", "tiles/1.tif"])
    assert make_contact_sheet(store, plan, files, thumbnails) == make_contact_sheet(store, plan, files)
    with pytest.raises(rasterio.errors.RasterioIOError):
        make_contact_sheet(store, plan, [Picture("0", "tiles/0.tif", crc32c(b"no GeoTIFF"))], thumbnails)


def test_few_files_are_all_shown():
    assert evenly_spaced(["a"]) == ["a"]
    assert evenly_spaced([]) == []


def receipts(plan, *, failed=()):
    return [
        TileReceipt(index=index, fingerprint=f"f{index}", status="failed" if index in failed else "empty")
        for index in range(len(plan))
    ]


def drawn(monkeypatch):
    """Count the maps that are drawn."""
    made = []
    inner = coverage.coverage_map

    def counting(*given, **more):
        made.append(more["heading"].title)
        return inner(*given, **more)

    coverage._drawn.cache_clear()
    monkeypatch.setattr(coverage, "coverage_map", counting)
    return made


def test_a_map_is_drawn_ahead_as_it_will_be_if_all_goes_well(plan, monkeypatch):
    made = drawn(monkeypatch)
    draw_ahead(plan, receipts(plan)[:2])
    stored = [*receipts(plan)[:2], *(replace(tile, status="stored") for tile in receipts(plan)[2:])]
    whole = draw(plan, stored, without=Status.MISSING)
    assert len(made) == 1
    assert draw(plan, receipts(plan, failed={3}), without=Status.MISSING) != whole
    assert len(made) == 2


def test_plans_that_differ_by_name_alone_have_maps_of_their_own(plan, monkeypatch):
    made = drawn(monkeypatch)
    other = replace(plan, sources=(replace(plan.sources[0], name="b"),))
    assert other == plan
    draw_ahead(plan, [])
    draw_ahead(other, [])
    assert made == ["a: 4 tiles", "b: 4 tiles"]


def said_on(monkeypatch, make):
    """The words on a picture, in the order of drawing."""
    seen = []
    encoded = house_style.encoded

    def looking(figure, **given):
        figure.draw_without_rendering()
        seen.extend(each.get_text() for each in figure.findobj(Text) if each.get_text())
        return encoded(figure, **given)

    monkeypatch.setattr(house_style, "encoded", looking)
    assert make()
    return seen


def test_a_sheet_says_what_where_when_and_what_it_does_not_show(plan, tmp_path, monkeypatch):
    store = open_store(str(tmp_path))
    shown = [Picture("A-7", "tiles/0.tif", write(store, "tiles/0.tif", 7), 0)]
    note = shown_of(["A-7", "B"], ["A-7"], "patches")
    said = said_on(
        monkeypatch, lambda: make_contact_sheet(store, plan, shown, note=note, label="farm", dates="May to June")
    )
    assert {"farm: a, May to June", "A-7", "B1: stored value"} <= set(said)
    assert "1 of 2 patches are shown, evenly spaced; not B" in said
    assert "EPSG:32632 (UTM zone 32N) · 10 m pixels" in " ".join(said)


def test_tiles_that_earth_engine_drew_have_the_legend_of_their_visualization(plan, tmp_path, monkeypatch):
    store = open_store(str(tmp_path))
    with io.BytesIO() as file:
        Image.new("RGBA", (8, 8), "green").save(file, "PNG")
        store.put("tiles/0.png", file.getvalue())
    options = '{"paletteColors":["ff0000","00ff00"],"ranges":[{"max":300,"min":250}]}'
    drawn = replace(plan, tile_format=TileFormat(file_format="PNG", visualization=options))
    own = (TileObject(key="tiles/0.png", size=1),)
    tiles = [replace(tile, status="stored", objects=own) for tile in receipts(plan)[:1]]
    said = said_on(monkeypatch, lambda: make_tile_sheet(store, drawn, tiles))
    assert {"B1: stored value", "250", "300", "Colours by Earth Engine: band B1"} <= set(said)


@pytest.mark.parametrize(
    ("count", "shown", "text"),
    [
        (3, 3, "3 of 3 dates"),
        (4, 3, "3 of 4 dates are shown, evenly spaced; not 3"),
        (500, 36, "36 of 500 dates are shown, evenly spaced; not 464 others, such as 36, 37 and 499"),
    ],
)
def test_the_dates_that_are_left_out_are_named_or_counted(count, shown, text):
    names = [str(number) for number in range(count)]
    assert shown_of(names, names[:shown], "dates") == text

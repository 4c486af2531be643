"""The table of a series equals NumPy over the whole mosaics, for any tiling, type, mask and shape of features."""

import csv
import io
import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.features import geometry_mask

from tasks.earthengine.transport import Answer
from tasks.plan.plan import Band, Plan, Source, TileFormat
from tasks.plan.tiles import RegionTiles
from tasks.products import zonal
from tasks.products.features import series_features
from tasks.products.series import COLUMNS, feature_points, make_series
from tasks.raster import series_plot
from tasks.raster.areas import areas
from tasks.raster.clip import touching
from tasks.raster.crs import crs_of
from tasks.raster.house_style import Heading
from tasks.raster.raster import Raster
from tasks.raster.region import Region
from tasks.raster.series_plot import SeriesPoint
from tasks.raster.tiling import Tiling
from tasks.raster.window import Window
from tasks.raster.zones import Zones
from tasks.storage.band_summary import Bands
from tasks.storage.checksum import crc32c
from tasks.storage.local import LocalStore
from tests.rasters import encode_geotiff
from tests.tasks.extraction.test_checkpoint import extract, folder

CRS = "EPSG:32633"
GRID = Affine(10, 0, 500_000, 0, -10, 5_000_000)
SIDES = (37, 53)
"""Rows and columns of the whole."""
BANDS = ("a", "b")
often = settings(
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    max_examples=12,
    deadline=None,
)


class Whole:
    """Whole mosaics of some dates, shape (date, band, y, x), that answer for their tiles."""

    def __init__(self, values, valid):
        self.values, self.valid, self.asked = values, valid, []

    def __call__(self, request):
        self.asked.append(request.body)
        asked = json.loads(request.body)
        at, size = asked["grid"]["affineTransform"], asked["grid"]["dimensions"]
        left, top = round((at["translateX"] - GRID.c) / GRID.a), round((at["translateY"] - GRID.f) / GRID.e)
        date = asked["expression"]["values"]["0"]["constantValue"]
        window = np.s_[date, :, top : top + size["height"], left : left + size["width"]]
        values, valid = self.values[window], self.valid[window]
        if asked["fileFormat"] == "GEO_TIFF":
            box = GeoBox(values.shape[1:], Affine(10, 0, at["translateX"], 0, -10, at["translateY"]), crs_of(CRS))
            return Answer(encode_geotiff(Raster(values=values, valid=valid, bands=BANDS, geobox=box)), restricted=False)
        array = np.zeros(values.shape[1:], [(name, values.dtype) for name in BANDS] + [("valid_0", "u1")])
        for number, name in enumerate(BANDS):
            array[name] = np.where(valid[number], values[number], 0)
            array["valid_0"] |= valid[number].astype("u1") << number
        with io.BytesIO() as file:
            np.save(file, array[asked["bandIds"]].astype([(name, array.dtype[name]) for name in asked["bandIds"]]))
            return Answer(file.getvalue(), restricted=False)


def plan_of(geometry, tile_size, *, clip, masks="exact", file_format="GEO_TIFF", dtype="uint16", dates=1):
    tiling = Tiling(GeoBox(SIDES, GRID, crs_of(CRS)), tile_size)
    kept = tuple(touching(geometry, tiling).tolist()) if clip else None
    mask = ("valid_0",) if masks == "exact" else ()
    sources = (
        Source(
            name=f"image/2020-01-{date + 1:02}",
            origin="image",
            expression=f'{{"result":"0","values":{{"0":{{"constantValue":{date}}}}}}}',
            version="v1",
            time=f"2020-01-{date + 1:02}T10:00:00",
            wire="NPY",
            wire_bands=(*BANDS, *mask),
            wire_dtypes=(*[dtype] * 2, *["uint8" for _ in mask]),
        )
        for date in range(dates)
    )
    wkt = shapely.to_wkt(geometry, rounding_precision=-1) if clip else None
    return Plan(
        name="timeseries",
        sources=tuple(sources),
        tiles=RegionTiles(crs=CRS, tiling=tiling, kept=kept),
        bands=tuple(Band(id=band, dtype=dtype) for band in BANDS),
        tile_format=TileFormat(file_format=file_format, masks=masks, clip=wkt),
    )


def shape(draw):
    """A triangle or a box, at places that are no pixel centres nor edges."""
    place = st.tuples(st.integers(-3, SIDES[1] + 3), st.integers(-3, SIDES[0] + 3), st.integers(1, 9))
    corners = [
        (500_000 + 10 * x + n * 0.913, 5_000_000 - 10 * y - n * 0.871) for x, y, n in draw(st.tuples(*[place] * 3))
    ]
    return shapely.Polygon(corners) if draw(st.booleans()) else shapely.box(*shapely.MultiPoint(corners[:2]).bounds)


@st.composite
def jobs(draw):
    dtype = draw(st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = random.normal(0, 10.0 ** draw(st.integers(0, 4)), (2, 2, *SIDES))
    values = values.astype(dtype) if dtype[0] in "fi" else np.abs(values).astype(dtype)
    if dtype[0] == "f":
        # A receipt holds a sum to 106 bits. If 1e30 and -1e30 in two tiles cancelled, nothing would be left of a 1.
        for odd in draw(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 1e12, -1e12]), max_size=3)):
            values.flat[random.integers(0, values.size, 3)] = odd
    valid = random.random(values.shape) < draw(st.sampled_from([0.0, 0.1, 0.9, 1.0]))
    if draw(st.booleans()):
        valid[:] = valid[:, :1]
    shapes = [shape(draw) for _ in range(draw(st.integers(1, 5)))]
    shapes = [each for each in shapes if each.area > 0 and each.is_valid]
    options = {
        "clip": draw(st.booleans()),
        "masks": draw(st.sampled_from(["exact", "exact", "unknown"])),
        "file_format": draw(st.sampled_from(["GEO_TIFF", "GEO_TIFF", "NPY"])),
    }
    options["clip"] &= options["masks"] == "exact" and options["file_format"] == "GEO_TIFF"
    sizes = draw(st.lists(st.sampled_from([5, 16, 23, 64]), min_size=2, max_size=2, unique=True))
    return values, valid, shapes, options, sizes


def same(one, other):
    """Whether two numbers are equal within a relative 1e-9, or both NaN, or both None."""
    if one is None or other is None or math.isnan(other):
        return one is other or (one is not None and other is not None and math.isnan(one))
    return math.isclose(one, other, rel_tol=1e-9)


def expected(values, valid, geometry, masks):
    """Count of pixels, and share, mean, minimum and maximum of a band as NumPy has them over the whole."""
    inside = ~geometry_mask([geometry], SIDES, GRID)
    seen = inside & valid if masks == "exact" else inside
    data = values if masks == "exact" else np.where(valid, values, 0)
    numbers = data[seen & ~np.isnan(data)].astype(np.float64)
    share = None if masks == "unknown" else seen.sum() / inside.sum()
    if not numbers.size:
        return share, None, None, None
    mean = math.fsum(numbers) / numbers.size if np.isfinite(numbers).all() else numbers.mean()
    return share, mean, numbers.min(), numbers.max()


@given(jobs())
@often
def test_the_table_equals_numpy_over_the_whole_for_every_tiling(tmp_path_factory, job):
    values, valid, shapes, options, sizes = job
    if not shapes:
        return
    region = Region(
        geometry=shapely.union_all(shapes), crs=CRS, areas=areas(shapes, [{}] * len(shapes), [None] * len(shapes))
    )
    tables = []
    for tile_size in sizes:
        plan = plan_of(region.geometry, tile_size, dtype=values.dtype.name, dates=2, **options)
        store = folder(tmp_path_factory.mktemp("out"))
        (receipt,), _ = extract(plan, store, fetch=Whole(values, valid))
        features = series_features(plan, region, per_feature=True)
        points = feature_points(store, plan, receipt.tiles, features)
        assert len(points) == len(shapes) * 2 * 2
        with np.errstate(invalid="ignore"):
            for point in points:
                date, band = point.time.day - 1, BANDS.index(point.band)
                own = shapes[point.area]
                if geometry_mask([own], SIDES, GRID).all():  # it has the pixels that it touches: test_small_parts.py
                    continue
                want = expected(values[date, band], valid[date, band], own, options["masks"])
                got = (point.valid_share, point.mean, point.min, point.max)
                assert all(map(same, got, want)), (got, want)
        key, _ = make_series(store, plan, receipt.tiles, features)
        tables.append(store.get(key))
    assert tables[0] == tables[1]


# The features ----------------------------------------------------------------------------------------------------

SQUARE = shapely.box(500_000, 4_999_950, 500_050, 5_000_000)
"""The first five rows and columns."""
CROSSING = shapely.box(500_103, 4_999_703, 500_297, 4_999_897)
"""Rows and columns 10 to 29: of tiles of 16 pixels it holds none wholly."""


def region_of(*shapes, properties=None, ids=None):
    found = areas(shapes, properties or [{}] * len(shapes), ids or [None] * len(shapes))
    return Region(geometry=shapely.union_all([each for each in shapes if each]), crs=CRS, areas=found)


def numbers(dates=1):
    """Both bands count from 1 row by row; each date adds 1,000."""
    one = np.arange(np.prod(SIDES), dtype=np.uint16).reshape(SIDES) + 1
    return np.stack([np.stack([one + 1000 * date] * 2) for date in range(dates)]).astype(np.uint16)


class Counted(LocalStore):
    """A folder that keeps the keys of the tiles that are read."""

    def __init__(self, path):
        super().__init__(path, durable=False)
        self.read = []

    def get(self, key, **more):
        if key.startswith("tiles/"):
            self.read.append(key)
        return super().get(key, **more)


def made(path, region, *, dates=1, values=None, tile_size=16, clip=True, per_feature=True, store=None):
    """The table of a series, its store, and the rows of its first band."""
    values = numbers(dates) if values is None else values
    plan = replace(plan_of(region.geometry, tile_size, clip=clip, dates=len(values)), home="home")
    store = store or Counted(path)
    receipts, _ = extract(plan, store, fetch=Whole(values, np.ones(values.shape, bool)))
    store.read.clear()
    features = series_features(plan, region, per_feature=per_feature)
    key, _ = make_series(store, plan, receipts[0].tiles, features)
    table = list(csv.DictReader(io.StringIO(store.get(key).decode())))
    return store, [row for row in table if row["band"] == "a"], (plan, receipts[0].tiles, features)


def test_only_tiles_that_an_edge_crosses_are_read_and_each_once_a_date(tmp_path):
    apart = shapely.box(500_000, 4_999_640, 500_160, 4_999_800)  # inside the tile in the lower left
    store, rows, _ = made(tmp_path, region_of(SQUARE, apart), dates=3)
    assert [float(row["mean"]) for row in rows[:3]] == [numbers(3)[date, 0, :5, :5].mean() for date in range(3)]
    assert store.read == []  # each clipped tile holds the pixels of one feature
    both = region_of(SQUARE, shapely.box(500_070, 4_999_950, 500_110, 5_000_000), CROSSING)
    store, _, _ = made(tmp_path / "both", both, dates=3)
    assert sorted(store.read) == sorted(set(store.read))
    assert len(store.read) == 3  # the tile with two features


def test_a_growing_table_reads_the_tiles_of_new_and_changed_dates_only(tmp_path):
    region = region_of(SQUARE, CROSSING, SQUARE.buffer(33))
    store, first, _ = made(tmp_path, region, dates=2)
    of_a_date = len(store.read) // 2
    assert of_a_date > 0
    store, second, (plan, tiles, features) = made(tmp_path, region, dates=3, store=store)
    assert len(store.read) == of_a_date
    assert [row for row in second if row["date"] < "2020-01-03"] == first
    other = store.get(tiles[0].key) + b" "  # a GeoTIFF may be longer than its directories say
    store.put(tiles[0].key, other)
    object_ = replace(tiles[0].objects[0], crc32c=crc32c(other), size=len(other))
    changed = [replace(tiles[0], objects=(object_,)), *tiles[1:]]
    store.read.clear()
    make_series(store, plan, changed, features)
    assert len(store.read) == of_a_date
    _, whole, _ = made(tmp_path / "at once", region, dates=3)
    assert whole == second


def test_a_box_does_not_replace_the_table_of_another_box_on_the_same_grid(tmp_path):
    one, other = (
        shapely.box(500_001, 4_999_651, 500_509, 4_999_999),
        shapely.box(500_001, 4_999_651, 500_504, 4_999_999),
    )
    store, rows, (plan, tiles, _) = made(tmp_path, Region(geometry=one, crs=CRS), clip=False)
    keys = [
        make_series(store, plan, tiles, series_features(plan, Region(geometry=box, crs=CRS), per_feature=True))[0]
        for box in (one, other, one, other)
    ]
    assert keys[0] == keys[2] == "home/series.csv"
    assert keys[1] == keys[3] != keys[0]
    tables = [list(csv.DictReader(io.StringIO(store.get(key).decode()))) for key in keys[:2]]
    assert [row for row in tables[0] if row["band"] == "a"] == rows
    whole = numbers()[0, 0]
    assert [float(table[0]["mean"]) for table in tables] == [whole[:35, :51].mean(), whole[:35, :50].mean()]


def test_a_run_that_was_killed_leaves_the_same_table(tmp_path, monkeypatch):
    region = region_of(SQUARE, CROSSING, SQUARE.buffer(33))
    monkeypatch.setattr(zonal, "HELD", 1)  # each date is measured and stored for itself
    store, expected_rows, (plan, tiles, features) = made(tmp_path, region, dates=3)
    keys = sorted(each.key for each in store.list("home/receipts/zones-"))
    before = {key: store.get(key) for key in keys}
    assert len(keys) == 3
    store.delete(keys[1])
    store.put(keys[2], before[keys[2]][:-9])  # damaged
    for name in list(store.list("home/receipts/product-")):
        store.delete(name.key)
    key, _ = make_series(store, plan, tiles, features)
    rows = [row for row in csv.DictReader(io.StringIO(store.get(key).decode())) if row["band"] == "a"]
    assert rows == expected_rows
    assert {key: store.get(key) for key in keys} == before


def test_pixels_of_failed_tiles_count_as_not_valid_and_those_of_empty_tiles_too(tmp_path):
    _, _, (plan, tiles, features) = made(tmp_path, region_of(CROSSING, SQUARE))
    store = Counted(tmp_path)
    for status, bands in (("failed", Bands()), ("empty", Bands([zonal.NOTHING] * 2))):
        lost = [replace(t, status=status, objects=(), bands=bands) if t.index == len(tiles) - 1 else t for t in tiles]
        point = feature_points(store, plan, lost, features)[0]
        seen = np.zeros(SIDES, bool)
        seen[10:30, 10:30] = True
        seen[16:, 16:] = False
        assert point.valid_share == seen.sum() / 400
        assert point.mean == numbers()[0, 0][seen].mean()


def test_features_that_overlap_are_counted_each_for_itself(tmp_path):
    _, rows, _ = made(tmp_path, region_of(SQUARE, SQUARE, SQUARE.buffer(-10, join_style="mitre")))
    assert [float(row["mean"]) for row in rows] == [numbers()[0, 0, :5, :5].mean()] * 2 + [
        numbers()[0, 0, 1:4, 1:4].mean()
    ]


def test_a_feature_with_a_hole_and_two_parts_is_one_feature(tmp_path):
    ring = CROSSING.difference(shapely.box(500_153, 4_999_753, 500_247, 4_999_847))
    _, rows, _ = made(tmp_path, region_of(ring.union(SQUARE), CROSSING))
    seen = np.zeros(SIDES, bool)
    seen[10:30, 10:30] = seen[:5, :5] = True
    inside = ~geometry_mask([ring.union(SQUARE)], SIDES, GRID)
    assert inside.sum() < seen.sum()
    assert float(rows[0]["mean"]) == numbers()[0, 0][inside].mean()


def test_features_without_pixels_keep_their_rows(tmp_path):
    away = shapely.box(100_000, 100_000, 100_050, 100_050)
    region = region_of(SQUARE, None, shapely.Point(500_001, 4_999_999), away)
    _, rows, (_, _, features) = made(tmp_path, region)
    assert [(row["feature"], row["valid_share"], row["mean"]) for row in rows] == [
        ("0", "1.0", str(numbers()[0, 0, :5, :5].mean())), ("1", "", ""), ("2", "", ""), ("3", "", "")
    ]  # fmt: skip
    assert features.without_pixels == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["b", "a"], ["b", "a"]),
        ([7, 3], ["7", "3"]),
        (["a", "a"], ["0", "1"]),
        (["a", None], ["0", "1"]),
        ([1, "1"], ["0", "1"]),
        ([0, 1], ["0", "1"]),
        (["00123", "NA"], ["00123", "NA"]),
    ],
)
def test_a_feature_is_named_by_its_own_id_if_all_differ(tmp_path, ids, names):
    _, rows, _ = made(tmp_path, region_of(SQUARE, CROSSING, ids=ids))
    assert [row["feature"] for row in rows] == names


@pytest.mark.parametrize(
    ("ids", "files"),
    [
        (["b", "a"], ("b", "a")),
        (["../x", "y"], ("0", "1")),
        (["a", "A"], ("0", "1")),
        (["7", "07"], ("7", "07")),
        (["1", "01", *"abcdefghi"], ("1", "01", *"abcdefghi")),
        (["a/b", "a b"], ("0", "1")),
        (["é", "y" * 300], ("0", "1")),
        (["north", "CON"], ("0", "1")),
        (["com1", "lpt"], ("0", "1")),
        (["console", "comet"], ("console", "comet")),
        (["\N{KELVIN SIGN}", "b"], ("0", "1")),
        ([None] * 11, tuple(f"{n:02}" for n in range(11))),
    ],
)
def test_files_of_features_have_names_that_every_file_system_takes(tmp_path, ids, files):
    _, _, (_, _, features) = made(tmp_path, region_of(*[SQUARE, CROSSING, *[SQUARE] * 9][: len(ids)], ids=ids))
    assert features.files == files


def test_the_window_of_a_feature_has_no_row_or_column_of_pixels_that_are_all_outside():
    """Edges between pixels that went through another CRS are off by a nanometre."""
    tiling = Tiling(GeoBox(SIDES, GRID, crs_of(CRS)), 16)
    edges = (500_020 - 1e-7, 4_999_950 - 1e-7, 500_070 + 1e-7, 4_999_990 + 1e-7)
    window = Zones([shapely.box(*edges)], tiling).window(0)
    assert window == Window(rows=slice(1, 5), columns=slice(2, 7))
    assert Zones([shapely.box(*edges).buffer(-21, join_style="mitre")], tiling).window(0) is None
    left, top, around = GRID.c, GRID.f, shapely.box(GRID.c - 50, GRID.f - 50, GRID.c + 50, GRID.f + 50)
    corner = around - shapely.box(left - 1, top - 99, left + 99, top + 1)  # its bounding box lies on the grid
    assert Zones([corner], tiling).window(0) is None


def test_properties_are_columns_of_text_and_none_hides_another(tmp_path):
    big = 12345678901234567
    properties = [
        {"feature": "x", "mean": 0.1, "date": "1 May", "mean_given": True, "id": big, "tags": ["a", None]}
        | {"band": "00123"},
        {"feature": None, "mean": 1e300, "date": 'a,"b"\nc\rd', "id": -1, "tags": {"k": 1}, "crop": "NA"},
    ]  # fmt: skip
    _, rows, _ = made(tmp_path, region_of(SQUARE, CROSSING, properties=properties))
    own = ("feature_given", "mean_given_2", "date_given", "mean_given", "id", "tags", "band_given", "crop")
    assert tuple(rows[0])[: len(own) + 1] == ("feature", *own)
    assert [rows[0][name] for name in own] == ["x", "0.1", "1 May", "true", str(big), '["a", null]', "00123", ""]
    assert [rows[1][name] for name in own] == ["", "1e+300", 'a,"b"\nc\rd', "", "-1", '{"k": 1}', "", "NA"]
    assert len(rows[0]) == len(own) + 1 + len(COLUMNS)


def test_the_plot_of_many_features_is_their_mean(tmp_path):
    point = SeriesPoint(time=datetime(2020, 1, 1, tzinfo=UTC), band="a", valid_share=1.0, mean=1.0, counted=1, area=0)
    points = [replace(point, area=n, mean=float(n), counted=n) for n in range(11)]
    ((label, (mean,)),) = series_plot._lines(points, [str(n) for n in range(11)])
    assert (label, mean.mean) == ("a", sum(n * n for n in range(11)) / 55)
    assert [label for label, _ in series_plot._lines(points[:2], ["x", "y"])] == ["x", "y"]
    assert series_plot.plot_series(points, heading=Heading("t"), names=[str(n) for n in range(11)]).startswith(
        b"\x89PNG"
    )

"""The table of a series equals NumPy over the whole mosaics, for any tiling, type, mask and shape of features."""

import io
import json
import math

import numpy as np
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.features import geometry_mask

from tasks.earthengine.transport import Answer
from tasks.plan.plan import Band, Plan, Source, TileFormat
from tasks.plan.tiles import RegionTiles
from tasks.products.features import series_features
from tasks.products.series import feature_points, make_series
from tasks.raster.areas import areas
from tasks.raster.clip import touching
from tasks.raster.crs import crs_of
from tasks.raster.raster import Raster
from tasks.raster.region import Region
from tasks.raster.tiling import Tiling
from tests.rasters import encode_geotiff
from tests.tasks.extraction.test_checkpoint import extract, folder

CRS = "EPSG:32633"
GRID = Affine(10, 0, 500_000, 0, -10, 5_000_000)
SIDES = (37, 53)
"""Rows and columns of the whole."""
BANDS = ("a", "b")
often = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


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
        for odd in draw(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1e30]), max_size=3)):
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
    share = None if masks == "unknown" or not inside.any() else seen.sum() / inside.sum()
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
                want = expected(values[date, band], valid[date, band], shapes[point.area], options["masks"])
                got = (point.valid_share, point.mean, point.min, point.max)
                assert all(map(same, got, want)), (got, want)
        key, _ = make_series(store, plan, receipt.tiles, features)
        tables.append(store.get(key))
    assert tables[0] == tables[1]

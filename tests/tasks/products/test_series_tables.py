"""A table of a series equals NumPy's numbers over the whole mosaics, however the images are cut into tiles."""

import csv
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox

from tasks.earthengine.transport import Answer
from tasks.plan.tiles import RegionTiles
from tasks.products.mosaic import make_mosaic
from tasks.products.series import make_series
from tasks.raster.crs import crs_of
from tasks.raster.raster import DTYPES
from tasks.raster.tiling import Tiling
from tests.tasks.extraction.test_checkpoint import Earth, _encoded, extract, folder, series

DATES = 2


def pixels(dtype, specials):
    if np.dtype(dtype).kind != "f":
        info = np.iinfo(dtype)
        return st.sampled_from([info.min, 0, 1, info.max]) | st.integers(info.min, info.max)
    hard = [0.0, 0.1, 1e16, -1e16, 3e37, -3e37, *specials]
    return st.sampled_from([float(np.dtype(dtype).type(v)) for v in hard]) | st.floats(-1e6, 1e6, width=32)


@st.composite
def images(draw):
    """Return the images of the dates and their masks, both (date, band, y, x).

    No image has all of NaN and both infinities: masks that differ by band would leave no value for nodata.
    """
    shape = (DATES, 2, draw(st.integers(1, 8)), draw(st.integers(1, 8)))
    dtype = draw(st.sampled_from(DTYPES))
    specials = draw(st.sampled_from([(), (np.nan,), (np.inf,), (-np.inf, np.nan), (np.inf, np.nan), (np.inf, -np.inf)]))
    values = draw(hnp.arrays(dtype, shape, elements=pixels(dtype, specials)))
    full = np.ones(shape, bool)
    same = np.broadcast_to(draw(hnp.arrays(bool, shape[2:])), shape)
    return values, draw(st.sampled_from([full, same]) | hnp.arrays(bool, shape))


class Images(Earth):
    """Answers with windows of images."""

    def __init__(self, values, valid):
        super().__init__()
        self.values, self.valid = values, valid

    def __call__(self, request):
        self.asked.append(request.body)
        asked = json.loads(request.body)
        date = asked["expression"]["values"]["0"]["constantValue"] - 1
        size, affine = asked["grid"]["dimensions"], asked["grid"]["affineTransform"]
        left, top = round((affine["translateX"] - 500) / 10), round((900 - affine["translateY"]) / 10)
        place = (date, slice(None), slice(top, top + size["height"]), slice(left, left + size["width"]))
        return Answer(_encoded(asked, ["a", "b"], self.values[place], self.valid[place]), restricted=False)


@settings(max_examples=15, deadline=None)
@given(images(), st.integers(2, 9))
def test_the_table_is_that_of_numpy_over_the_mosaics(given_images, tile_size):
    values, valid = given_images
    box = GeoBox(values.shape[2:], Affine(10, 0, 500, 0, -10, 900), crs_of("EPSG:32633"))
    plan = replace(
        series(1, 2, dtype=values.dtype.name),
        tiles=RegionTiles(crs="EPSG:32633", tiling=Tiling(box, tile_size)),
    )
    with tempfile.TemporaryDirectory() as place:
        store = folder(Path(place))
        (receipt,), _ = extract(plan, store, fetch=Images(values, valid))
        assert {tile.status for tile in receipt.tiles} <= {"stored", "empty"}
        table, _ = make_series(store, plan, receipt.tiles)
        rows = list(csv.DictReader(io.StringIO(store.get(table).decode())))
        assert len(rows) == DATES * 2
        for row, (date, band) in zip(rows, np.ndindex(DATES, 2), strict=True):
            key = make_mosaic(store, plan, receipt.tiles, source=date, name=plan.sources[date].label)
            with rasterio.open(Path(place, key)) as file:
                mosaic = file.read(band + 1)
            mask = valid[date, band]
            counted = mosaic[mask].astype(float)
            assert np.array_equal(counted, values[date, band][mask].astype(float), equal_nan=True)
            counted = counted[~np.isnan(counted)]
            assert float(row["valid_share"]) == pytest.approx(mask.mean())
            if not counted.size:
                assert row["mean"] == row["min"] == row["max"] == ""
                continue
            with np.errstate(invalid="ignore"):
                expected = counted.mean()
            scale = 1e-14 * float(np.abs(counted[np.isfinite(counted)]).sum())  # how NumPy's own sum rounds
            assert float(row["mean"]) == pytest.approx(expected, rel=1e-9, abs=scale, nan_ok=True)
            assert (float(row["min"]), float(row["max"])) == (counted.min(), counted.max())

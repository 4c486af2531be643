"""What people compute: composites and indices of the public collections, against numpy over stored pixels.

The oracle reads the stored bands themselves and masks and reduces with ``numpy.ma``: it never passes through
the interpreter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import ee
import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from deployments.sandbox.catalogue import Catalogue
from deployments.sandbox.interpreter import evaluate
from deployments.sandbox.raster import UINT16, Asset, Grid, Image, crs_of
from deployments.sandbox.scenes import open_catalogue

S2, LANDSAT, MODIS = "COPERNICUS/S2_SR_HARMONIZED", "LANDSAT/LC08/C02/T1_L2", "MODIS/061/MOD13Q1"
AREA = [[-54.64, -25.29], [-54.64, -25.31], [-54.60, -25.31], [-54.60, -25.29]]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return open_catalogue(None)


def children(catalogue: Catalogue, name: str) -> tuple[Asset, ...]:
    return catalogue.children(catalogue.get(name).name)


def image_of(asset: Asset) -> Image:
    assert asset.image is not None
    return asset.image


def masked(asset: Asset, band: str, grid: Grid) -> np.ma.MaskedArray[Any, Any]:
    """Stored pixels of a band, masked where they are."""
    (found,) = (b.read(grid) for b in image_of(asset).bands if b.id == band)
    return np.ma.masked_array(found.values.astype(np.float64), found.mask == 0)


def window(asset: Asset, col: int, row: int, width: int, height: int, band: str | None = None) -> Grid:
    """A part of an asset's own grid: that of its first band, or of one by name."""
    own = next(b.projection for b in image_of(asset).bands if band in {None, b.id})
    moved = own.transform @ Affine.translation(col, row)
    return Grid(crs=own.crs, transform=moved, width=width, height=height)


def check(image: Any, grid: Grid, expected: dict[str, np.ma.MaskedArray[Any, Any]], digits: float) -> None:
    assert [band.id for band in image.bands] == list(expected)
    for band in image.bands:
        found, oracle = band.read(grid), expected[band.id]
        hidden: NDArray[np.bool_] = np.ma.getmaskarray(oracle)
        np.testing.assert_array_equal(found.mask == 0, hidden)
        np.testing.assert_allclose(found.values[~hidden], oracle.compressed(), rtol=digits)
        assert hidden.mean() < 0.9


def within(assets: tuple[Asset, ...], start: str, end: str) -> Iterator[Asset]:
    bounds = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (start, end)]
    return (a for a in assets if a.start_time is not None and bounds[0] <= a.start_time < bounds[1])


def test_cloud_free_sentinel_2_median(catalogue: Catalogue) -> None:
    """The body of computePixels that the client sends for it: filters, SCL mask, median, four bands."""

    def clear(image: ee.Image) -> ee.Image:
        scl = image.select("SCL")
        return image.updateMask(scl.neq(3).And(scl.neq(8)).And(scl.neq(9)).And(scl.neq(10))).divide(10000)

    names = ["B4", "B3", "B2", "B8"]
    built = (
        ee.ImageCollection(S2)
        .filterBounds(ee.Geometry.Polygon([AREA]))
        .filterDate("2020-04-01", "2020-07-01")
        .filter(ee.Filter.lt("CLOUDY_PIXEL_PERCENTAGE", 60))
        .map(clear)
        .median()
        .select(names)
    )
    encoded = ee.serializer.encode(built)
    assert json.loads(json.dumps(encoded)) == encoded
    image = evaluate(encoded, catalogue)
    assets = children(catalogue, S2)
    used = [a for a in within(assets, "2020-04-01", "2020-07-01") if a.properties["CLOUDY_PIXEL_PERCENTAGE"] < 60]
    assert 3 <= len(used) < len(assets)
    grid = window(assets[0], 4050, 150, 97, 83, "B4")
    expected = {}
    for name in names:
        layers = []
        for asset in used:
            scl = masked(asset, "SCL", grid)
            values = masked(asset, name, grid) / 10000
            layers.append(np.ma.masked_where(np.isin(scl.filled(3), [3, 8, 9, 10]), values))
        clear_days = np.ma.stack(layers).count(axis=0)
        assert clear_days.min() < clear_days.max()
        expected[name] = np.ma.median(np.ma.stack(layers), axis=0)
    check(image, grid, expected, 1e-6)
    assert {band.type.precision for band in image.bands} == {"FLOAT"}


def test_landsat_bits(catalogue: Catalogue) -> None:
    """Clouds (bit 3) and shadows (bit 4) masked, cloud confidence (bits 8 and 9) shifted down, NDVI scaled."""

    def prepared(image: ee.Image) -> ee.Image:
        qa = image.select("QA_PIXEL")
        clear = qa.bitwiseAnd(1 << 3).eq(0).And(qa.bitwiseAnd(1 << 4).eq(0))
        scaled = image.select(["SR_B5", "SR_B4"]).multiply(0.0000275).add(-0.2)
        confidence = qa.rightShift(8).bitwiseAnd(3).rename("confidence")
        return scaled.addBands(confidence).updateMask(clear)

    assets = children(catalogue, LANDSAT)
    asset = assets[0]
    grid = window(asset, 180, 240, 70, 53)
    image = evaluate(ee.serializer.encode(prepared(ee.Image(asset.id))), catalogue)
    qa = masked(asset, "QA_PIXEL", grid)
    bits = qa.filled(8).astype(np.int64)
    cloudy = (bits // 8 % 2 == 1) | (bits // 16 % 2 == 1)
    expected = {
        name: np.ma.masked_where(cloudy, masked(asset, name, grid) * 0.0000275 - 0.2) for name in ("SR_B5", "SR_B4")
    }
    expected["confidence"] = np.ma.masked_where(cloudy, np.ma.masked_array(bits // 256 % 4, qa.mask))
    check(image, grid, expected, 1e-9)
    assert image.bands[0].type.precision == "DOUBLE"
    # "The type of the output pixels is the union of the input types" (Image.bitwiseAnd).
    assert image.bands[2].type == UINT16


def test_modis_ndvi(catalogue: Catalogue) -> None:
    """Scaled NDVI of a season, with the good pixels of SummaryQA only, on a part of the sinusoidal grid."""
    built = (
        ee.ImageCollection(MODIS)
        .filterDate("2020-01-01", "2020-04-01")
        .map(
            lambda i: (
                i.select("NDVI")
                .multiply(0.0001)
                .updateMask(i.select("SummaryQA").lte(1))
                .copyProperties(i, ["system:time_start"])
            )
        )
    )
    assets = list(within(children(catalogue, MODIS), "2020-01-01", "2020-04-01"))
    assert evaluate(ee.serializer.encode(built.size()), catalogue) == len(assets) == 6
    times = evaluate(ee.serializer.encode(built.aggregate_array("system:time_start")), catalogue)
    assert times == [round(a.start_time.timestamp() * 1000) for a in assets if a.start_time]
    image = evaluate(ee.serializer.encode(built.mean()), catalogue)
    own = image_of(assets[0]).bands[0].projection
    place = Transformer.from_crs("EPSG:4326", crs_of(own.crs), always_xy=True).transform(-54.65, -25.2)
    col, row = (int(part) for part in ~own.transform @ place)
    grid = window(assets[0], col - 11, row - 9, 24, 19)
    layers = [
        np.ma.masked_where(masked(a, "SummaryQA", grid).filled(9) > 1, masked(a, "NDVI", grid) * 0.0001) for a in assets
    ]
    good = np.ma.stack(layers).count(axis=0)
    assert good.min() < good.max()
    check(image, grid, {"NDVI": np.ma.stack(layers).mean(axis=0)}, 1e-9)

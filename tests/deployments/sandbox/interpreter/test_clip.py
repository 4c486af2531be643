"""Where clipped images end: `dimensions` and `origin` of their bands, and requests without a grid."""

from __future__ import annotations

import io
from typing import Any

import ee
import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer

from deployments.sandbox.engine import render
from deployments.sandbox.interpreter import evaluate
from deployments.sandbox.raster import UINT16, Projection
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.request import compute_pixels

UTM = Projection(crs="EPSG:32621", transform=Affine(30, 0, 600_000, 0, -30, 7_200_000))
A = np.arange(400).reshape(20, 20) + 1
BODY = b'{"fileFormat": "NPY", "expression": {"result": "0", "values": {}}}'


def utm(left: float, top: float, right: float, bottom: float) -> Any:
    """A rectangle in pixels of the image, as a geometry in its own CRS."""
    (west, north), (east, south) = (UTM.transform @ corner for corner in ((left, top), (right, bottom)))
    return ee.Geometry.Rectangle([west, south, east, north], UTM.crs, False)


def lonlat(left: float, top: float, right: float, bottom: float) -> Any:
    """The longitudes and latitudes of the corners of such a rectangle."""
    back = Transformer.from_crs(UTM.crs, "EPSG:4326", always_xy=True)
    corners = ((left, bottom), (right, bottom), (right, top), (left, top))
    return ee.Geometry.Polygon([[list(back.transform(*(UTM.transform @ c))) for c in corners]], None, False)


@pytest.fixture
def stored(bench: Any, make_band: Any) -> Any:
    bands = [make_band(name, A, kind=UINT16, projection=UTM) for name in ("x", "y")]
    return bench.put("a", *bands, footprint=(-54.8867, 64.9036, -54.8736, 64.9091))


def asked(bench: Any, built: Any) -> Any:
    """What a request without a grid gives, as NumPy reads it."""
    image = evaluate(ee.serializer.encode(built), bench.shelf)
    return np.load(io.BytesIO(render(image, compute_pixels(BODY)).body))


@pytest.mark.parametrize("place", [utm, lonlat])
def test_a_clipped_image_ends_at_the_bounds_of_its_clip(bench: Any, stored: Any, place: Any) -> None:
    clipped = stored.clip(place(3.2, 5.1, 8.9, 9.7))
    for band in bench.info(clipped)["bands"]:
        assert band["dimensions"] == [6, 5]
        assert band["origin"] == [3, 5]
        assert band["crs_transform"] == [30, 0, 600_000, 0, -30, 7_200_000]
    array = asked(bench, clipped)
    assert array.shape == (5, 6)
    np.testing.assert_array_equal(array["x"], A[5:10, 3:9])


def test_what_was_not_clipped_has_no_origin(bench: Any, stored: Any) -> None:
    band = bench.info(stored)["bands"][0]
    assert band["dimensions"] == [20, 20]
    assert "origin" not in band
    assert asked(bench, stored).shape == (20, 20)
    beyond = bench.info(stored.clip(utm(-5, -5, 30, 30)))["bands"][0]
    assert beyond["dimensions"] == [20, 20]
    assert "origin" not in beyond


@pytest.mark.parametrize(
    "further",
    [
        lambda image: image.multiply(1),
        lambda image: image.updateMask(1),
        lambda image: image.select("y"),
        lambda image: image.addBands(image.rename(["p", "q"])),
        lambda image: image.toInt32(),
        lambda image: image.clip(utm(0, 0, 9, 10)),
        lambda image: image.where(image.gt(3), 5),
        lambda image: image.reduce(ee.Reducer.mean()),
        lambda image: image.unmask(0),
        lambda image: image.remap([1], [2], None, "x"),
        lambda image: image.resample("bilinear"),
    ],
)
def test_what_is_made_of_a_clipped_image_ends_there_too(bench: Any, stored: Any, further: Any) -> None:
    for band in bench.info(further(stored.clip(utm(3, 5, 9, 10))))["bands"]:
        assert (band["dimensions"], band["origin"]) == ([6, 5], [3, 5])


def test_clips_of_clips_share_an_end(bench: Any, stored: Any) -> None:
    band = bench.info(stored.clip(utm(3, 5, 9, 10)).clip(utm(7, 2, 12, 7)))["bands"][0]
    assert (band["dimensions"], band["origin"]) == ([2, 2], [7, 5])


def test_a_point_is_a_pixel(bench: Any, stored: Any) -> None:
    point = ee.Geometry.Point([600_000 + 30 * 4, 7_200_000 - 30 * 6], UTM.crs)  # on the corner of four
    band = bench.info(stored.clip(point))["bands"][0]
    assert (band["dimensions"], band["origin"]) == ([1, 1], [4, 6])


def test_a_clipped_composite_ends_in_degrees(bench: Any, stored: Any) -> None:
    """As Earth Engine shows a composite that is clipped to a box around Boston."""
    composite = ee.ImageCollection([stored, stored]).max().clip(ee.Geometry.BBox(-71.5, 42.1, -70.2, 42.9))
    band = bench.info(composite)["bands"][0]
    assert band["crs"] == "EPSG:4326"
    assert band["crs_transform"] == [1, 0, 0, 0, 1, 0]
    assert (band["dimensions"], band["origin"]) == ([2, 1], [-72, 42])


def test_clipped_to_nothing(bench: Any, stored: Any) -> None:
    clipped = stored.clip(ee.Geometry.Point([0, 0]))
    assert bench.info(clipped)["bands"][0]["dimensions"] == [0, 0]
    with pytest.raises(Refusal, match="no pixels"):
        asked(bench, clipped)


def test_setting_a_mask_may_show_zeros(bench: Any, make_band: Any, make_grid: Any) -> None:
    image = bench.put("m", make_band("x", [[7, 8, 9]], mask=[[0, 1, 1]]))
    new = bench.put("n", make_band("q", [[1, 0, 1]]))
    assert bench.pixels(image.mask(new), make_grid(3, 1)) == {"x": [[0, None, 9]]}

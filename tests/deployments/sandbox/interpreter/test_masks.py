"""Masks and footprints, by hand and against rasterio's warper of vectors."""

from __future__ import annotations

from typing import Any

import ee
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import Transformer

from deployments.sandbox.raster import FLOAT, INT16, Grid, Projection
from deployments.sandbox.refusal import Refusal


def test_the_mask_is_a_fraction_that_is_valid_everywhere(bench: Any, make_band: Any, make_grid: Any) -> None:
    image = bench.put("a", make_band("x", [[7, 8, 9]], mask=[[1, 0.25, 0]]))
    assert bench.pixels(image.mask(), make_grid(5, 1)) == {"x": [[1.0, 0.25, 0.0, 0.0, 0.0]]}


def test_update_mask_never_unmasks(bench: Any, make_band: Any, make_grid: Any) -> None:
    image = bench.put("a", make_band("x", [[1, 2, 3, 4]], mask=[[0, 1, 1, 0.5]]))
    new = bench.put("m", make_band("q", [[1, 0, 5, 1]], mask=[[1, 1, 1, 1]]))
    hidden = bench.put("n", make_band("q", [[1, 1, 1, 1]], mask=[[1, 1, 0, 1]]))
    grid = make_grid(4, 1)
    assert bench.value(image.updateMask(new)).bands[0].read(grid).mask.tolist() == [[0, 0, 1, 0.5]]
    assert bench.value(image.updateMask(hidden)).bands[0].read(grid).mask.tolist() == [[0, 1, 0, 0.5]]
    half = bench.value(image.updateMask(0.75)).bands[0].read(grid).mask.tolist()
    assert half == [[0, 0.75, 0.75, 0.5]]


def test_self_mask(bench: Any, make_band: Any, make_grid: Any) -> None:
    image = bench.put("a", make_band("x", [[0, 1, 7]]))
    assert bench.pixels(image.selfMask(), make_grid(3, 1)) == {"x": [[None, 1, 7]]}


def test_where_needs_all_three_valid(bench: Any, make_band: Any, make_grid: Any) -> None:
    image = bench.put("i", make_band("x", [[1, 2, 3, 4, 5]], mask=[[1, 1, 1, 1, 0]]))
    test = bench.put("t", make_band("t", [[1, 0, 1, 1, 1]], mask=[[1, 1, 0, 1, 1]]))
    value = bench.put("v", make_band("v", [[-9, -9, -9, -9, -9]], kind=INT16, mask=[[1, 1, 1, 0, 1]]))
    built = image.where(test, value)
    assert bench.pixels(built, make_grid(5, 1)) == {"x": [[-9, 2, 3, 4, None]]}
    assert bench.value(built).bands[0].type == INT16


def box_of(grid: Grid, col: float, row: float, width: float, height: float) -> list[list[float]]:
    """Corners in longitude and latitude of a box in a grid's pixels."""
    back = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    corners = [(col, row), (col + width, row), (col + width, row + height), (col, row + height)]
    return [list(back.transform(*(grid.transform @ corner))) for corner in corners]


def test_clip_keeps_the_pixels_whose_centres_are_inside(bench: Any, make_band: Any, make_grid: Any) -> None:
    """The box reaches from 0.6 to 3.2 columns and from 0.2 to 1.4 rows: centres 1.5, 2.5 and 0.5."""
    grid = make_grid(4, 2)
    image = bench.put("a", make_band("x", [[1, 2, 3, 4], [5, 6, 7, 8]]))
    ring = box_of(grid, 0.6, 0.2, 2.6, 1.2)
    for shape in (ee.Geometry.Polygon([ring]), ee.Feature(ee.Geometry.Polygon([ring], None, False))):
        assert bench.pixels(image.clip(shape), grid) == {"x": [[None, 2, 3, None], [None] * 4]}


def test_clip_in_the_geometrys_own_crs(bench: Any, make_band: Any) -> None:
    north_up = Projection(crs="EPSG:32621", transform=Affine(10, 0, 500_003, 0, -10, 7_000_007))
    image = bench.put("a", make_band("x", [[1, 2, 3]], projection=north_up))
    grid = Grid(crs=north_up.crs, transform=north_up.transform, width=3, height=1)
    shape = ee.Geometry.Rectangle([500_012, 6_999_990, 500_024, 7_000_010], "EPSG:32621", False)
    assert bench.pixels(image.clip(shape), grid) == {"x": [[None, 2, None]]}


@pytest.mark.parametrize("same", [True, False])
def test_unmask_inside_the_footprint_or_everywhere(bench: Any, make_band: Any, make_grid: Any, same: bool) -> None:
    grid = make_grid(4, 1)
    bounds = shapely.Polygon(box_of(grid, -5, -5, 7, 15)).bounds  # covers two columns or so
    band = make_band("x", [[1, 2, 3, 4]], mask=[[0, 1, 1, 0]])
    image = bench.put("a", band, footprint=bounds)
    (row,) = bench.pixels(image.unmask(9, same), grid)["x"]
    back = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    centres = [back.transform(*(grid.transform @ (c + 0.5, 0.5))) for c in range(4)]
    covered = [shapely.box(*bounds).contains(shapely.Point(*centre)) for centre in centres]
    assert covered[0]
    assert not covered[3]
    assert row == [9, 2, 3, None if same else 9]


def test_unmask_takes_the_mask_of_its_value(bench: Any, make_band: Any, make_grid: Any) -> None:
    image = bench.put("a", make_band("x", [[1, 2, 3]], mask=[[0, 0.5, 0]]))
    fill = bench.put("f", make_band("f", [[7.5, 8.5, 9.5]], kind=FLOAT, mask=[[0.25, 1, 0]]))
    found = bench.value(image.unmask(fill)).bands[0].read(make_grid(3, 1))
    assert found.mask.tolist() == [[0.25, 0.5, 0.0]]
    assert found.values[0, :2].tolist() == [7.5, 2.0]
    assert found.values.dtype == np.float32


def test_the_projects_own_packing_of_masks(bench: Any, make_band: Any, make_grid: Any) -> None:
    """Bit k of ``valid_0`` is the mask of band k, wherever the image has an end."""
    image = bench.put(
        "a",
        make_band("B4", [[1, 2, 3, 4]], mask=[[1, 0, 1, 0.01]]),
        make_band("B3", [[1, 2, 3, 4]], mask=[[1, 1, 0, 0]]),
        make_band("B2", [[1, 2, 3, 4]], mask=[[1, 0, 0, 1]]),
        footprint=(-57.001, 63, -56.999, 65),
    )
    chosen = image.select(["B4", "B3", "B2"])
    bits = chosen.mask().gt(0).multiply(ee.Image.constant([1, 2, 4])).reduce(ee.Reducer.sum())
    packed = chosen.addBands(bits.unmask(0, False).toUint8().rename("valid_0"))
    assert bench.pixels(packed, make_grid(6, 1))["valid_0"] == [[7, 2, 1, 5, 0, 0]]
    valid = bench.value(packed).bands[-1].read(make_grid(6, 1))
    assert valid.values.dtype == np.uint8
    assert valid.mask.min() == 1


def test_what_cannot_be_clipped_to(bench: Any, make_band: Any) -> None:
    image = bench.put("a", make_band("x", [[1]]))
    with pytest.raises(Refusal, match=r"Image\.clip"):
        bench.value(image.clip(ee.Feature(None)))

"""Encoded pixels say what the arrays said: read back by NumPy and by GDAL."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from deployments.sandbox.formats import encode
from deployments.sandbox.raster import (
    DOUBLE,
    FLOAT,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    Band,
    DataType,
    Grid,
    Pixels,
)
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.request import FileFormat, Visualization

# Pictures have no place on earth, and rasterio tells so whoever reads them.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

GRID = Grid(crs="EPSG:32621", transform=Affine(30, 4, 500_013, -6, -20, 17), width=7, height=5)
Truth = Callable[[str], tuple[NDArray[np.float64], NDArray[np.float32]]]


def band(name: str, kind: DataType) -> Band:
    def read(grid: Grid) -> Pixels:
        raise AssertionError(grid)

    return Band(id=name, type=kind, projection=GRID, read=read)


def pixels(kind: str, truth: Truth) -> Pixels:
    """Part of a stored band, with garbage under the mask (not-a-numbers, where the type has them)."""
    values, mask = truth(kind)
    values, mask = values[2:7, 5:12], mask[2:7, 5:12]
    garbage = np.nan if kind[0] == "f" else 99
    return Pixels(np.where(mask > 0, values, garbage).astype({"i8": "i8"}.get(kind, kind)), mask)


def show(
    bands: list[tuple[NDArray[Any], NDArray[Any], DataType]], how: FileFormat, **options: Any
) -> tuple[str, NDArray[Any]]:
    """Encode for display and return the driver's name and the array (band, y, x) that GDAL reads."""
    height, width = bands[0][0].shape
    grid = Grid(crs="EPSG:4326", transform=Affine.identity(), width=width, height=height)
    picture = encode(
        [Pixels(values, mask.astype(np.float32)) for values, mask, _ in bands],
        [band(f"b{i}", kind) for i, (_, _, kind) in enumerate(bands)],
        grid,
        how,
        Visualization(**options) if options else None,
    )
    with MemoryFile(picture.body) as file, file.open() as dataset:
        return dataset.driver, dataset.read()


def test_npy_is_structured_interleaved_and_zero_where_masked(truth: Truth) -> None:
    held = {"u2": UINT16, "f4": FLOAT, "i1": INT8, "i8": INT64}
    picture = encode([pixels(name, truth) for name in held], [band(*item) for item in held.items()], GRID, "NPY")
    assert picture.body[:8] == b"\x93NUMPY\x01\x00"  # version 1.0
    head = picture.body[10 : picture.body.index(b"\n")].decode()
    assert head.rstrip() == (
        "{'descr': [('u2', '<u2'), ('f4', '<f4'), ('i1', '|i1'), ('i8', '<f8')], "
        "'fortran_order': False, 'shape': (5, 7), }"
    )
    array = np.load(io.BytesIO(picture.body))
    for name in held:
        values, mask = (part[2:7, 5:12] for part in truth(name))
        assert (mask == 0).any()
        assert (mask == 1).any()
        np.testing.assert_array_equal(array[name], np.where(mask > 0, values, 0))


@pytest.mark.parametrize(
    ("kind", "dtype", "nodata", "fill"),
    [
        (UINT8, "uint8", 0, 0),
        (UINT16, "uint16", 0, 0),
        (UINT32, "uint32", 0, 0),
        (INT8, "int8", -128, -128),
        (INT16, "int16", -32768, -32768),
        (INT32, "int32", -(2**31), -(2**31)),
        (FLOAT, "float32", -np.inf, -np.inf),
        (DOUBLE, "float64", -np.inf, -np.inf),
        (INT64, "float64", -np.inf, 0),  # as geedim records: tagged -inf, filled with zeros
    ],
)
def test_geotiff_has_the_nodata_of_its_type(
    kind: DataType, dtype: str, nodata: float, fill: float, truth: Truth
) -> None:
    name = "i8" if kind is INT64 else kind.numpy.str[1:]
    picture = encode([pixels(name, truth)] * 2, [band("one", kind), band("two", kind)], GRID, "GEO_TIFF")
    values, mask = (part[2:7, 5:12] for part in truth(name))
    assert picture.media_type == "image/tiff"
    with MemoryFile(picture.body) as file, file.open() as dataset:
        assert dataset.dtypes == (dtype, dtype)
        assert dataset.nodata == nodata
        assert dataset.descriptions == ("one", "two")
        assert dataset.crs == rasterio.CRS.from_epsg(32621)
        assert dataset.transform == GRID.transform
        np.testing.assert_array_equal(dataset.read(2), np.where(mask > 0, values, fill))


def test_geotiff_of_mixed_types_is_refused(truth: Truth) -> None:
    with pytest.raises(Refusal, match="compatible data types; found inconsistent types: Float32 and UInt16"):
        encode([pixels("u2", truth), pixels("f4", truth)], [band("a", UINT16), band("b", FLOAT)], GRID, "GEO_TIFF")


def test_geotiff_of_the_sinusoidal_grid_says_so(truth: Truth) -> None:
    grid = Grid(crs="SR-ORG:6974", transform=Affine(231.65, 0, 1e6, 0, -231.65, 5e6), width=7, height=5)
    picture = encode([pixels("i2", truth)], [band("NDVI", INT16)], grid, "GEO_TIFF")
    with MemoryFile(picture.body) as file, file.open() as dataset:
        assert dataset.crs.to_dict()["proj"] == "sinu"
        assert dataset.crs.to_dict()["R"] == 6371007.181


def test_a_range_maps_to_eight_bits_and_is_clamped() -> None:
    values = np.array([[-50.0, 100, 150], [200, 300, 299.9]])
    driver, read = show([(values, np.ones((2, 3)), DOUBLE)], "PNG", ranges=((100.0, 200.0),))
    assert driver == "PNG"
    grey = [[0, 0, 128], [255, 255, 255]]  # 150 lies at 127.5
    np.testing.assert_array_equal(read, [grey, grey, grey, np.full((2, 3), 255)])


def test_gamma_palette_and_opacity() -> None:
    values, whole = np.array([[0.0, 0.25, 1.0]]), np.ones((1, 3))
    _, read = show([(values, whole, FLOAT)], "PNG", gamma=2.0)
    np.testing.assert_array_equal(read[0], [[0, 128, 255]])  # 0.25 ** (1/2) = 0.5
    _, read = show(
        [(values, whole, FLOAT)], "PNG", ranges=((0.0, 0.5),), palette=("#F00", "00ff00", "blue"), opacity=0.4
    )
    np.testing.assert_array_equal(read[:, 0].T, [[255, 0, 0, 102], [0, 255, 0, 102], [0, 0, 255, 102]])


def test_each_band_has_its_range_and_masked_pixels_are_clear() -> None:
    values = [np.array([[10, 20]]), np.array([[1, 2]]), np.array([[5, 5]])]
    masks = [np.array([[1, 1]]), np.array([[1, 0]]), np.array([[0.5, 1]])]
    bands = [(v.astype("u1"), m, UINT8) for v, m in zip(values, masks, strict=True)]
    _, read = show(bands, "PNG", ranges=((0.0, 20.0), (0.0, 2.0), (0.0, 10.0)))
    np.testing.assert_array_equal(read[:, 0].T, [[128, 128, 128, 128], [0, 0, 0, 0]])


def test_auto_is_jpeg_when_opaque_and_png_else() -> None:
    values = np.tile(np.arange(0, 250, 10, dtype="u1"), (16, 1))
    mask = np.ones(values.shape)
    driver, read = show([(values, mask, UINT8)], "AUTO_JPEG_PNG")
    assert driver == "JPEG"
    assert np.abs(read.astype(int) - values).max() <= 4
    mask[3, 4] = 0
    driver, read = show([(values, mask, UINT8)], "AUTO_JPEG_PNG")
    assert driver == "PNG"
    np.testing.assert_array_equal(read[3] == 0, mask == 0)
    np.testing.assert_array_equal(read[1][mask > 0], values[mask > 0])


def test_jpeg_is_black_where_masked() -> None:
    values, mask = np.full((32, 16), 240, "u1"), np.ones((32, 16))
    mask[:16] = 0
    driver, read = show([(values, mask, UINT8)], "JPEG")
    assert driver == "JPEG"
    assert read.shape == (3, 32, 16)
    assert read[:, :15].max() < 8
    assert read[:, 17:].min() > 232


@pytest.mark.parametrize(
    ("kinds", "options", "message"),
    [
        ([UINT8, UINT8], {}, "1 or 3 bands, not 2"),
        ([UINT16], {}, "8-bit data"),
        ([UINT8] * 3, {"palette": ("red",)}, "palette is only allowed with a single band"),
        ([UINT8], {"palette": ("redd",)}, "Invalid palette colour 'redd'"),
        ([UINT8] * 3, {"ranges": ((0.0, 1.0), (0.0, 1.0))}, "2 visualization ranges for 3 bands"),
    ],
)
def test_what_cannot_be_shown_is_refused(kinds: list[DataType], options: Any, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        show([(np.zeros((2, 3)), np.ones((2, 3)), kind) for kind in kinds], "PNG", **options)


@pytest.mark.parametrize("how", ["NPY", "GEO_TIFF"])
def test_a_visualization_is_bytes_in_every_format(how: FileFormat) -> None:
    """0, 50 and 100 of 0 to 100 are 0, 128 and 255; what is masked has the zero that bytes have for it."""
    values = [np.array([[0, 50, 100, 250, 70]], "<u2"), np.array([[100, 0, 25, 0, 70]], "<u2")]
    mask = np.array([[1, 1, 1, 1, 0]], np.float32)
    held = [Pixels(values[i], mask) for i in (0, 1, 0)]
    bands = [band(name, UINT16) for name in ("r", "g", "b")]
    grid = Grid(crs="EPSG:32621", transform=Affine(30, 0, 0, 0, -30, 0), width=5, height=1)
    picture = encode(held, bands, grid, how, Visualization(ranges=((0.0, 100.0),)))
    expected = [[0, 128, 255, 255, 0], [255, 0, 64, 0, 0], [0, 128, 255, 255, 0]]
    names = ("vis-red", "vis-green", "vis-blue")
    if how == "NPY":
        array = np.load(io.BytesIO(picture.body))
        assert array.dtype == np.dtype([(name, "u1") for name in names])
        found = [array[name][0].tolist() for name in names]
    else:
        with MemoryFile(picture.body) as file, file.open() as dataset:
            assert dataset.dtypes == ("uint8",) * 3
            assert dataset.descriptions == names
            assert dataset.nodata == 0
            found = dataset.read()[:, 0].tolist()
    assert found == expected
    raw = encode(held[:1], bands[:1], grid, "NPY")
    assert np.load(io.BytesIO(raw.body))["r"].tolist() == [[0, 50, 100, 250, 0]]


def test_a_palette_is_bytes_in_npy() -> None:
    held = Pixels(np.array([[0, 10]], "<u2"), np.ones((1, 2), np.float32))
    grid = Grid(crs="EPSG:32621", transform=Affine(30, 0, 0, 0, -30, 0), width=2, height=1)
    options = Visualization(ranges=((0.0, 10.0),), palette=("red", "0000ff"))
    array = np.load(io.BytesIO(encode([held], [band("x", UINT16)], grid, "NPY", options).body))
    assert array[0].tolist() == [(255, 0, 0), (0, 0, 255)]

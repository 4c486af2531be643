"""Laws of writing and reading GeoTIFFs: every pixel, every mask bit, the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader, MemoryFile

from tasks.raster.crs import SINUSOIDAL, crs_of
from tasks.raster.encode import Codec, read_geotiff
from tasks.raster.masks import choose_nodata, mask_facts, mask_storage
from tasks.raster.raster import DTYPES, Raster
from tests.rasters import encode_geotiff, equal

AFFINE = Affine(28.5, 3.25, 630_534.0, -1.5, -30.0, 228_114.0)
CODECS: tuple[Codec, ...] = ("zstd", "deflate", "none")


@st.composite
def rasters(draw: st.DrawFn) -> Raster:
    """Rasters of every dtype, with values at the ends of its range, and every kind of mask."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 33)))
    if dtype.kind == "f":
        ends = st.sampled_from(
            [0.0, -0.0, np.nan, -np.inf, float(np.finfo(dtype).min), float(np.finfo(dtype).max), 1.5]
        )
    else:
        info = np.iinfo(dtype)
        ends = st.sampled_from([info.min, info.min + 1, 0, 1, info.max - 1, info.max])
    values = draw(hnp.arrays(dtype, shape, elements=ends))
    kind = draw(st.sampled_from(["unknown", "full", "empty", "uniform", "by band"]))
    masks = {
        "unknown": st.none(),
        "full": st.just(np.ones(shape, dtype=bool)),
        "empty": st.just(np.zeros(shape, dtype=bool)),
        "uniform": hnp.arrays(bool, shape[1:]).map(lambda mask: np.broadcast_to(mask, shape)),
        "by band": hnp.arrays(bool, shape),
    }
    return Raster(
        values=values,
        valid=draw(masks[kind]),
        bands=tuple(f"band {i} é" for i in range(shape[0])),
        geobox=GeoBox(shape[1:], AFFINE, draw(st.sampled_from(["EPSG:32119", "EPSG:4326"]))),
    )


@given(rasters(), st.sampled_from(CODECS))
def test_reading_undoes_writing(raster: Raster, codec: Codec) -> None:
    data = encode_geotiff(raster, tags={"date": "2020-05-18"}, codec=codec)
    again = read_geotiff(data)
    assert again.values.dtype == mask_storage(mask_facts(raster)).dtype
    same_type = Raster(
        values=again.values.astype(raster.values.dtype), valid=again.valid, bands=again.bands, geobox=again.geobox
    )
    assert equal(raster, same_type)
    assert data == encode_geotiff(raster, tags={"date": "2020-05-18"}, codec=codec)


@given(rasters())
def test_gdal_sees_the_same_mask(raster: Raster) -> None:
    with MemoryFile(encode_geotiff(raster)) as memory, memory.open() as file:
        valid = np.ones(raster.values.shape, dtype=bool) if raster.valid is None else raster.valid
        assert np.array_equal(file.read_masks() > 0, valid)
        assert file.descriptions == raster.bands
        assert file.transform == raster.geobox.affine
        assert (file.tags().get("MASK") == "unknown") == (raster.valid is None)


def flags(file: DatasetReader) -> set[MaskFlags]:
    return {flag for band in file.mask_flag_enums for flag in band}


def example(dtype: str = "uint16", shape: tuple[int, int, int] = (2, 37, 50)) -> np.ndarray:
    return np.random.default_rng(3).integers(1, 100, shape).astype(dtype)


def raster_of(values: np.ndarray, valid: np.ndarray | None, crs: str = "EPSG:32633") -> Raster:
    names = tuple(f"B{i}" for i in range(len(values)))
    return Raster(values=values, valid=valid, bands=names, geobox=GeoBox(values.shape[1:], AFFINE, crs_of(crs)))


def test_each_kind_of_mask_is_stored_in_its_own_way() -> None:
    values = example()
    same = np.broadcast_to(values[0] > 30, values.shape)
    cases = [
        (None, {MaskFlags.all_valid}, None),
        (np.ones(values.shape, bool), {MaskFlags.all_valid}, None),
        (same, {MaskFlags.per_dataset}, None),
        (values > 30, {MaskFlags.nodata}, 0.0),
    ]
    for valid, expected, nodata in cases:
        with MemoryFile(encode_geotiff(raster_of(values, valid))) as memory, memory.open() as file:
            assert flags(file) == expected
            assert file.nodata == nodata


def test_floats_with_masks_that_differ_take_nan() -> None:
    values = example("float32")
    with MemoryFile(encode_geotiff(raster_of(values, values > 30))) as memory, memory.open() as file:
        assert np.isnan(file.nodata)
        assert np.array_equal(np.isnan(file.read()), values <= 30)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "ESRI:54009", SINUSOIDAL])
def test_the_crs_comes_back(crs: str) -> None:
    raster = raster_of(example(), None, crs)
    again = read_geotiff(encode_geotiff(raster))
    assert equal(again, raster)


def test_a_file_is_tiled_and_says_how_it_is_packed() -> None:
    raster = raster_of(example(shape=(3, 300, 700)), None)
    sizes = {}
    for codec, name in {"zstd": "zstd", "deflate": "deflate", "none": None}.items():
        data = encode_geotiff(raster, tags={"z": "1", "a": "ü"}, codec=codec)
        sizes[codec] = len(data)
        with MemoryFile(data) as memory, memory.open() as file:
            assert file.block_shapes == [(256, 256)] * 3
            assert file.profile["interleave"] == "band"
            assert file.profile.get("compress") == name
            assert {key: file.tags()[key] for key in ("z", "a")} == {"z": "1", "a": "ü"}
            assert np.array_equal(file.read(), raster.values)
    assert sizes["zstd"] < sizes["none"]
    with MemoryFile(encode_geotiff(raster_of(example(), None))) as memory, memory.open() as file:
        assert file.block_shapes == [(48, 64)] * 2


def test_the_order_of_tags_does_not_matter() -> None:
    raster = raster_of(example(), None)
    assert encode_geotiff(raster, tags={"a": "1", "b": "2"}) == encode_geotiff(raster, tags={"b": "2", "a": "1"})


def test_a_file_is_read_like_its_bytes(tmp_path: Path) -> None:
    values = example()
    raster = raster_of(values, values > 30)
    path = tmp_path / "tile.tif"
    path.write_bytes(encode_geotiff(raster))
    assert equal(read_geotiff(path), raster)
    assert equal(read_geotiff(str(path)), raster)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("dtype", "low", "high", "wide", "nodata"),
    [
        ("uint8", 1, 255, "uint8", 0),
        ("uint8", 0, 254, "uint8", 255),
        ("uint8", 0, 255, "uint16", 65535),
        ("int8", -128, 127, "int16", -32768),
        ("int16", -32767, 32767, "int16", -32768),
        ("int16", -32768, 32766, "int16", 32767),
        ("uint16", 0, 65535, "uint32", 4294967295),
        ("int32", -(2**31), 2**31 - 1, "float64", np.nan),
        ("uint32", 0, 2**32 - 1, "float64", np.nan),
        ("uint8", None, None, "uint8", 0),
        ("float32", -np.inf, np.inf, "float32", np.nan),
    ],
)
def test_no_data_is_a_value_that_no_pixel_takes(
    dtype: str, low: float | None, high: float | None, wide: str, nodata: float
) -> None:
    chosen, value = choose_nodata(np.dtype(dtype), low, high)
    assert chosen == wide
    assert np.array_equal(value, nodata, equal_nan=True)


def test_floats_that_hold_nan_take_an_infinity() -> None:
    single, double = np.dtype("f4"), np.dtype("f8")
    assert choose_nodata(single, -1, np.inf, nan=True) == (single, -np.inf)
    assert choose_nodata(single, -np.inf, 1, nan=True) == (single, np.inf)
    with pytest.raises(ValueError, match="mask the infinities"):
        choose_nodata(double, -np.inf, np.inf, nan=True)


def test_facts_of_two_rasters_are_those_of_both() -> None:
    values = example()
    values[1] += 500
    top, bottom = values[:, :20], values[:, 20:]
    for threshold in (30, 0):
        whole = mask_facts(raster_of(values, values > threshold))
        parts = mask_facts(raster_of(top, top > threshold)) | mask_facts(raster_of(bottom, bottom > threshold))
        assert parts == whole

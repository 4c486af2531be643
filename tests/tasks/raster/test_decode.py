"""Laws of decoding: what was asked for, or a refusal; never a mask made up."""

import io
import pickle

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib import recfunctions
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile

from tasks.raster.crs import SINUSOIDAL, crs_of
from tasks.raster.decode import CACHED, CorruptPixelsError, decode_geotiff, decode_npy, same_grid, validity_fields

GRID = GeoBox((3, 5), Affine(20.0, 0.0, 500_040.0, 0.0, -30.0, 4_000_020.0), "EPSG:32633")


def npy(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, pixels, allow_pickle=True)
    return stream.getvalue()


def structured(**fields: np.ndarray) -> np.ndarray:
    return recfunctions.unstructured_to_structured(
        np.stack(list(fields.values()), axis=-1),
        dtype=np.dtype([(name, field.dtype) for name, field in fields.items()]),
    )


def geotiff(
    values: np.ndarray, nodata: float | None, *, grid: GeoBox = GRID, names: tuple[str, ...] = (), **options: object
) -> bytes:
    count, height, width = values.shape
    profile = {"width": width, "height": height, "count": count, "dtype": values.dtype, "nodata": nodata}
    with MemoryFile() as memory:
        crs = rasterio.crs.CRS.from_wkt(grid.crs.to_wkt())
        with memory.open(driver="GTiff", crs=crs, transform=grid.affine, **profile | options) as file:
            file.write(values)
            file.descriptions = names or (None,) * count
        return bytes(memory.getbuffer())


@given(st.integers(1, 19), st.integers(0, 2**32 - 1))
def test_bit_k_of_a_field_is_the_validity_of_a_band(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    bands = tuple(f"B{i}" for i in range(count))
    values = random.integers(1, 1000, (count, 3, 5)).astype("<u2")
    valid = random.random((count, 3, 5)) < 0.6
    fields = dict(zip(bands, values, strict=True))
    for group in range(-(-count // 8)):
        bits = np.zeros((3, 5), dtype="u1")
        for k in range(8):
            if 8 * group + k < count:
                bits += (valid[8 * group + k] * 2**k).astype("u1")
        fields[f"valid_{group}"] = bits

    raster = decode_npy(npy(structured(**fields)), bands, GRID)

    assert raster.bands == bands
    assert np.array_equal(raster.valid, valid)
    assert np.array_equal(raster.values, values * valid)
    assert raster.values.dtype == np.uint16
    assert validity_fields(count) == tuple(fields)[count:]


@pytest.mark.parametrize("cleared", [None, (0, 0, 0), (8, 799, 36)])
def test_one_masked_pixel_of_an_answer_that_is_read_in_parts_is_found(cleared: tuple[int, int, int] | None) -> None:
    grid, bands = GeoBox((800, 37), GRID.affine, "EPSG:32633"), tuple(f"B{i}" for i in range(9))
    values = np.random.default_rng(5).integers(1, 60_000, (9, 800, 37)).astype("<u2")
    valid = np.ones(values.shape, dtype=bool)
    if cleared:
        valid[cleared] = False
    bits = np.packbits(valid, axis=0, bitorder="little")
    fields = dict(zip(bands, values, strict=True)) | {"valid_0": bits[0], "valid_1": bits[1]}
    answer = npy(structured(**fields))
    assert len(answer) > CACHED
    raster = decode_npy(answer, bands, grid)
    assert raster.full == (cleared is None)
    assert np.array_equal(raster.valid, valid)
    assert np.array_equal(raster.values, np.where(valid, values, 0))


def test_without_the_fields_the_mask_is_not_known() -> None:
    red, nir = np.arange(15, dtype="<i2").reshape(3, 5), np.linspace(0, 1, 15, dtype="<f4").reshape(3, 5)
    pixels = np.zeros((3, 5), dtype=[("nir", "<f4"), ("red", "<i2")])
    pixels["nir"], pixels["red"] = nir, red
    raster = decode_npy(npy(pixels), ("nir", "red"), GRID)
    assert raster.valid is None
    assert raster.values.dtype == np.float32
    assert np.array_equal(raster.values, [nir, red.astype("f4")])
    assert raster.geobox == GRID


def test_a_64_bit_band_comes_as_double_or_not_at_all() -> None:
    times = np.full((3, 5), 1_700_000_000_123, dtype="<i8")
    assert decode_npy(npy(structured(t=times)), ("t",), GRID).values.tolist() == [times.tolist()]
    with pytest.raises(ValueError, match="2\\*\\*53"):
        decode_npy(npy(structured(t=times * 100_000)), ("t",), GRID)


def test_a_header_of_a_thousand_bands_is_read() -> None:
    bands = tuple(f"a_rather_long_name_of_a_band_{i}" for i in range(1024))
    pixels = np.zeros((3, 5), dtype=[(name, "u1") for name in bands])
    pixels[bands[1023]] = 7
    raster = decode_npy(npy(pixels), bands, GRID)
    assert raster.values[1023].tolist() == [[7] * 5] * 3
    assert not raster.values[:1023].any()


PIXELS = npy(structured(a=np.ones((3, 5), "u1"), b=np.ones((3, 5), "u1")))


class Bomb:
    """What a hostile answer would hold."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("the answer was unpickled",))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "not an NPY file"),
        (PIXELS[:40], "not an NPY file"),
        (PIXELS[:-1], "29 bytes of pixels, but its header declares 30"),
        (PIXELS + b"\0", "31 bytes"),
        (b"<html>Service unavailable</html>", "not an NPY file"),
        (npy(np.ones((3, 5, 2), "u1")), "not of one field for each band"),
        (npy(structured(a=np.ones((5, 3), "u1"), b=np.ones((5, 3), "u1"))), r"shape \(5, 3\)"),
        (npy(structured(b=np.ones((3, 5), "u1"), a=np.ones((3, 5), "u1"))), r"bands \('b', 'a'\)"),
        (npy(structured(a=np.ones((3, 5), "u1"))), r"bands \('a',\)"),
        (npy(np.array([Bomb()], dtype=object)), "not of one field for each band"),
        (pickle.dumps(Bomb()), "not an NPY file"),
    ],
)
def test_npy_that_was_not_asked_for_is_refused(answer: bytes, message: str) -> None:
    with pytest.raises(CorruptPixelsError, match=message):
        decode_npy(answer, ("a", "b"), GRID)


def header(descr: object, shape: object, *, spaces: int = 0) -> bytes:
    """Return an NPY file that declares this, and holds nothing."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}{' ' * spaces}\n".encode()
    return b"\x93NUMPY\x02\0" + len(text).to_bytes(4, "little") + text


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (header([("a", "<u2"), ("b", "<u2")], (10**9, 10**9)), "declares 4000000000000000000"),
        (header([("a", "<u2"), ("b", "<u2")], (0, -1)), "0 bytes of pixels"),
        (header([("a", "<u2", (10**8,)), ("b", "<u2")], (3, 5)), "not of one field"),
        (header([("a", "<c16"), ("b", "<u2")], (3, 5)), "not of one field"),
        (header([("a", "|S1000000000"), ("b", "<u2")], (3, 5)), "not of one field"),
        (header([("a", "O"), ("b", "<u2")], (3, 5)), "not of one field"),
        (header("[" * 3000 + "]" * 3000, (3, 5)), "header of 6,0"),
        (header("[" * 300 + "]" * 300, (3, 5)), "not an NPY file"),
        (header("1" * 4000, (3, 5)), "not an NPY file|not of one field"),
        (header([("a", "<u2"), ("b", "<u2")], (3, 5), spaces=10_000), "header of 10,"),
        (b"\x93NUMPY\x02\0\xff\xff\xff\xff", "header of 4,294,967,307"),
    ],
)
def test_a_header_is_checked_before_memory_is_taken(answer: bytes, message: str) -> None:
    with pytest.raises(CorruptPixelsError, match=message) as caught:
        decode_npy(answer, ("a", "b"), GRID)
    assert len(str(caught.value)) < 300


def sparse(**options: object) -> bytes:
    """Return a GeoTIFF of the grid that holds no block."""
    profile = {"width": 5, "height": 3, "count": 2, "dtype": "float64", "crs": "EPSG:32633", "transform": GRID.affine}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", sparse_ok=True, **profile | options):
            pass
        return bytes(memory.getbuffer())


def tag(data: bytes, number: int) -> int:
    """Return the place of a tag in the first directory of a TIFF."""
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    places = [first + 2 + 12 * k for k in range(count)]
    return next(place for place in places if data[place : place + 2] == number.to_bytes(2, "little"))


def looping(data: bytes) -> bytes:
    """Return a TIFF whose first directory is followed by itself."""
    first = int.from_bytes(data[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    return data[:end] + data[4:8] + data[end + 4 :]


def declaring(data: bytes, number: int, value: int) -> bytes:
    """Return a TIFF with another value (32 bits) of a tag."""
    place = tag(data, number)
    return data[: place + 2] + b"\4\0\1\0\0\0" + value.to_bytes(4, "little") + data[place + 12 :]


VRT = b"""<VRTDataset rasterXSize="5" rasterYSize="3"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>/vsicurl/http://localhost/x.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (sparse(tiled=True, blockxsize=16384, blockysize=16384), "a block of 16384 x 16384 pixels of 64 bits"),
        (sparse(tiled=True, blockxsize=4096, blockysize=4096, interleave="pixel"), "a block of 4096 x 4096"),
        (sparse(width=100_000, height=100_000), "shape"),
        (sparse(count=1000), "1000 bands"),
        (looping(sparse()), "a loop of directories"),
        (declaring(sparse(), 256, 2**31), "shape"),
        (declaring(sparse(), 277, 2**31), "bands"),
        (declaring(sparse(), 259, 7), "compression 7"),
        (declaring(sparse(), 273, 2**31), "GeoTIFF|grid|shape"),
        (sparse()[:100], "outside the file"),
        (b"II*\0\xff\xff\xff\xff", "outside the file"),
        (b"II*\0", "outside the file"),
        (VRT, "not a TIFF"),
        (b"", "not a TIFF"),
    ],
)
def test_the_directories_of_a_geotiff_are_checked_before_memory_is_taken(answer: bytes, message: str) -> None:
    with pytest.raises(CorruptPixelsError, match=message) as caught:
        decode_geotiff(answer, ("a", "b"), GRID)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "options", [{}, {"bigtiff": "YES"}, {"endianness": "BIG"}, {"endianness": "BIG", "bigtiff": "YES"}]
)
@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 256, "blockysize": 256}, {"interleave": "pixel"}])
def test_every_form_of_a_geotiff_is_read(options: dict[str, str], layout: dict[str, object]) -> None:
    values = np.arange(30, dtype="i2").reshape(2, 3, 5)
    raster = decode_geotiff(geotiff(values, -1, **options, **layout), ("a", "b"), GRID)
    assert np.array_equal(raster.values, values)


def test_a_mask_of_another_type_is_refused() -> None:
    pixels = np.zeros((3, 5), dtype=[("a", "<u2"), ("valid_0", "<u2")])
    with pytest.raises(CorruptPixelsError, match="'valid_0' is uint16"):
        decode_npy(npy(pixels), ("a",), GRID)


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("int8", -128), ("int16", -32768), ("int32", -(2**31)), ("float32", -np.inf), ("float64", -np.inf)],
)
def test_masked_pixels_of_signed_types_are_found(dtype: str, nodata: float) -> None:
    values = np.arange(-15, 15).reshape(2, 3, 5).astype(dtype)
    values[0, 1, 2] = values[1, 2, 0] = nodata
    if dtype.startswith("float"):
        values[0, 0, 1] = np.nan  # a value that the image computed, not the mask
    raster = decode_geotiff(geotiff(values, nodata), ("a", "b"), GRID)
    assert raster.valid is not None
    assert np.argwhere(~raster.valid).tolist() == [[0, 1, 2], [1, 2, 0]]
    assert np.array_equal(raster.values, np.where(values == nodata, 0, values), equal_nan=dtype[0] == "f")
    assert raster.values.dtype == dtype


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_the_mask_of_unsigned_types_is_not_known(dtype: str) -> None:
    values = np.arange(30).reshape(2, 3, 5).astype(dtype)
    raster = decode_geotiff(geotiff(values, 0), ("a", "b"), GRID)
    assert raster.valid is None
    assert np.array_equal(raster.values, values)


def test_no_nodata_is_no_mask() -> None:
    values = np.ones((1, 3, 5), "i2")
    assert decode_geotiff(geotiff(values, None), ("a",), GRID).valid is None


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32119", "ESRI:54009", SINUSOIDAL])
def test_a_grid_is_recognised_in_gdal_s_words(crs: str) -> None:
    affine = Affine(0.25, 0, 10, 0, -0.5, 50) if crs == "EPSG:4326" else Affine(231.65635826395825, 0, 1e6, 0, -30, 4e6)
    grid = GeoBox((3, 5), affine, crs_of(crs))
    values = np.arange(15, dtype="i2").reshape(1, 3, 5)
    raster = decode_geotiff(geotiff(values, -32768, grid=grid), ("a",), grid)
    assert raster.geobox == grid


def test_another_grid_shape_or_band_is_refused() -> None:
    values = np.arange(30, dtype="i2").reshape(2, 3, 5)
    answer = geotiff(values, -32768)
    a, b, c, d, e, f = tuple(GRID.affine)[:6]
    asked = {
        "grid": [
            GeoBox((3, 5), Affine(a, b, c + 1, d, e, f), "EPSG:32633"),
            GeoBox((3, 5), Affine(a, b, c, d, -e, f), "EPSG:32633"),
            GeoBox((3, 5), Affine(a, b + 0.1, c, d, e, f), "EPSG:32633"),
            GeoBox((3, 5), GRID.affine, "EPSG:32632"),
            GeoBox((3, 5), GRID.affine, "EPSG:4326"),
        ],
        "shape": [GeoBox((5, 3), GRID.affine, "EPSG:32633")],
    }
    for word, grids in asked.items():
        for grid in grids:
            with pytest.raises(CorruptPixelsError, match=word):
                decode_geotiff(answer, ("a", "b"), grid)
    with pytest.raises(CorruptPixelsError, match="2 bands"):
        decode_geotiff(answer, ("a",), GRID)


def test_named_bands_must_be_those_asked_for() -> None:
    answer = geotiff(np.ones((2, 3, 5), "i2"), -32768, names=("b", "a"))
    assert decode_geotiff(answer, ("b", "a"), GRID).bands == ("b", "a")
    with pytest.raises(CorruptPixelsError, match=r"bands \('b', 'a'\)"):
        decode_geotiff(answer, ("a", "b"), GRID)


@pytest.mark.parametrize("cut", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_geotiff_is_refused(cut: float) -> None:
    grid = GeoBox((300, 500), GRID.affine, "EPSG:32633")
    values = np.random.default_rng(1).integers(0, 9999, (2, 300, 500)).astype("i2")
    answer = geotiff(values, -32768, grid=grid, compress="deflate")
    with pytest.raises(CorruptPixelsError, match="not a complete GeoTIFF"):
        decode_geotiff(answer[: int(len(answer) * cut)], ("a", "b"), grid)


def test_the_same_place_in_other_words_is_the_same_grid() -> None:
    words = GeoBox(GRID.shape, GRID.affine, "+proj=tmerc +lon_0=15 +k=0.9996 +x_0=500000 +ellps=WGS84")
    assert same_grid(GRID, words)
    moved = GeoBox(GRID.shape, Affine.translation(0.5, 0) @ GRID.affine, words.crs)
    assert not same_grid(GRID, moved)

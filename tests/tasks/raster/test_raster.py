"""Laws of the raster value."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from tasks.raster.raster import DTYPES, Raster, common_dtype, converted
from tests.rasters import equal, valid_share

GRID = GeoBox((2, 3), Affine(7.0, 0.0, 100.0, 0.0, -7.0, 900.0), "EPSG:32633")


def test_values_are_zeroed_where_they_are_not_valid() -> None:
    values = np.arange(1, 13, dtype=np.float32).reshape(2, 2, 3)
    values[1, 0, 2] = np.nan
    valid = np.ones(values.shape, dtype=bool)
    valid[1, 0, 2] = valid[0, 1, 0] = False
    before = values.copy()

    raster = Raster(values=values, valid=valid, bands=("a", "b"), geobox=GRID)

    assert raster.values.tolist() == [[[1, 2, 3], [0, 5, 6]], [[7, 8, 0], [10, 11, 12]]]
    assert np.array_equal(values, before, equal_nan=True), "the caller's array is left alone"
    assert valid_share(raster) == pytest.approx(10 / 12)
    assert not raster.empty


def test_a_mask_that_repeats_itself_is_a_mask_like_any_other() -> None:
    values = np.arange(1, 13, dtype=np.int16).reshape(2, 2, 3)
    one_band = np.array([[1, 0, 1], [1, 1, 0]], dtype=bool)
    for mask in (np.True_, np.False_, one_band, one_band[:1]):
        view = np.broadcast_to(mask, values.shape)
        lean = Raster(values=values, valid=view, bands=("a", "b"), geobox=GRID)
        plain = Raster(values=values, valid=view.copy(), bands=("a", "b"), geobox=GRID)
        assert equal(lean, plain)
        assert (lean.full, lean.empty, valid_share(lean)) == (plain.full, plain.empty, valid_share(plain))
        assert (lean.full, lean.empty) == (bool(view.all()), not view.any())


def test_a_foreign_byte_order_becomes_the_machine_s() -> None:
    values = np.arange(6, dtype=">i2").reshape(1, 2, 3)
    raster = Raster(values=values, valid=None, bands=("a",), geobox=GRID)
    assert raster.values.dtype.isnative
    assert raster.values.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert valid_share(raster) is None


@pytest.mark.parametrize(
    ("values", "valid", "bands", "message"),
    [
        (np.zeros((1, 3, 2), "u1"), None, ("a",), r"values\.shape = \(1, 3, 2\).*need the shape \(1, 2, 3\)"),
        (np.zeros((1, 2, 3), "u1"), None, ("a", "b"), "2 bands"),
        (np.zeros((1, 2, 3), "u1"), np.ones((2, 3), bool), ("a",), r"valid\.shape = \(2, 3\)"),
        (np.zeros((1, 2, 3), "i8"), None, ("a",), "dtype = int64: a raster cannot hold"),
        (np.zeros((1, 2, 3), "c8"), None, ("a",), "dtype = complex64: a raster cannot hold"),
    ],
)
def test_parts_that_do_not_agree_are_refused(
    values: np.ndarray, valid: np.ndarray | None, bands: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Raster(values=values, valid=valid, bands=bands, geobox=GRID)


def test_equality_is_about_pixels_mask_names_and_grid() -> None:
    values = np.array([[[1, 2, np.nan], [4, 5, 6]]], dtype=np.float32)
    valid = np.array([[[1, 1, 1], [1, 0, 1]]], dtype=bool)
    raster = Raster(values=values, valid=valid, bands=("a",), geobox=GRID)
    assert equal(raster, Raster(values=values.copy(), valid=valid.copy(), bands=("a",), geobox=GRID))
    others = [
        Raster(values=values * 2, valid=valid, bands=("a",), geobox=GRID),
        Raster(values=values.astype("f8"), valid=valid, bands=("a",), geobox=GRID),
        Raster(values=values, valid=~valid, bands=("a",), geobox=GRID),
        Raster(values=values, valid=None, bands=("a",), geobox=GRID),
        Raster(values=values, valid=valid, bands=("b",), geobox=GRID),
        Raster(values=values, valid=valid, bands=("a",), geobox=GeoBox((2, 3), GRID.affine, "EPSG:32634")),
    ]
    assert [equal(raster, other) for other in others] == [False] * len(others)


@given(st.lists(st.sampled_from([*DTYPES, "int64", "uint64", "float16"]), min_size=1, max_size=4))
def test_the_common_dtype_holds_the_ends_of_every_range(names: list[str]) -> None:
    common = common_dtype(names)
    assert common.name in DTYPES
    for name in names:
        if name in {"int64", "uint64"}:
            assert common == np.float64
            continue
        info = np.finfo(name) if name.startswith("float") else np.iinfo(name)
        # The neighbour of an end too: float32 holds 2**31, but not 2**31 - 1.
        ends = np.array([info.min, info.max, np.nextafter(info.max, 0, dtype=name) if name[0] == "f" else info.max - 1])
        ends = ends.astype(name)
        assert np.array_equal(ends.astype(common).astype(name), ends)


def test_common_dtypes_by_hand() -> None:
    assert common_dtype(["uint8", "int8"]) == np.int16
    assert common_dtype(["uint16", "float32"]) == np.float32
    assert common_dtype(["int32", "float32"]) == np.float64
    assert common_dtype(["uint32", "int16"]) == np.float64
    assert common_dtype([">u2"]) == np.uint16
    with pytest.raises(ValueError, match="dtype = complex128: a raster cannot hold"):
        common_dtype(["uint8", "complex128"])
    with pytest.raises(ValueError, match="at least one band"):
        common_dtype([])


def test_64_bit_integers_convert_exactly_or_not_at_all() -> None:
    exact = np.array([-(2**53), 2**53 - 1], dtype=np.int64)
    assert converted(exact, np.dtype("f8")).astype(np.int64).tolist() == exact.tolist()
    for lost in (2**53 + 1, -(2**53) - 1):
        with pytest.raises(ValueError, match=r"2\*\*53"):
            converted(np.array([0, lost], dtype=np.int64), np.dtype("f8"))

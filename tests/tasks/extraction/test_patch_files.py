"""Patches of one set have one dtype and one nodata value, whatever they hold, and every reader sees the same pixels."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import rasterstats
import rioxarray
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from tasks.extraction.free_space import check_free_space
from tasks.extraction.tile_file import TilePixels, encode, read_back
from tasks.plan.plan import Band, Plan, Source, TileFormat
from tasks.plan.tiles import PatchTiles
from tasks.raster.masks import planned_storage
from tasks.raster.raster import DTYPES, Raster
from tasks.storage.local import LocalStore

pytestmark = [  # of the readers themselves
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:statistics:rasterio.errors.RasterioDeprecationWarning"),
]
SIDE = 5
FILES = {  # by hand: a type with a value that the band cannot have, and which GDAL's warper reads band by band
    "int8": ("int16", -(2.0**15)),
    "uint8": ("int16", -(2.0**15)),
    "int16": ("float32", np.nan),
    "uint16": ("float32", np.nan),
    "int32": ("float64", np.nan),
    "uint32": ("float64", np.nan),
    "float32": ("float32", np.nan),
    "float64": ("float64", np.nan),
}


def plan_of(*dtypes, **format_):
    names = tuple(f"B{n}" for n in range(1, len(dtypes) + 1))
    wire = Source(name="a", asset="projects/p/assets/a", version="1", wire="NPY", wire_bands=names, wire_dtypes=dtypes)
    left, top = np.array([600_000.0]), np.array([5_000_000.0])
    return Plan(
        name="patches",
        sources=(wire,),
        tiles=PatchTiles(crs=("EPSG:32632",), zone=np.zeros(1, np.int32), left=left, top=top, scale=10.0, size=SIDE),
        bands=tuple(Band(id=name, dtype=dtype) for name, dtype in zip(names, dtypes, strict=True)),
        tile_format=TileFormat(**{"alike": True, **format_}),
    )


def raster_of(plan, values, valid):
    bands = tuple(band.id for band in plan.bands)
    return Raster(values=values, valid=valid, bands=bands, geobox=plan.grid(0).geobox)


def file_of(plan, values, valid):
    """Return the bytes of a patch with these pixels."""
    pixels = TilePixels(raster_of(plan, values, valid), b"")
    with encode(plan, 0, plan.tile_fingerprint(0), pixels) as file:
        ((_, data),) = file.objects
        return bytes(data)


def header(data):
    with MemoryFile(data) as memory, memory.open() as file:
        assert (
            len({str(value) for value in file.nodatavals}) == len({str(flags) for flags in file.mask_flag_enums}) == 1
        )
        return file.dtypes[0], file.nodata, file.mask_flag_enums[0]


@given(st.data(), st.sampled_from(DTYPES), st.integers(1, 3))
def test_one_header_and_all_pixels_whatever_a_patch_holds(data, dtype, bands):
    plan = plan_of(*[dtype] * bands)
    shape = (bands, SIDE, SIDE)
    kind = np.dtype(dtype).kind
    ends = [np.finfo(dtype).min, np.inf, -np.inf, 0] if kind == "f" else [np.iinfo(dtype).min, 0, np.iinfo(dtype).max]
    values = data.draw(hnp.arrays(dtype, shape, elements=st.sampled_from(ends)))
    valid = data.draw(st.sampled_from([np.ones(shape, bool)]) | hnp.arrays(bool, shape))
    raster = raster_of(plan, values, valid)
    if raster.empty:
        return
    written = file_of(plan, values, valid)
    found = header(written)
    expected_dtype, nodata = FILES[dtype]
    assert found[0] == expected_dtype
    assert np.array_equal(found[1], nodata, equal_nan=True)
    assert [flag.name for flag in found[2]] == ["nodata"]
    with MemoryFile(written) as memory, memory.open() as file:
        stored = file.read()
        masks = file.read_masks() > 0
    assert np.array_equal(stored[valid], values[valid])
    assert np.array_equal(~np.isnan(stored) if np.isnan(nodata) else stored != nodata, valid)
    if kind != "f" or np.isfinite(values[valid]).all():
        assert np.array_equal(masks, valid)
    # It is read back where its receipt was lost, and has the same numbers.
    again = read_back(plan, 0, plan.tile_fingerprint(0), written)
    with encode(plan, 0, plan.tile_fingerprint(0), TilePixels(raster, b"")) as file:
        assert again.bands == file.bands


def test_bands_of_several_types_have_the_one_that_holds_them_all():
    assert planned_storage(["uint8", "int16"]).dtype == "float32"
    assert planned_storage(["uint16", "float32"]).dtype == "float32"
    assert planned_storage(["uint32", "int8"]).dtype == "float64"
    assert planned_storage(["int16"], lowest_is_free=True) == replace(
        planned_storage(["uint8"]), dtype=np.dtype("int16")
    )


@pytest.mark.parametrize(
    ("dtype", "stored", "nodata"),
    [
        ("int8", "int16", -32768),
        ("int16", "int16", -32768),
        ("int32", "float64", np.nan),
        ("float32", "float32", np.nan),
    ],
)
def test_where_earth_engine_keeps_the_lowest_value_for_nodata_int16_stays(dtype, stored, nodata):
    values = np.ones((1, SIDE, SIDE), dtype)
    found = header(file_of(plan_of(dtype, masks="nodata"), values, MASK[np.newaxis]))
    assert found[0] == stored
    assert np.array_equal(found[1], nodata, equal_nan=True)


def test_the_room_for_patches_is_that_of_their_files(tmp_path, monkeypatch):
    store = LocalStore(tmp_path)
    monkeypatch.setattr(LocalStore, "free_bytes", lambda _: 99)
    assert "take 100 Bytes" in check_free_space(store, plan_of("uint16"), missing=1)
    assert check_free_space(store, plan_of("uint16", alike=False), missing=1) is None


def test_pixels_of_another_type_than_the_plan_has_fail_with_words():
    with pytest.raises(ValueError, match="dtype = float64: int16 cannot hold it"):
        file_of(plan_of("uint8"), np.ones((1, SIDE, SIDE)), np.ones((1, SIDE, SIDE), bool))


def test_a_valid_nan_is_counted_as_valid_and_reads_as_masked():
    values = np.ones((1, SIDE, SIDE), np.float32)
    values[0, 0, 0] = np.nan
    plan = plan_of("float32")
    with encode(plan, 0, "f", TilePixels(raster_of(plan, values, np.ones(values.shape, bool)), b"")) as file:
        assert (file.bands[0].valid, file.bands[0].counted) == (25, 24)
    with MemoryFile(file_of(plan, values, np.ones(values.shape, bool))) as memory, memory.open() as file:
        assert (file.read_masks(1) > 0).sum() == 24


def test_a_plan_of_an_earlier_version_keeps_its_identity_and_its_files():
    old = plan_of("uint8", alike=False)
    assert "alike" not in json.dumps(old.json())
    assert Plan.from_json(old.json()).tile_format == old.tile_format
    new = plan_of("uint8")
    assert Plan.from_json(json.loads(json.dumps(new.json()))).tile_format.alike
    assert new.tile_fingerprint(0) != old.tile_fingerprint(0)
    assert header(file_of(old, np.ones((1, SIDE, SIDE), np.uint8), np.ones((1, SIDE, SIDE), bool)))[:2] == (
        "uint8",
        None,
    )


# What each reader sees ------------------------------------------------------------------------------------------------

PIXELS = {
    "uint8": np.array([0, 1, 254, 255, 7] * 5, np.uint8),
    "uint16": np.array([0, 1, 65_534, 65_535, 7] * 5, np.uint16),
    "int16": np.array([-32_768, -1, 0, 32_767, 7] * 5, np.int16),
    "int32": np.array([-(2**31), -1, 0, 2**31 - 1, 7] * 5, np.int32),
    "float32": np.array([-9999.0, 0.0, 1e30, -0.5, 7.0] * 5, np.float32),
}
MASK = np.arange(25).reshape(SIDE, SIDE) % 3 > 0
OTHER = np.arange(25).reshape(SIDE, SIDE) % 4 > 0


@pytest.fixture(params=PIXELS)
def patch(request, tmp_path):
    """A file of two bands with different masks: its path, the values and the masks."""
    first = PIXELS[request.param].reshape(SIDE, SIDE)
    values, valid = np.stack([first, first[::-1]]), np.stack([MASK, OTHER])
    path = tmp_path / "patch.tif"
    path.write_bytes(file_of(plan_of(request.param, request.param), values, valid))
    return path, values, valid


def test_gdal_warps_the_valid_pixels_alone(patch):
    path, values, valid = patch
    with rasterio.open(path) as file:
        for band, (numbers, mask) in enumerate(zip(values, valid, strict=True), start=1):
            with WarpedVRT(file, crs=file.crs, transform=file.transform, width=SIDE, height=SIDE) as warped:
                assert np.array_equal(warped.read_masks(band) > 0, mask)
                assert np.array_equal(warped.read(band)[mask], numbers[mask])
            assert file.statistics(band).mean == pytest.approx(numbers[mask].mean(dtype=float))


def test_rasterio_reads_a_masked_array(patch):
    path, values, valid = patch
    with rasterio.open(path) as file:
        read = file.read(masked=True)
    assert np.array_equal(np.ma.getmaskarray(read), ~valid)
    assert np.array_equal(read.data[valid], values[valid])


def test_rioxarray_has_nan_where_a_pixel_is_masked(patch):
    path, values, valid = patch
    with rioxarray.open_rasterio(path, masked=True) as read:
        assert np.array_equal(np.isnan(read.values), ~valid)
        np.testing.assert_allclose(read.values[valid], values[valid].astype(float), rtol=1e-7)


def test_rasterstats_counts_the_valid_pixels_alone(patch):
    path, values, valid = patch
    with rasterio.open(path) as file:
        around = shapely.box(*file.bounds)
    for band, (numbers, mask) in enumerate(zip(values, valid, strict=True), start=1):
        (found,) = rasterstats.zonal_stats(around, str(path), band=band, stats="count min max mean")
        assert (found["count"], found["min"], found["max"]) == (
            mask.sum(),
            numbers[mask].min(),
            numbers[mask].max(),
        )
        assert found["mean"] == pytest.approx(numbers[mask].mean(dtype=float))

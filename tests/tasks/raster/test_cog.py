"""Laws of mosaics: the tiles, all of them, nothing else, in one valid Cloud Optimized GeoTIFF."""

import tracemalloc
from collections.abc import Iterator
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
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.vrt import WarpedVRT

from tasks.raster.cog import MosaicTile, write_mosaic
from tasks.raster.encode import read_geotiff
from tasks.raster.masks import mask_facts
from tasks.raster.raster import Raster
from tasks.raster.tiling import Tiling
from tasks.raster.window import Window
from tests.rasters import encode_geotiff, equal

AFFINE = Affine(28.5, 0.0, 630_534.0, 0.0, -30.0, 228_114.0)


def whole(values: np.ndarray, valid: np.ndarray | None) -> Raster:
    names = tuple(f"B{i + 2}" for i in range(len(values)))
    return Raster(values=values, valid=valid, bands=names, geobox=GeoBox(values.shape[1:], AFFINE, "EPSG:32119"))


def pieces(raster: Raster, size: int, *, absent: set[int] = frozenset()) -> Iterator[MosaicTile]:  # type: ignore[assignment]  # empty
    """Cut a raster into tiles, in an order that is not that of the file."""
    tiling = Tiling(raster.geobox, size)
    for i in reversed(range(len(tiling))):
        window = tiling.window(i)
        valid = None if raster.valid is None else window.of_array(raster.valid)
        values = window.of_array(raster.values)
        tile = Raster(values=values, valid=valid, bands=raster.bands, geobox=tiling.tile(i))
        if i not in absent:
            yield MosaicTile(window=window, source=lambda tile=tile: tile)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(["uint8", "int8", "uint16", "int16", "float32"]))
def test_a_mosaic_does_not_depend_on_the_tiling(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, dtype: str
) -> None:
    """Tiles come from files of their own, which may be promoted where all values of the dtype are valid."""
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))
    if dtype == "float32":
        ends = st.sampled_from([np.nan, -np.inf, -1.0, 0.0, 3e38])
    else:
        info = np.iinfo(dtype)
        ends = st.sampled_from([info.min, info.min + 1, 0, info.max - 1, info.max])
    values = data.draw(hnp.arrays(dtype, shape, elements=ends))
    masks = hnp.arrays(bool, shape) | hnp.arrays(bool, shape[1:]).map(lambda mask: np.broadcast_to(mask, shape))
    raster = whole(values, data.draw(masks))
    folder = tmp_path_factory.mktemp("mosaic")
    mosaics = []
    for size in (data.draw(st.integers(1, 5)), 9):
        tiles = []
        for piece in pieces(raster, size):
            tile = piece.read()
            if not tile.empty:  # such a tile has no file
                stored = encode_geotiff(tile)
                tiles.append(MosaicTile(window=piece.window, source=lambda stored=stored: read_geotiff(stored)))
        path = folder / f"{size}.tif"
        mosaics.append(write_mosaic(tiles, raster.geobox, path, bands=raster.bands, dtype=dtype).read_bytes())
    assert mosaics[0] == mosaics[1]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_a_mosaic_that_is_warped_keeps_the_mask_of_each_band(tmp_path: Path, dtype: str) -> None:
    """GDAL made -10000 of nodata = -9999 where one band of int32 was masked and another valid."""
    values = np.stack([np.arange(25).reshape(5, 5)] * 2).astype(dtype)
    if dtype == "uint16":
        values[0, 0, :2] = 0, 65_535  # no uint16 is free for nodata
    valid = np.stack([np.arange(25).reshape(5, 5) % 3 > 0, np.arange(25).reshape(5, 5) % 4 < 3])
    valid[0, 0, :2] = True
    raster = whole(values, valid)
    path = write_mosaic(pieces(raster, 3), raster.geobox, tmp_path / "mosaic.tif", bands=raster.bands)
    with (
        rasterio.open(path) as file,
        WarpedVRT(file, crs=file.crs, transform=file.transform, width=5, height=5) as warped,
    ):
        assert np.array_equal(warped.read_masks() > 0, valid)
        assert np.array_equal(warped.read()[valid], values[valid])


def is_cog(path: Path) -> bool:
    """Whether GDAL finds the layout that its COG driver writes, with overviews if the file is large."""
    with rasterio.open(path) as file:
        layout = file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"
        return layout and bool(file.overviews(1)) == (max(file.shape) > 512)


@settings(max_examples=50)
@given(st.data())
def test_a_mosaic_is_its_tiles(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["uint8", "int16", "float32"]))
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 70), st.integers(1, 90)))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = random.integers(0, 256 if data.draw(st.booleans()) else 200, shape).astype(dtype)
    kind = data.draw(st.sampled_from(["full", "uniform", "by band"]))
    valid = np.ones(shape, bool) if kind == "full" else random.random(shape if kind == "by band" else shape[1:]) < 0.7
    raster = whole(values, np.broadcast_to(valid, shape))
    size = data.draw(st.integers(11, 40))
    tiling = Tiling(raster.geobox, size)
    absent = data.draw(st.sets(st.integers(0, len(tiling) - 1), max_size=3))
    kept = np.array(raster.valid)
    for i in absent:
        tiling.window(i).of_array(kept)[...] = False

    path = tmp_path_factory.mktemp("mosaic") / "mosaic.tif"
    write_mosaic(
        pieces(raster, size, absent=absent),
        raster.geobox,
        path,
        bands=raster.bands,
        dtype=dtype,
        tags={"date": "2020-05-18"},
    )

    again = read_geotiff(path)
    assert again.bands == raster.bands
    assert again.geobox == raster.geobox
    assert again.valid is not None
    assert np.array_equal(again.valid, kept)
    assert np.array_equal(again.values, np.where(kept, values, 0))
    with rasterio.open(path) as file:
        assert np.array_equal(file.read_masks() > 0, kept)
        assert file.tags()["date"] == "2020-05-18"
        assert ColorInterp.alpha not in file.colorinterp
    assert is_cog(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["mosaic.tif"]


def test_tiles_on_disk_and_a_mask_by_each_rule(tmp_path: Path) -> None:
    """Tiles stored by three different rules make one mosaic of a fourth."""
    random = np.random.default_rng(8)
    values = random.integers(0, 256, (2, 700, 1100)).astype(np.uint8)
    valid = np.ones(values.shape, dtype=bool)
    valid[:, 100:200, 50:80] = False  # the same in both bands: an internal mask
    valid[1, 300:600, 900:1000] = False  # by band; with values from 0 to 255, no byte is free
    raster = whole(values, valid)
    stored = []
    for number, piece in enumerate(pieces(raster, 256)):
        path = tmp_path / f"{number}.tif"
        path.write_bytes(encode_geotiff(piece.read()))
        stored.append(MosaicTile(window=piece.window, source=path))
    kinds = {read_kind(piece.source) for piece in stored}
    assert kinds == {("all_valid", "uint8"), ("per_dataset", "uint8"), ("nodata", "uint16")}

    path = write_mosaic(stored, raster.geobox, tmp_path / "mosaic.tif", bands=raster.bands)

    again = read_geotiff(path)
    assert again.values.dtype == np.uint16
    assert np.array_equal(again.values, raster.values)
    assert np.array_equal(again.valid, valid)
    assert is_cog(path)


def read_kind(path: Path) -> tuple[str, str]:
    with rasterio.open(path) as file:
        return file.mask_flag_enums[0][0].name, file.dtypes[0]


@pytest.mark.parametrize("codec", ["zstd", "deflate", "none"])
def test_overviews_honour_the_mask(tmp_path: Path, codec: str) -> None:
    values = np.full((1, 600, 1000), 50.0, dtype=np.float32)
    values[:, :, ::2] = 70
    valid = np.ones(values.shape, dtype=bool)
    valid[:, :, 500:] = False
    raster = whole(values, valid)
    path = write_mosaic(
        pieces(raster, 256),
        raster.geobox,
        tmp_path / "m.tif",
        bands=raster.bands,
        codec=codec,  # type: ignore[arg-type]  # str of the parameters
    )
    with rasterio.open(path, overview_level=0) as file:
        small, mask = file.read(1), file.read_masks(1) > 0
        assert file.shape == (300, 500)
        assert (small[:, :249] == 60).all(), "floats are averaged"
        assert mask[:, :249].all()
        assert not mask[:, 251:].any()
    with rasterio.open(path) as file:
        assert file.mask_flag_enums[0] == [MaskFlags.per_dataset]
        assert file.profile.get("compress", "none") == codec
    nearest = write_mosaic(
        pieces(whole(values.astype("u1"), None), 256), raster.geobox, tmp_path / "n.tif", bands=raster.bands
    )
    with rasterio.open(nearest, overview_level=0) as file:
        assert set(np.unique(file.read(1))) <= {50, 70}, "integers may be classes, and are not averaged"


def test_an_unknown_mask_stays_unknown(tmp_path: Path) -> None:
    raster = whole(np.arange(2 * 30 * 50, dtype=np.uint16).reshape(2, 30, 50), None)
    path = write_mosaic(pieces(raster, 20), raster.geobox, tmp_path / "m.tif", bands=raster.bands)
    assert equal(read_geotiff(path), raster)
    # What no tile covers is known to hold nothing, which the file's own mask says beside the tag.
    path = write_mosaic(pieces(raster, 20, absent={0}), raster.geobox, path, bands=raster.bands)
    assert read_geotiff(path).valid is None
    with rasterio.open(path) as file:
        assert file.tags()["MASK"] == "unknown"
        mask = np.ones((30, 50), dtype=bool)
        mask[:20, :20] = False
        assert np.array_equal(file.read_masks(2) > 0, mask)


def test_no_tile_at_all_is_an_empty_mosaic(tmp_path: Path) -> None:
    grid = GeoBox((30, 50), AFFINE, "EPSG:32119")
    path = write_mosaic([], grid, tmp_path / "m.tif", bands=("a", "b"), dtype="int16")
    again = read_geotiff(path)
    assert again.empty
    assert again.values.shape == (2, 30, 50)
    with pytest.raises(ValueError, match="needs a dtype"):
        write_mosaic([], grid, tmp_path / "m.tif", bands=("a", "b"))


def test_known_facts_spare_the_first_reading(tmp_path: Path) -> None:
    raster = whole(np.ones((1, 30, 50), np.uint8), np.arange(1500).reshape(1, 30, 50) % 7 > 0)
    reads: list[slice] = []

    def reader(piece: MosaicTile) -> Raster:
        reads.append(piece.window)
        return piece.read()

    known = [
        MosaicTile(
            window=piece.window,
            source=lambda piece=piece: reader(piece),
            facts=mask_facts(piece.read()),
        )
        for piece in pieces(raster, 20)
    ]
    path = write_mosaic(known, raster.geobox, tmp_path / "m.tif", bands=raster.bands)
    assert len(reads) == len(known) == 6
    assert equal(read_geotiff(path), raster)


def at(rows, columns, raster):
    return MosaicTile(window=Window(rows=rows, columns=columns), source=lambda: raster)


def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    raster = whole(np.ones((1, 30, 50), np.uint8), None)
    path = tmp_path / "m.tif"
    path.write_bytes(b"what was there")
    good = list(pieces(raster, 20))
    other_bands = Raster(values=raster.values, valid=None, bands=("x",), geobox=raster.geobox)
    upper = MosaicTile(window=Window(rows=slice(0, 2), columns=slice(0, 50)), source=lambda: raster)
    for wrong, message in [
        ([*good, good[0]], "two pieces .* overlap"),
        ([upper, replace(upper, window=Window(rows=slice(1, 3), columns=slice(0, 50)))], "two pieces .* overlap"),
        (
            [at(slice(20, 40), slice(0, 20), raster)],
            "outside the grid",
        ),
        (
            [at(slice(0, 20), slice(0, 20), raster)],
            r"shape \(30, 50\)",
        ),
        ([at(slice(0, 30), slice(0, 50), other_bands)], "bands"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_mosaic(wrong, raster.geobox, path, bands=raster.bands)
    with pytest.raises(OSError, match="nowhere"):
        write_mosaic(good, raster.geobox, tmp_path / "nowhere" / "m.tif", bands=raster.bands)
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


def test_memory_holds_a_tile_and_not_the_raster(tmp_path: Path) -> None:
    grid = GeoBox((2500, 3100), AFFINE, "EPSG:32119")
    tiling = Tiling(grid, 256)

    def read(i: int) -> Raster:
        shape = (2, *tiling.tile(i).shape)
        return Raster(values=np.full(shape, i, "u2"), valid=None, bands=("a", "b"), geobox=tiling.tile(i))

    def streamed() -> Iterator[MosaicTile]:
        for i in range(len(tiling)):
            yield MosaicTile(window=tiling.window(i), source=lambda i=i: read(i))

    tracemalloc.start()
    path = write_mosaic(streamed(), grid, tmp_path / "m.tif", bands=("a", "b"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000, "the raster has 31 MB, a tile 0.26 MB (GDAL's own cache is bounded by itself)"
    with rasterio.open(path) as file:
        assert file.read(2)[2400, 3000] == len(tiling) - 2

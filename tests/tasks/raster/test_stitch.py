"""Laws of stitching: cut and stitched is whole; nothing is made up, nothing is narrowed."""

import io

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo import wh_
from odc.geo.geobox import GeoBox

from tasks.raster.raster import DTYPES, Raster
from tasks.raster.stitch import Piece, stitch_npy, stitch_rasters
from tasks.raster.window import Window
from tests.rasters import encode_geotiff, equal

AFFINE = Affine(30.0, 2.0, 500.0, -2.0, -30.0, 900.0)


def box(height, width, row=0, column=0):
    return GeoBox((height, width), AFFINE @ Affine.translation(column, row), "EPSG:32633")


def windows(height, width, row, column):
    rows = [one for one in (slice(0, row), slice(row, height)) if one.stop > one.start]
    columns = [one for one in (slice(0, column), slice(column, width)) if one.stop > one.start]
    return [Window(rows=r, columns=c) for r in rows for c in columns]


def cut(raster, places):
    return [
        Piece(
            window=window,
            content=Raster(
                values=window.of_array(raster.values),
                valid=None if raster.valid is None else window.of_array(raster.valid),
                bands=raster.bands,
                geobox=box(window.height, window.width, window.rows.start, window.columns.start),
            ),
        )
        for window in places
    ]


def npy(array):
    with io.BytesIO() as file:
        np.save(file, array)
        return file.getvalue()


def cut_npy(array, places):
    return [Piece(window=one, content=npy(np.ascontiguousarray(one.of_array(array)))) for one in places]


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 40), st.integers(0, 40))
cuts = shapes.map(lambda s: (s[0], s[1], min(s[2], s[0]), min(s[3], s[1])))


@given(
    cuts, st.sampled_from(DTYPES), st.sampled_from(["all", "some", "by band", "none", "unknown"]), st.integers(0, 99)
)
def test_a_raster_cut_and_stitched_is_itself_and_the_same_bytes(cuts, dtype, mask, seed):
    height, width, row, column = cuts
    dice = np.random.default_rng(seed)
    shape = (2, height, width)
    values = dice.integers(0, 120, shape).astype(dtype)
    some = np.broadcast_to(dice.random(shape[1:]) < 0.5, shape)
    valid = {
        "all": np.ones(shape, bool),
        "some": some,
        "by band": dice.random(shape) < 0.5,
        "none": np.zeros(shape, bool),
        "unknown": None,
    }[mask]
    raster = Raster(values=values, valid=valid, bands=("a", "b"), geobox=box(height, width))
    pieces = cut(raster, windows(height, width, row, column))
    dice.shuffle(pieces)
    stitched = stitch_rasters(pieces, raster.geobox)
    assert equal(stitched, raster)
    assert encode_geotiff(stitched) == encode_geotiff(raster)


@given(cuts, st.integers(0, 99))
def test_an_npy_cut_and_stitched_is_the_same_file(cuts, seed):
    height, width, row, column = cuts
    array = np.empty((height, width), [("B1", "<u2"), ("B2", "<f4"), ("t", "<i8"), ("valid_0", "u1")])
    array[...] = np.frombuffer(np.random.default_rng(seed).bytes(array.nbytes), array.dtype).reshape(array.shape)
    assert stitch_npy(cut_npy(array, windows(height, width, row, column)), wh_(width, height)) == npy(array)


def test_a_mask_that_is_not_known_for_a_piece_is_not_known_for_the_whole():
    raster = Raster(values=np.ones((1, 4, 4), "i2"), valid=np.eye(4, dtype=bool)[None], bands=("a",), geobox=box(4, 4))
    known, other = cut(raster, windows(4, 4, 2, 0))
    unknown = Piece(
        window=other.window,
        content=Raster(values=other.content.values, valid=None, bands=("a",), geobox=other.content.geobox),
    )
    assert stitch_rasters([known, other], raster.geobox).valid is not None
    assert stitch_rasters([known, unknown], raster.geobox).valid is None


def test_pieces_of_several_dtypes_get_the_one_that_holds_all():
    """As an answer would have that is typed by the range of its values."""
    low = Raster(values=np.full((1, 2, 4), -100, "i1"), valid=None, bands=("a",), geobox=box(2, 4))
    high = Raster(values=np.full((1, 2, 4), 200, "u1"), valid=None, bands=("a",), geobox=box(2, 4, 2))
    places = windows(4, 4, 2, 0)
    pieces = [Piece(window=one, content=c) for one, c in zip(places, (low, high), strict=True)]
    stitched = stitch_rasters(pieces, box(4, 4))
    assert stitched.values.dtype == np.int16
    assert stitched.values[0, :, 0].tolist() == [-100, -100, 200, 200]

    files = [np.full((2, 4), -100, [("a", "i1")]), np.full((2, 4), 200, [("a", "u1")])]
    pieces = [Piece(window=one, content=npy(f)) for one, f in zip(places, files, strict=True)]
    whole = np.load(io.BytesIO(stitch_npy(pieces, wh_(4, 4))))
    assert whole.dtype == [("a", "<i2")]
    assert whole["a"][:, 0].tolist() == [-100, -100, 200, 200]


def test_a_header_of_a_thousand_bands_keeps_its_version():
    array = np.zeros((4, 4), [(f"a_rather_long_name_of_a_band_{i:0>60}", "u1") for i in range(1024)])

    def written(part):
        with io.BytesIO() as file:
            np.lib.format.write_array(file, np.ascontiguousarray(part), version=(2, 0))
            return file.getvalue()

    pieces = [Piece(window=one, content=written(one.of_array(array))) for one in windows(4, 4, 2, 1)]
    assert stitch_npy(pieces, wh_(4, 4)) == written(array)


def test_one_piece_is_kept_as_it_was_sent():
    array = np.zeros((4, 4), [("a", "u1")])
    sent = npy(array)
    assert stitch_npy([Piece(window=Window.of(wh_(4, 4)), content=sent)], wh_(4, 4)) is sent


@pytest.mark.parametrize("places", [[0, 1], [0, 1, 2, 3, 0]])
def test_a_gap_or_an_overlap_is_refused(places):
    raster = Raster(values=np.zeros((1, 8, 8), "u1"), valid=None, bands=("a",), geobox=box(8, 8))
    pieces = cut(raster, windows(8, 8, 4, 4))
    with pytest.raises(ValueError, match="gap"):
        stitch_rasters([pieces[i] for i in places], raster.geobox)
    files = cut_npy(np.zeros((8, 8), [("a", "u1")]), windows(8, 8, 4, 4))
    with pytest.raises(ValueError, match="gap"):
        stitch_npy([files[i] for i in places], wh_(8, 8))


def test_pieces_of_other_bands_or_shapes_are_refused():
    pieces = cut(
        Raster(values=np.zeros((1, 8, 8), "u1"), valid=None, bands=("a",), geobox=box(8, 8)), windows(8, 8, 4, 0)
    )
    other = Raster(values=np.zeros((1, 4, 8), "u1"), valid=None, bands=("b",), geobox=box(4, 8, 4))
    short = Raster(values=np.zeros((1, 1, 8), "u1"), valid=None, bands=("a",), geobox=box(1, 8, 4))
    for content in (other, short):
        piece = Piece(window=pieces[1].window, content=content)
        with pytest.raises(ValueError, match="are needed"):
            stitch_rasters([pieces[0], piece], box(8, 8))
    files = cut_npy(np.zeros((8, 8), [("a", "u1")]), windows(8, 8, 4, 0))
    named = Piece(window=files[1].window, content=npy(np.zeros((4, 8), [("b", "u1")])))
    short = Piece(window=files[1].window, content=npy(np.zeros((1, 8), [("a", "u1")])))
    for piece, words in ((named, "not of one image"), (short, "is needed")):
        with pytest.raises(ValueError, match=words):
            stitch_npy([files[0], piece], wh_(8, 8))

"""Coverage pictures are for people: stated is that every status is seen, in its place and its share, and no other."""

import io

import numpy as np
import pytest
import shapely
from matplotlib.colors import to_rgb
from PIL import Image

from tasks.raster.house_style import Heading
from tasks.raster.tile_map import COLOURS, Status, coverage_figure
from tasks.raster.tile_map import coverage_map as encoded_map
from tasks.raster.tile_outlines import degrees

STORED, EMPTY, PLANNED, MISSING, FAILED = Status


def lattice(across, down, *, west=10.0, north=50.0, size=0.1):
    """Corners of upright tiles, row by row."""
    x, y = np.meshgrid(west + size * np.arange(across), north - size * np.arange(down))
    offsets = size * np.array([(0, 0), (1, 0), (1, -1), (0, -1)])
    return np.stack([x.ravel(), y.ravel()], axis=-1)[:, np.newaxis] + offsets


def coverage_map(*given, title="", **more):
    return coverage_figure(*given, heading=Heading(title), **more)


ALL, MAP, BARS = slice(None), slice(1), slice(1, None)
"""Axes of a figure; the last two are those of a series."""


def opened(figure, part=ALL):
    """The pixels within the axes, side by side: without the legend, which has the colours, too."""
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3]
    boxes = [np.rint(axes.get_window_extent().extents).astype(int) for axes in figure.axes[part]]
    return np.concatenate(
        [picture[low + 1 : high - 1, left + 1 : right - 1] for left, low, right, high in boxes], axis=1
    )[::-1]


def where(png, kind, part=ALL):
    """Pixels in the colour of a status."""
    colour = np.rint(np.array(to_rgb(COLOURS[kind])) * 255)
    return (opened(png, part) == colour).all(axis=-1)


def kinds_seen(png, part=ALL):
    return {kind for kind in Status if where(png, kind, part).any()}


@pytest.mark.parametrize("across", [10, 200], ids=["polygons", "pixels"])
@pytest.mark.parametrize("kinds", [[STORED], [PLANNED], [STORED, PLANNED], [STORED, EMPTY, FAILED], list(Status)])
def test_a_status_is_seen_if_and_only_if_a_tile_has_it(across, kinds):
    corners = lattice(across, 15, size=1 / across)
    status = np.resize(kinds, len(corners))
    assert kinds_seen(coverage_map(corners, status, title="all")) == set(kinds)


@pytest.mark.parametrize("across", [10, 120], ids=["polygons", "pixels"])
def test_each_status_has_its_share_of_the_map_and_its_place(across):
    corners = lattice(across, across, size=1 / across)
    status = np.where(np.arange(len(corners)) % across < across // 2, STORED, MISSING)
    beside = np.concatenate([corners, corners - np.array([1.2, 0])])
    picture = coverage_map(beside, [*status, *[EMPTY] * len(corners)], title="")
    stored, missing, empty = (where(picture, kind) for kind in (STORED, MISSING, EMPTY))
    assert stored.sum() == pytest.approx(missing.sum(), rel=0.05)
    assert stored.sum() + missing.sum() == pytest.approx(empty.sum(), rel=0.05)
    assert np.nonzero(empty)[1].max() < np.nonzero(stored)[1].min() < np.nonzero(missing)[1].min()
    assert np.nonzero(stored)[1].max() <= np.nonzero(missing)[1].min()


@pytest.mark.parametrize("place", [0, 54_321, 99_999])
def test_one_failed_tile_is_seen_among_a_hundred_thousand(place):
    status = np.zeros(100_000, np.uint8)
    status[place] = FAILED
    picture = coverage_map(lattice(400, 250, size=0.01), status, title="many")
    seen, stored = where(picture, FAILED), where(picture, STORED)
    assert seen.sum() >= 9
    first, last = np.argwhere(seen | stored).min(axis=0), np.argwhere(seen | stored).max(axis=0)
    row, column = (np.argwhere(seen).mean(axis=0) - first) / (last - first)
    assert (row, column) == pytest.approx((place // 400 / 249, place % 400 / 399), abs=0.01)


def test_tiny_patches_on_a_wide_map_are_seen():
    patches = np.concatenate([lattice(1, 1, west=west, size=0.001) for west in range(0, 20, 2)])
    seen = where(coverage_map(patches, [STORED] * 10, title="patches"), STORED)
    columns = np.flatnonzero(seen.any(axis=0))
    assert len(np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)) == 10
    assert seen.sum() >= 10 * 9


def test_what_went_wrong_lies_on_top_where_tiles_overlap():
    both = np.repeat(lattice(1, 1), 2, axis=0)
    for status in ([FAILED, STORED], [STORED, FAILED]):
        assert kinds_seen(coverage_map(both, status, title="")) == {FAILED}
    tiny = np.concatenate([both / 1000, lattice(1, 1)])
    assert FAILED in kinds_seen(coverage_map(tiny, [FAILED, STORED, STORED], title=""))


@pytest.mark.parametrize(
    ("dates", "seen"),
    [
        ([STORED, EMPTY], STORED),
        ([EMPTY, EMPTY], EMPTY),
        ([STORED, PLANNED], PLANNED),
        ([EMPTY, MISSING], MISSING),
        ([FAILED, MISSING], FAILED),
    ],
)
def test_the_map_of_a_series_shows_the_worst_date_and_its_bars_show_all(dates, seen):
    picture = coverage_map(lattice(1, 1), [[kind] for kind in dates], labels=["2020", "2021"], title="series")
    assert kinds_seen(picture, MAP) == {seen}
    assert kinds_seen(picture, BARS) == set(dates)


@pytest.mark.parametrize("dates", [6, 46, 61, 700])
def test_bars_have_the_lengths_of_the_counts_and_a_failure_on_one_date_is_seen(dates):
    status = np.zeros((dates, 1000), np.uint8)
    status[:, 750:] = EMPTY
    status[dates // 2, 7] = FAILED
    labels = [f"{number}$a_1$ and more" for number in range(dates)]
    picture = coverage_map(lattice(100, 10), status, labels=labels, title="series")
    stored, empty, failed = (where(picture, kind, BARS) for kind in (STORED, EMPTY, FAILED))
    lengths = stored[stored.any(axis=1)].sum(axis=1)
    assert lengths / (lengths + empty[stored.any(axis=1)].sum(axis=1)) == pytest.approx(0.75, abs=0.03)
    assert failed.sum() >= 4
    assert np.nonzero(failed)[0].mean() / len(failed) == pytest.approx(
        (dates // 2 + 0.5) / dates, abs=0.35 / dates**0.5
    )


def test_a_square_on_the_ground_is_a_square_in_the_picture():
    there = np.nonzero(where(coverage_map(lattice(1, 1, west=-4, north=60.5) * (2, 1), [PLANNED], title=""), PLANNED))
    assert np.ptp(there[0]) == pytest.approx(np.ptp(there[1]), rel=0.02)


def test_a_map_across_the_antimeridian_is_the_map_beside_it():
    def wrapped(corners):
        return np.stack([(corners[..., 0] + 180) % 360 - 180, corners[..., 1]], axis=-1)

    region = shapely.MultiPolygon([shapely.box(179, 48, 180, 50), shapely.box(-180, 48, -179, 50)])
    status = np.arange(9) % 5
    across = coverage_map(wrapped(lattice(3, 3, west=179.3, size=0.4)), status, title="", region=region)
    beside = coverage_map(lattice(3, 3, west=9.3, size=0.4), status, title="", region=shapely.box(9, 48, 11, 50))
    for kind in Status:
        there, here = where(across, kind), where(beside, kind)
        left = (here.shape[1] - there.shape[1]) // 2  # the labels of degrees differ in width, and so the map
        here = here[:, left : left + there.shape[1]]
        assert np.count_nonzero(there ^ here) < 0.05 * here.sum()


def test_the_outline_of_the_region_is_drawn_over_tiles_and_beside_them():
    plain, outlined = (
        opened(coverage_map(lattice(2, 2), [STORED] * 4, title="", region=region)).max(axis=-1)
        for region in (None, shapely.box(10.05, 49.85, 10.15, 50.5))
    )
    # The scale of the map follows the region: it is 3 times as high as the tiles.
    assert np.count_nonzero(outlined < 170) > np.count_nonzero(plain < 170) + 800


POLE = np.array([[[-1e5, 1e5], [1e5, 1e5], [1e5, -1e5], [-1e5, -1e5]]])


@pytest.mark.parametrize(
    ("corners", "status", "seen"),
    [
        (lattice(1, 1), [STORED], {STORED}),
        (lattice(1, 1, size=0.0), [FAILED], {FAILED}),
        (lattice(1, 1, west=-180, north=180, size=360) * (1, 0.5), [PLANNED], {PLANNED}),
        (degrees(POLE, "EPSG:3413"), [STORED], {STORED}),
        (degrees(POLE, "EPSG:3031"), [STORED], {STORED}),
        (lattice(1, 1, north=90), [STORED], {STORED}),
        (np.concatenate([lattice(1, 1), np.full((1, 4, 2), np.inf)]), [STORED, FAILED], {STORED}),
        (np.full((1, 4, 2), np.nan), [FAILED], set()),
        (np.empty((0, 4, 2)), np.empty((1, 0), np.uint8), set()),
        (lattice(2, 2), np.empty((0, 4), np.uint8), set()),
        (np.empty((0, 4, 2)), np.empty((0, 0), np.uint8), set()),
    ],
    ids=["one", "point", "world", "north", "south", "edge", "partly", "nowhere", "no tile", "no source", "nothing"],
)
def test_odd_input_is_drawn_as_far_as_it_has_a_place(corners, status, seen):
    assert kinds_seen(coverage_map(corners, status, title="odd $\\frac{ title")) == seen


def test_a_series_without_tiles_is_drawn():
    opened(coverage_map(np.empty((0, 4, 2)), np.empty((2, 0), np.uint8), labels=["a", "b"], title=""))


def test_same_input_same_bytes_that_name_no_software():
    both = [[STORED] * 25, [FAILED] * 25]
    pictures = {encoded_map(lattice(5, 5), both, labels=["a", "b"], heading=Heading("twice")) for _ in range(2)}
    assert len(pictures) == 1
    assert set(Image.open(io.BytesIO(pictures.pop())).info) <= {"dpi"}


@pytest.mark.parametrize(
    ("status", "labels", "words"),
    [
        ([STORED] * 3, [], r"corners\.shape = \(4, 4, 2\): it does not match status\.shape = \(1, 3\)"),
        ([[[STORED] * 4]], [], "does not match"),
        ([5] * 4, [], "status = 5 to 5: give 0 to 4"),
        ([[STORED] * 4] * 2, ["a"], "labels = 1 names: there are 2 sources"),
    ],
)
def test_input_that_does_not_fit_is_refused(status, labels, words):
    with pytest.raises(ValueError, match=words):
        coverage_map(lattice(2, 2), status, labels=labels, title="")


# Machado, Oliveira, Fernandes (2009), severity 1: what is seen without the green, or the red, cones.
NO_GREEN = np.array([(0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)])
NO_RED = np.array([(0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)])


@pytest.mark.parametrize("eye", [np.eye(3), NO_GREEN, NO_RED], ids=["three cones", "no green", "no red"])
def test_colours_are_told_apart_by_all_eyes(eye):
    linear = np.array([[((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(COLOURS[kind])] for kind in Status])
    seen = np.clip(linear @ eye.T, 0, 1) ** (1 / 2.2)
    apart = np.linalg.norm(seen[:, np.newaxis] - seen, axis=-1)
    assert apart[~np.eye(len(Status), dtype=bool)].min() > 0.2
    brightness = seen @ (0.299, 0.587, 0.114)
    assert brightness[STORED] - brightness[FAILED] > 0.25

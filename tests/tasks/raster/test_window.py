"""A window is some rows and columns, each by its name."""

import random
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from odc.geo import wh_

from tasks.raster.window import Window, overlap

sides = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted).map(lambda ends: slice(*ends))
windows = st.builds(Window, rows=sides, columns=sides)


@given(windows)
def test_its_size_is_that_of_what_it_takes_from_an_array(window):
    array = np.zeros((2, 30, 30))
    part = window.of_array(array)
    assert part.shape == (2, window.height, window.width)
    assert part[0].shape == window.shape
    assert (window.shape.y, window.shape.x) == (window.height, window.width)
    assert part.size == 2 * window.pixels
    part += 1
    assert array.sum() == 2 * window.pixels


@given(windows, st.integers(0, 30), st.integers(0, 30))
def test_it_lies_within_a_grid_if_all_of_its_pixels_do(window, width, height):
    held = window.of_array(np.zeros((height, width))).shape == (window.height, window.width)
    assert window.within(wh_(width, height)) == (held and window.pixels > 0)
    assert not Window(rows=slice(-1, 1), columns=slice(0, 1)).within(wh_(width, height))
    whole = Window.of(wh_(width, height))
    assert (whole.width, whole.height) == (width, height)


def test_rows_and_columns_are_given_by_name_and_stay():
    window = Window(rows=slice(1, 3), columns=slice(0, 5))
    assert str(window) == "rows 1 to 3, columns 0 to 5"
    assert window != Window(rows=slice(0, 5), columns=slice(1, 3))
    with pytest.raises(TypeError):
        Window(slice(1, 3), slice(0, 5))
    with pytest.raises(AttributeError):
        window.rows = slice(0, 1)


def small(end):
    return st.tuples(st.integers(0, end), st.integers(0, end)).map(sorted).map(lambda ends: slice(*ends))


@settings(max_examples=500)
@given(st.lists(st.builds(Window, rows=small(6), columns=small(6)), max_size=8))
@example([Window(rows=slice(0, 2), columns=slice(0, 4)), Window(rows=slice(1, 3), columns=slice(0, 4))])
def test_windows_overlap_if_a_pixel_is_in_two_of_them(windows):
    covered = np.zeros((6, 6), int)
    for window in windows:
        window.of_array(covered)[...] += 1
    assert overlap(windows) == (covered.max() > 1)


@settings(max_examples=300)
@given(st.data())
def test_parts_of_a_grid_overlap_only_if_one_of_them_grows(data):
    """Cut at random again and again, as lists of random windows nearly always overlap."""
    parts = [Window(rows=slice(0, 24), columns=slice(0, 24))]
    for _ in range(data.draw(st.integers(0, 20))):
        part = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        side = data.draw(st.sampled_from(["rows", "columns"]))
        along = getattr(part, side)
        middle = data.draw(st.integers(along.start, along.stop))
        halves = slice(along.start, middle), slice(middle, along.stop)
        parts += [replace(part, **{side: half}) for half in halves]
    parts = data.draw(st.permutations([part for part in parts if part.pixels]))
    assert not overlap(parts)
    place = data.draw(st.integers(0, len(parts) - 1))
    part, (up, down, left, right) = parts[place], data.draw(st.tuples(*[st.integers(0, 1)] * 4))
    parts[place] = grown = Window(
        rows=slice(max(part.rows.start - up, 0), min(part.rows.stop + down, 24)),
        columns=slice(max(part.columns.start - left, 0), min(part.columns.stop + right, 24)),
    )
    assert overlap(parts) == (grown != part)


@pytest.mark.parametrize("how", ["row", "staggered"])
def test_a_hundred_thousand_tiles_cost_no_raster_and_no_comparison_of_each_with_each(how):
    """Each with each would be 5,000,000,000, and a mask of the raster 10 GB."""
    count, side = 100_000, 300
    places = {
        "row": lambda i: (0, i * side, side),
        "staggered": lambda i: (i, i * side, 30_000),
    }
    windows = []
    for i in range(count):
        top, left, height = places[how](i)
        windows.append(Window(rows=slice(top, top + height), columns=slice(left, left + side)))
    random.Random(7).shuffle(windows)
    tracemalloc.start()
    try:
        assert not overlap(windows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6
    last = max(windows, key=lambda window: (window.rows.stop, window.columns.stop))
    corner = Window(
        rows=slice(last.rows.stop - 1, last.rows.stop), columns=slice(last.columns.stop - 1, last.columns.stop)
    )
    assert overlap([*windows, corner])

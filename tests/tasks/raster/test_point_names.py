"""Points are shown by what their users call them."""

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from tasks.raster.point_names import captions, id_property, ids, patch_names, point_names


def frame(**columns):
    count = len(next(iter(columns.values())))
    return geopandas.GeoDataFrame(columns, geometry=[shapely.Point(n, n / 4) for n in range(count)], crs=4326)


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"id": ["00123", "NA"]}, ["00123", "NA"]),
        ({"ID": [7, 9], "name": ["a", "b"]}, ["7", "9"]),
        ({"crop": ["soy", "maize"], " Name ": ["a", "b"]}, ["a", "b"]),
        ({"fid": [1.0, 2.0]}, ["1", "2"]),
        ({"id": [1, 1], "plot_id": ["p1", "p2"]}, ["p1", "p2"]),
        ({"id": ["a", None], "code": ["x", "y"]}, ["x", "y"]),
        ({"id": ["a", "  "]}, ["0", "1"]),
        ({"id": [1, 1], "name": ["a", "a"]}, ["0", "1"]),
        ({"crop": ["soy", "maize"]}, ["0", "1"]),
        ({"id": ["1", 1]}, ["0", "1"]),
        ({"id": ["a", "a", "b"], "part": [0, 1, 0]}, ["a part 0", "a part 1", "b"]),
        ({"id": [12345678901234567, 12345678901234568]}, ["12345678901234567", "12345678901234568"]),
    ],
)
def test_the_id_is_the_first_property_that_tells_points_apart(columns, names):
    assert point_names(frame(**columns)) == names


@given(st.lists(st.text(max_size=3) | st.none(), min_size=1, max_size=6))
def test_names_differ_whatever_the_properties_hold(texts):
    assert len(set(point_names(frame(id=texts)))) == len(texts)


def test_points_of_one_patch_are_named_together():
    names = patch_names(frame(id=list("ABCDEF")), np.array([0, 1, 0, 0, 0, 0]))
    assert names == {0: "A, C, D and 2 more", 1: "B"}


def test_a_caption_is_the_id_or_the_row_and_place():
    assert captions(frame(id=["Ñandú", "𓀀"]), [1, 0]) == ["row 1 (1.0000, 0.2500)", "Ñandú"]
    assert captions(frame(crop=["a", "a"]), [1]) == ["row 1 (1.0000, 0.2500)"]
    assert ids(frame(crop=["a", "a"])) is None
    assert id_property(frame(crop=["a", "a"])) is None
    assert id_property(frame(crop=["a", "a"], plot=["1", "2"])) == "plot"

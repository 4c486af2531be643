"""Laws of grouping: every image is in exactly one group, names sort by time, passes are never mixed."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors.input import BadInputError
from tasks.plan.acquisition import Acquired
from tasks.plan.grouping import LONGEST, Group, group_images
from tasks.plan.labels import labels_of

DAY = datetime(2020, 5, 18, tzinfo=UTC)
WAYS = ["auto", "image", "overpass", "day", "solar_day"]
# Around two midnights, in steps of 250 ms, 20 s and hours.
moments = st.one_of(
    st.integers(-8, 8).map(lambda n: DAY + timedelta(milliseconds=250 * n)),
    st.integers(-90, 90).map(lambda n: DAY + timedelta(days=1, seconds=20 * n)),
    st.integers(0, 72).map(lambda n: DAY + timedelta(hours=n)),
)
sentinel_2 = st.builds(
    lambda take, base, tile: {
        "DATATAKE_IDENTIFIER": f"GS2A_20200518T134211_01660{take}_N0{base}.00",
        "MGRS_TILE": f"21JY{tile}",
    },
    st.integers(1, 3),
    st.integers(2, 5),
    st.sampled_from("MN"),
)
sentinel_1 = st.builds(
    lambda platform, orbit, way: {
        "platform_number": platform,
        "orbitNumber_start": orbit,
        "orbitProperties_pass": way,
        "instrumentMode": "IW",
    },
    st.sampled_from("AB"),
    st.integers(32620, 32621),
    st.sampled_from(["ASCENDING", "DESCENDING"]),
)
landsat = st.builds(
    lambda mission, path, row: {"SPACECRAFT_ID": f"LANDSAT_{mission}", "WRS_PATH": path, "WRS_ROW": row},
    st.integers(8, 9),
    st.integers(224, 225),
    st.one_of(st.integers(77, 79), st.integers(121, 124)),
)
other = st.sampled_from([{}, {"platform": "T"}, {"SATELLITE": "N", "ORBIT_DIRECTION": "up"}, {"MGRS_TILE": "21JYM"}])
images = st.lists(
    st.tuples(moments, st.one_of(sentinel_2, sentinel_1, landsat, other)), min_size=1, max_size=24
).flatmap(
    lambda found: st.permutations(
        [Acquired(id=f"p/c/{number:02d}", start=start, properties=given) for number, (start, given) in enumerate(found)]
    )
)


def grouped(found, by):
    """Return the groups; None if images without a pause are refused as overpasses."""
    try:
        return group_images(found, by, longitude=-54.9)
    except BadInputError:
        if by != "overpass":
            raise
        return None


@settings(deadline=None, max_examples=120)
@given(images, st.sampled_from(WAYS))
def test_every_image_is_in_exactly_one_group_whatever_their_order(found, by):
    groups = grouped(found, by)
    if groups is None:
        return
    inside = Counter(one.id for group in groups for one in (*group.images, *group.superseded))
    assert inside == Counter(one.id for one in found)
    assert groups == grouped(sorted(found, key=lambda one: one.id), by)
    assert all(list(group.images) == sorted(group.images, key=lambda one: (one.start, one.id)) for group in groups)
    if by == "image":
        assert all((len(group.images), group.superseded) == (1, ()) for group in groups)


@settings(deadline=None, max_examples=120)
@given(images, st.sampled_from(WAYS))
def test_names_are_all_different_and_sort_by_time(found, by):
    groups = grouped(found, by) or ()
    labels = labels_of(groups)
    assert len({label.casefold() for label in labels}) == len(groups)
    pairs = sorted(zip(labels, groups, strict=True), key=lambda pair: pair[0])
    starts = [group.start for _, group in pairs]
    assert starts == sorted(starts)
    assert all(not set(label) & set(':/\\?*"<>| ') for label in labels)


@settings(deadline=None, max_examples=120)
@given(images, st.sampled_from(["auto", "overpass"]))
def test_no_group_mixes_passes_platforms_or_days(found, by):
    for group in grouped(found, by) or ():
        for name in ("orbitProperties_pass", "platform_number", "orbitNumber_start", "SPACECRAFT_ID", "WRS_PATH"):
            assert len({one.properties.get(name) for one in group.images}) == 1
        takes = {one.properties.get("DATATAKE_IDENTIFIER", "").split("_N")[0] for one in group.images}
        assert len(takes) == 1
        rows = {123 <= one.properties["WRS_ROW"] <= 246 for one in group.images if "WRS_ROW" in one.properties}
        assert len(rows) <= 1
        assert all(later.start - one.start <= LONGEST for one, later in pairwise(group.images))
        if by == "auto" and len(group.images) > 1:
            assert all(len(one.properties) > 1 or "DATATAKE_IDENTIFIER" in one.properties for one in group.images)


def one(name, minutes=0.0, **properties):
    return Acquired(id=name, start=DAY + timedelta(minutes=minutes), properties=properties)


def parts(groups):
    return [[image.id for image in group.images] for group in groups]


@pytest.mark.parametrize(
    ("found", "by", "right"),
    [
        # Landsat: neighbouring rows are 24 s apart; a path is repeated after 16 days, and by the other mission after 8.
        (
            [
                one("a", 0, SPACECRAFT_ID="LANDSAT_8", WRS_PATH=1, WRS_ROW=77),
                one("b", 0.4, SPACECRAFT_ID="LANDSAT_8", WRS_PATH=1, WRS_ROW=78),
                one("c", 8 * 1440, SPACECRAFT_ID="LANDSAT_9", WRS_PATH=1, WRS_ROW=77),
                one("d", 16 * 1440, SPACECRAFT_ID="LANDSAT_8", WRS_PATH=1, WRS_ROW=77),
            ],
            "auto",
            [["a", "b"], ["c"], ["d"]],
        ),
        # Rows between them may be missing: 60 rows take 24 minutes.
        (
            [
                one("a", 0, SPACECRAFT_ID="LANDSAT_8", WRS_PATH=1, WRS_ROW=10),
                one("b", 24, SPACECRAFT_ID="LANDSAT_8", WRS_PATH=1, WRS_ROW=70),
            ],
            "auto",
            [["a", "b"]],
        ),
        # Descending and ascending rows of one path, near the pole.
        (
            [
                one("a", 0, SPACECRAFT_ID="LANDSAT_8", WRS_PATH=1, WRS_ROW=122),
                one("b", 0.4, SPACECRAFT_ID="LANDSAT_8", WRS_PATH=1, WRS_ROW=123),
            ],
            "overpass",
            [["a"], ["b"]],
        ),
        # A datatake in the id of a product, where DATATAKE_IDENTIFIER is missing.
        (
            [
                one("a", 0, PRODUCT_ID="S2A_MSIL2A_20200518T134211_N0214_R124_T21JYM_20200518T170012"),
                one("b", 0.2, PRODUCT_ID="S2A_MSIL2A_20200518T134211_N0214_R124_T21JYN_20200518T170012"),
                one("c", 0.3, PRODUCT_ID="S2B_MSIL2A_20200518T134211_N0214_R124_T21JYN_20200518T170012"),
            ],
            "auto",
            [["a", "b"], ["c"]],
        ),
        # A platform alone does not name an acquisition: Terra passes several times a day near the poles.
        ([one("a", 0, platform="T"), one("b", 5, platform="T")], "auto", [["a"], ["b"]]),
        (
            [one("a", 0, platform="T"), one("b", 5, platform="T"), one("c", 99, platform="T")],
            "overpass",
            [["a", "b"], ["c"]],
        ),
        ([one("a", 0, platform="T"), one("b", 5, platform="A")], "overpass", [["a"], ["b"]]),
        # Blank properties name nothing.
        ([one("a", 0, DATATAKE_IDENTIFIER=""), one("b", 0, DATATAKE_IDENTIFIER="")], "auto", [["a"], ["b"]]),
        # The same datatake on two days is a property that was copied by mistake.
        ([one("a", 0, DATATAKE_IDENTIFIER="x"), one("b", 2000, DATATAKE_IDENTIFIER="x")], "auto", [["a"], ["b"]]),
    ],
)
def test_what_is_one_acquisition(found, by, right):
    assert parts(group_images(found, by)) == right


def copy_of(name, baseline, *bands):
    facts = {"DATATAKE_IDENTIFIER": f"GS2A_20200518T134211_016607_N{baseline}", "MGRS_TILE": "21JYM"}
    return replace(one(name, **facts), bands=bands)


@pytest.mark.parametrize(
    ("images", "right"),
    [
        # The old one lies on top by its id, and its band B1 would be mixed with B2 of the new one.
        ([copy_of("z_old", "02.14", "B1"), copy_of("a_new", "05.00", "B1", "B2")], [["a_new"]]),
        ([copy_of("a", "02.14", "B1", "B2"), copy_of("b", "05.00", "B1")], [["a", "b"]]),
        ([copy_of("a", "02.14", "B1"), copy_of("b", "03.00", "B1", "B2"), copy_of("c", "05.00", "B1")], [["b", "c"]]),
        ([copy_of("a", "02.14", "B2"), copy_of("b", "03.00", "B2"), copy_of("c", "05.00", "B1")], [["b", "c"]]),
    ],
)
def test_a_copy_is_older_if_the_newest_has_all_its_bands(images, right):
    groups = group_images(images, "auto")
    assert parts(groups) == right
    assert sorted(image.id for group in groups for image in (*group.images, *group.superseded)) == sorted(
        image.id for image in images
    )


def test_images_without_a_pause_are_no_overpass():
    film = [one(f"{n:03d}", 10 * n) for n in range(144)]
    with pytest.raises(BadInputError, match=r"group_by = 'overpass'.*10 minutes.*group_by=image"):
        group_images(film, "overpass")
    assert len(group_images(film, "auto")) == 144


def test_the_solar_day_is_that_of_the_region():
    found = [one("a", -60), one("b", 60)]  # 23:00 and 01:00 UTC
    assert parts(group_images(found, "day")) == [["a"], ["b"]]
    assert parts(group_images(found, "solar_day", longitude=150.0)) == [["a", "b"]]  # 09:00 and 11:00
    assert [group.day.isoformat() for group in group_images(found, "solar_day", longitude=150.0)] == ["2020-05-18"]


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        (["x/a", "x/b"], ["2020-05-18-a", "2020-05-18-b"]),
        (["x/a b", "x/a_b"], ["2020-05-18-a_b-", "2020-05-18-a_b-"]),
        (["x/A", "x/a"], ["2020-05-18-A-", "2020-05-18-a-"]),
        (["x/" + "a" * 200 + "1", "x/" + "a" * 200 + "2"], ["2020-05-18-" + "a" * 49 + "-"] * 2),
        (["x/..", "x/."], ["2020-05-18-image-", "2020-05-18-image-"]),
    ],
)
def test_ids_in_names_are_safe_and_differ(ids, labels):
    found = labels_of([Group(images=(one(name),)) for name in ids])
    assert len({label.casefold() for label in found}) == 2
    for got, wanted in zip(found, labels, strict=True):
        assert got == wanted if not wanted.endswith("-") else got.startswith(wanted)
        assert len(got) < 80

"""Every image of a collection is in a series, and none is invented. The right values are worked out by hand."""

from dataclasses import replace
from datetime import date

import ee
import numpy as np
import pyproj
import pytest

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection, ensure_client
from tasks.earthengine.expression import encode
from tasks.errors.input import BadInputError
from tasks.plan.plan import Plan
from tasks.plan.specs import ImageSpec
from tasks.products.series import series_points
from tests.tasks.extraction.test_checkpoint import series
from tests.tasks.plan.dated import A, extracted, means, place, plan_of, write_scene

START = date(2020, 5, 1)
S1 = {"platform_number": "A", "orbitProperties_pass": "DESCENDING", "instrumentMode": "IW"}


def at(moment):
    return {"DATE_ACQUIRED": moment}


def half(upper):
    """Half of a scene: the other half is masked."""
    rows = np.arange(20)[:, None] < 10
    return np.where(rows if upper else ~rows, A, 0).astype(np.uint16)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder with collections, and the connection to the sandbox that serves it."""
    folder = tmp_path_factory.mktemp("scenes")
    with running(scenes=folder) as url:
        yield folder, Connection(project="my-project", endpoint=url)


@pytest.fixture
def collection(scenes, request):
    """Write a collection: images by name, each (pixels, tags). Return its name."""
    folder, _ = scenes
    name = f"c{abs(hash(request.node.name)) % 10**9}"

    def write(images, **more):
        for image, (pixels, tags) in images.items():
            write_scene(folder / name / f"{image}.tif", pixels, **more, **tags)
        return name

    return write


@pytest.fixture
def ask(scenes):
    return scenes[1]


def expression(connection, name, make=lambda collection: collection):
    """The spec of a computed collection, made of a stored one."""
    ensure_client(connection)
    return ImageSpec(expression=encode(make(ee.ImageCollection(f"projects/sandbox/assets/{name}"))), name="made")


def tags_of(plan):
    return {source.label: source.tags("f") for source in plan.sources}


HOURS = {
    "night": (A, at("2020-05-18T00:00:00Z")),
    "morning": (A + 6, at("2020-05-18T06:00:00Z")),
    "evening": (A + 18, at("2020-05-18T18:00:00Z")),
}


@pytest.mark.parametrize("computed", [False, True])
def test_three_images_of_a_day_are_three(collection, ask, tmp_path, computed):
    name = collection(HOURS)
    plan = plan_of(ask, expression(ask, name) if computed else name, start=START)
    assert means(ask, plan, tmp_path) == {
        "2020-05-18": 200.5,
        "2020-05-18T060000Z": 206.5,
        "2020-05-18T180000Z": 218.5,
    }
    assert [tags["TIFFTAG_DATETIME"] for tags in tags_of(plan).values()] == [
        "2020:05:18 00:00:00",
        "2020:05:18 06:00:00",
        "2020:05:18 18:00:00",
    ]
    assert [source.images[0].rsplit("/", 1)[-1] for source in plan.sources] == ["night", "morning", "evening"]


@pytest.mark.parametrize("computed", [False, True])
def test_images_of_one_time_are_told_apart_by_id(collection, ask, tmp_path, computed):
    moment = at("2020-05-18T12:00:00Z")
    name = collection({f"f{hour:03d}": (A + hour, moment) for hour in (0, 6, 12)})
    plan = plan_of(ask, expression(ask, name) if computed else name, start=START)
    assert means(ask, plan, tmp_path) == {
        "2020-05-18T120000Z-f000": 200.5,
        "2020-05-18T120000Z-f006": 206.5,
        "2020-05-18T120000Z-f012": 212.5,
    }


NEAR_MIDNIGHT = {
    "y": (A + 1000, at("2020-05-18T00:05:00Z")),
    "x1": (half(True), at("2020-05-18T23:58:00Z")),
    "x2": (half(False), at("2020-05-19T00:01:00Z")),
}


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize(
    ("tags", "group_by"),
    [
        ({"SPACECRAFT_ID": "LANDSAT_8", "WRS_PATH": "1"}, "auto"),
        ({}, "overpass"),
        ({"platform": "T"}, "overpass"),
        ({"DATATAKE_IDENTIFIER": "y"}, "auto"),
        (S1 | {"orbitNumber_start": "9"}, "auto"),
    ],
)
def test_an_overpass_across_midnight_is_one_and_another_is_apart(collection, ask, tmp_path, tags, group_by, computed):
    own = dict.fromkeys(NEAR_MIDNIGHT, tags)
    if "DATATAKE_IDENTIFIER" in tags:
        take = {"DATATAKE_IDENTIFIER": "GS2A_20200518T235800_016607_N02.14"}
        own |= {"x1": take, "x2": take}
    if "orbitNumber_start" in tags:
        own |= {name: tags | {"orbitNumber_start": "24"} for name in ("x1", "x2")}
    name = collection({n: (pixels, moment | own[n]) for n, (pixels, moment) in NEAR_MIDNIGHT.items()}, nodata=0)
    plan = plan_of(ask, expression(ask, name) if computed else name, start=START, group_by=group_by)
    assert means(ask, plan, tmp_path) == {"2020-05-18T000500Z": 1200.5, "2020-05-18T235800Z": 200.5}
    later = plan.sources[1]
    assert (later.time, later.end) == ("2020-05-18T23:58:00+00:00", "2020-05-19T00:01:00+00:00")
    assert [one.rsplit("/", 1)[-1] for one in later.images] == ["x1", "x2"]


@pytest.mark.parametrize("group_by", ["auto", "image"])
def test_halves_that_nothing_names_as_one_are_each_alone(collection, ask, tmp_path, group_by):
    name = collection(NEAR_MIDNIGHT, nodata=0)
    plan = plan_of(ask, name, start=START, group_by=group_by)
    assert means(ask, plan, tmp_path) == {
        "2020-05-18T000500Z": 1200.5,
        "2020-05-18T235800Z": 100.5,
        "2020-05-19T000100Z": 300.5,
    }


def test_a_day_is_one_if_it_is_asked_for_and_the_latest_lies_on_top(collection, ask, tmp_path):
    name = collection(NEAR_MIDNIGHT, nodata=0)
    plan = plan_of(ask, name, start=START, group_by="day")
    found = means(ask, plan, tmp_path)
    assert found == {"2020-05-18": (100.5 + 1300.5) / 2, "2020-05-19": 300.5}  # x's half over the upper half of y
    # At 54.88 degrees west, the solar day begins at 03:39:31 UTC: y is of the day before.
    solar = means(ask, plan_of(ask, name, start=START, group_by="solar_day"), tmp_path)
    assert solar == {"2020-05-17": 1200.5, "2020-05-18": 200.5}


@pytest.mark.parametrize("group_by", ["auto", "overpass"])
def test_ascending_and_descending_passes_are_apart(collection, ask, tmp_path, group_by):
    """Also if both are of one orbit, minutes apart, as near the poles."""
    up = S1 | {"orbitNumber_start": "7", "orbitProperties_pass": "ASCENDING"} | at("2020-05-18T08:58:00Z")
    down = S1 | {"orbitNumber_start": "7"} | at("2020-05-18T09:02:00Z")
    name = collection({"a": (A, up), "b": (A + 5, down)})
    assert list(means(ask, plan_of(ask, name, start=START, group_by=group_by), tmp_path).values()) == [200.5, 205.5]


S2 = {"DATATAKE_IDENTIFIER": "GS2A_20200518T134211_016607_N02.14", "MGRS_TILE": "21JYM"}
TWICE = {
    "sentinel-2": (
        {"old": S2, "new": S2 | {"DATATAKE_IDENTIFIER": "GS2A_20200518T134211_016607_N05.00"}},
        at("2020-05-18T13:42:11Z"),
    ),
    "sentinel-2, generated": (
        {"old": S2 | {"GENERATION_TIME": "1"}, "a_new": S2 | {"GENERATION_TIME": "2"}},
        at("2020-05-18T13:42:11Z"),
    ),
    "sentinel-2, baseline alone": (
        {
            "old": {"MGRS_TILE": "1", "PROCESSING_BASELINE": "02.14"},
            "a": {"MGRS_TILE": "1", "PROCESSING_BASELINE": "05.00"},
        },
        at("2020-05-18T13:42:11Z"),
    ),
    "landsat": (
        {
            "old": {"LANDSAT_SCENE_ID": "LC82240782020139LGN00", "DATE_PRODUCT_GENERATED": "2020-05-19T01:00:00Z"},
            "a": {"LANDSAT_SCENE_ID": "LC82240782020139LGN01", "DATE_PRODUCT_GENERATED": "2020-08-20T01:00:00Z"},
        },
        at("2020-05-18"),
    ),
    "landsat, by products": (
        {
            "old": {"LANDSAT_PRODUCT_ID": "LC08_L2SP_224078_20200518_20200519_02_T1"},
            "a": {"LANDSAT_PRODUCT_ID": "LC08_L2SP_224078_20200518_20200820_02_T1"},
        },
        at("2020-05-18"),
    ),
    "sentinel-2, by products": (
        {
            "old": {"PRODUCT_ID": "S2A_MSIL2A_20200518T134211_N0214_R124_T21JYM_20200518T170012"},
            "a": {"PRODUCT_ID": "S2A_MSIL2A_20200518T134211_N0500_R124_T21JYM_20220918T170012"},
        },
        at("2020-05-18T13:42:11Z"),
    ),
    "sentinel-1": (
        {
            "S1A_IW_GRDH_1SDV_20200518T085342_20200518T085407_032620_03C70F_F000": {"GRD_Post_Processing_stop": "1"},
            "S1A_IW_GRDH_1SDV_20200518T085342_20200518T085407_032620_03C70F_0F3C": {"GRD_Post_Processing_stop": "2"},
        },
        at("2020-05-18T08:53:42Z"),
    ),
}


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("kind", TWICE)
def test_of_a_scene_that_was_processed_twice_the_newest_is_used(collection, ask, tmp_path, kind, computed):
    copies, moment = TWICE[kind]
    (old, new) = copies
    name = collection({old: (A + 100, moment | copies[old]), new: (A, moment | copies[new])})
    spec = expression(ask, name) if computed else name
    plan = plan_of(ask, spec, start=START)
    assert list(means(ask, plan, tmp_path).values()) == [200.5]
    (source,) = plan.sources
    assert [one.rsplit("/", 1)[-1] for one in source.images] == [new]
    assert [one.rsplit("/", 1)[-1] for one in source.superseded] == [old]
    assert "older copy" in plan.left_out[source.superseded[0]]
    both = means(ask, plan_of(ask, spec, start=START, group_by="image"), tmp_path)
    assert sorted(both.values()) == [200.5, 300.5]


def test_two_datastrips_of_one_tile_are_no_copies(collection, ask, tmp_path):
    strips = [
        S2 | {"DATASTRIP_ID": f"S2A_OPER_MSI_L2A_DS_EPAE_20200518T170012_S20200518T13421{n}_N02.14"} for n in (1, 3)
    ]
    moment = at("2020-05-18T13:42:11Z")
    name = collection({"a": (half(True), moment | strips[0]), "b": (half(False), moment | strips[1])}, nodata=0)
    plan = plan_of(ask, name, start=START)
    assert means(ask, plan, tmp_path) == {"2020-05-18T134211Z": 200.5}
    assert plan.left_out == {}


CUT = {"LANDSAT_SCENE_ID": "LC82240782020139LGN00", "LANDSAT_PRODUCT_ID": "LC08_L2SP_224078_20200518_20200519_02_T1"}


@pytest.mark.parametrize("computed", [False, True])
def test_tiles_that_were_cut_from_one_scene_are_no_copies(scenes, ask, tmp_path, computed):
    """They have its properties and its time: chips of an export, or the tiles of HLS."""
    folder, name = scenes[0], f"cut{computed}"
    moment = at("2020-05-18T13:42:11Z")
    write_scene(folder / name / "left.tif", A[:, :12], **moment, **CUT)
    write_scene(folder / name / "right.tif", A[:, 10:], at=place(600300), **moment, **CUT)
    plan = plan_of(ask, expression(ask, name) if computed else name, start=START)
    assert sorted(means(ask, plan, tmp_path).values()) == [A[:, :12].mean(), A[:, 10:].mean()]
    assert plan.left_out == {}


def test_a_copy_that_covers_a_part_of_a_scene_is_a_copy(scenes, ask, tmp_path):
    moment = at("2020-05-18T13:42:11Z") | {"LANDSAT_SCENE_ID": "LC82240782020139LGN00"}
    write_scene(scenes[0] / "less" / "old.tif", A + 100, **moment, DATE_PRODUCT_GENERATED="2020-05-19")
    write_scene(scenes[0] / "less" / "new.tif", A[:10], **moment, DATE_PRODUCT_GENERATED="2021-05-19")
    plan = plan_of(ask, "less", start=START)
    assert list(means(ask, plan, tmp_path).values()) == [A[:10].mean()]
    assert "older copy" in plan.left_out["projects/sandbox/assets/less/old"]


def test_images_whose_names_only_begin_like_those_of_sentinel_1_are_no_copies(collection, ask):
    name = collection({f"S1A_stack_000{n}": (A + n, at("2020-05-18T09:00:00Z")) for n in (1, 2)})
    assert len(plan_of(ask, name, start=START)) == 2


def test_a_solar_day_is_whole_and_has_its_own_date(scenes, ask, tmp_path):
    """In New Zealand noon is at about 00:20 UTC: half of each day lies on the day before in UTC."""
    folder, where = scenes[0], {"crs": "EPSG:32760", "at": place(300000, 5920000)}
    to_degrees = pyproj.Transformer.from_crs(32760, 4326, always_xy=True).transform
    west, south, east, north = *to_degrees(300000, 5919400), *to_degrees(300600, 5920000)
    for add, moment in enumerate(["17T11:30", "17T12:30", "17T22:15", "18T03:00", "18T13:00", "19T03:00"]):
        write_scene(folder / "far_east" / f"i{add}.tif", A + add, **where, DATE_ACQUIRED=f"2020-05-{moment}:00Z")
    plan = plan_of(
        ask, "far_east", region=[west, south, east, north], crs="EPSG:32760", group_by="solar_day",
        start=date(2020, 5, 18), end=date(2020, 5, 20),
    )  # fmt: skip
    assert [[one[-2:] for one in source.images] for source in plan.sources] == [["i1", "i2", "i3"], ["i4", "i5"]]
    assert [source.label for source in plan.sources] == ["2020-05-18", "2020-05-19"]
    found, tiles = extracted(ask, plan, tmp_path)
    assert [pixels.mean() for pixels in found.values()] == [203.5, 205.5]
    assert [point.day for point in series_points(plan, tiles)] == ["2020-05-18", "2020-05-19"]


def test_two_granules_of_an_overpass_have_its_time(collection, ask, tmp_path):
    name = collection(
        {
            "north": (A, S2 | {"MGRS_TILE": "21JYN"} | at("2020-05-18T13:42:11Z")),
            "south": (A + 7, S2 | at("2020-05-18T13:42:25Z")),
        }
    )
    plan = plan_of(ask, name, start=START)
    assert means(ask, plan, tmp_path) == {"2020-05-18T134211Z": 207.5}  # the later one lies on top
    (tags,) = tags_of(plan).values()
    assert tags["TIFFTAG_DATETIME"] == "2020:05:18 13:42:11"
    assert (tags["DATE_ACQUIRED"], tags["TIME_END"]) == ("2020-05-18", "2020-05-18T13:42:25+00:00")
    assert [one.rsplit("/", 1)[-1] for one in tags["IMAGES"].split()] == ["north", "south"]


def test_which_image_lies_on_top_does_not_depend_on_the_order_of_a_collection(collection, ask, tmp_path):
    name = collection(
        {"b": (A, S2 | at("2020-05-18T13:42:11Z")), "a": (A + 7, S2 | {"MGRS_TILE": "x"} | at("2020-05-18T13:42:25Z"))}
    )
    for make in (lambda c: c, lambda c: c.sort("system:time_start", False), lambda c: c.sort("system:time_start")):
        plan = plan_of(ask, expression(ask, name, make), start=START)
        assert means(ask, plan, tmp_path) == {"2020-05-18T134211Z": 207.5}


TIMELESS = {"first": (A, {}), "second": (A + 1, {})}


@pytest.mark.parametrize("computed", [False, True])
def test_images_without_a_time_are_named_with_the_remedy(collection, ask, computed):
    name = collection(TIMELESS)
    with pytest.raises(BadInputError, match=r"system:time_start.*first, second.*copyProperties"):
        plan_of(ask, expression(ask, name) if computed else name, start=START)


@pytest.mark.parametrize("computed", [False, True])
def test_some_images_without_a_time_are_left_out_in_words(collection, ask, computed):
    name = collection(TIMELESS | {"third": (A + 2, at("2020-05-18"))})
    plan = plan_of(ask, expression(ask, name) if computed else name, start=START)
    assert [source.label for source in plan.sources] == ["2020-05-18"]
    assert set(plan.left_out) == {"first", "second"}
    assert all("copyProperties" in reason for reason in plan.left_out.values())


def test_images_without_a_time_are_named_if_the_others_are_of_other_dates(collection, ask):
    name = collection(TIMELESS | {"third": (A + 2, at("2020-05-18"))})
    with pytest.raises(BadInputError, match=r"no image of this region is of these dates, and 2 have no property"):
        plan_of(ask, name, start=date(2021, 1, 1))


def test_a_function_that_loses_the_time_is_named(collection, ask):
    name = collection(HOURS)
    lost = expression(ask, name, lambda c: c.map(lambda image: image.multiply(2)))
    with pytest.raises(BadInputError, match=r"image = 'made'.*system:time_start.*copyProperties"):
        plan_of(ask, lost, start=START)
    half_lost = expression(ask, name, lambda c: c.map(lambda image: image.multiply(2)).merge(c))
    plan = plan_of(ask, half_lost, start=START)
    assert (len(plan.sources), len(plan.left_out)) == (3, 3)


BANDS = {
    "a": ({"B1": A, "B2": A + 1}, at("2020-05-17")),
    "b": ({"B1": A}, at("2020-05-18")),
    "c": ({"B2": A + 3, "B1": A}, at("2020-05-19")),
}


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("bands", [["B2"], ["B1", "B2"], None])
def test_an_image_that_lacks_a_band(collection, ask, tmp_path, bands, computed):
    name = collection(BANDS)
    spec = expression(ask, name) if computed else name
    with pytest.raises(BadInputError, match=r"1 of 3 images.*b has no band B2.*missing_bands=skip.*mask.*: B1"):
        plan_of(ask, spec, bands=bands, start=START)
    skipped = plan_of(ask, spec, bands=bands, start=START, missing_bands="skip")
    assert [source.label for source in skipped.sources] == ["2020-05-17", "2020-05-19"]
    assert list(skipped.left_out.values()) == ["no band B2"]
    masked = plan_of(ask, spec, bands=bands, start=START, missing_bands="mask")
    found, _ = extracted(ask, masked, tmp_path)
    assert list(found) == ["2020-05-17", "2020-05-18", "2020-05-19"]
    names = [band.id for band in masked.bands]
    second = {label: pixels[names.index("B2")] for label, pixels in found.items()}
    assert [second[label].mean() for label in ("2020-05-17", "2020-05-19")] == [201.5, 203.5]
    assert second["2020-05-18"].mask.all()
    if "B1" in names:
        assert found["2020-05-18"][names.index("B1")].mean() == 200.5
        assert {pixels.dtype for pixels in found.values()} == {np.dtype("uint16")}


def test_a_band_that_the_first_image_lacks_is_not_lost(collection, ask):
    name = collection({"0": ({"B1": A}, at("2020-05-16"))} | BANDS)
    with pytest.raises(BadInputError, match=r"2 of 4 images.*B2"):
        plan_of(ask, name, start=START)
    plan = plan_of(ask, name, start=START, missing_bands="mask")
    assert [band.id for band in plan.bands] == ["B1", "B2"]


def test_granules_of_which_one_lacks_a_band_are_joined(collection, ask, tmp_path):
    name = collection(
        {
            "a": ({"B1": A, "B2": A + 1}, S2 | at("2020-05-18T13:42:11Z")),
            "b": ({"B1": A + 9}, S2 | {"MGRS_TILE": "x"} | at("2020-05-18T13:42:25Z")),
        }
    )
    for spec in (name, expression(ask, name)):
        (pixels,) = extracted(ask, plan_of(ask, spec, start=START, missing_bands="mask"), tmp_path)[0].values()
        assert [band.mean() for band in pixels] == [209.5, 201.5]


def test_images_of_other_types_keep_their_values(collection, ask, tmp_path):
    name = collection(
        {
            "a": (np.uint8(A % 200), at("2020-05-17")),
            "b": ((A + 0.25).astype(np.float32), at("2020-05-18")),
            "c": ((A - 600).astype(np.int16), S2 | at("2020-05-19T10:00:00Z")),
            "d": (A, S2 | {"MGRS_TILE": "x"} | at("2020-05-19T10:00:05Z")),
        }
    )
    for spec in (name, expression(ask, name)):
        assert means(ask, plan_of(ask, spec, start=START), tmp_path) == {
            "2020-05-17": float((A % 200).mean()),
            "2020-05-18": 200.75,
            "2020-05-19T100000Z": 200.5,
        }


def test_a_collection_whose_images_share_an_index_is_whole(collection, ask, tmp_path):
    """As one that was put together of several collections may be."""
    name = collection({"a": (A, at("2020-05-18T06:00:00Z"))})

    def twice(images):
        later = images.map(
            lambda image: image.add(6).toUint16().set("system:time_start", image.date().advance(6, "hour").millis())
        )
        same = images.map(lambda image: image.add(9).toUint16().copyProperties(image, ["system:time_start"]))
        return images.merge(later).merge(same).map(lambda image: image.set("system:index", "0"))

    found = means(ask, plan_of(ask, expression(ask, name, twice), start=START), tmp_path)
    assert sorted(found.values()) == [200.5, 206.5, 209.5]


def test_the_images_of_a_series_do_not_depend_on_its_dates(collection, ask):
    name = collection(HOURS | {"late": (A, at("2020-05-20T10:00:00Z"))})
    for spec in (name, expression(ask, name)):
        long, short = plan_of(ask, spec, start=START), plan_of(ask, spec, start=date(2020, 5, 20))
        assert long.sources[-1] == short.sources[-1]


def test_a_plan_is_the_same_after_it_was_stored(collection, ask):
    name = collection(HOURS | TIMELESS)
    plan = plan_of(ask, name, start=START)
    again = Plan.from_json(plan.json())
    assert again == plan
    assert (again.sources, again.left_out) == (plan.sources, plan.left_out)
    older = plan.json()
    older.pop("left_out")
    for source in older["sources"]:
        for key in ("end", "title", "images", "superseded"):
            del source[key]
    read = Plan.from_json(older)
    assert read == plan
    assert [source.label for source in read.sources] == ["2020-05-18"] * 3


def test_tags_are_short_however_many_images_are_joined():
    ids = tuple(f"projects/p/assets/c/image_{n:04d}" for n in range(500))
    (source,) = series(1).sources
    many = replace(source, images=ids, version=str([[one, "2020"] for one in ids]), end=source.time)
    tags = many.tags("f")
    assert all(len(value) < 1100 for value in tags.values())
    assert tags["IMAGES"].endswith("more")
    assert tags["VERSION"].startswith("sha256:")


def test_times_that_are_no_time_are_named_and_a_date_is_one(collection, ask, tmp_path):
    name = collection({"a": (A, at("2020-05-18T10:00:00Z"))})

    def timed(value):
        return expression(ask, name, lambda c: c.map(lambda image: image.set("system:time_start", value(image))))

    dated = plan_of(ask, timed(lambda image: image.date()), start=START)
    assert means(ask, dated, tmp_path) == {"2020-05-18T100000Z": 200.5}
    with pytest.raises(BadInputError, match="soon"):
        plan_of(ask, timed(lambda _: "soon"), start=START)


def test_images_of_all_years_are_in_a_series(collection, ask, tmp_path):
    """Climate projections reach beyond 2200, and aerial photographs before 1970."""
    years = (1950, 2020, 2250)
    name = collection({f"a{year}": (A + year, at(f"{year}-03-01T10:00:00Z")) for year in years})
    for spec in (name, expression(ask, name)):
        found = means(ask, plan_of(ask, spec, start=date(1900, 1, 1)), tmp_path)
        assert found == {f"{year}-03-01T100000Z": 200.5 + year for year in years}


def test_images_within_a_second_are_told_apart_by_milliseconds(collection, ask):
    name = collection({"a": (A, at("2020-05-18T10:00:00Z"))})

    def burst(images):
        first = images.first()
        later = [first.set("system:time_start", first.date().advance(n / 4, "second").millis()) for n in range(3)]
        return ee.ImageCollection(later)

    plan = plan_of(ask, expression(ask, name, burst), start=START)
    assert [one.label for one in plan.sources] == [f"2020-05-18T100000.{ms}Z" for ms in ("000", "250", "500")]


def test_the_image_on_top_is_the_same_for_every_tiling(collection, ask, tmp_path):
    times = {"m": "13:42:11", "z": "13:42:11", "a": "13:42:12"}
    name = collection(
        {n: (A + k, S2 | {"MGRS_TILE": n} | at(f"2020-05-18T{t}Z")) for k, (n, t) in enumerate(times.items())}
    )
    for side in (16, 32, 64):
        found = means(ask, plan_of(ask, name, start=START, tile_size=side), tmp_path / str(side))
        assert found == {"2020-05-18T134211Z": 202.5}


def test_a_mosaic_of_a_computed_collection_has_the_native_grid_of_its_images(collection, ask, tmp_path):
    name = collection(
        {"a": (A, S2 | at("2020-05-18T13:42:11Z")), "b": (A + 5, S2 | {"MGRS_TILE": "x"} | at("2020-05-18T13:42:25Z"))}
    )
    for spec in (name, expression(ask, name)):
        plan = plan_of(ask, spec, start=START, crs="native", scale=None)
        assert plan.grid(0).affine == place()
        ((pixels,),) = (found.values() for found in extracted(ask, plan, tmp_path)[:1])
        assert np.array_equal(pixels[0], A + 5)


def test_bands_in_another_order_are_not_swapped(collection, ask, tmp_path):
    name = collection(
        {
            "a": ({"B1": A, "B2": A + 1000}, S2 | at("2020-05-18T13:42:11Z")),
            "b": ({"B2": A + 1000, "B1": A}, S2 | {"MGRS_TILE": "x"} | at("2020-05-18T13:42:25Z")),
        }
    )
    for spec in (name, expression(ask, name)):
        for bands in (None, ["B2", "B1"]):
            plan = plan_of(ask, spec, start=START, bands=bands)
            (pixels,) = extracted(ask, plan, tmp_path)[0].values()
            by_name = dict(zip([band.id for band in plan.bands], pixels, strict=True))
            assert (by_name["B1"].mean(), by_name["B2"].mean()) == (200.5, 1200.5)


def test_an_older_copy_that_has_all_bands_is_used_if_the_newest_is_skipped(collection, ask, tmp_path):
    old, new = S2, S2 | {"DATATAKE_IDENTIFIER": "GS2A_20200518T134211_016607_N05.00"}
    moment = at("2020-05-18T13:42:11Z")
    name = collection({"old": ({"B1": A, "B2": A}, moment | old), "new": ({"B1": A + 9}, moment | new)})
    plan = plan_of(ask, name, start=START, missing_bands="skip")
    assert next(iter(extracted(ask, plan, tmp_path)[0].values())).mean() == 200.5
    assert list(plan.left_out.values()) == ["no band B2"]


@pytest.mark.parametrize("group_by", ["auto", "image", "overpass", "day", "solar_day"])
def test_no_image_of_a_mixed_collection_is_lost(scenes, ask, group_by):
    """Forty images with random tags: passes, granules, copies, some without a time, some without a band."""
    folder, random = scenes[0] / "mixed", np.random.default_rng(13)
    if not folder.exists():
        for number in range(40):
            moment = f"2020-05-{17 + number % 3}T{random.integers(24):02d}:{random.integers(60):02d}:00Z"
            orbit = {"orbitNumber_start": str(random.integers(3)), "orbitProperties_pass": "AD"[random.integers(2)]}
            tags = [
                {},
                S1 | orbit,
                S2 | {"MGRS_TILE": "MN"[random.integers(2)], "DATATAKE_IDENTIFIER": f"t{random.integers(3)}"},
                {"SPACECRAFT_ID": "LANDSAT_8", "WRS_PATH": "1", "WRS_ROW": str(70 + random.integers(3))},
            ][random.integers(4)]
            bands = {"B1": A} if random.random() < 0.2 else {"B1": A, "B2": A}
            write_scene(folder / f"i{number:02d}.tif", bands, **tags, **(at(moment) if random.random() < 0.9 else {}))
    spec = ["mixed", expression(ask, "mixed")]
    stored, computed = (
        plan_of(ask, one, start=START, group_by=group_by, missing_bands="skip", bands=["B2"]) for one in spec
    )
    for plan in (stored, computed):
        used = [one.rsplit("/", 1)[-1] for source in plan.sources for one in source.images]
        out = [one.rsplit("/", 1)[-1] for one in plan.left_out]
        assert sorted(used + out) == [f"i{number:02d}" for number in range(40)]
        assert len({source.label for source in plan.sources}) == len(plan.sources)
        assert len({source.identity for source in plan.sources}) == len(plan.sources)
        assert [source.time for source in plan.sources] == sorted(source.time for source in plan.sources)
    assert [source.label for source in stored.sources] == [source.label for source in computed.sources]

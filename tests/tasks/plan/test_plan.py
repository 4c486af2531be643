"""Laws of a plan: a tile is an integer, a request is arithmetic, what a tile is decides its identity."""

import json
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from tasks.errors.input import BadInputError
from tasks.plan.estimate import estimate
from tasks.plan.limits import check_limits
from tasks.plan.plan import Band, Plan, Source, TileFormat
from tasks.plan.specs import PixelSpec
from tasks.plan.tiles import PatchTiles, PixelGrid, RegionTiles, corners
from tasks.raster.crs import crs_of
from tasks.raster.tiling import Tiling

SOURCE = Source(
    name="2020-01-01",
    asset="projects/sandbox/assets/scene",
    version="2020-02-03T04:05:06Z",
    time="2020-01-01T10:00:00+00:00",
    wire="GEO_TIFF",
    wire_bands=("B2", "B1"),
    wire_dtypes=("int16", "int16"),
)
COMPUTED = Source(
    name="composite",
    expression='{"result":"0","values":{"0":{"constantValue":1}}}',
    version="unpinned",
    wire="NPY",
    wire_bands=("B2", "B1", "valid_0"),
    wire_dtypes=("int16", "int16", "uint8"),
)
BANDS = (Band(id="B2", dtype="int16"), Band(id="B1", dtype="int16"))


def region_tiles(*, width=700, height=300, tile_size=256, left=500_010.0, scale=30.0, crs="EPSG:32633"):
    box = GeoBox((height, width), Affine(scale, 0, left, 0, -scale, 4_000_020.0), crs_of(crs))
    return RegionTiles(crs=crs, tiling=Tiling(box, tile_size))


def patch_tiles(left=(100.0, 400.0, 100.0)):
    return PatchTiles(
        crs=("EPSG:32632", "EPSG:32633"),
        zone=np.array([0, 1, 1], np.int32),
        left=np.array(left),
        top=np.array([50.0, 60.0, 70.0]),
        scale=10.0,
        size=32,
    )


def make(sources=(SOURCE, COMPUTED), tiles=None, bands=BANDS, output=None, name="region"):
    return Plan(
        name=name, sources=sources, tiles=tiles or region_tiles(), bands=bands, tile_format=output or TileFormat()
    )


@pytest.mark.parametrize("tiles", [region_tiles(), patch_tiles()], ids=["region", "patches"])
def test_a_plan_read_back_gives_the_same_requests_and_identities(tiles):
    plan = make(tiles=tiles)
    again = Plan.from_json(json.loads(json.dumps(plan.json())))
    assert again.fingerprint == plan.fingerprint
    for index in range(len(plan)):
        assert again.request(index) == plan.request(index)
        assert again.key(index) == plan.key(index)


def test_a_plan_changed_by_hand_or_of_another_version_is_refused():
    value = make().json()
    with pytest.raises(ValueError, match="changed by hand"):
        Plan.from_json(value | {"output": value["output"] | {"codec": "none"}})
    with pytest.raises(ValueError, match="version 99"):
        Plan.from_json(value | {"plan": 99})


def test_a_request_says_what_the_official_client_says():
    """The bodies that the client sends are recorded in earth-engine.md, 1: the same fields, the same values."""
    stored = json.loads(make().request(1).body)
    assert stored == {
        "fileFormat": "GEO_TIFF",
        "bandIds": ["B2", "B1"],
        "grid": {
            "dimensions": {"width": 256, "height": 256},
            "affineTransform": {
                "scaleX": 30,
                "shearX": 0,
                "translateX": 500_010 + 256 * 30,
                "shearY": 0,
                "scaleY": -30,
                "translateY": 4_000_020,
            },
            "crsCode": "EPSG:32633",
        },
    }
    assert make().request(1).path("p") == "projects/sandbox/assets/scene:getPixels"
    computed = make().request(6)
    assert computed.path("p") == "projects/p/image:computePixels"
    assert json.loads(computed.body)["expression"] == json.loads(COMPUTED.expression)


def test_a_crs_without_a_code_travels_as_wkt():
    wkt = crs_of("+proj=laea +lat_0=10 +lon_0=20").to_wkt()
    grid = json.loads(make(tiles=region_tiles(crs=wkt)).request(0).body)["grid"]
    assert grid["crsWkt"] == wkt
    assert "crsCode" not in grid


def test_indices_outside_the_plan_are_refused():
    plan = make()
    for index in (-1, len(plan)):
        with pytest.raises(IndexError):
            plan.request(index)


@given(
    change=st.sampled_from(
        [
            {"sources": (replace(SOURCE, asset="projects/sandbox/assets/other"), COMPUTED)},
            {"sources": (replace(SOURCE, version="2021-02-03T04:05:06Z"), COMPUTED)},
            {"sources": (replace(SOURCE, wire="NPY"), COMPUTED)},
            {"sources": (replace(SOURCE, wire_bands=("B1", "B2")), COMPUTED)},
            {"tiles": region_tiles(left=500_040.0)},
            {"tiles": region_tiles(scale=60.0)},
            {"tiles": region_tiles(crs="EPSG:32632")},
            {"tiles": region_tiles(tile_size=128)},
            {"bands": BANDS[::-1]},
            {"output": TileFormat(codec="none")},
            {"output": TileFormat(masks="unknown")},
            {"output": TileFormat(file_format="PNG", visualization="{}")},
        ]
    )
)
def test_what_a_tile_is_decides_its_identity(change):
    plan, other = make(), make(**change)
    assert other != plan
    assert len({other, plan, make(), make(**change)}) == 2
    assert other.fingerprint != plan.fingerprint
    assert other.tile_fingerprint(0) != plan.tile_fingerprint(0)
    assert other.key(0) != plan.key(0)


def test_a_changed_expression_changes_only_its_own_tiles():
    plan = make()
    other = make(sources=(SOURCE, replace(COMPUTED, expression='{"result":"0","values":{}}')))
    assert other.fingerprint != plan.fingerprint
    tiles = len(plan.tiles)
    assert [other.key(i) == plan.key(i) for i in range(2 * tiles)] == [True] * tiles + [False] * tiles


def test_names_and_dates_are_no_part_of_the_identity():
    renamed = make(name="timeseries", sources=(replace(SOURCE, name="x", time=None), replace(COMPUTED, name="y")))
    assert renamed.fingerprint == make().fingerprint
    assert renamed == make() == replace(make(), home="series-0123456789ab")
    assert {renamed: 1}[make()] == 1
    assert make() != make().fingerprint
    assert renamed.tile_fingerprint(3) == make().tile_fingerprint(3)


def test_all_keys_differ():
    plan = make()
    assert len({plan.key(i) for i in range(len(plan))}) == len(plan)


def test_patches_in_another_order_keep_their_files():
    keys = {make(tiles=patch_tiles()).key(i) for i in range(3)}
    turned = patch_tiles()
    turned = replace(turned, zone=turned.zone[::-1], left=turned.left[::-1], top=turned.top[::-1])
    assert {make(tiles=turned).key(i) for i in range(3)} == keys


def test_the_cost_is_what_earth_engine_counts():
    """(itemsize + 1) x bands x pixels, the band that carries the mask counted like any other."""
    cost = estimate(make(), per_second=100)
    assert cost.requests == 12
    assert cost.pixels == 2 * 700 * 300
    assert cost.bytes == 700 * 300 * (3 + 3) + 700 * 300 * (3 + 3 + 2)
    assert cost.best_seconds == pytest.approx(0.12)


coefficients = st.floats(-1e7, 1e7)


@given(
    st.lists(
        st.builds(
            PixelGrid,
            crs=st.just("EPSG:32633"),
            affine=st.builds(Affine, *[coefficients] * 6),
            width=st.integers(1, 5000),
            height=st.integers(1, 5000),
        ),
        max_size=4,
    )
)
def test_corners_are_where_the_affine_takes_them(grids):
    ring = [((0, 0), (g.width, 0), (g.width, g.height), (0, g.height)) for g in grids]
    expected = [[g.affine @ corner for corner in corners_of] for g, corners_of in zip(grids, ring, strict=True)]
    found = corners(grids)
    assert found.shape == (len(grids), 4, 2)
    assert found.tolist() == [[list(corner) for corner in four] for four in expected]


@given(st.integers(1, 600), st.integers(1, 600), st.integers(16, 256), st.data())
def test_no_tile_is_larger_than_the_largest(width, height, tile_size, data):
    tiles = region_tiles(width=width, height=height, tile_size=tile_size)
    kept = data.draw(st.none() | st.sets(st.integers(0, len(tiles) - 1), min_size=1))
    tiles = replace(tiles, kept=None if kept is None else tuple(sorted(kept)))
    sizes = [grid.width * grid.height for grid in map(tiles.grid, range(len(tiles)))]
    assert sizes[tiles.largest] == max(sizes)


def test_a_plan_whose_first_tile_lies_at_an_edge_is_refused_for_its_largest():
    tiles = replace(region_tiles(width=5_000, height=9_000, tile_size=4_900), kept=(1, 2))
    assert tiles.grid(0).width == 100
    spec = PixelSpec(bands=None, crs="EPSG:32633", scale=30.0, tile_format=TileFormat())
    with pytest.raises(BadInputError, match=r"tile_size = 4900: .*\(4900 x 4100 px x 6 bytes in 2 bands"):
        check_limits(make(sources=(SOURCE,), tiles=tiles), spec, "tile_size", 4_900)

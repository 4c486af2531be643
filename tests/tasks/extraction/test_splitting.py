"""Laws of splitting: the parts are the tile, their number is nearly the least, and the bytes are those of the whole."""

import heapq
import json
import random
import threading
from dataclasses import replace

import ee
import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection, ensure_client
from tasks.earthengine.errors import Rejected, TooHeavy
from tasks.earthengine.expression import encode
from tasks.earthengine.transport import PixelRequest, send
from tasks.extraction.splitting import LEAST_SIDE, Sizes, fetch_in_parts, halves, part
from tasks.plan.tiles import PixelGrid
from tasks.raster.decode import decode_geotiff, decode_npy
from tasks.raster.stitch import stitch_npy, stitch_rasters
from tasks.raster.window import Window
from tests.rasters import encode_geotiff, equal

IN_FLIGHT = 40
SCENE = "projects/sandbox/assets/landsat8_224078_20200518"


def grid(width, height, affine=None):
    return PixelGrid(crs="EPSG:32621", affine=affine or Affine(30, 0, 500, 0, -30, 900), width=width, height=height)


def whole(tile):
    return Window.of(tile.shape)


def fewest(window, limit):
    """Requests that a tile takes if it is known beforehand which sizes fit."""
    parts = halves(window)
    return 1 if window.pixels <= limit or parts is None else sum(fewest(half, limit) for half in parts)


def limited(limit, asked=None):
    """An Earth Engine that computes so many pixels in one go."""

    def ask(part_of_tile):
        if asked is not None:
            asked.append(part_of_tile)
        if part_of_tile.width * part_of_tile.height > limit:
            raise TooHeavy("User memory limit exceeded.", 400)
        return part_of_tile

    return ask


def simulate(tiles, sizes=None, *, in_flight=IN_FLIGHT):
    """Fetch (grid, limit) after (grid, limit) with so many in flight, and return the number of requests.

    Latencies are drawn, time is counted and not spent, and one thread runs at a time: the same every time.
    """
    sizes = sizes or Sizes()
    dice, waiting, tickets = random.Random(7), [], iter(tiles)
    now, requests, idle = 0.0, 0, threading.Semaphore(0)

    def worker():
        nonlocal requests
        try:
            for tile, limit in tickets:

                def ask(part_of_tile, limit=limit):
                    nonlocal requests
                    requests += 1
                    turn = threading.Event()
                    heapq.heappush(waiting, (now + 0.43 * dice.lognormvariate(0, 0.5), requests, turn))
                    idle.release()
                    turn.wait()
                    return limited(limit)(part_of_tile)

                fetch_in_parts(tile, ask, sizes)
        finally:
            idle.release()

    threads = [threading.Thread(target=worker) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
        idle.acquire()
    while waiting:
        now, _, turn = heapq.heappop(waiting)
        turn.set()
        idle.acquire()
    for thread in threads:
        thread.join()
    return requests


@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    limit=st.integers(1, 500_000),
    shear=st.sampled_from([0.0, 3.5]),
)
def test_parts_partition_the_tile_and_lie_where_it_lies(width, height, limit, shear):
    tile = grid(width, height, Affine(30, shear, 500.25, -shear, -30, 900.75))
    covered = np.zeros((height, width), int)
    try:
        pieces = fetch_in_parts(tile, limited(limit), Sizes())
    except TooHeavy:
        assert min(max(width, height), limit) < (2 * LEAST_SIDE) ** 2
        return
    for piece in pieces:
        window = piece.window
        covered[window.rows, window.columns] += 1
        expected = tile.affine @ Affine.translation(window.columns.start, window.rows.start)
        assert piece.content == replace(tile, affine=expected, height=window.height, width=window.width)
        assert window.pixels <= limit
    assert (covered == 1).all()
    assert len(pieces) == fewest(whole(tile), limit)


@given(height=st.integers(1, 2000), width=st.integers(1, 2000))
def test_a_cut_halves_the_longer_side_and_none_goes_below_the_least(height, width):
    parts = halves(Window(rows=slice(5, 5 + height), columns=slice(9, 9 + width)))
    if parts is None:
        assert max(height, width) < 2 * LEAST_SIDE
        return
    first, second = parts
    cut, kept = ("rows", "columns") if height >= width else ("columns", "rows")
    sides = [half.height if cut == "rows" else half.width for half in parts]
    assert LEAST_SIDE <= sides[0] <= sides[1] <= sides[0] + 1
    assert getattr(first, cut).stop == getattr(second, cut).start
    assert getattr(first, kept) == getattr(second, kept)


def test_a_tile_that_fits_is_asked_for_as_it_is():
    tile, asked = grid(256, 256), []
    (piece,) = fetch_in_parts(tile, limited(256**2, asked), Sizes())
    assert asked == [tile]
    assert asked[0] is tile
    assert piece.window.shape == (256, 256)


def test_half_a_tile_that_fits_makes_two_requests_and_no_more():
    asked = []
    pieces = fetch_in_parts(grid(256, 256), limited(256 * 128, asked), Sizes())
    assert [(piece.window.height, piece.window.width) for piece in pieces] == [(128, 256)] * 2
    assert len(asked) == 3


def test_too_heavy_is_final_where_a_part_can_not_be_halved():
    asked = []
    with pytest.raises(TooHeavy):
        fetch_in_parts(grid(64, 64), limited(0, asked), Sizes())
    assert [(one.height, one.width) for one in asked] == [(64, 64), (32, 64), (32, 32), (16, 32), (16, 16)]


def test_another_error_of_a_part_propagates_and_ends_the_tile():
    asked = []

    def ask(part_of_tile):
        asked.append(part_of_tile)
        raise TooHeavy("too heavy", 400) if len(asked) == 1 else Rejected("no such band", 400)

    with pytest.raises(Rejected):
        fetch_in_parts(grid(64, 64), ask, Sizes())
    assert len(asked) == 2


FRACTIONS = [0.9, 0.6, 0.5, 0.4, 0.25, 0.13, 0.1]


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("side", [256, 1023])
@pytest.mark.parametrize("order", ["mixed", "heavy first", "heavy last"])
def test_a_fixed_limit_costs_few_requests_more_than_knowing_it(fraction, side, order):
    """Half of 400 tiles are above the limit: the heavy ones are whole tiles, the light ones clipped."""
    limit = int(fraction * side**2)
    heavy, light = grid(side, side), grid(side, int(fraction * side))
    tiles = [heavy] * 200 + [light] * 200
    if order == "mixed":
        random.Random(3).shuffle(tiles)
    elif order == "heavy last":
        tiles.reverse()
    requests = simulate((tile, limit) for tile in tiles)
    assert requests <= 1.15 * sum(fewest(whole(tile), limit) for tile in tiles)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.1])
def test_heavy_and_light_tiles_of_one_size_cost_little_more_than_the_best_rule(share, fraction):
    """Nothing tells such tiles apart beforehand, so one rule for all is the best: whole first, or parts first."""
    tile, dice = grid(256, 256), random.Random(11)
    limits = [fraction * 256**2 if dice.random() < share else 256**2 for _ in range(400)]
    n, heavy = fewest(whole(tile), fraction * 256**2), sum(limit < 256**2 for limit in limits)
    best = min(400 + heavy * n, 400 * n)
    assert simulate((tile, limit) for limit in limits) <= 1.15 * best


@pytest.mark.parametrize("in_flight", [1, IN_FLIGHT])
def test_few_heavy_tiles_do_not_split_the_light_ones(in_flight):
    tile = grid(256, 256)
    tiles = [(tile, 128 * 256 if i % 10 == 0 else 256**2) for i in range(1000)]
    assert simulate(tiles, in_flight=in_flight) <= 1000 + 2.1 * 100


@pytest.mark.parametrize("in_flight", [1, IN_FLIGHT])
def test_a_light_region_after_a_heavy_one_is_asked_for_whole_again(in_flight):
    tile, sizes = grid(256, 256), Sizes()
    simulate([(tile, 128 * 256)] * 300, sizes, in_flight=in_flight)
    assert not sizes.asks_whole(whole(tile))
    simulate([(tile, 256**2)] * 1500, sizes, in_flight=in_flight)
    assert simulate([(tile, 256**2)] * 300, sizes, in_flight=in_flight) == 300


def test_a_hopeless_tile_does_not_shatter_the_heavy_ones_after_it():
    tile, sizes = grid(1024, 1024), Sizes()
    light = [(tile, 1024**2)] * 50
    simulate(light, sizes)
    simulate([(tile, 64 * 64)], sizes)
    assert simulate([*light, (tile, 512 * 1024)], sizes) <= len(light) + 8


def test_a_size_that_fitted_as_often_as_not_stays_whole():
    sizes, window = Sizes(), Window(rows=slice(0, 64), columns=slice(0, 64))
    assert sizes.asks_whole(window)
    for _ in range(20):
        sizes.fitted(64 * 64)
        sizes.failed(64 * 64)
    assert sizes.asks_whole(window)
    sizes.failed(64 * 64)
    sizes.failed(64 * 64)
    assert not sizes.asks_whole(window)


def test_the_suggested_tile_is_the_largest_that_fits():
    sizes = Sizes()
    assert sizes.suggested_side is None
    fetch_in_parts(grid(256, 256), limited(256**2), sizes)
    assert sizes.suggested_side is None, "nothing was split"
    fetch_in_parts(grid(1024, 1024), limited(300 * 1024), sizes)
    assert sizes.suggested_side == 512
    sizes = Sizes()
    fetch_in_parts(grid(1024, 1024), limited(700 * 1024), sizes)
    assert sizes.suggested_side == 720, "512 x 1024 pixels are 724 a side"


def test_no_other_tile_is_suggested_for_the_sake_of_a_few():
    sizes = Sizes()
    for limit in [1024**2] * 9 + [512**2]:
        fetch_in_parts(grid(1024, 1024), limited(limit), sizes)
    assert sizes.suggested_side is None


def test_no_outcome_is_lost_between_threads():
    """Every lane of a run tells the same sizes, and asks them."""
    sizes, tile, counts = Sizes(), grid(256, 256), []
    barrier = threading.Barrier(8)

    def lane():
        barrier.wait()
        asked = []
        for _ in range(50):
            pieces = fetch_in_parts(tile, limited(64 * 256, asked), sizes)
            assert sum(piece.window.pixels for piece in pieces) == 256**2
        counts.append(len(asked))

    threads = [threading.Thread(target=lane) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 8
    assert sum(counts) <= 1.15 * 8 * 50 * 4
    assert sizes.suggested_side == 128


# --- against the sandbox ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heavy():
    """A sandbox that computes 40 x 40 pixels in one go."""
    with running(max_pixels=1600) as url:
        yield Connection(project="my-project", endpoint=url)


NATIVE = Affine(30, 0, 739_485, 0, -30, -2_811_585)  # the origin of the scene
GRIDS = {
    "aligned": PixelGrid(crs="EPSG:32621", affine=NATIVE, width=64, height=64),
    "oblong": PixelGrid(crs="EPSG:32621", affine=NATIVE @ Affine.translation(20, 30), width=150, height=37),
    "off the pixels": PixelGrid(
        crs="EPSG:32621", affine=Affine(47.3, 0, 740_001.7, 0, -47.3, -2_812_003.1), width=75, height=61
    ),
    "sheared": PixelGrid(
        crs="EPSG:32621", affine=NATIVE @ Affine.rotation(17) @ Affine.scale(1.1, 0.7), width=91, height=53
    ),
    "beyond the edge": PixelGrid(crs="EPSG:32621", affine=NATIVE @ Affine.translation(-40, -25), width=83, height=70),
}


def asker(connection, wire, bands, expression=None):
    """One request for a part, to the bytes of its answer."""

    def ask(part_of_tile):
        body = {"fileFormat": wire, "grid": part_of_tile.json(), "bandIds": list(bands)}
        if expression is not None:
            body["expression"] = expression
        request = PixelRequest(asset=None if expression else SCENE, body=json.dumps(body).encode())
        return send(connection, "POST", request.path(connection.project), data=request.body)

    return ask


def computed(connection):
    """Two types, one mask that is not everywhere, and a band of masks, as exact masks are asked for."""
    ensure_client(connection)
    image = ee.Image(SCENE)
    ratio = image.select("B4").divide(image.select("B3")).toFloat().rename("ratio")
    masked = image.select("B2").updateMask(image.select("B4").gt(9000))
    valid = masked.mask().gt(0).toByte().rename("valid_0")
    return encode(masked.addBands(ratio).addBands(valid))


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("method", ["getPixels", "computePixels"])
def test_a_split_npy_is_the_unsplit_one_byte_for_byte(name, method, connection, heavy):
    tile = GRIDS[name]
    expression = computed(connection) if method == "computePixels" else None
    bands = ("B2", "ratio", "valid_0") if expression else ("B2", "B3", "B4")
    pieces = fetch_in_parts(tile, asker(heavy, "NPY", bands, expression), Sizes())
    assert len(pieces) >= 4
    unsplit = asker(connection, "NPY", bands, expression)(tile)
    assert stitch_npy(pieces, tile.shape) == unsplit


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("wire", ["NPY", "GEO_TIFF"])
def test_a_split_raster_is_stored_as_the_unsplit_one(name, wire, connection, heavy):
    tile, bands = GRIDS[name], ("B2", "B3", "B4")
    decode = decode_npy if wire == "NPY" else decode_geotiff
    send_part = asker(heavy, wire, bands)
    pieces = fetch_in_parts(tile, lambda one: decode(send_part(one), bands, one.geobox), Sizes())
    assert len(pieces) >= 4
    stitched = stitch_rasters(pieces, tile.geobox)
    unsplit = decode(asker(connection, wire, bands)(tile), bands, tile.geobox)
    assert equal(stitched, unsplit)
    assert encode_geotiff(stitched) == encode_geotiff(unsplit)


def test_an_unsplit_answer_is_kept_as_it_was_sent(connection):
    tile = GRIDS["aligned"]
    ask = asker(connection, "NPY", ("B2",))
    assert stitch_npy(fetch_in_parts(tile, ask, Sizes()), tile.shape) == ask(tile)
    assert part(tile, whole(tile)) is tile

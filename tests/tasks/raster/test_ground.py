"""Where north is, and how long a pixel is, against coordinates that are transformed there and back."""

import math

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from tasks.raster.crs import SINUSOIDAL_PROJ, WGS84, crs_name, transformer
from tasks.raster.ground import flips, ground, upright


def grid(crs, x, y, *, a=30.0, b=0.0, d=0.0, e=-30.0, shape=(60, 100)):
    return GeoBox(shape, Affine(a, b, x, d, e, y), crs)


@pytest.mark.parametrize(
    ("box", "north", "metres"),
    [
        (grid("EPSG:32633", 500_000, 5_000_000), 0, 30 / 0.9996),
        (grid("EPSG:4326", 10, 60, a=0.001, e=-0.001), 0, 0.001 * 111_320 / 2),
        (grid("EPSG:3857", 0, 8_399_737, a=100.0, e=-100.0), 0, 50),
        (grid("EPSG:3031", 1_000_000, -5_000), 90, 30.6),
        (grid("EPSG:3413", -1_000_000, 1_000_000), 135, 30),
        (grid("EPSG:32633", 500_000, 5_000_000, e=30.0), 0, 30 / 0.9996),
        (grid("EPSG:32633", 500_000, 5_000_000, a=-30.0), 0, 30 / 0.9996),
        (grid("EPSG:32633", 500_000, 5_000_000, a=-30.0, e=30.0), 0, 30 / 0.9996),
        (grid("EPSG:32633", 500_000, 5_000_000, a=0.0, b=30.0, d=30.0, e=0.0), 90, 30 / 0.9996),
        (grid("EPSG:32633", 500_000, 5_000_000, a=21.0, b=21.0, d=21.0, e=-21.0), 45, 29.7),
        (grid("EPSG:4326", 179.99, 0, a=0.001, e=-0.001), 0, 111.3),
    ],
    ids=(
        "utm", "degrees at 60 N", "mercator at 60 N", "antarctica", "greenland", "south up", "east left", "both",
        "transposed", "turned", "across 180",
    ),
)  # fmt: skip
def test_north_and_scale_are_known(box, north, metres):
    found = ground(box)
    assert abs((found.north - north + 180) % 360 - 180) < 1.5
    assert found.metres == pytest.approx(metres, rel=0.02)


@pytest.mark.parametrize("lon", [-100, -54, 0, 54, 100])
@pytest.mark.parametrize("lat", [-60, -25, 0.1, 40])
def test_north_leads_to_the_north(lon, lat):
    """On the sinusoidal map, a step along the arrow keeps the longitude."""
    name = crs_name(grid(SINUSOIDAL_PROJ, 0, 0).crs)
    x, y = transformer(WGS84, name).transform(lon, lat)
    turn = math.radians(ground(grid(SINUSOIDAL_PROJ, x - 1500, y + 900)).north)
    moved = transformer(name, WGS84).transform(x + 1000 * math.sin(turn), y + 1000 * math.cos(turn))
    assert moved[1] > lat
    assert (moved[0] - lon) * math.cos(math.radians(lat)) == pytest.approx(0, abs=1e-4)


def test_at_a_pole_there_is_no_north():
    found = ground(grid("EPSG:3413", -50_000, 30_000, a=1000.0, e=-1000.0))
    assert found.north is None
    assert found.varies
    assert found.metres == pytest.approx(1000, rel=0.1)


def test_upright_pixels_are_a_view():
    pixels = np.arange(6).reshape(2, 3)
    turned = upright(pixels, Affine(30, 0, 0, 0, 30, 0))
    assert turned.tolist() == [[3, 4, 5], [0, 1, 2]]
    assert np.shares_memory(turned, pixels)
    assert flips(Affine(30, 5, 0, 5, -30, 0)) == (1, 1)

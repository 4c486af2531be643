"""``COPERNICUS/S2_SR_HARMONIZED``, simulated: two overlapping granules a date, with clouds and their classes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from shapely import transform
from shapely.geometry import box

from deployments.sandbox.asset import with_image
from deployments.sandbox.derived.clouds import Array, Sky, through
from deployments.sandbox.derived.public import PUBLIC, UPDATED, collection, simulated
from deployments.sandbox.derived.surface import Patch, Surface, itaipu
from deployments.sandbox.pyramid import StoredBand, Window
from deployments.sandbox.raster import UINT8, UINT16, UINT32, Asset, DataType, Pixels, Projection
from deployments.sandbox.sampling import transformer

ID = "COPERNICUS/S2_SR_HARMONIZED"
CRS = "EPSG:32721"

# The real granules of the place, top-left corners in metres; they overlap by 9,840 m.
TILES = {"21JYM": (699960.0, 7200040.0), "21JYN": (699960.0, 7300000.0)}
SIDE = 109800.0

DATES = tuple(date(2020, 4, 8) + timedelta(days=10 * n) for n in range(15))
COVERS = (0.35, 0.12, 0.62, 0.25, 0.15, 0.85, 0.0, 0.45, 0.3, 0.08, 0.55, 0.2, 0.7, 0.1, 0.4)

# Band: the ground's bands with a factor to each, metres.
OPTICAL: dict[str, tuple[dict[str, float], int]] = {
    "B1": ({"blue": 0.9}, 60),
    "B2": ({"blue": 1.0}, 10),
    "B3": ({"green": 1.0}, 10),
    "B4": ({"red": 1.0}, 10),
    "B5": ({"red": 0.6, "nir": 0.32}, 20),
    "B6": ({"red": 0.2, "nir": 0.75}, 20),
    "B7": ({"red": 0.05, "nir": 0.92}, 20),
    "B8": ({"nir": 1.0}, 10),
    "B8A": ({"nir": 1.03}, 20),
    "B9": ({"nir": 0.97}, 60),
    "B11": ({"swir": 1.0}, 20),
    "B12": ({"swir": 0.62}, 20),
}
TRUE_COLOR = {"TCI_R": "B4", "TCI_G": "B3", "TCI_B": "B2"}
SHADOW, VEGETATION, BARE, WATER, MEDIUM, HIGH, CIRRUS = 3, 4, 5, 6, 8, 9, 10


@functools.cache
def assets() -> tuple[Asset, ...]:
    """Return the collection and its images."""
    images = [_image(day, cover, tile) for day, cover in zip(DATES, COVERS, strict=True) for tile in TILES]
    return (collection(ID, images, itaipu().source), *images)


def classes(patch: Patch, opacity: Array, shadow: Array) -> NDArray[np.uint8]:
    """Return the scene classification (SCL) of the ground below a sky, (height, width).

    What is touched by a cloud or its shadow, however little, is in one of their classes: 3, 8, 9 or 10.
    """
    return np.select(
        [opacity > 0.75, opacity > 0.35, opacity > 0, shadow > 0, patch.water > 0.5, patch.vegetation > 0.35],
        [HIGH, MEDIUM, CIRRUS, SHADOW, WATER, VEGETATION],
        BARE,
    ).astype(np.uint8)


def _image(day: date, cover: float, tile: str) -> Asset:
    surface = itaipu()
    sky = Sky(day=day, cover=cover, bounds=surface.grid.bounds)
    late = tuple(TILES).index(tile) * 14
    start = datetime(day.year, day.month, day.day, 13, 54, 33 - late, tzinfo=UTC)
    index = f"{day:%Y%m%d}T134211_{day:%Y%m%d}T134209_T{tile}"
    cloudy, seen = _statistics(sky, tile)
    properties: dict[str, Any] = {
        "CLOUDY_PIXEL_PERCENTAGE": round(100 * cloudy, 4),
        "NODATA_PIXEL_PERCENTAGE": round(100 * (1 - seen), 4),
        "MGRS_TILE": tile,
        "DATATAKE_IDENTIFIER": f"GS2A_{day:%Y%m%d}T134211_016607_N02.14",
        "SPACECRAFT_NAME": "Sentinel-2A",
        "SENSING_ORBIT_NUMBER": 124,
        "SENSING_ORBIT_DIRECTION": "DESCENDING",
        "PROCESSING_BASELINE": "02.14",
        "PRODUCT_ID": f"S2A_MSIL2A_{day:%Y%m%d}T134211_N0214_R124_T{tile}_{day:%Y%m%d}T173521",
        "GENERATION_TIME": int(start.timestamp() * 1000) + 13_200_000,
        "system:index": index,
    }
    left, top = TILES[tile]
    to_lonlat = transformer(CRS, "EPSG:4326")
    frame = transform(box(left, top - SIDE, left + SIDE, top).segmentize(5000), to_lonlat.transform, interleaved=False)
    asset = Asset(
        name=f"{PUBLIC}/{ID}/{index}",
        id=f"{ID}/{index}",
        type="IMAGE",
        update_time=UPDATED,
        start_time=start,
        end_time=start,
        properties=properties | simulated(surface.source),
        geometry=frame.intersection(surface.footprint),
        size_bytes=10980 * 10980 * 2 * len(OPTICAL),
    )
    bands = (
        _band(name, kind, tile, metres, _loader(sky, tile, kind, make)) for name, (kind, metres, make) in BANDS.items()
    )
    return with_image(asset, tuple(bands))


def _band(name: str, kind: DataType, tile: str, metres: int, load: Loader) -> StoredBand:
    size = round(SIDE / metres)
    projection = _projection(tile, metres)
    extent = itaipu().extent(projection, (size, size))
    return StoredBand(
        id=name,
        type=kind,
        projection=projection,
        dimensions=(size, size),
        load=functools.partial(load, metres),
        coarse=lambda level, window: load(metres << level, window),
        pyramiding="SAMPLE" if name.startswith(("SCL", "MSK", "QA")) else "MEAN",
        extent=(extent,) if extent else (),
    )


def _projection(tile: str, metres: int) -> Projection:
    left, top = TILES[tile]
    return Projection(crs=CRS, transform=Affine(metres, 0, left, 0, -metres, top))


@functools.lru_cache(maxsize=32)
def _surface(metres: int) -> Surface:
    """Return the ground in the detail that pixels of a size show: all there is, or means of blocks as large."""
    factor = metres // 30
    return itaipu() if factor < 2 else itaipu().coarser(factor)


@functools.lru_cache(maxsize=128)
def _ground(tile: str, metres: int, window: Window) -> Patch:
    return _surface(metres).window(_projection(tile, metres), window)


# Every band of a date asks for the clouds of the same windows, one band after the other: a composite of a season must
# find them again. A window of 256 px at 10 m is kept in 128 KB.
@functools.lru_cache(maxsize=1024)
def _sky(sky: Sky, tile: str, metres: int, window: Window) -> tuple[Array, Array]:
    """Return the opacity and the shadow of the clouds above a window of a granule."""
    left, top, right, bottom = window
    affine = _projection(tile, metres).transform
    x = affine.c + metres * (np.arange(left, right) + 0.5)
    y = affine.f - 1e7 - metres * (np.arange(top, bottom) + 0.5)[:, None]  # as the ground's: northern zone
    return sky.opacity(x, y), sky.shadow(x, y)


def _clouds(sky: Sky, tile: str, metres: int, window: Window) -> tuple[Array, Array]:
    """Return the clouds for pixels of any size: smooth as they are, those of 20 m serve 10 m too."""
    if metres >= 20:
        return _sky(sky, tile, metres, window)
    left, top, right, bottom = window
    coarse = (left // 2, top // 2, -(-right // 2), -(-bottom // 2))
    rows, columns = slice(top % 2, top % 2 + bottom - top), slice(left % 2, left % 2 + right - left)
    opacity, shadow = (part.repeat(2, axis=0).repeat(2, axis=1)[rows, columns] for part in _sky(sky, tile, 20, coarse))
    return opacity, shadow


Loader = Callable[[int, Window], Pixels]
"""From the size of pixels in metres and a window of such pixels to what is in it."""


def _loader(sky: Sky, tile: str, kind: DataType, make: Maker) -> Loader:
    def load(metres: int, window: Window) -> Pixels:
        patch = _ground(tile, metres, window)
        return Pixels(make(sky, patch, *_clouds(sky, tile, metres, window)).astype(kind.numpy), patch.mask)

    return load


def _seen(sky: Sky, band: str, patch: Patch, opacity: Array, shadow: Array) -> Array:
    """Return the reflectance of an optical band below a sky."""
    greenness = itaipu().greenness(sky.day)
    parts = [patch.on(source, greenness) * np.float32(factor) for source, factor in OPTICAL[band][0].items()]
    return through(functools.reduce(np.add, parts), opacity, shadow)


Maker = Callable[[Sky, Patch, Array, Array], Any]
"""From a sky, the ground below it, and the opacity and the shadow of its clouds to values."""


def _reflectance(band: str, sky: Sky, patch: Patch, opacity: Array, shadow: Array) -> Any:
    return np.clip(np.rint(_seen(sky, band, patch, opacity, shadow) * 10000), 1, 20000)


def _nothing(_sky: Sky, _patch: Patch, opacity: Array, _shadow: Array) -> Any:
    return np.zeros(opacity.shape, np.uint8)


def _true_color(band: str, sky: Sky, patch: Patch, opacity: Array, shadow: Array) -> Any:
    """Return bytes for display, in which a reflectance of 0.3 is white."""
    return np.clip(np.rint(_seen(sky, band, patch, opacity, shadow) * np.float32(255 / 0.3)), 1, 255)


def _cloud_bits(_sky: Sky, _patch: Patch, opacity: Array, _shadow: Array) -> Any:
    """Return bit 10 for opaque clouds and bit 11 for cirrus, where SCL has classes 8 and 9, and 10."""
    return np.select([opacity > 0.35, opacity > 0], [1 << 10, 1 << 11], 0)


# Type, metres, values. Those of aerosol and water vapour are invented, and there is never any snow.
BANDS: dict[str, tuple[DataType, int, Maker]] = {
    **{name: (UINT16, metres, functools.partial(_reflectance, name)) for name, (_, metres) in OPTICAL.items()},
    "AOT": (UINT16, 10, lambda _s, _p, opacity, _d: np.rint(90 + 350 * opacity)),
    "WVP": (UINT16, 10, lambda _s, patch, opacity, _d: np.rint(1700 + 150 * patch.vegetation + 700 * opacity)),
    "SCL": (UINT8, 20, lambda _s, patch, opacity, shadow: classes(patch, opacity, shadow)),
    **{name: (UINT8, 10, functools.partial(_true_color, band)) for name, band in TRUE_COLOR.items()},
    "MSK_CLDPRB": (UINT8, 20, lambda _s, _p, opacity, _d: np.rint(opacity * 100)),
    "MSK_SNWPRB": (UINT8, 20, _nothing),
    "QA10": (UINT16, 10, _nothing),
    "QA20": (UINT32, 20, _nothing),
    "QA60": (UINT16, 60, _cloud_bits),
    "MSK_CLASSI_OPAQUE": (UINT8, 60, lambda _s, _p, opacity, _d: opacity > 0.35),
    "MSK_CLASSI_CIRRUS": (UINT8, 60, lambda _s, _p, opacity, _d: (opacity > 0) & (opacity <= 0.35)),
    "MSK_CLASSI_SNOW_ICE": (UINT8, 60, _nothing),
}


@functools.cache
def _coarse() -> Surface:
    return itaipu().coarser(10)


def _statistics(sky: Sky, tile: str) -> tuple[float, float]:
    """Return the share of a granule's valid pixels below clouds, and the share of all pixels that are valid."""
    surface = _coarse()
    left, top = TILES[tile]
    affine = surface.grid.transform
    x = affine.c + affine.a * (np.arange(surface.grid.width) + 0.5)
    y = affine.f + affine.e * (np.arange(surface.grid.height) + 0.5)[:, None]
    within = (x >= left) & (x < left + SIDE) & (y + 1e7 <= top) & (y + 1e7 > top - SIDE)
    valid = surface.patch.valid & within
    cloudy = sky.opacity(x, y)[valid] > 0.35
    return float(cloudy.mean()), float(valid.sum() * affine.a**2 / SIDE**2)

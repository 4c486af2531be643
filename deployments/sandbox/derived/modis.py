"""``MODIS/061/MOD13Q1``, simulated: the real global sinusoidal grid, 16-day dates with a season and clouds."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from deployments.sandbox.asset import with_image
from deployments.sandbox.derived.clouds import Array, noise
from deployments.sandbox.derived.public import PUBLIC, UPDATED, collection, simulated
from deployments.sandbox.derived.surface import Surface, itaipu, wake
from deployments.sandbox.pyramid import StoredBand, Window, intersects
from deployments.sandbox.raster import INT8, INT16, SINUSOIDAL, UINT16, Asset, DataType, Pixels, Projection

ID = "MODIS/061/MOD13Q1"
YEARS = (2020, 2021)
DIMENSIONS = (172800, 86400)
PROJECTION = Projection(
    crs=SINUSOIDAL,
    transform=Affine(231.65635826395825, 0, -20015109.353988, 0, -231.65635826395834, 10007554.676994),
)
GOOD, MARGINAL, CLOUDY = 0, 1, 3
_DETAILED = {GOOD: 2112, MARGINAL: 2185, CLOUDY: 2186}  # its two lowest bits are 0, 1 and 2 of VI quality

TYPES: dict[str, DataType] = {
    "NDVI": INT16,
    "EVI": INT16,
    "DetailedQA": UINT16,
    "sur_refl_b01": INT16,
    "sur_refl_b02": INT16,
    "sur_refl_b03": INT16,
    "sur_refl_b07": INT16,
    "ViewZenith": INT16,
    "SolarZenith": INT16,
    "RelativeAzimuth": INT16,
    "DayOfYear": INT16,
    "SummaryQA": INT8,
}
REFLECTANCE = {"sur_refl_b01": "red", "sur_refl_b02": "nir", "sur_refl_b03": "blue", "sur_refl_b07": "swir"}


@functools.cache
def _surfaces() -> tuple[tuple[Surface, Window], ...]:
    """Return the grounds at about 240 m, with the window that each can touch."""
    coarse = [itaipu().coarser(8), wake().coarser(8)]
    found = [(surface, surface.extent(PROJECTION, DIMENSIONS)) for surface in coarse]
    return tuple((surface, extent) for surface, extent in found if extent is not None)


@functools.cache
def assets() -> tuple[Asset, ...]:
    """Return the collection and its images."""
    days = [date(year, 1, 1) + timedelta(days=16 * n) for year in YEARS for n in range(23)]
    images = [_image(day) for day in days]
    return (collection(ID, images, _source()), *images)


def _source() -> str:
    return "; ".join(surface.source for surface, _ in _surfaces())


def _image(day: date) -> Asset:
    index = f"{day:%Y_%m_%d}"
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    asset = Asset(
        name=f"{PUBLIC}/{ID}/{index}",
        id=f"{ID}/{index}",
        type="IMAGE",
        update_time=UPDATED,
        start_time=start,
        end_time=start + timedelta(days=16),
        properties={"system:index": index} | simulated(_source()),
        size_bytes=len(TYPES) * DIMENSIONS[0] * DIMENSIONS[1],
    )
    extent = tuple(window for _, window in _surfaces())
    bands = tuple(
        StoredBand(
            id=name,
            type=kind,
            projection=PROJECTION,
            dimensions=DIMENSIONS,
            load=functools.partial(_load, day, name),
            pyramiding="SAMPLE" if name.endswith("QA") else "MEAN",
            extent=extent,
        )
        for name, kind in TYPES.items()
    )
    return with_image(asset, bands)


def _load(day: date, band: str, window: Window) -> Pixels:
    left, top, right, bottom = window
    shape = (bottom - top, right - left)
    values, mask = np.zeros(shape, TYPES[band].numpy), np.zeros(shape, np.float32)
    made, valid = _made(day, window)
    if valid.any():
        np.copyto(values, made[band].astype(values.dtype), where=valid)
        mask[valid] = 1
    return Pixels(values, mask)


@functools.lru_cache(maxsize=64)
def _ground(window: Window) -> tuple[dict[str, Array], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the reflectances at a window, where they are valid, and which of them are of the south."""
    left, top, right, bottom = window
    shape = (bottom - top, right - left)
    names = ("blue", "green", "red", "nir", "swir", "vegetation")
    ground = {name: np.zeros(shape, np.float32) for name in names}
    valid, southern = np.zeros(shape, bool), np.zeros(shape, bool)
    for surface, extent in _surfaces():
        if not intersects(window, extent):
            continue
        patch = surface.window(PROJECTION, window)
        for name, array in ground.items():
            found = patch.vegetation if name == "vegetation" else patch.bands[name]
            np.copyto(array, found, where=patch.valid)
        valid |= patch.valid
        southern |= patch.valid & surface.southern
    return ground, valid, southern


@functools.lru_cache(maxsize=32)
def _made(day: date, window: Window) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    """Return all bands of a date at a window, and where they are valid."""
    ground, valid, southern = _ground(window)
    if not valid.any():
        return {}, valid
    green = np.zeros(valid.shape, np.float32)
    for surface, _ in _surfaces():
        green[southern == surface.southern] = surface.greenness(day)
    haze = _haze(day, window)
    seen = {}
    for name, season in {"blue": -0.15, "red": -0.55, "nir": 0.7, "swir": -0.35}.items():
        clear = ground[name] * (1 + np.float32(season) * green * ground["vegetation"])
        seen[name] = clear + (np.float32(0.3) - clear) * np.float32(0.8) * haze
    red, nir, blue = (np.where(valid, seen[name], np.float32(0.1)) for name in ("red", "nir", "blue"))
    evi = 2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)
    quality = np.select([haze > 0.45, haze > 0.05], [CLOUDY, MARGINAL], GOOD)
    made: dict[str, Any] = {
        "NDVI": _scaled((nir - red) / (nir + red), -2000),
        "EVI": _scaled(evi, -2000),
        "DetailedQA": np.vectorize(_DETAILED.get, otypes=[np.uint16])(quality),
        "ViewZenith": np.full(valid.shape, 1200),
        "SolarZenith": np.full(valid.shape, 4100),
        "RelativeAzimuth": np.full(valid.shape, -5200),
        "DayOfYear": day.timetuple().tm_yday + (np.clip(haze * 20, 0, 15)).astype(np.int16),
        "SummaryQA": quality,
    }
    made |= {band: _scaled(seen[name], 0) for band, name in REFLECTANCE.items()}
    return made, valid & (haze < 0.9)


def _scaled(values: Array, low: int) -> Any:
    return np.clip(np.rint(values * 10000), low, 10000)


def _haze(day: date, window: Window) -> Array:
    """Return what clouds are left in 16 days, 0 to 1: mostly nothing, a few pixels without any clear day."""
    left, top, right, bottom = window
    x = np.arange(left, right) + 0.5
    y = (np.arange(top, bottom) + 0.5)[:, None]
    seed = day.toordinal()
    field = 0.65 * noise(x, y, 24.0, seed) + 0.35 * noise(x, y, 5.0, seed + 1)
    left_over: Array = np.clip((field - np.float32(0.66)) / np.float32(0.16), 0, 1)
    return left_over

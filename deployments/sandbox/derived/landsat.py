"""``LANDSAT/LC08/C02/T1_L2`` and ``LC09``, simulated: the grids of the samples, cloud bits in QA_PIXEL."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import rasterio

from deployments.sandbox.asset import footprint, with_image
from deployments.sandbox.derived.clouds import Array, Sky, through
from deployments.sandbox.derived.public import PUBLIC, UPDATED, collection, simulated
from deployments.sandbox.derived.surface import SAMPLES, Patch, itaipu
from deployments.sandbox.pyramid import StoredBand, Window
from deployments.sandbox.raster import INT16, UINT8, UINT16, Asset, DataType, Pixels, Projection
from deployments.sandbox.stored import exact_crs

SCALE, OFFSET = 2.75e-05, -0.2

# Values of QA_PIXEL as the Landsat Collection 2 guide lists them.
CLEAR, WATER, DILATED, SHADOWED, CLOUDY, THIN = 21824, 21952, 21826, 23888, 22280, 54596

# Band: the ground's band and a factor to it.
OPTICAL = {
    "SR_B1": ("blue", 0.85),
    "SR_B2": ("blue", 1.0),
    "SR_B3": ("green", 1.0),
    "SR_B4": ("red", 1.0),
    "SR_B5": ("nir", 1.0),
    "SR_B6": ("swir", 1.0),
    "SR_B7": ("swir", 0.62),
}
# The bands of surface temperature and their scales: the temperature itself is invented, warmer in the green season and
# where little grows, and so are the parts of its retrieval.
KELVIN, KELVIN_OFFSET = 0.00341802, 149.0
THERMAL: dict[str, tuple[float, float, float]] = {  # value in clear sky, what vegetation and what clouds add to it
    "ST_ATRAN": (8600, 0, -4000),
    "ST_CDIST": (500, 0, -500),
    "ST_DRAD": (850, 0, 600),
    "ST_EMIS": (9650, 200, 0),
    "ST_EMSD": (40, 10, 0),
    "ST_QA": (210, 0, 400),
    "ST_TRAD": (9100, -400, -2600),
    "ST_URAD": (1300, 0, 900),
}
COVERS = (0.3, 0.1, 0.55, 0.2, 0.0, 0.75, 0.15, 0.4, 0.05, 0.6, 0.25, 0.12, 0.5, 0.35)


@dataclass(frozen=True)
class Mission:
    """A satellite, with the days of its images here."""

    number: int
    first: date
    count: int

    @property
    def id(self) -> str:
        """The collection's public id."""
        return f"LANDSAT/LC0{self.number}/C02/T1_L2"


# The passes of Landsat 8 go through the day of the samples; those of Landsat 9 are 8 days beside them.
MISSIONS = (Mission(8, date(2020, 3, 15), 14), Mission(9, date(2021, 11, 21), 8))
ROWS = {77: "landsat8_224077_20200518", 78: "landsat8_224078_20200518"}


@functools.cache
def assets(mission: Mission) -> tuple[Asset, ...]:
    """Return the collection of a mission and its images."""
    days = [mission.first + timedelta(days=16 * n) for n in range(mission.count)]
    images = [
        _image(mission, day, cover, row)
        for row in ROWS
        for day, cover in zip(days, COVERS[: mission.count], strict=True)
    ]
    return (collection(mission.id, images, itaipu().source), *images)


def quality(patch: Patch, opacity: Array, shadow: Array) -> Any:
    """Return QA_PIXEL (uint16, (height, width)) of the ground below a sky."""
    return np.select(
        [opacity > 0.5, opacity > 0.2, opacity > 0, shadow > 0, patch.water > 0.5],
        [CLOUDY, THIN, DILATED, SHADOWED, WATER],
        CLEAR,
    ).astype("<u2")


@functools.cache
def _grid(row: int) -> tuple[Projection, tuple[int, int]]:
    with rasterio.open(SAMPLES / f"{ROWS[row]}.tif") as dataset:
        crs = exact_crs(dataset.crs.to_wkt())
        return Projection(crs=crs, transform=dataset.transform), (dataset.width, dataset.height)


def _image(mission: Mission, day: date, cover: float, row: int) -> Asset:
    surface = itaipu()
    sky = Sky(day=day, cover=cover, bounds=surface.grid.bounds, seed=mission.number)
    projection, dimensions = _grid(row)
    index = f"LC0{mission.number}_2240{row}_{day:%Y%m%d}"
    start = datetime(day.year, day.month, day.day, 13, 39, 21 + 24 * (row - 77), tzinfo=UTC)

    def band(name: str, load: Any, kind: DataType = UINT16) -> StoredBand:
        return StoredBand(
            id=name,
            type=kind,
            projection=projection,
            dimensions=dimensions,
            load=functools.partial(load, sky, row),
            pyramiding="SAMPLE" if name.startswith(("QA", "SR_QA")) else "MEAN",
        )

    bands = [band(name, functools.partial(_reflectance, name)) for name in OPTICAL]
    bands += [band("SR_QA_AEROSOL", _aerosol, UINT8), band("ST_B10", _temperature)]
    bands += [band(name, functools.partial(_thermal, name), INT16) for name in THERMAL]
    bands += [band("QA_PIXEL", _quality), band("QA_RADSAT", _saturation)]
    asset = Asset(
        name=f"{PUBLIC}/{mission.id}/{index}",
        id=f"{mission.id}/{index}",
        type="IMAGE",
        update_time=UPDATED,
        start_time=start,
        end_time=start,
        properties={
            "CLOUD_COVER": _cloud_cover(sky, row),
            "WRS_PATH": 224,
            "WRS_ROW": row,
            "SPACECRAFT_ID": f"LANDSAT_{mission.number}",
            "DATE_ACQUIRED": f"{day:%Y-%m-%d}",
            "COLLECTION_NUMBER": 2,
            "PROCESSING_LEVEL": "L2SP",
            "L1_LANDSAT_PRODUCT_ID": f"LC0{mission.number}_L1TP_2240{row}_{day:%Y%m%d}_{day:%Y%m%d}_02_T1",
            "system:index": index,
        }
        | simulated(surface.source),
        geometry=footprint(bands[0]),
        size_bytes=dimensions[0] * dimensions[1] * 2 * len(bands),
    )
    return with_image(asset, tuple(bands))


@functools.lru_cache(maxsize=128)
def _ground(row: int, window: Window) -> Patch:
    """Return the ground of one row's sample: valid where that scene itself has data."""
    patch = itaipu().window(_grid(row)[0], window)
    left, top, right, bottom = window
    with rasterio.open(SAMPLES / f"{ROWS[row]}.tif") as dataset:
        mask = dataset.read_masks(1, window=((top, bottom), (left, right))) > 0
    return Patch(bands=patch.bands, vegetation=patch.vegetation, water=patch.water, valid=patch.valid & mask)


@functools.lru_cache(maxsize=128)
def _clouds(sky: Sky, row: int, window: Window) -> tuple[Array, Array]:
    left, top, right, bottom = window
    affine = _grid(row)[0].transform
    x = affine.c + affine.a * (np.arange(left, right) + 0.5)
    y = affine.f + affine.e * (np.arange(top, bottom) + 0.5)[:, None]
    return sky.opacity(x, y), sky.shadow(x, y)


def _cloud_cover(sky: Sky, row: int) -> float:
    (width, height), affine = _grid(row)[1], _grid(row)[0].transform
    x = affine.c + affine.a * np.arange(5.0, width, 10)
    y = affine.f + affine.e * np.arange(5.0, height, 10)[:, None]
    return round(100 * float((sky.opacity(x, y) > 0.5).mean()), 2)


def _reflectance(band: str, sky: Sky, row: int, window: Window) -> Pixels:
    source, factor = OPTICAL[band]
    patch = _ground(row, window)
    ground = patch.on(source, itaipu().greenness(sky.day)) * np.float32(factor)
    seen = through(ground, *_clouds(sky, row, window))
    numbers = np.clip(np.rint((seen - np.float32(OFFSET)) / np.float32(SCALE)), 1, 65535)
    return Pixels(numbers.astype("<u2"), patch.mask)


def _temperature(sky: Sky, row: int, window: Window) -> Pixels:
    patch = _ground(row, window)
    opacity, shadow = _clouds(sky, row, window)
    warm = np.float32(299 + 5 * itaipu().greenness(sky.day))
    kelvin = (warm - 5 * patch.vegetation - 7 * patch.water - 4 * shadow) * (1 - opacity) + 262 * opacity
    numbers = np.rint((kelvin - np.float32(KELVIN_OFFSET)) / np.float32(KELVIN))
    return Pixels(numbers.astype("<u2"), patch.mask)


def _thermal(band: str, sky: Sky, row: int, window: Window) -> Pixels:
    patch = _ground(row, window)
    clear, vegetation, cloud = THERMAL[band]
    values = clear + vegetation * patch.vegetation + cloud * _clouds(sky, row, window)[0]
    return Pixels(np.rint(values).astype("<i2"), patch.mask)


def _aerosol(sky: Sky, row: int, window: Window) -> Pixels:
    """Return a valid retrieval (bit 1) of low aerosol (64) or, below clouds, high (192); bit 2 is water."""
    patch = _ground(row, window)
    level = np.where(_clouds(sky, row, window)[0] > 0, 192, 64)
    return Pixels((level + 2 + np.where(patch.water > 0.5, 4, 0)).astype("u1"), patch.mask)


def _quality(sky: Sky, row: int, window: Window) -> Pixels:
    patch = _ground(row, window)
    return Pixels(quality(patch, *_clouds(sky, row, window)), patch.mask)


def _saturation(sky: Sky, row: int, window: Window) -> Pixels:  # noqa: ARG001 - all loaders take a sky
    mask = _ground(row, window).mask
    return Pixels(np.zeros(mask.shape, "<u2"), mask)

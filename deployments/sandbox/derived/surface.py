"""The ground below the derived collections: reflectances that are taken from the real samples."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry import MultiPoint, Polygon

from deployments.sandbox.pyramid import Window
from deployments.sandbox.raster import Grid, Projection
from deployments.sandbox.sampling import from_coordinates
from deployments.sandbox.stored import exact_crs

Array = NDArray[np.floating[Any]]

SAMPLES = Path(__file__).parent.parent / "samples"

# How a band follows the greenness of the year where all is vegetation, from its darkest season to its greenest.
_SEASON = {"blue": -0.15, "green": -0.1, "red": -0.55, "nir": 0.7, "swir": -0.35}

# Path radiance and haze over dark forest and water of the Landsat 8 scenes, which are at the top of the
# atmosphere (reflectance = DN * 2e-5 - 0.1): with these taken away a forest looks like in surface reflectance.
_HAZE = {"blue": 0.030, "green": 0.010, "red": 0.002}

# The Landsat 7 sample has digital numbers without its metadata: (dark value, reflectance a number) a band, such
# that its forest, roads and water have the usual reflectances.
_GAINS = {
    "blue": (50.0, 0.0012),
    "green": (30.0, 0.0016),
    "red": (22.0, 0.0017),
    "nir": (6.0, 0.0031),
    "swir": (3.0, 0.0022),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """What the ground is at some pixels; every array (height, width)."""

    bands: Mapping[str, Array]
    """Surface reflectance, 0 to 1: blue, green, red, nir, swir, on the day of the sample."""
    vegetation: Array
    """How green it is, 0 to 1."""
    water: Array
    """How much of it is open water, 0 to 1."""
    valid: NDArray[np.bool_]
    """False where the sample has no data."""

    @functools.cached_property
    def mask(self) -> NDArray[np.float32]:
        """``valid`` as the mask of pixels; one array, shared by all bands."""
        return self.valid.astype(np.float32)

    def on(self, band: str, greenness: float) -> Array:
        """Return the reflectance of a band when the year is greener than on the day of the sample.

        Args:
            band: A key of ``bands``.
            greenness: Difference of `greenness` to the day of the sample, -1 to 1.
        """
        factor = 1 + np.float32(_SEASON[band] * greenness) * self.vegetation
        return self.bands[band] * factor


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """A patch with a grid and a day."""

    source: str
    """Which real scenes it was made of."""
    grid: Grid
    patch: Patch
    day: date
    southern: bool
    """The hemisphere: its seasons."""

    def greenness(self, day: date) -> float:
        """Return how much greener a day is than that of the sample, -1 to 1."""
        return greenness(day, southern=self.southern) - greenness(self.day, southern=self.southern)

    def at(self, cols: Array, rows: Array) -> Patch:
        """Return the ground at pixel coordinates, interpolated bilinearly, valid where the nearest pixel is.

        Args:
            cols: Columns, (width,) where ``rows`` is (height,), for separable grids, or (height, width) both.
            rows: Rows.
        """
        patch = self.patch
        height, width = patch.valid.shape
        separable = cols.ndim == 1
        inside_x, inside_y = (cols >= 0) & (cols < width), (rows >= 0) & (rows < height)
        x, y = np.where(inside_x, cols, 0.5), np.where(inside_y, rows, 0.5)
        inside = inside_x & inside_y[:, None] if separable else inside_x & inside_y
        i, j = x.astype(np.intp), y.astype(np.intp)
        near = (j[:, None], i) if separable else (j, i)
        x0 = np.clip(np.floor(x - 0.5), 0, max(0, width - 2)).astype(np.intp)
        y0 = np.clip(np.floor(y - 0.5), 0, max(0, height - 2)).astype(np.intp)
        fx = np.clip(x - 0.5 - x0, 0, 1).astype(np.float32)
        fy = np.clip(y - 0.5 - y0, 0, 1).astype(np.float32)

        def blend(array: Array) -> Array:
            if separable:
                lines = array[y0] * (1 - fy[:, None]) + array[y0 + 1] * fy[:, None]
                return lines[:, x0] * (1 - fx) + lines[:, x0 + 1] * fx
            upper = array[y0, x0] * (1 - fx) + array[y0, x0 + 1] * fx
            lower = array[y0 + 1, x0] * (1 - fx) + array[y0 + 1, x0 + 1] * fx
            return upper * (1 - fy) + lower * fy

        return Patch(
            bands=_Blended(patch.bands, blend),
            vegetation=blend(patch.vegetation),
            water=blend(patch.water),
            valid=patch.valid[near] & inside,
        )

    def window(self, projection: Projection, window: Window) -> Patch:
        """Return the ground below the pixels of a window of any projection.

        Args:
            projection: Where the window is.
            window: ``(left, top, right, bottom)`` in pixels.
        """
        cols, rows = self.coordinates(projection, window)
        return self.at(cols, rows)

    def coordinates(self, projection: Projection, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the pixel coordinates of a window's pixels on this surface, as `at` takes them."""
        left, top, right, bottom = window
        x = np.arange(left, right, dtype=np.float64) + 0.5
        y = np.arange(top, bottom, dtype=np.float64) + 0.5
        own, other = self.grid.transform, projection.transform
        shift = _northing(projection.crs) - _northing(self.grid.crs)
        if _zone(projection.crs) == _zone(self.grid.crs) is not None and not (other.b or other.d):
            return (
                (other.a * x + (other.c - own.c)) / own.a,
                (other.e * y + (other.f - own.f - shift)) / own.e,
            )
        xs = other.a * x + (other.b * y)[:, None] + other.c
        ys = other.d * x + (other.e * y)[:, None] + other.f
        return from_coordinates(xs, ys, projection.crs, self.grid)

    def extent(self, projection: Projection, dimensions: tuple[int, int]) -> Window | None:
        """Return which pixels of another projection this surface can touch, None if there are none."""
        xs, ys = _outline(self.grid)
        cols, rows = from_coordinates(xs, ys, self.grid.crs, projection)
        left, right = max(0, math.floor(cols.min()) - 1), min(dimensions[0], math.ceil(cols.max()) + 1)
        top, bottom = max(0, math.floor(rows.min()) - 1), min(dimensions[1], math.ceil(rows.max()) + 1)
        return (left, top, right, bottom) if left < right and top < bottom else None

    @functools.cached_property
    def footprint(self) -> Polygon:
        """The hull of what is valid, in longitude and latitude."""
        valid = self.patch.valid
        j = np.flatnonzero(valid.any(axis=1))  # the corners of the first and the last pixel of each row are enough
        first, last = valid[j].argmax(axis=1), valid.shape[1] - valid[j, ::-1].argmax(axis=1)
        ends = np.concatenate([first, last, first, last]), np.concatenate([j, j, j + 1, j + 1])
        hull = MultiPoint(np.column_stack(ends)).convex_hull
        c, r = np.asarray(hull.exterior.coords).T
        affine = self.grid.transform
        xs, ys = affine.a * c + affine.c, affine.e * r + affine.f
        lon, lat = from_coordinates(xs, ys, self.grid.crs, _LONLAT)
        return Polygon(np.column_stack([lon, lat]))

    def coarser(self, factor: int) -> Surface:
        """Return the means of blocks of pixels, valid where half of a block is."""
        height, width = (size // factor for size in self.patch.valid.shape)
        shape = (height, factor, width, factor)

        def mean(array: NDArray[np.float32]) -> Array:
            cut = array[: height * factor, : width * factor]
            return np.asarray(cut.reshape(shape).mean(axis=(1, 3)), np.float32)

        patch = Patch(
            bands={name: mean(array) for name, array in self.patch.bands.items()},
            vegetation=mean(self.patch.vegetation),
            water=mean(self.patch.water),
            valid=mean(self.patch.valid.astype(np.float32)) >= 0.5,
        )
        grid = Grid(
            crs=self.grid.crs,
            transform=self.grid.transform @ Affine.scale(factor),
            width=width,
            height=height,
        )
        return replace(self, grid=grid, patch=patch)


class _Blended(dict[str, Array]):
    """Bands that are interpolated when they are first asked for: a request seldom needs all of them."""

    def __init__(self, bands: Mapping[str, Array], blend: Callable[[Array], Array]) -> None:
        super().__init__()
        self._source, self._blend = bands, blend

    def __missing__(self, name: str) -> Array:
        found = self[name] = self._blend(self._source[name])
        return found


_LONLAT = Projection(crs="EPSG:4326", transform=Affine.identity())


def greenness(day: date, *, southern: bool) -> float:
    """Return how green the year is, 0 to 1; the peak moves by some days from year to year."""
    peak = (40 if southern else 195) + 9 * math.sin(day.year)
    return 0.5 + 0.5 * math.cos(2 * math.pi * (day.timetuple().tm_yday - peak) / 365.25)


@functools.cache
def itaipu() -> Surface:
    """Return the ground of both Landsat 8 samples together: the Itaipu reservoir and its fields, 30 m."""
    parts = [_file("landsat8_224077_20200518"), _file("landsat8_224078_20200518")]
    grids = [grid for _, grid in parts]
    left, top = min(g.transform.c for g in grids), max(g.transform.f for g in grids)
    right, bottom = max(g.bounds[2] for g in grids), min(g.bounds[1] for g in grids)
    width, height = round((right - left) / 30), round((top - bottom) / 30)
    numbers = np.zeros((3, height, width), np.float32)
    for values, grid in parts:
        i, j = round((grid.transform.c - left) / 30), round((top - grid.transform.f) / 30)
        part = numbers[:, j : j + grid.height, i : i + grid.width]
        np.copyto(part, values, where=values > 0)
    grid = Grid(crs=grids[0].crs, transform=Affine(30, 0, left, 0, -30, top), width=width, height=height)
    return Surface(
        source="Landsat 8, path 224, rows 077 and 078, 2020-05-18",
        grid=grid,
        patch=from_landsat8(numbers),
        day=date(2020, 5, 18),
        southern=True,
    )


@functools.cache
def wake() -> Surface:
    """Return the ground of the Landsat 7 sample: Wake County, North Carolina, 28.5 m."""
    numbers, grid = _file("landsat7_nc_2000")
    valid = np.logical_and.reduce(numbers > 0, axis=0)
    bands = {
        name: np.clip((array - dark) * np.float32(gain) + np.float32(0.01), 0.002, 1).astype(np.float32)
        for array, (name, (dark, gain)) in zip(numbers, _GAINS.items(), strict=True)
    }
    index = (bands["nir"] - bands["red"]) / (bands["nir"] + bands["red"])
    return Surface(
        source="Landsat 7, Wake County, North Carolina, 2000",
        grid=grid,
        patch=Patch(
            bands=_filled(bands, valid),
            vegetation=np.clip(index, 0, 1).astype(np.float32),
            water=_step(bands["nir"], 0.07, 0.03),
            valid=valid,
        ),
        day=date(2000, 4, 1),  # the year is known, and its picture is of spring
        southern=False,
    )


def from_landsat8(numbers: NDArray[np.float32]) -> Patch:
    """Return surface reflectance from blue, green and red, with a near infrared made up from these.

    Water is where blue is well above red. Vegetation is dark in red and not redder than green; the near infrared
    grows with it, and is almost nil over water.

    Args:
        numbers: (3, height, width) digital numbers at the top of the atmosphere, 0 = no data.
    """
    valid = np.logical_and.reduce(numbers > 0, axis=0)
    top = numbers * np.float32(2e-5) - np.float32(0.1)
    bands = {
        name: np.maximum(array - np.float32(haze), np.float32(0.002))
        for array, (name, haze) in zip(top, _HAZE.items(), strict=True)
    }
    blue, green, red = top[0] - 0.046, top[1] - 0.030, top[2] - 0.017  # over the darkest forest
    water = _step(blue - red, 0.001, 0.004) * _step(red, 0.03, 0.02)
    vegetation = np.clip(0.9 - 14 * np.maximum(red - 0.006, 0) + 14 * (green - red), 0.03, 0.95) * (1 - water)
    bands["nir"] = (1 - water) * (0.13 + 0.28 * vegetation + 1.2 * np.clip(red, 0, 0.1)) + water * 0.012
    bands["swir"] = (1 - water) * (0.30 - 0.20 * vegetation + 0.8 * np.clip(red, 0, 0.1)) + water * 0.006
    bands = {name: array.astype(np.float32) for name, array in bands.items()}
    return Patch(
        bands=_filled(bands, valid),
        vegetation=vegetation.astype(np.float32),
        water=water.astype(np.float32),
        valid=valid,
    )


def _file(stem: str) -> tuple[NDArray[np.float32], Grid]:
    with rasterio.open(SAMPLES / f"{stem}.tif") as dataset:
        grid = Grid(
            crs=exact_crs(dataset.crs.to_wkt()),
            transform=dataset.transform,
            width=dataset.width,
            height=dataset.height,
        )
        return dataset.read().astype(np.float32), grid


def _filled(bands: Mapping[str, Array], valid: NDArray[np.bool_]) -> dict[str, Array]:
    """Return bands with their median where there is no data, so that interpolation has no dark rim there."""
    return {name: np.where(valid, array, np.median(array[valid])) for name, array in bands.items()}


def _step(array: Array, low: float, high: float) -> Array:
    """Return 0 at ``low`` and 1 at ``high``, linear between."""
    stepped: Array = np.clip((array - np.float32(low)) / np.float32(high - low), 0, 1)
    return stepped


def _outline(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    t = np.linspace(0, 1, 33)
    left, bottom, right, top = grid.bounds
    x, y = left + (right - left) * t, bottom + (top - bottom) * t
    xs = np.concatenate([x, x, np.full_like(t, left), np.full_like(t, right)])
    ys = np.concatenate([np.full_like(t, bottom), np.full_like(t, top), y, y])
    return xs, ys


def _zone(crs: str) -> str | None:
    """Return the zone of a UTM code of either hemisphere: both share their eastings."""
    return crs[-2:] if crs.startswith(("EPSG:326", "EPSG:327")) and len(crs) == 10 else None


def _northing(crs: str) -> float:
    return 1e7 if crs.startswith("EPSG:327") else 0.0

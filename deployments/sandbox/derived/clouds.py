"""Clouds that move: smooth noise of place and day, with its shadow."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

_LATTICE = 128
_OCTAVES = ((8000.0, 0.52), (3100.0, 0.25), (1150.0, 0.14), (430.0, 0.09))
_WIND = (4100.0, -2300.0)  # metres a day
_SHADOW = (420.0, -900.0)  # metres from a cloud to its shadow: the sun stands in the north
_SOFT = 0.07  # of the noise's range, from clear sky to opaque
_THIN = 0.08  # opacity below which a sky is clear


@functools.cache
def _lattice(seed: int) -> Array:
    return np.random.default_rng(seed).random((_LATTICE, _LATTICE), np.float32)


def noise(x: Array, y: Array, scale: float, seed: int) -> Array:
    """Return smooth noise, 0 to 1, the same for the same place at every call.

    Args:
        x: Eastings, in any unit; ``x`` and ``y`` broadcast to the shape of the result.
        y: Northings.
        scale: Size of a bump in the same unit.
        seed: Another seed is other noise.
    """
    lattice = _lattice(seed)
    u, v = x / scale, y / scale
    u0, v0 = np.floor(u), np.floor(v)
    fu, fv = _smooth(u - u0), _smooth(v - v0)
    i, j = u0.astype(np.int64) % _LATTICE, v0.astype(np.int64) % _LATTICE
    i1, j1 = (i + 1) % _LATTICE, (j + 1) % _LATTICE
    if x.ndim == 1 and y.shape[1:] == (1,):  # a row and a column: blend along each in turn
        lines = lattice[j[:, 0]] * (1 - fv) + lattice[j1[:, 0]] * fv
        row: Array = lines.take(i, axis=1) * (1 - fu) + lines.take(i1, axis=1) * fu
        return row
    upper = lattice[j, i] * (1 - fu) + lattice[j, i1] * fu
    lower = lattice[j1, i] * (1 - fu) + lattice[j1, i1] * fu
    blended: Array = upper * (1 - fv) + lower * fv
    return blended


def _smooth(f: Array) -> Array:
    return (f * f * (3 - 2 * f)).astype(np.float32)


@dataclass(frozen=True)
class Sky:
    """The clouds of one day over a region."""

    day: date
    cover: float
    """The share of the region below clouds, 0 to 1."""
    bounds: tuple[float, float, float, float]
    """``(left, bottom, right, top)`` of the region in metres."""
    seed: int = 1

    def opacity(self, x: Array, y: Array) -> Array:
        """Return how opaque the clouds are, 0 to 1, above places in metres; see `noise` for shapes."""
        if self.cover <= 0:
            return np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
        opaque: Array = np.clip((self._field(x, y) - np.float32(self._threshold)) / np.float32(_SOFT), 0, 1)
        opaque[opaque < _THIN] = 0
        return opaque

    def shadow(self, x: Array, y: Array) -> Array:
        """Return how deep the shadow of the clouds is, 0 to 1."""
        return self.opacity(x - _SHADOW[0], y - _SHADOW[1])

    def _field(self, x: Array, y: Array) -> Array:
        days = self.day.toordinal() % 1000
        east, north = x - _WIND[0] * days, y - _WIND[1] * days
        parts = [
            np.float32(weight) * noise(east, north, scale, self.seed * 10 + n)
            for n, (scale, weight) in enumerate(_OCTAVES)
        ]
        return functools.reduce(np.add, parts)

    @functools.cached_property
    def _threshold(self) -> float:
        left, bottom, right, top = self.bounds
        field = self._field(np.linspace(left, right, 80), np.linspace(bottom, top, 80)[:, None])
        return float(np.quantile(field, 1 - self.cover)) - _SOFT * _THIN


def through(ground: Array, opacity: Array, shadow: Array, brightness: float = 0.55) -> Array:
    """Return what a sensor sees of the ground through clouds, with their shadows on it.

    Args:
        ground: Reflectance, (height, width).
        opacity: Of clouds, 0 to 1, same shape.
        shadow: Depth of their shadows, 0 to 1.
        brightness: Reflectance of an opaque cloud.
    """
    dark = ground * (1 - np.float32(0.55) * shadow)
    seen: Array = dark + (np.float32(brightness) - dark) * opacity
    return seen

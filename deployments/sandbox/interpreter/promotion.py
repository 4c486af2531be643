"""Types of computed bands: which precision, which range.

Earth Engine's reference says "the type of the output pixels is the union of the input types" (arithmetic),
"boolean" (comparison) and "float" (pow, hypot, atan2). What a client then sees are ranges computed from the
ranges of the inputs, and the wire type is the smallest that holds the range. Both are followed here:
integers stay integers as long as 64 bits hold their range, and are doubles beyond.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deployments.sandbox.raster import DOUBLE, FLOAT, INT64, DataType, integer

Precision = Literal["INT", "FLOAT", "DOUBLE"]
BOOLEAN = integer(0, 1)
EXACT_IN_FLOAT = 2**24  # integers up to here are exact in 32-bit floats


def constant_type(value: float) -> DataType:
    """Return the type of a constant: an integer is its own range, anything else a double."""
    precision: Precision = "INT" if isinstance(value, int) else "DOUBLE"
    return DataType(precision=precision, min=value, max=value)


def floating(*types: DataType) -> DataType:
    """Return FLOAT if 32 bits hold every input exactly, DOUBLE otherwise; without a range."""
    return FLOAT if all(_fits_float(t) for t in types) else DOUBLE


def _fits_float(t: DataType) -> bool:
    if t.precision != "INT":
        return t.precision == "FLOAT"
    return all(bound is not None and abs(bound) <= EXACT_IN_FLOAT for bound in (t.min, t.max))


def _ranged(precision: Precision, bounds: list[float] | None) -> DataType:
    """Return the type of a precision with a range, and without one where it is not known or too wide."""
    if bounds is None or not all(math.isfinite(b) for b in bounds):
        return INT64 if precision == "INT" else DataType(precision=precision)
    low, high = min(bounds), max(bounds)
    if precision == "INT" and not (low >= -(2**63) and high < 2**63):
        return DOUBLE
    return DataType(precision=precision, min=low, max=high)


def _precision(*types: DataType) -> Precision:
    if all(t.precision == "INT" for t in types):
        return "INT"
    return floating(*types).precision


def union(*types: DataType) -> DataType:
    """Return the narrowest type that holds all of some types."""
    bounds = [b for t in types for b in (t.min, t.max)]
    known = [b for b in bounds if b is not None]
    return _ranged(_precision(*types), known if len(known) == len(bounds) else None)


def arithmetic(operator: Callable[[float, float], float]) -> Callable[[DataType, DataType], DataType]:
    """Return the rule of ``+``, ``-`` and ``*``: the range of all pairs of the inputs' bounds."""

    def rule(a: DataType, b: DataType) -> DataType:
        if a.min is None or a.max is None or b.min is None or b.max is None:
            return _ranged(_precision(a, b), None)
        bounds = [operator(x, y) for x in (a.min, a.max) for y in (b.min, b.max)]
        return _ranged(_precision(a, b), bounds)

    return rule


def quotient(a: DataType, b: DataType) -> DataType:
    """Return the rule of division: floating, with a range if the divisor cannot be zero."""
    precision = floating(a, b).precision
    if a.min is None or a.max is None or b.min is None or b.max is None or b.min <= 0 <= b.max:
        return DataType(precision=precision)
    return _ranged(precision, [x / y for x in (a.min, a.max) for y in (b.min, b.max)])


def extremum(pick: Callable[..., float]) -> Callable[[DataType, DataType], DataType]:
    """Return the rule of min and max: precision of the union, bounds picked from the inputs' bounds."""

    def rule(a: DataType, b: DataType) -> DataType:
        if a.min is None or a.max is None or b.min is None or b.max is None:
            return _ranged(_precision(a, b), None)
        return _ranged(_precision(a, b), [pick(a.min, b.min), pick(a.max, b.max)])

    return rule


def bits(a: DataType, b: DataType) -> DataType:
    """Return the rule of bitwise and, or, xor: as many bits as the wider input has, signed if either is."""
    bounds = [b for t in (a, b) for b in (t.min, t.max) if b is not None]
    width = max((int(x if x >= 0 else ~int(x)).bit_length() for x in bounds), default=63)
    return integer(-(2**width) if min(bounds, default=-1) < 0 else 0, 2**width - 1)


def left_shift(a: DataType, b: DataType) -> DataType:
    """Return the rule of ``<<``: exact for shifts of a known small size, 64 bits otherwise."""
    if a.min is None or a.max is None or b.min is None or b.max is None or b.min < 0 or b.max > 63:
        return INT64
    bounds = [int(x) << int(n) for x in (a.min, a.max) for n in (b.min, b.max)]
    return _ranged("INT", list(bounds)) if min(bounds) >= -(2**63) and max(bounds) < 2**63 else INT64


def right_shift(a: DataType, b: DataType) -> DataType:
    """Return the rule of ``>>``: never beyond the left input."""
    if a.min is None or a.max is None or b.min is None or b.min < 0:
        return INT64
    return integer(min(int(a.min), 0), max(int(a.max), 0))


def boolean(*_types: DataType) -> DataType:
    """Return the rule of comparisons and logic: 0 or 1."""
    return BOOLEAN


def same(t: DataType) -> DataType:
    """Return the rule of what changes no type."""
    return t


def unranged(t: DataType) -> DataType:
    """Return the precision of a type without its range; integers keep 64 bits."""
    return _ranged(t.precision, None)


def magnitude(t: DataType) -> DataType:
    """Return the rule of abs."""
    if t.min is None or t.max is None:
        return _ranged(t.precision, None)
    bounds = [abs(t.min), abs(t.max)] + ([0] if t.min <= 0 <= t.max else [])
    return _ranged(t.precision, bounds)


def bounded(t: DataType, low: float, high: float) -> DataType:
    """Return the rule of clamp: integers stay integers between integer limits."""
    whole = t.precision != "INT" or (float(low).is_integer() and float(high).is_integer())
    precision = t.precision if whole else floating(t).precision
    inside = [min(max(b, low), high) for b in (t.min, t.max) if b is not None] or [low, high]
    return _ranged(precision, [int(b) for b in inside] if precision == "INT" else inside)


def doubled(t: DataType) -> DataType:
    """Return the rule of means: integers become doubles, floats keep their precision, the range stays."""
    return replace(t, precision="DOUBLE") if t.precision == "INT" else t


def working(values: NDArray[Any], *, whole: bool) -> NDArray[Any]:
    """Return values in the type that arithmetic is done in: int64 for ``whole`` results, or float64.

    Integers whose sum or product 64 bits could not hold have a floating result, and must not wrap first.
    """
    integers = whole and values.dtype.kind in "bui"
    return values.astype(np.int64 if integers else np.float64, copy=False)


def stored(values: NDArray[Any], t: DataType) -> NDArray[Any]:
    """Return values in the NumPy type of a band: 64-bit integers stay int64, floats beyond 32 bits are infinite."""
    dtype = t.numpy if t.precision != "INT" or t.numpy.kind != "f" else np.dtype(np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(dtype, copy=False)


def saturated(values: NDArray[Any], t: DataType) -> NDArray[Any]:
    """Return values cast as Earth Engine casts: cut toward zero, and what is out of range at its bound.

    Source: developers.google.com/earth-engine/apidocs/ee-number-touint8.
    """
    if t.precision != "INT" or t.min is None or t.max is None:
        return stored(values, t)
    low, high = int(t.min), int(t.max)
    if values.dtype.kind == "f":
        # 2**63 - 1 is no float64: compare with floats, then set the bounds as integers.
        whole = np.nan_to_num(np.trunc(values), nan=0.0, posinf=np.inf, neginf=-np.inf)
        inside = np.clip(whole, max(low, -(2**62)), min(high, 2**62)).astype(np.int64)
        inside = np.where(whole >= high, high, np.where(whole <= low, low, inside))
        return stored(inside, t)
    return stored(np.clip(values.astype(np.int64, copy=False), low, high), t)

"""Operators and mathematical functions, of images and of numbers alike.

A row of the tables is an operator: its names, what it computes and its rule of types. Each becomes both
``Image.<name>`` and ``Number.<name>``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.sandbox.interpreter import promotion
from deployments.sandbox.interpreter.metadata import kept
from deployments.sandbox.interpreter.pixels import matched, pixelwise
from deployments.sandbox.interpreter.pixeltypes import NAMED
from deployments.sandbox.interpreter.promotion import saturated
from deployments.sandbox.interpreter.registry import add
from deployments.sandbox.raster import DataType, Image, integer
from deployments.sandbox.refusal import Refusal

Array = NDArray[Any]


@dataclass(frozen=True)
class Operator:
    """One row."""

    names: tuple[str, ...]
    compute: Callable[..., Any]
    rule: Callable[..., DataType]
    integers_only: bool = False


def _divide(a: Array, b: Array) -> Array:
    """Division by zero is 0. Source: the description of Image.divide in the list of algorithms."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)


def _mod(a: Array, b: Array) -> Array:
    """The remainder has the sign of the dividend, as in Java; of a division by zero it is 0."""
    return np.where(b == 0, 0, np.fmod(a, np.where(b == 0, 1, b)))


def _power(a: Array, b: Array) -> Array:
    return np.power(a.astype(np.float64), b)


def _shift(a: Array, b: Array, *, left: bool) -> Array:
    """A negative shift goes the other way, and one of 64 bits and more leaves nothing, or the sign."""
    leftward = b if left else -b
    up = np.where(leftward > 63, 0, np.left_shift(a, np.clip(leftward, 0, 63)))
    return np.where(leftward >= 0, up, np.right_shift(a, np.clip(-leftward, 0, 63)))


BINARY: tuple[Operator, ...] = (
    Operator(("add",), np.add, promotion.arithmetic(operator.add)),
    Operator(("subtract",), np.subtract, promotion.arithmetic(operator.sub)),
    Operator(("multiply",), np.multiply, promotion.arithmetic(operator.mul)),
    Operator(("divide",), _divide, promotion.quotient),
    Operator(("mod",), _mod, promotion.union),
    Operator(("max",), np.maximum, promotion.extremum(max)),
    Operator(("min",), np.minimum, promotion.extremum(min)),
    Operator(("pow",), _power, promotion.floating),
    Operator(("hypot",), np.hypot, promotion.floating),
    # The left value is x, the right one y. Source: developers.google.com/earth-engine/apidocs/ee-number-atan2.
    Operator(("atan2",), lambda x, y: np.arctan2(y, x), promotion.floating),
    Operator(("eq",), np.equal, promotion.boolean),
    Operator(("neq",), np.not_equal, promotion.boolean),
    Operator(("lt",), np.less, promotion.boolean),
    Operator(("lte",), np.less_equal, promotion.boolean),
    Operator(("gt",), np.greater, promotion.boolean),
    Operator(("gte",), np.greater_equal, promotion.boolean),
    Operator(("and",), np.logical_and, promotion.boolean),
    Operator(("or",), np.logical_or, promotion.boolean),
    Operator(("bitwiseAnd", "bitwise_and"), np.bitwise_and, promotion.bits, integers_only=True),
    Operator(("bitwiseOr", "bitwise_or"), np.bitwise_or, promotion.bits, integers_only=True),
    Operator(("bitwiseXor", "bitwise_xor"), np.bitwise_xor, promotion.bits, integers_only=True),
    Operator(
        ("leftShift", "left_shift"),
        lambda a, b: _shift(a, b, left=True),
        promotion.left_shift,
        integers_only=True,
    ),
    Operator(
        ("rightShift", "right_shift"),
        lambda a, b: _shift(a, b, left=False),
        promotion.right_shift,
        integers_only=True,
    ),
    Operator(("first",), lambda a, _b: a, lambda a, _b: a),
    Operator(("firstNonZero", "first_nonzero"), lambda a, b: np.where(a != 0, a, b), promotion.union),
)


def _not_bits(t: DataType) -> DataType:
    if t.min is None or t.max is None:
        return promotion.unranged(t)
    return integer(~int(t.max), ~int(t.min))


UNARY: tuple[Operator, ...] = (
    Operator(("abs",), np.abs, promotion.magnitude),
    Operator(("signum",), np.sign, lambda t: promotion.bounded(t, -1, 1)),
    Operator(("not",), np.logical_not, promotion.boolean),
    Operator(("bitwiseNot", "bitwise_not"), np.invert, _not_bits, integers_only=True),
    Operator(("bitCount",), np.bitwise_count, lambda _t: integer(0, 64), integers_only=True),
    Operator(("floor",), np.floor, promotion.unranged),
    Operator(("ceil",), np.ceil, promotion.unranged),
    # Half away from zero for positive numbers, as Java's Math.round: floor(x + 0.5).
    Operator(("round",), lambda a: np.floor(a + 0.5), promotion.unranged),
    Operator(("sqrt",), np.sqrt, promotion.floating),
    Operator(("cbrt",), np.cbrt, promotion.floating),
    Operator(("exp",), np.exp, promotion.floating),
    Operator(("log",), np.log, promotion.floating),
    Operator(("log10",), np.log10, promotion.floating),
    Operator(("sin",), np.sin, promotion.floating),
    Operator(("cos",), np.cos, promotion.floating),
    Operator(("tan",), np.tan, promotion.floating),
    Operator(("asin",), np.arcsin, promotion.floating),
    Operator(("acos",), np.arccos, promotion.floating),
    Operator(("atan",), np.arctan, promotion.floating),
    Operator(("sinh",), np.sinh, promotion.floating),
    Operator(("cosh",), np.cosh, promotion.floating),
    Operator(("tanh",), np.tanh, promotion.floating),
)

ROUNDING = frozenset({"floor", "ceil", "round"})


def _check_integers(row: Operator, types: tuple[DataType, ...]) -> None:
    if row.integers_only and any(t.precision != "INT" for t in types):
        raise Refusal(f"Image.{row.names[0]}: Bitwise operands must be integer only.")


def _binary_image(row: Operator) -> Callable[[Image, Image], Image]:
    def apply(a: Image, b: Image) -> Image:
        bands = []
        for first, second, name in matched(f"Image.{row.names[0]}", a, b):
            _check_integers(row, (first.type, second.type))
            result = row.rule(first.type, second.type)
            bands.append(pixelwise(row.compute, (first, second), result, name, nan_masks=True))
        return kept(a, b, tuple(bands))

    return apply


def _unary_image(row: Operator) -> Callable[[Image], Image]:
    def apply(image: Image) -> Image:
        bands = []
        for band in image.bands:
            _check_integers(row, (band.type,))
            whole = band.type.precision == "INT" and row.names[0] in ROUNDING
            if whole:
                bands.append(band)
            else:
                bands.append(pixelwise(row.compute, (band,), row.rule(band.type), band.id, nan_masks=True))
        return kept(image, None, tuple(bands))

    return apply


def _number(row: Operator) -> Callable[..., int | float]:
    def apply(*values: float) -> int | float:
        if row.integers_only and not all(isinstance(value, int) for value in values):
            raise Refusal(f"Number.{row.names[0]}: Bitwise operands must be integer only.")
        arrays = [np.asarray(v, dtype=np.int64 if isinstance(v, int) else np.float64) for v in values]
        with np.errstate(all="ignore"):
            result = np.asarray(row.compute(*arrays))
        if result.dtype.kind == "b":
            return int(result)
        value: int | float = result.item()
        if row.names[0] in ROUNDING and math.isfinite(value):
            return int(value)
        # Numbers are shown as the client writes them: 6 / 3 is 2.
        return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value

    return apply


def _cast_image(target: DataType) -> Callable[[Image], Image]:
    def apply(image: Image) -> Image:
        return kept(image, None, tuple(cast_band(band, target) for band in image.bands), properties=True)

    return apply


def cast_band(band: Any, target: DataType) -> Any:
    """Return a band cast to a type; out of range goes to the nearest bound."""
    return pixelwise(lambda values: saturated(values, target), (band,), target, band.id)


def _cast_number(target: DataType) -> Callable[[float], int | float]:
    def apply(value: float) -> int | float:
        kind = np.int64 if isinstance(value, int) else np.float64
        result: int | float = saturated(np.asarray(value, dtype=kind), target).item()
        return result

    return apply


def _two(compute: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def apply(left: Any, right: Any) -> Any:
        return compute(left, right)

    return apply


def _one(compute: Callable[..., Any]) -> Callable[[Any], Any]:
    def apply(value: Any) -> Any:
        return compute(value)

    return apply


for _row in BINARY:
    for _name in _row.names:
        add(f"Image.{_name}", _binary_image(_row))
        add(f"Number.{_name}", _two(_number(_row)))
for _row in UNARY:
    for _name in _row.names:
        add(f"Image.{_name}", _unary_image(_row))
        add(f"Number.{_name}", _one(_number(_row)))
for _name, _type in NAMED.items():
    for _spelling in (_name, f"to{_name[0].upper()}{_name[1:]}"):
        add(f"Image.{_spelling}", _cast_image(_type))
        add(f"Number.{_spelling}", _cast_number(_type))

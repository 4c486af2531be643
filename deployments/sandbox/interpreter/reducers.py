"""Reducers: many values at a pixel become one, or a few.

Masked values do not count. Means and sums are weighted by the mask, so that a partial pixel counts in part.
Median and percentiles are computed directly, never from a histogram.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.sandbox.interpreter import promotion
from deployments.sandbox.interpreter.coercion import coerce, type_name
from deployments.sandbox.interpreter.registry import add, function
from deployments.sandbox.interpreter.values import Output, Reducer
from deployments.sandbox.raster import DOUBLE, UINT32, DataType, Pixels
from deployments.sandbox.refusal import Refusal

Array = NDArray[Any]
Masks = NDArray[np.float32]


def _covered(masks: Masks) -> Masks:
    """The mask of a result: what the best of its inputs has, nothing where all are masked."""
    covered: Masks = masks.max(axis=0)
    return covered


def _weighted(compute: Callable[[Array, Array], Array]) -> Callable[[Array, Masks], Pixels]:
    """Return a reduction of float64 values and weights, both (layer, height, width)."""

    def reduce(values: Array, masks: Masks) -> Pixels:
        weights = masks.astype(np.float64)
        floats = np.where(weights > 0, values, 0).astype(np.float64)
        with np.errstate(all="ignore"):  # where all is masked there is 0/0, and it is masked
            return Pixels(compute(floats, weights), _covered(masks))

    return reduce


def _variance(values: Array, weights: Array, freedom: int) -> Array:
    total = weights.sum(axis=0)
    mean = (values * weights).sum(axis=0) / total
    squares = (weights * (values - mean) ** 2).sum(axis=0)
    return np.asarray(squares / np.where(total > freedom, total - freedom, 1))


def _sorted(values: Array, masks: Masks) -> tuple[Array, Array]:
    """Return values sorted by layer with the masked ones last, and how many are valid."""
    last = np.inf if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    ordered = np.sort(np.where(masks > 0, values, np.asarray(last, values.dtype)), axis=0)
    return ordered, (masks > 0).sum(axis=0)


def _at(ordered: Array, place: Array) -> Array:
    found: Array = np.take_along_axis(ordered, place[None].astype(np.intp), axis=0)[0]
    return found


def _percentile(percent: float) -> Callable[[Array, Masks], Pixels]:
    """Return the percentile between the two values around it, by linear interpolation of their ranks."""

    def reduce(values: Array, masks: Masks) -> Pixels:
        ordered, count = _sorted(values, masks)
        rank = np.maximum(count - 1, 0) * (percent / 100)
        low, high = np.floor(rank), np.ceil(rank)
        below, above = _at(ordered, low).astype(np.float64), _at(ordered, high).astype(np.float64)
        with np.errstate(invalid="ignore"):  # inf - inf where all is masked
            return Pixels(np.where(low == high, below, below + (above - below) * (rank - low)), _covered(masks))

    return reduce


def _mode(values: Array, masks: Masks) -> Pixels:
    """The most common value, the least of several.

    Source: developers.google.com/earth-engine/apidocs/ee-imagecollection-count ("If multiple mode values
    occur, the minimum mode value is returned").
    """
    ordered, count = _sorted(values, masks)
    best, best_run = ordered[0].copy(), np.zeros(count.shape, int)
    run = np.zeros(count.shape, int)
    for layer in range(len(ordered)):
        again = (ordered[layer] == ordered[layer - 1]) if layer else np.zeros(count.shape, bool)
        run = np.where(again, run + 1, 1)
        better = (run > best_run) & (layer < count)
        best_run = np.where(better, run, best_run)
        best = np.where(better, ordered[layer], best)
    return Pixels(best, _covered(masks))


def _extreme(pick: Callable[..., Array], *, largest: bool) -> Callable[[Array, Masks], Pixels]:
    def reduce(values: Array, masks: Masks) -> Pixels:
        if values.dtype.kind == "f":
            outside: Any = -np.inf if largest else np.inf
        else:
            info = np.iinfo(values.dtype)
            outside = info.min if largest else info.max
        return Pixels(pick(np.where(masks > 0, values, np.asarray(outside, values.dtype)), axis=0), _covered(masks))

    return reduce


def _nth(*, last: bool) -> Callable[[Array, Masks], Pixels]:
    """Return the first or last valid value, with its own mask."""

    def reduce(values: Array, masks: Masks) -> Pixels:
        valid = masks > 0
        place = len(valid) - 1 - valid[::-1].argmax(axis=0) if last else valid.argmax(axis=0)
        return Pixels(_at(values, place), _at(masks, place))

    return reduce


def _count(_values: Array, masks: Masks) -> Pixels:
    """How many values are valid; masked where none is, which is why scripts write ``count().unmask(0)``."""
    valid = masks > 0
    return Pixels(valid.sum(axis=0), _covered(valid.astype(np.float32)))


def _logic(*, every: bool) -> Callable[[Array, Masks], Pixels]:
    def reduce(values: Array, masks: Masks) -> Pixels:
        zero, valid = values == 0, masks > 0
        result = ~(zero & valid).any(axis=0) if every else (~zero & valid).any(axis=0)
        return Pixels(result, _covered(masks))

    return reduce


def _as_is(t: DataType, _layers: int) -> DataType:
    return t


def _averaged(t: DataType, _layers: int) -> DataType:
    return promotion.doubled(t)


def _plain(t: DataType, _layers: int) -> DataType:
    return replace(promotion.doubled(t), min=None, max=None)


def _double(_t: DataType, _layers: int) -> DataType:
    return DOUBLE


def _counted(_t: DataType, _layers: int) -> DataType:
    return UINT32


def _logical(_t: DataType, _layers: int) -> DataType:
    return promotion.BOOLEAN


ROWS: dict[str, Output] = {
    output.name: output
    for output in (
        Output(name="mean", reduce=_weighted(lambda v, w: (v * w).sum(axis=0) / w.sum(axis=0)), type=_averaged),
        Output(name="sum", reduce=_weighted(lambda v, w: (v * w).sum(axis=0)), type=_double),
        Output(
            name="product",
            reduce=_weighted(lambda v, w: np.where(w > 0, v, 1).prod(axis=0)),
            type=_double,
        ),
        Output(name="variance", reduce=_weighted(lambda v, w: _variance(v, w, 0)), type=_plain),
        Output(name="sampleVariance", reduce=_weighted(lambda v, w: _variance(v, w, 1)), type=_plain),
        Output(name="stdDev", reduce=_weighted(lambda v, w: np.sqrt(_variance(v, w, 0))), type=_plain),
        Output(name="sampleStdDev", reduce=_weighted(lambda v, w: np.sqrt(_variance(v, w, 1))), type=_plain),
        Output(name="median", reduce=_percentile(50), type=_averaged),
        Output(name="mode", reduce=_mode, type=_as_is),
        Output(name="min", reduce=_extreme(np.min, largest=False), type=_as_is),
        Output(name="max", reduce=_extreme(np.max, largest=True), type=_as_is),
        Output(name="first", reduce=_nth(last=False), type=_as_is),
        Output(name="last", reduce=_nth(last=True), type=_as_is),
        Output(name="count", reduce=_count, type=_counted),
        Output(name="and", reduce=_logic(every=True), type=_logical),
        Output(name="or", reduce=_logic(every=False), type=_logical),
    )
}
SPELLINGS = {"firstNonNull": "first", "lastNonNull": "last", "allNonZero": "and", "anyNonZero": "or"}


def _maker(*outputs: Output) -> Callable[[], Reducer]:
    return lambda: Reducer(outputs)


for _name, _output in ROWS.items():
    add(f"Reducer.{_name}", _maker(_output))
for _name, _of in SPELLINGS.items():
    add(f"Reducer.{_name}", _maker(replace(ROWS[_of], name=_name)))
add("Reducer.minMax", _maker(ROWS["min"], ROWS["max"]))


@function("Reducer.percentile")
def percentile(percentiles: list[float], names: list[str] | None) -> Reducer:
    """Make a reducer to percentiles, named ``p10`` and so on."""
    percentiles = coerce(percentiles, "List<Number>", "Reducer.percentile")
    bad = [p for p in percentiles if not 0 <= p <= 100]
    if bad or not percentiles:
        raise Refusal(f"Reducer.percentile: Percentiles must be between 0 and 100, got {percentiles}.")
    given = names if names is not None else [f"p{p:g}" for p in percentiles]
    if len(given) != len(percentiles):
        raise Refusal("Reducer.percentile: As many output names as percentiles are needed.")
    outputs = (
        Output(name=name, reduce=_percentile(p), type=_averaged) for name, p in zip(given, percentiles, strict=True)
    )
    return Reducer(tuple(outputs))


@function("Reducer.combine")
def combine(first: Reducer, second: Reducer, prefix: str | None, shared: bool) -> Reducer:
    """Make a reducer that gives the outputs of two, of the same inputs."""
    if not shared:
        raise Refusal("Reducer.combine: the sandbox supports sharedInputs=True only.")
    taken = {output.name for output in first.outputs}
    outputs = list(first.outputs)
    for output in second.outputs:
        name, count = f"{prefix or ''}{output.name}", 0
        while name in taken:
            count += 1
            name = f"{prefix or ''}{output.name}_{count}"
        taken.add(name)
        outputs.append(replace(output, name=name))
    return Reducer(tuple(outputs))


@function("Reducer.setOutputs")
def set_outputs(reducer: Reducer, names: list[str]) -> Reducer:
    """Rename the outputs of a reducer."""
    if len(names) != len(reducer.outputs):
        raise Refusal(f"Reducer.setOutputs: Need {len(reducer.outputs)} names, got {len(names)}.")
    return Reducer(tuple(replace(o, name=n) for o, n in zip(reducer.outputs, names, strict=True)))


@function("Reducer.getOutputs")
def get_outputs(reducer: Reducer) -> list[str]:
    """List the names of outputs."""
    return [output.name for output in reducer.outputs]


OF_ANYTHING: dict[Any, Callable[[list[Any]], Any]] = {
    ROWS["count"].reduce: len,
    ROWS["first"].reduce: lambda values: values[0] if values else None,
    ROWS["last"].reduce: lambda values: values[-1] if values else None,
}
"""What reducers do that take values of any type, by what they do with pixels."""


def reduce_values(output: Output, values: list[Any]) -> Any:
    """Apply a reducer's output to values; null ones do not count.

    Raises:
        Refusal: 400, a reducer of numbers is given something else.
    """
    present = [value for value in values if value is not None]
    anything = OF_ANYTHING.get(output.reduce)
    if anything is not None:
        return anything(present)
    other = next((value for value in present if not isinstance(value, int | float)), None)
    if other is not None:
        raise Refusal(f"Reducer.{output.name}: the sandbox supports numbers only, got a {type_name(other)}.")
    return reduce_numbers(output, present)


def reduce_numbers(output: Output, numbers: list[float]) -> int | float | None:
    """Apply a reducer's output to numbers; None if there are none and the result would be masked."""
    if not numbers:
        return 0 if output.reduce is ROWS["sum"].reduce else None
    values = np.asarray(numbers).reshape(-1, 1, 1)
    pixels = output.reduce(values, np.ones(values.shape, np.float32))
    result: int | float = pixels.values.reshape(-1)[0].item()
    return int(result) if float(result).is_integer() else result

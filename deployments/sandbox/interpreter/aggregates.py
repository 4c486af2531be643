"""Properties of all elements of a collection, and numbers of a list, that become one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deployments.sandbox.interpreter.filters import field
from deployments.sandbox.interpreter.imagecollections import identity, sort_key
from deployments.sandbox.interpreter.reducers import ROWS, reduce_values
from deployments.sandbox.interpreter.registry import add, function
from deployments.sandbox.interpreter.strings import string
from deployments.sandbox.interpreter.values import (
    Collection,
    Output,
    Reducer,
)
from deployments.sandbox.refusal import Refusal


def _column(collection: Collection, name: str) -> list[Any]:
    found = (field(element, name) for element in collection.elements)
    return [value for value in found if value is not None]


@function("AggregateFeatureCollection.array")
def aggregate_array(collection: Collection, name: str) -> list[Any]:
    """List a property of all elements that have it."""
    return _column(collection, name)


@function("AggregateFeatureCollection.first")
def aggregate_first(collection: Collection, name: str) -> Any:
    """Return a property of the first element that has it."""
    return next(iter(_column(collection, name)), None)


@function("AggregateFeatureCollection.count")
def aggregate_count(collection: Collection, name: str) -> int:
    """Count the elements that have a property."""
    return len(_column(collection, name))


@function("AggregateFeatureCollection.count_distinct")
def aggregate_count_distinct(collection: Collection, name: str) -> int:
    """Count the different values of a property."""
    return len({repr(identity(value)) for value in _column(collection, name)})


@function("AggregateFeatureCollection.histogram")
def aggregate_histogram(collection: Collection, name: str) -> dict[str, int]:
    """Count how often each value of a property occurs."""
    found = [string(value) for value in _column(collection, name)]
    return {value: found.count(value) for value in sorted(set(found))}


@function("AggregateFeatureCollection.min")
def aggregate_min(collection: Collection, name: str) -> Any:
    """Return the least value of a property."""
    return min(_column(collection, name), key=sort_key, default=None)


@function("AggregateFeatureCollection.max")
def aggregate_max(collection: Collection, name: str) -> Any:
    """Return the greatest value of a property."""
    return max(_column(collection, name), key=sort_key, default=None)


AGGREGATES = {
    "mean": "mean",
    "sum": "sum",
    "product": "product",
    "sample_sd": "sampleStdDev",
    "sample_var": "sampleVariance",
    "total_sd": "stdDev",
    "total_var": "variance",
}


def _aggregate(output: Output) -> Callable[[Any, Any], Any]:
    return lambda collection, name: reduce_values(output, _column(collection, name))


for _name, _output in AGGREGATES.items():
    add(f"AggregateFeatureCollection.{_name}", _aggregate(ROWS[_output]))


@function("List.reduce")
def reduce_list(values: list[Any], reducer: Reducer) -> Any:
    """Reduce a list of numbers; several outputs come as a dictionary."""
    results = {output.name: reduce_values(output, values) for output in reducer.outputs}
    return next(iter(results.values())) if len(results) == 1 else results


@function("Collection.reduceColumns")
def reduce_columns(collection: Collection, reducer: Reducer, selectors: list[str]) -> dict[str, Any]:
    """Reduce one property of all elements."""
    if len(selectors) != 1:
        raise Refusal("Collection.reduceColumns: the sandbox supports one selector.")
    column = _column(collection, selectors[0])
    return {output.name: reduce_values(output, column) for output in reducer.outputs}

"""Filters: which elements of a collection are kept."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import shapely

from deployments.sandbox.interpreter.dates import FIELDS, calendar_field, parse_date
from deployments.sandbox.interpreter.edges import lonlat_shape, made_of
from deployments.sandbox.interpreter.metadata import UNBOUNDED, property_of, start_of
from deployments.sandbox.interpreter.registry import add, function
from deployments.sandbox.interpreter.values import Collection, Date, DateRange, Feature, Filter, Geometry
from deployments.sandbox.raster import Image
from deployments.sandbox.refusal import Refusal

Comparison = Callable[[Any, Any], bool]
GEOMETRY_FIELDS = frozenset({".all", ".geo"})


def field(element: Any, name: str) -> Any:
    """Return what a filter compares: a property, or the geometry of the names ``.geo`` and ``.all``."""
    if isinstance(element, Mapping):
        return element.get(name)
    if name in GEOMETRY_FIELDS:
        return element_geometry(element)
    if not isinstance(element, Image | Feature | Collection):
        return element if name == "item" else None
    return property_of(element, name)


def element_geometry(element: Any) -> Geometry | None:
    """Return where an element lies; an image without a footprint lies everywhere."""
    if isinstance(element, Geometry):
        return element
    if isinstance(element, Feature):
        return element.geometry
    if isinstance(element, Image):
        return Geometry(element.footprint, geodesic=False) if element.footprint is not None else UNBOUNDED
    if isinstance(element, Collection):
        parts = [shape for inner in element.elements if (shape := element_geometry(inner)) is not None]
        return made_of(shapely.union_all([lonlat_shape(part) for part in parts]), *parts) if parts else None
    return None


def _compared(name: str, compare: Comparison) -> Callable[..., Filter]:
    """Return the function of a filter that compares a field with a value, or two fields."""

    def make(left_field: Any, right_value: Any, right_field: Any, left_value: Any) -> Filter:
        if (left_field is None) == (left_value is None) or (right_field is None) == (right_value is None):
            raise Refusal(f"Filter.{name}: Each side needs either a field or a value.")

        def test(element: Any) -> bool:
            left = left_value if left_field is None else field(element, left_field)
            right = right_value if right_field is None else field(element, right_field)
            return left is not None and right is not None and compare(left, right)

        return Filter(test)

    return make


def _plain(value: Any) -> Any:
    """Return a value that can be compared: dates by their milliseconds, booleans as numbers."""
    if isinstance(value, Date):
        return value.millis
    return int(value) if isinstance(value, bool) else value


def _ordered(compare: Comparison) -> Comparison:
    def test(left: Any, right: Any) -> bool:
        a, b = _plain(left), _plain(right)
        numbers = isinstance(a, int | float) and isinstance(b, int | float)
        texts = isinstance(a, str) and isinstance(b, str)
        return (numbers or texts) and compare(a, b)

    return test


def _equal(left: Any, right: Any) -> bool:
    return bool(_plain(left) == _plain(right))


def _within_dates(left: Any, right: Any) -> bool:
    if not isinstance(left, DateRange):
        raise Refusal("Filter.dateRangeContains: The left value must be a DateRange.")
    return left.holds(parse_date(right))


def _listed(values: Any, value: Any) -> bool:
    return isinstance(values, list) and any(_equal(value, other) for other in values)


def _shapes(compare: Comparison) -> Comparison:
    def test(left: Any, right: Any) -> bool:
        shapes = [element_geometry(side) for side in (left, right)]
        if shapes[0] is None or shapes[1] is None:
            return False
        return compare(lonlat_shape(shapes[0]), lonlat_shape(shapes[1]))

    return test


def _texts(compare: Comparison) -> Comparison:
    return lambda left, right: isinstance(left, str) and isinstance(right, str) and compare(left, right)


COMPARED: Mapping[tuple[str, ...], Comparison] = {
    ("eq", "equals"): _equal,
    ("neq", "notEquals"): lambda a, b: not _equal(a, b),
    ("lt", "lessThan"): _ordered(operator.lt),
    ("lte", "lessThanOrEquals"): _ordered(operator.le),
    ("gt", "greaterThan"): _ordered(operator.gt),
    ("gte", "greaterThanOrEquals"): _ordered(operator.ge),
    ("stringContains",): _texts(lambda a, b: b in a),
    ("stringStartsWith",): _texts(str.startswith),
    ("stringEndsWith",): _texts(str.endswith),
    ("dateRangeContains",): _within_dates,
    ("listContains",): _listed,
    ("inList",): lambda a, b: _listed(b, a),
    ("intersects",): _shapes(lambda a, b: bool(a.intersects(b))),
    ("disjoint",): _shapes(lambda a, b: bool(a.disjoint(b))),
    ("contains",): _shapes(lambda a, b: bool(a.covers(b))),
    ("isContained",): _shapes(lambda a, b: bool(b.covers(a))),
}
for _names, _compare in COMPARED.items():
    for _name in _names:
        add(f"Filter.{_name}", _compared(_name, _compare))


@function("Filter.and")
def all_of(filters: list[Filter]) -> Filter:
    """Keep what all filters keep."""
    return Filter(lambda element: all(one.test(element) for one in filters))


@function("Filter.or")
def any_of(filters: list[Filter]) -> Filter:
    """Keep what any filter keeps."""
    return Filter(lambda element: any(one.test(element) for one in filters))


@function("Filter.not")
def opposite(one: Filter) -> Filter:
    """Keep what a filter drops."""
    return Filter(lambda element: not one.test(element))


@function("Filter.always")
def always() -> Filter:
    """Keep all."""
    return Filter(lambda _element: True)


@function("Filter.never")
def never() -> Filter:
    """Keep nothing."""
    return Filter(lambda _element: False)


@function("Filter.notNull")
def not_null(names: list[str]) -> Filter:
    """Keep what has all these properties."""
    return Filter(lambda element: all(field(element, name) is not None for name in names))


@function("Filter.rangeContains")
def range_contains(name: str, low: Any, high: Any) -> Filter:
    """Keep what has a property from ``low`` to ``high``, both included."""
    within = _ordered(operator.le)

    def test(element: Any) -> bool:
        value = field(element, name)
        return value is not None and within(low, value) and within(value, high)

    return Filter(test)


@function("Filter.calendarRange")
def calendar_range(start: int, end: int | None, field: str) -> Filter:
    """Keep what began in a range of a calendar field, both ends included; it may run over the year's end."""
    last = start if end is None else end
    if field not in FIELDS:
        raise Refusal(f"Filter.calendarRange: Unknown field '{field}'. Fields: [{', '.join(FIELDS)}].")

    def test(element: Any) -> bool:
        date = start_of(element)
        if date is None:
            return False
        value = calendar_field(date, field)
        return start <= value <= last if start <= last else value >= start or value <= last

    return Filter(test)


@function("Filter.dayOfYear")
def day_of_year(start: int, end: int) -> Filter:
    """Keep what began on days of the year from ``start``, and before ``end``."""
    return calendar_range(start, end - 1, "day_of_year")

"""The functions of Date and DateRange."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from deployments.sandbox.interpreter import dates
from deployments.sandbox.interpreter.dates import parse_date
from deployments.sandbox.interpreter.registry import function
from deployments.sandbox.interpreter.values import Date, DateRange
from deployments.sandbox.refusal import Refusal


@function("Date")
def date(value: Any, time_zone: str | None) -> Date:
    """Make a date of milliseconds or an ISO 8601 text."""
    return parse_date(value, time_zone)


@function("Date.fromYMD")
def from_ymd(year: int, month: int, day: int, time_zone: str | None) -> Date:
    """Make a date of a day of the calendar."""
    return parse_date(f"{year:04d}-{month:02d}-{day:02d}", time_zone)


@function("Date.millis")
def millis(of: Date) -> int:
    """Return milliseconds since 1970."""
    return of.millis


@function("Date.advance")
def advance(of: Date, delta: float, unit: str, time_zone: str | None) -> Date:
    """Move a date by units of time."""
    return dates.advance(of, delta, unit, time_zone)


@function("Date.difference")
def difference(of: Date, start: Date, unit: str) -> float:
    """Return how many units lie between two dates."""
    return dates.difference(of, start, unit)


@function("Date.format")
def format_date(of: Date, pattern: str | None, time_zone: str | None) -> str:
    """Return a date as text by a Joda pattern."""
    return dates.format_date(of, pattern, time_zone)


@function("Date.get")
def get(of: Date, unit: str, time_zone: str | None) -> int:
    """Return a field of the calendar."""
    return dates.calendar_field(of, dates.unit_name(unit), time_zone)


@function("Date.getFraction")
def get_fraction(of: Date, unit: str, time_zone: str | None) -> float:
    """Return how much of a unit of the calendar has passed, 0 to 1."""
    whole = get_range(of, unit, time_zone)
    first, last = start(whole), end(whole)
    return (of.millis - first.millis) / (last.millis - first.millis)


@function("Date.unitRatio")
def unit_ratio(numerator: str, denominator: str) -> float:
    """Return how many units of one size are in one of another."""
    return dates.length(numerator) / dates.length(denominator)


@function("Date.update")
def update(  # noqa: PLR0917 - the arguments of Earth Engine's signature, in its order
    of: Date,
    year: int | None,
    month: int | None,
    day: int | None,
    hour: int | None,
    minute: int | None,
    second: float | None,
    time_zone: str | None,
) -> Date:
    """Set fields of the calendar."""
    given = {"year": year, "month": month, "day": day, "hour": hour, "minute": minute}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if second is not None:
        fields |= {"second": int(second), "microsecond": round(second % 1 * 1000) * 1000}
    try:
        return dates.date_of(of.moment.astimezone(dates.zone(time_zone)).replace(**fields))
    except (ValueError, OverflowError) as error:
        raise Refusal(f"Date.update: {error}.") from None


@function("Date.getRelative")
def get_relative(of: Date, unit: str, in_unit: str, time_zone: str | None) -> int:
    """Return how many whole units of one size lie since the start of one of another: days in the year."""
    name, within = dates.unit_name(unit), dates.unit_name(in_unit)
    if dates.length(name) >= dates.length(within):
        return 0  # as in Google's example of getRelative
    if name == "month":
        return dates.calendar_field(of, "month", time_zone) - 1
    if name == "week":
        raise Refusal(f"Date.getRelative: the sandbox does not support weeks of a {within}.")
    # By the clock of the zone, where a day may have 23 or 25 hours.
    here, first = dates.zone(time_zone), _start(of, within, time_zone)
    now, then = (each.moment.astimezone(here).replace(tzinfo=None) for each in (of, first))
    return (now - then) // timedelta(milliseconds=dates.MILLIS[name])


def _start(of: Date, unit: str, time_zone: str | None) -> Date:
    """Return the start of the unit of the calendar that a date is in."""
    name = dates.unit_name(unit)
    moment = of.moment.astimezone(dates.zone(time_zone)).replace(microsecond=0)
    if name == "week":  # ISO 8601, as Joda has it: from Monday
        monday = moment - timedelta(days=moment.weekday())
        return dates.date_of(monday.replace(hour=0, minute=0, second=0))
    firsts = {"second": 0, "minute": 0, "hour": 0, "day": 1, "month": 1}
    finer: dict[str, Any] = {each: firsts[each] for each in itertools.takewhile(lambda each: each != name, firsts)}
    return dates.date_of(moment.replace(**finer))


@function("Date.getRange")
def get_range(of: Date, unit: str, time_zone: str | None) -> DateRange:
    """Return the unit of the calendar that a date is in."""
    start = _start(of, unit, time_zone)
    return DateRange(start, dates.advance(start, 1, unit, time_zone))


@function("DateRange")
def date_range(start: Any, end: Any, time_zone: str | None) -> DateRange:
    """Make a range of dates; without an end, the millisecond of its start."""
    if isinstance(start, DateRange) and end is None:
        return start
    if isinstance(start, list) and len(start) == 2 and end is None:  # as the property date_range has it
        start, end = start
    first = parse_date(start, time_zone)
    last = Date(first.millis + 1) if end is None else parse_date(end, time_zone)
    return DateRange(first, last)


@function("DateRange.unbounded")
def unbounded() -> DateRange:
    """Return the range of all time."""
    return DateRange(None, None)


@function("DateRange.start")
def start(of: DateRange) -> Date:
    """Return the start of a range."""
    return _bound(of.start, "DateRange.start")


def _bound(found: Date | None, where: str) -> Date:
    if found is None:
        raise Refusal(f"{where}: the sandbox does not support the ends of a range that has none.")
    return found


@function("DateRange.end")
def end(of: DateRange) -> Date:
    """Return the end of a range."""
    return _bound(of.end, "DateRange.end")


@function("DateRange.contains")
def contains(of: DateRange, other: Any) -> bool:
    """Return whether a date, or another range, lies in a range."""
    if isinstance(other, DateRange):
        starts = of.start is None or (other.start is not None and of.start <= other.start)
        return starts and (of.end is None or (other.end is not None and other.end <= of.end))
    return of.holds(parse_date(other))


@function("DateRange.isEmpty")
def is_empty(of: DateRange) -> bool:
    """Return whether a range ends before it starts."""
    return of.start is not None and of.end is not None and of.end <= of.start


@function("DateRange.isUnbounded")
def is_unbounded(of: DateRange) -> bool:
    """Return whether a range is all time."""
    return of.start is None and of.end is None


@function("DateRange.intersection")
def intersection(one: DateRange, two: DateRange) -> DateRange:
    """Return what two ranges share."""
    starts = [s for s in (one.start, two.start) if s is not None]
    ends = [e for e in (one.end, two.end) if e is not None]
    first, last = max(starts, default=None), min(ends, default=None)
    # Ranges that do not meet share an empty one, which must not end before it starts.
    return DateRange(first, last if first is None or last is None else max(first, last))


@function("DateRange.union")
def union(one: DateRange, two: DateRange) -> DateRange:
    """Return the range from the earlier start of two ranges to the later end; an empty range adds nothing."""
    full = [each for each in (one, two) if not is_empty(each)] or [one]
    starts, ends = [each.start for each in full], [each.end for each in full]
    first = None if None in starts else min(s for s in starts if s is not None)
    return DateRange(first, None if None in ends else max(e for e in ends if e is not None))


@function("DateRange.intersects")
def intersects(one: DateRange, two: DateRange) -> bool:
    """Return whether two ranges share a moment."""
    return not is_empty(intersection(one, two))

"""The functions of Date and DateRange."""

from __future__ import annotations

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
    return dates.calendar_field(of, unit.removesuffix("s"), time_zone)


@function("Date.getRelative")
def get_relative(of: Date, unit: str, in_unit: str, time_zone: str | None) -> int:
    """Return how many whole units of one size lie since the start of one of another: days in the year."""
    start = _start(of, in_unit, time_zone)
    name = dates.unit_name(unit)
    if name in dates.MILLIS:
        return (of.millis - start.millis) // dates.MILLIS[name]
    if name == "month" and dates.unit_name(in_unit) == "year":
        return dates.calendar_field(of, "month", time_zone) - 1
    raise Refusal(f"Date.getRelative: the sandbox does not support '{unit}' in '{in_unit}'.")


def _start(of: Date, unit: str, time_zone: str | None) -> Date:
    """Return the start of the unit of the calendar that a date is in."""
    name = dates.unit_name(unit)
    moment = of.moment.astimezone(dates.zone(time_zone)).replace(microsecond=0)
    parts = ("second", "minute", "hour", "day", "month", "year")
    if name not in parts:
        raise Refusal(f"Date: the sandbox does not support ranges of '{unit}'.")
    for part in parts[: parts.index(name)]:
        moment = moment.replace(**{part: 1 if part in {"day", "month"} else 0})  # type: ignore[arg-type]  # all integers
    return dates.date_of(moment)


@function("Date.getRange")
def get_range(of: Date, unit: str, time_zone: str | None) -> DateRange:
    """Return the unit of the calendar that a date is in."""
    start = _start(of, unit, time_zone)
    return DateRange(start, dates.advance(start, 1, unit, time_zone))


@function("DateRange")
def date_range(start: Any, end: Any, time_zone: str | None) -> DateRange:
    """Make a range of dates; without an end, the millisecond of its start."""
    first = parse_date(start, time_zone)
    last = Date(first.millis + 1) if end is None else parse_date(end, time_zone)
    return DateRange(first, last)


@function("DateRange.unbounded")
def unbounded() -> DateRange:
    """Return the range of all time."""
    return DateRange(None, None)


@function("DateRange.start")
def start(of: DateRange) -> Date | None:
    """Return the start of a range."""
    return of.start


@function("DateRange.end")
def end(of: DateRange) -> Date | None:
    """Return the end of a range."""
    return of.end


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
    return DateRange(max(starts, default=None), min(ends, default=None))


@function("DateRange.intersects")
def intersects(one: DateRange, two: DateRange) -> bool:
    """Return whether two ranges share a moment."""
    return not is_empty(intersection(one, two))

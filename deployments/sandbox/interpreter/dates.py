"""Moments: parsing, calendar arithmetic, patterns."""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from deployments.sandbox.interpreter.values import EPOCH, Date
from deployments.sandbox.refusal import Refusal

MILLIS: Mapping[str, int] = {
    "week": 604_800_000,
    "day": 86_400_000,
    "hour": 3_600_000,
    "minute": 60_000,
    "second": 1_000,
}


def zone(name: str | None) -> tzinfo:
    """Return a time zone by its IANA name; UTC for None.

    Raises:
        Refusal: 400, no such zone.
    """
    if name is None or name in {"UTC", "Etc/UTC", "GMT", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise Refusal(f"Date: The time zone '{name}' is not recognized.") from None


def date_of(moment: datetime) -> Date:
    """Return a date of a moment that knows its zone."""
    return Date((moment - EPOCH) // timedelta(milliseconds=1))


def parse_date(value: Any, time_zone: str | None = None) -> Date:
    """Return a date of milliseconds, an ISO 8601 text or a date.

    Raises:
        Refusal: 400, no date.
    """
    if isinstance(value, Date):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) < 2**63:
            raise Refusal(f"Date: Cannot parse date '{value}'.")
        return Date(int(value))
    if not isinstance(value, str):
        raise Refusal("Date: Cannot parse date: expected a number of milliseconds, a string or a Date.")
    text = value
    bad = Refusal(f"Date: Cannot parse date '{text}'. Bad date/time '{text}'.")
    if not _ISO.fullmatch(text):
        raise bad
    short = re.fullmatch(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?", text)
    try:
        if short:
            year, month, day = (int(part or 1) for part in short.groups())
            return date_of(datetime(year, month, day, tzinfo=zone(time_zone)))
        moment = _day_of_year(text) if re.fullmatch(r"\d{4}-\d{3}", text) else datetime.fromisoformat(_padded(text))
    except (ValueError, OverflowError):
        raise bad from None
    return date_of(moment if moment.tzinfo else moment.replace(tzinfo=zone(time_zone)))


# Python reads more: 20200305, which is a year for Earth Engine, and 2020-W10-4, which is no date for it.
_ISO = re.compile(
    r"\d{4}(?:-\d{3}|(?:-\d{1,2}){0,2}(?:[T ]\d{1,2}(?::\d{1,2}){0,2}(?:[.,]\d+)?)?(?:Z|[-+]\d\d:?\d\d)?)"
)


def _padded(text: str) -> str:
    """Return a date whose numbers have two digits, which Python needs: 2017-6-24T00:14:46."""
    day, mark, time = re.fullmatch(r"([^T ]*)([T ]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr] # any
    return re.sub(r"(?<!\d)(\d)(?!\d)", r"0\1", day) + mark + re.sub(r"(?<![\d.,])(\d)(?!\d)", r"0\1", time)


def _day_of_year(text: str) -> datetime:
    moment = datetime.strptime(text, "%Y-%j")  # noqa: DTZ007 - the caller knows the zone
    if moment.year != int(text[:4]):  # the 366th of a year of 365 days
        raise ValueError(text)
    return moment


def unit_name(unit: str) -> str:
    """Return the singular of a unit of time.

    Raises:
        Refusal: 400, no such unit.
    """
    name = unit.lower().removesuffix("s")
    if name not in {"year", "month", *MILLIS}:
        raise Refusal(f"Date: '{unit}' is not a recognized time unit.")
    return name


def advance(date: Date, delta: float, unit: str, time_zone: str | None = None) -> Date:
    """Return a date moved by a number of units; months and years go by the calendar.

    Raises:
        Refusal: 400, unknown unit or zone.
    """
    name = unit_name(unit)
    if name in {"day", "week"}:  # by the calendar too: a day of a zone may have 23 or 25 hours
        days = delta * MILLIS[name] / MILLIS["day"]
        local = date.moment.astimezone(zone(time_zone))
        moved = date_of(_moved(local, math.floor(days)))
        return Date(moved.millis + round((days - math.floor(days)) * MILLIS["day"]))
    if name in MILLIS:
        return Date(date.millis + round(delta * MILLIS[name]))
    months = delta * (12 if name == "year" else 1)
    whole = int(months // 1)
    moment = date.moment.astimezone(zone(time_zone))
    moved = date_of(_plus_months(moment, whole))
    if months == whole:
        return moved
    after = date_of(_plus_months(moment, whole + 1))
    return Date(moved.millis + round((after.millis - moved.millis) * (months - whole)))


def _moved(moment: datetime, days: int) -> datetime:
    try:
        return moment + timedelta(days=days)
    except OverflowError:
        raise Refusal("Date.advance: The date is beyond the years that the sandbox has.") from None


def _plus_months(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise Refusal("Date.advance: The date is beyond the years that the sandbox has.")
    last = calendar.monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last))


def difference(date: Date, start: Date, unit: str) -> float:
    """Return how many units lie between two dates; years and months at their mean length.

    Raises:
        Refusal: 400, unknown unit.
    """
    return (date.millis - start.millis) / length(unit)


def length(unit: str) -> float:
    """Return the mean length of a unit in milliseconds; of a Gregorian year 365.2425 days.

    Raises:
        Refusal: 400, unknown unit.
    """
    name = unit_name(unit)
    return MILLIS.get(name) or MILLIS["day"] * 365.2425 / (12 if name == "month" else 1)


FIELDS: Mapping[str, Callable[[datetime], int]] = {
    "year": lambda m: m.year,
    "month": lambda m: m.month,
    "week": lambda m: m.isocalendar().week,
    "week_of_year": lambda m: m.isocalendar().week,
    "day": lambda m: m.day,
    "day_of_month": lambda m: m.day,
    "day_of_year": lambda m: m.timetuple().tm_yday,
    "day_of_week": lambda m: m.isoweekday(),
    "hour": lambda m: m.hour,
    "minute": lambda m: m.minute,
    "minute_of_hour": lambda m: m.minute,
    "second": lambda m: m.second,
    "second_of_minute": lambda m: m.second,
}


def calendar_field(date: Date, field: str, time_zone: str | None = None) -> int:
    """Return one field of the calendar, such as ``month`` (1 to 12) or ``day_of_year`` (from 1).

    Raises:
        Refusal: 400, unknown field or zone.
    """
    if field not in FIELDS:
        raise Refusal(f"Date: Unknown calendar field '{field}'. Fields: [{', '.join(FIELDS)}].")
    return FIELDS[field](date.moment.astimezone(zone(time_zone)))


PATTERNS: Mapping[str, Callable[[datetime, int], str]] = {
    "y": lambda m, n: f"{m.year % 100:02d}" if n == 2 else f"{m.year:0{n}d}",
    "Y": lambda m, n: f"{m.year % 100:02d}" if n == 2 else f"{m.year:0{n}d}",
    "M": lambda m, n: f"{m:%B}" if n > 3 else f"{m:%b}" if n == 3 else f"{m.month:0{n}d}",
    "d": lambda m, n: f"{m.day:0{n}d}",
    "D": lambda m, n: f"{m.timetuple().tm_yday:0{n}d}",
    "w": lambda m, n: f"{m.isocalendar().week:0{n}d}",
    "E": lambda m, n: f"{m:%A}" if n > 3 else f"{m:%a}",
    "e": lambda m, n: f"{m.isoweekday():0{n}d}",
    "H": lambda m, n: f"{m.hour:0{n}d}",
    "h": lambda m, n: f"{m.hour % 12 or 12:0{n}d}",
    "a": lambda m, _n: f"{m:%p}",
    "m": lambda m, n: f"{m.minute:0{n}d}",
    "s": lambda m, n: f"{m.second:0{n}d}",
    "S": lambda m, n: f"{m.microsecond:06d}"[:n].ljust(n, "0"),
    "Z": lambda m, n: f"{m:%z}" if n == 1 else f"{m:%z}"[:3] + ":" + f"{m:%z}"[3:] if n == 2 else str(m.tzinfo),
    "z": lambda m, n: "Coordinated Universal Time" if n > 3 else f"{m:%Z}",
    "x": lambda m, n: f"{m.isocalendar().year % 100:02d}" if n == 2 else f"{m.isocalendar().year:0{n}d}",
    "C": lambda m, n: f"{m.year // 100:0{n}d}",
    "G": lambda _m, _n: "AD",
    "K": lambda m, n: f"{m.hour % 12:0{n}d}",
    "k": lambda m, n: f"{m.hour or 24:0{n}d}",
}


LONGEST_PATTERN = 1_000


def format_date(date: Date, pattern: str | None, time_zone: str | None = None) -> str:
    """Return a date as text by a Joda pattern; ISO 8601 without a zone if there is none.

    Raises:
        Refusal: 400, a letter that the sandbox does not know.
    """
    if pattern is not None and len(pattern) > LONGEST_PATTERN:
        raise Refusal(f"Date.format: The pattern must not be longer than {LONGEST_PATTERN} characters.")
    moment = date.moment.astimezone(zone(time_zone))
    parts = re.findall(r"('')|'((?:[^']|'')*)'|(([A-Za-z])\4*)|([^A-Za-z'])", pattern or "yyyy-MM-dd'T'HH:mm:ss")
    text = []
    for quote, quoted, run, letter, other in parts:
        if not run:
            text.append("'" if quote else quoted.replace("''", "'") or other)
        elif letter == "z" and len(run) > 3 and moment.tzinfo is not UTC:
            raise Refusal("Date.format: the sandbox does not support long names of time zones (zzzz). Use z or ZZZ.")
        elif letter not in PATTERNS:
            raise Refusal(f"Date.format: Illegal pattern component: {letter}.")
        else:
            text.append(PATTERNS[letter](moment, len(run)))
    return "".join(text)

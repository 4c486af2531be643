"""Dates and their ranges, against the standard library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import ee
import pytest

from deployments.sandbox.refusal import Refusal


def millis(*parts: int, zone: Any = UTC) -> int:
    return round(datetime(*parts, tzinfo=zone).timestamp() * 1000)  # type: ignore[misc,arg-type] # integers all


def span(start: tuple[int, ...], end: tuple[int, ...], zone: Any = UTC) -> dict[str, Any]:
    return {"type": "DateRange", "dates": [millis(*start, zone=zone), millis(*end, zone=zone)]}


@pytest.fixture
def dated(bench: Any, make_band: Any) -> Any:
    """Three images of one collection: the first two of January 2020, the third of February."""
    bench.shelf.put_collection("many")
    for index, start in enumerate(("2020-01-01", "2020-01-31T23:59:59", "2020-02-01")):
        bench.shelf.put(f"many/{index}", (make_band("a", [[1]]),), start=start)
    return ee.ImageCollection("many")


@pytest.mark.parametrize(
    "choose",
    [
        lambda: (ee.DateRange("2020-01-01", "2020-02-01"),),
        lambda: (ee.Date("2020-01-15").getRange("month"),),
        lambda: (ee.Date("2020-01-01"), ee.Date("2020-02-01")),
        lambda: ("2020-01-01", 1580515200000),
        lambda: (ee.DateRange([1577836800000, 1580515200000]),),
    ],
)
def test_a_collection_is_filtered_by_ranges(bench: Any, dated: Any, choose: Any) -> None:
    kept = dated.filterDate(*choose())
    assert bench.info(kept.aggregate_array("system:index")) == ["0", "1"]
    assert bench.info(dated.filter(ee.Filter.date(*choose())).size()) == 2


def test_a_range_without_an_end_is_a_millisecond(bench: Any, dated: Any) -> None:
    assert bench.info(dated.filterDate("2020-02-01").aggregate_array("system:index")) == ["2"]
    first = millis(2020, 2, 1)
    assert bench.info(ee.DateRange("2020-02-01"))["dates"] == [first, first + 1]


@pytest.mark.parametrize(
    ("unit", "start", "end"),
    [
        ("year", (2020, 1, 1), (2021, 1, 1)),
        ("months", (2020, 2, 1), (2020, 3, 1)),
        ("week", (2020, 2, 24), (2020, 3, 2)),  # a Monday
        ("day", (2020, 2, 29), (2020, 3, 1)),
        ("hour", (2020, 2, 29, 10), (2020, 2, 29, 11)),
        ("minute", (2020, 2, 29, 10, 20), (2020, 2, 29, 10, 21)),
        ("second", (2020, 2, 29, 10, 20, 30), (2020, 2, 29, 10, 20, 31)),
    ],
)
def test_the_range_of_a_unit(bench: Any, unit: str, start: tuple[int, ...], end: tuple[int, ...]) -> None:
    assert bench.info(ee.Date("2020-02-29T10:20:30.5").getRange(unit)) == span(start, end)


def test_the_functions_of_a_range(bench: Any) -> None:
    january, march = ee.DateRange("2020-01-01", "2020-02-01"), ee.DateRange("2020-03-01", "2020-04-01")
    assert bench.info(january.union(march)) == span((2020, 1, 1), (2020, 4, 1))
    assert bench.info(january.intersection(march).isEmpty()) is True
    assert bench.info(january.intersects(march)) is False
    assert bench.info(january.contains(ee.DateRange("2020-01-02", "2020-02-01"))) is True
    assert bench.info(january.contains(ee.DateRange("2020-01-02", "2020-02-02"))) is False
    assert bench.info(january.start().millis()) == millis(2020, 1, 1)
    assert bench.info(january.end().millis()) == millis(2020, 2, 1)
    assert bench.info(ee.DateRange.unbounded().isUnbounded()) is True
    assert bench.info(ee.DateRange.unbounded().contains("1066-10-14")) is True
    for built in (ee.DateRange.unbounded().start(), ee.DateRange.unbounded()):
        with pytest.raises(Refusal, match="the sandbox does not support"):
            bench.info(built)


@pytest.mark.parametrize("zone", ["Europe/Rome", "America/New_York", "Asia/Kolkata"])
def test_days_of_a_zone_go_by_its_calendar(bench: Any, zone: str) -> None:
    """The 29th of March 2020 has 23 hours in Rome, the 8th of March has 23 in New York."""
    for text in ("2020-03-28T12:30:00", "2020-03-07T12:30:00"):
        local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
        date = ee.Date(text, zone)
        for unit, days in (("day", 1), ("week", 7)):
            expected = (local + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S")
            assert bench.info(date.advance(1, unit, zone).format(None, zone)) == expected
        moved = local.astimezone(UTC) + timedelta(hours=24)
        assert bench.info(date.advance(24, "hour", zone).millis()) == round(moved.timestamp() * 1000)
        start = local.replace(hour=0, minute=0)
        part = (local.astimezone(UTC) - start.astimezone(UTC)).total_seconds()
        assert bench.info(date.getFraction("day", zone)) == pytest.approx(part / 86400)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("yyyy-DDD", "2021-003"),
        ("xxxx-'W'ww-e", "2020-W53-7"),  # ISO 8601: the first days of 2021 are of the last week of 2020
        ("EEE d MMM yy, K:mm a", "Sun 3 Jan 21, 1:05 PM"),
        ("k 'o''clock' ZZZ", "13 o'clock UTC"),
        ("C G S SSS", "20 AD 2 250"),
    ],
)
def test_patterns(bench: Any, pattern: str, expected: str) -> None:
    assert bench.info(ee.Date("2021-01-03T13:05:06.250").format(pattern)) == expected


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: ee.Date("2021-060"), "2021-03-01"),
        (lambda: ee.Date.fromYMD(2020, 2, 29, "Asia/Tokyo").advance(9, "hour"), "2020-02-29"),
        (lambda: ee.Date("2020-02-29").update(year=2024, day=1), "2024-02-01"),
    ],
)
def test_more_ways_to_a_date(bench: Any, build: Any, text: str) -> None:
    assert bench.info(build().format("YYYY-MM-dd")) == text


@pytest.mark.parametrize(
    "build",
    [
        lambda: ee.Date("2021-366"),
        lambda: ee.Date.fromYMD(2021, 13, 1),
        lambda: ee.Date("2021-01-01").update(month=13),
        lambda: ee.Date("2021-01-01").advance(99999, "year"),
        lambda: ee.Date("2021-01-01").advance(1e9, "day"),
        lambda: ee.DateRange(ee.List(["a"])),
        lambda: ee.Date("2021-01-01").format("zzzz", "Europe/Rome"),
        lambda: ee.Date("2021-01-01", "Mars/Olympus"),
    ],
)
def test_no_refusal_shows_what_python_calls_it(bench: Any, build: Any) -> None:
    with pytest.raises(Refusal) as caught:
        bench.info(build())
    assert not any(word in caught.value.message for word in ("millis=", "DateRange(", "<class", "Error:"))

"""Numbers, strings, lists, dictionaries, dates and geometries."""

from __future__ import annotations

import functools
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import ee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Geod

from deployments.sandbox.refusal import Refusal

LAWS = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2060, 1, 1))  # noqa: DTZ001 - hypothesis takes naive bounds


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: ee.Number(7).divide(2), 3.5),
        (lambda: ee.Number(6).divide(3), 2),
        (lambda: ee.Number(-7).mod(3), -1),
        (lambda: ee.Number(2).pow(10), 1024),
        (lambda: ee.Number(3.7).floor(), 3),
        (lambda: ee.Number(5).clamp(0, 3), 3),
        (lambda: ee.Number(3.14159).format("%.2f"), "3.14"),
        (lambda: ee.Number.parse("42"), 42),
        (lambda: ee.String("a_b").replace("_(.)", "-$1$1"), "a-bb"),
        (lambda: ee.String("abc").slice(0, 2).cat("!").toUpperCase(), "AB!"),
        (lambda: ee.String("a-b-c").split("-"), ["a", "b", "c"]),
        (lambda: ee.String("B4").match("B(\\d)"), ["B4", "4"]),
        (lambda: ee.List.sequence(0, 1, 0.25), [0, 0.25, 0.5, 0.75, 1]),
        (lambda: ee.List.sequence(1, 10, None, 4), [1, 4, 7, 10]),
        (lambda: ee.List([3, 1, 2]).sort().reverse(), [3, 2, 1]),
        (lambda: ee.List([1, 2, 3]).map(lambda x: ee.Number(x).multiply(x)), [1, 4, 9]),
        (lambda: ee.List([1, 2, 3]).iterate(lambda x, n: ee.Number(x).add(n), 10), 16),
        (lambda: ee.List([1, 2, 3, 4]).filter(ee.Filter.gt("item", 2)), [3, 4]),
        (lambda: ee.List([1, 2, 4]).reduce(ee.Reducer.mean()), 7 / 3),
        (lambda: ee.List([1, [2, [3]]]).flatten(), [1, 2, 3]),
        (lambda: ee.List(["x", "y"]).zip([1, 2]), [["x", 1], ["y", 2]]),
        (lambda: ee.List([1, 2]).cat([3]).get(-1), 3),
        (lambda: ee.Dictionary({"b": 1, "a": 2}).keys(), ["a", "b"]),
        (lambda: ee.Dictionary({"b": 1, "a": 2}).values(), [2, 1]),
        (lambda: ee.Dictionary({"a": 2}).get("z", 5), 5),
        (lambda: ee.Dictionary({"a": 2}).combine({"a": 3}), {"a": 3}),
        (lambda: ee.Dictionary({"a": 2}).map(lambda _k, v: ee.Number(v).add(1)), {"a": 3}),
        (lambda: ee.Dictionary.fromLists(["a"], [ee.Number(1).add(1)]), {"a": 2}),
        (lambda: ee.Algorithms.If(ee.Number(0), ee.Image("no/such"), "else"), "else"),
        (lambda: ee.Number(2**40), 2**40),
        (lambda: ee.Number(1).divide(ee.Number(3)), 1 / 3),
        (lambda: ee.Number(-1).sqrt(), "NaN"),
    ],
)
def test_values(bench: Any, build: Any, expected: Any) -> None:
    assert bench.info(build()) == expected


# What Google's own examples print: github.com/google/earthengine-community, samples/python/apidocs.
EXAMPLES: list[tuple[Any, Any]] = [
    (lambda: ee.String("aBAbcD").split("Ab"), ["aB", "cD"]),
    (lambda: ee.String("aBAbcD").split("ab", "i"), ["", "", "cD"]),
    (lambda: ee.String("aBAbcD").split("[bc]", "i"), ["a", "A", "", "D"]),
    (lambda: ee.String("aBAbcD").split("(BA|c)"), ["a", "b", "D"]),
    (lambda: ee.String("a,b,cdee f,g").split("[[:space:]]"), ["a,b,cdee", "f,g"]),
    (lambda: ee.String("a,b,cdee f,g").split("ee"), ["a,b,cd", " f,g"]),
    (lambda: ee.String("a,b,cdee f,g").split("[a-z]"), ["", ",", ",", "", "", "", " ", ","]),
    (lambda: ee.String("a,b,cdee f,g").split("[^a-z]"), ["a", "b", "cdee", "f", "g"]),
    (lambda: ee.String("a,b").split(""), ["a", ",", "b"]),
    (lambda: ee.String("ABCabc123").match("AB", "ig"), ["AB", "ab"]),
    (lambda: ee.String("ABCabc123").match("[a-z]+[0-9]+"), ["abc123"]),
    (lambda: ee.String("ABCabc123").match("abc[^0-9]", "i"), ["ABCa"]),
    (lambda: ee.String("aBc-Abc").replace("abc", "Z", "ig"), "Z-Z"),
    (lambda: ee.String("abc-abc").replace("abc", "", "g"), "-"),
    (lambda: ee.Number(1).format("%03d"), "001"),
    (lambda: ee.Number(123476).format("%.3e"), "1.235e+05"),
    (lambda: ee.Number(123476).format("%.2f"), "123476.00"),
    (lambda: ee.Number.parse("0001"), 1),
    (lambda: ee.Number.parse("3E8", 16), 1000),
    (lambda: ee.Number(1).mod(-2), 1),
    (lambda: ee.Number(-12).mod(5), -2),
    (lambda: ee.Number(5.5).mod(2), 1.5),
    (lambda: ee.Number(10.5).round(), 11),
    (lambda: ee.List.sequence(0, 10, 2, 3), [0, 5, 10]),
    (lambda: ee.List.sequence(0, None, -2, 6), [0, -2, -4, -6, -8, -10]),
    (lambda: ee.List.sequence(3, 6, 2), [3, 5]),
    (lambda: ee.Date("2017-6-24T00:14:46").format(), "2017-06-24T00:14:46"),
    (lambda: ee.Date("2020", "US/Mountain").format(), "2020-01-01T07:00:00"),
    (lambda: ee.Date("2020-08-18").format(None, "Etc/GMT-10"), "2020-08-18T10:00:00"),
    (lambda: ee.Date("2021-4-30T07:15:31.24").getRelative("year", "month"), 0),
    *(
        (functools.partial(lambda *given: ee.Date("1975-07-23T21:13:59").format(*given), *given), text)
        for *given, text in (
            ("YYYY GG", "1975 AD"),
            ("CC YY", "19 75"),
            ("xxxx ww", "1975 30"),
            ("e EEEEEEEE", "3 Wednesday"),
            ("a KK hh", "PM 09 09"),
            ("HH kk mm ss SS", "21 21 13 59 00"),
            ("z", "UTC"),
            ("zzzz", "Coordinated Universal Time"),
            ("z", "PST8PDT", "PDT"),
            ("Z", "PST8PDT", "-0700"),
            ("ZZ", "PST8PDT", "-07:00"),
            ("ZZZ", "PST8PDT", "PST8PDT"),
            ("YY 'yada' MM", "75 yada 07"),
            ("YY ''MM'' dd", "75 '07' 23"),
        )
    ),
]


@pytest.mark.parametrize(("build", "expected"), EXAMPLES)
def test_what_google_s_examples_print(bench: Any, build: Any, expected: Any) -> None:
    assert bench.info(build()) == expected


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: ee.String("aaa").replace("a", "<$0>", "g"), "<a><a><a>"),
        (lambda: ee.String("ab").replace("(a)(b)", "$2\\$1"), "b$1"),
        (lambda: ee.String("é1").match("\\w+"), ["1"]),  # letters are those of ASCII
        (lambda: ee.Number(1234567.891).format("%,.1f"), "1,234,567.9"),
        (lambda: ee.Number(-1234).format("%,010d"), "-00001,234"),
        (lambda: ee.Number(1234).format("%,+10d|"), "    +1,234|"),
        (lambda: ee.Number(1234).format("%,-8.1f|"), "1,234.0 |"),
        (lambda: ee.Number(1234).format("100%%, not %d"), "100%, not 1234"),
        (lambda: ee.Number(-1234567).format("[%,12d]"), "[  -1,234,567]"),
        (lambda: ee.Dictionary({"ab": 1, "b": 2, "ac": 3}).select(["a.*"]), {"ab": 1, "ac": 3}),
        (lambda: ee.Dictionary({"ab": 1, "b": 2, "ac": 3}).remove(["a.*"]), {"b": 2}),
        (lambda: ee.Dictionary({"a": 1}).values([]), []),
        (lambda: ee.Dictionary({"a": 1}).combine({"b": None}), {"a": 1}),
        (lambda: ee.List([1, None, True, 1.5]).join("-"), "1-null-true-1.5"),
        (lambda: ee.List(["a", None, "b"]).reduce(ee.Reducer.count()), 2),
        (lambda: ee.List([None, "a", "b"]).reduce(ee.Reducer.firstNonNull()), "a"),
        (lambda: ee.List([]).reduce(ee.Reducer.sum()), 0),
        (lambda: ee.List([]).reduce(ee.Reducer.mean()), None),
        (lambda: ee.List([1, 2]).insert(2, 3), [1, 2, 3]),
        (lambda: ee.Number(1e300).toFloat(), "Infinity"),
        (lambda: ee.Date("2020-07-01T00:30", "America/New_York").getRelative("day", "year", "America/New_York"), 182),
    ],
)
def test_more_values(bench: Any, build: Any, expected: Any) -> None:
    assert bench.info(build()) == expected


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: ee.String("a").replace("a", "$1"), "there is no group 1"),
        (lambda: ee.String("a").replace("a", "\\"), "stands alone"),
        (lambda: ee.String("a").match("\\p{L}"), "does not support"),
        (lambda: ee.List(["a"]).reduce(ee.Reducer.mean()), "Reducer.mean: the sandbox supports numbers only"),
        (lambda: ee.List([1]).insert(5, 1), "List index must be between"),
        (lambda: ee.Number.parse("1_000"), "Cannot parse"),
        (lambda: ee.Number.parse("nan"), "Cannot parse"),
        (lambda: ee.Date("20200305"), "Cannot parse date"),
        (lambda: ee.Date("2020-W10-4"), "Cannot parse date"),
    ],
)
def test_what_python_would_have_taken(bench: Any, build: Any, text: str) -> None:
    with pytest.raises(Refusal, match=text):
        bench.info(build())


@LAWS
@given(moment=MOMENTS, days=st.integers(-500, 500), hours=st.floats(-50, 50))
def test_dates_as_the_standard_library_has_them(bench: Any, moment: datetime, days: int, hours: float) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    date = ee.Date(moment.isoformat())
    later = moment + timedelta(days=days)
    assert bench.info(date.advance(days, "day").format()) == later.strftime("%Y-%m-%dT%H:%M:%S")
    assert bench.info(date.format("YYYYMMdd'T'HHmmss DDD")) == moment.strftime("%Y%m%dT%H%M%S %j")
    assert bench.info(date.millis()) == round(moment.timestamp() * 1000)
    moved = date.advance(hours, "hour")
    assert bench.info(moved.difference(date, "hour")) == pytest.approx(hours, abs=1e-6)
    assert bench.info(date.get("year")) == moment.year
    assert bench.info(date.getRelative("day", "year")) == moment.timetuple().tm_yday - 1


def test_months_and_years_go_by_the_calendar(bench: Any) -> None:
    found = {
        text: bench.info(ee.Date(text).advance(n, unit).format("YYYY-MM-dd"))
        for text, n, unit in (
            ("2023-01-31", 1, "month"),
            ("2024-02-29", 1, "year"),
            ("2023-03-31", -1, "months"),
            ("2023-11-15", 14, "month"),
        )
    }
    assert list(found.values()) == ["2023-02-28", "2025-02-28", "2023-02-28", "2025-01-15"]
    assert bench.info(ee.Date("2023-05-17T10:00:00").getRange("month")) == {
        "type": "DateRange",
        "dates": [1682899200000, 1685577600000],
    }
    zoned = ee.Date("2023-07-01T00:30:00", "Europe/Rome")
    assert bench.info(zoned.format("YYYY-MM-dd HH:mm ZZ", "Europe/Rome")) == "2023-07-01 00:30 +02:00"
    assert bench.info(zoned.format()) == "2023-06-30T22:30:00"


def test_ranges_hold_their_start_and_not_their_end(bench: Any) -> None:
    year = ee.DateRange("2023-01-01", "2024-01-01")
    assert bench.info(year.contains("2023-01-01")) is True
    assert bench.info(year.contains(ee.Date("2024-01-01"))) is False
    assert bench.info(year.intersection(ee.DateRange("2023-06-01", "2025-01-01")).end().format("YYYY")) == "2024"
    assert bench.info(year.intersects(ee.DateRange("2024-01-01", "2025-01-01"))) is False


def test_geometries(bench: Any) -> None:
    box = ee.Geometry.BBox(10, 45, 10.5, 45.25)
    assert bench.info(box.centroid().coordinates()) == pytest.approx([10.25, 45.125])
    assert bench.info(box.type()) == "Polygon"
    inside = ee.Geometry.Point([10.1, 45.1])
    assert bench.info(box.contains(inside)) is True
    assert bench.info(box.intersects(ee.Geometry.Point([11, 45]))) is False
    ring = bench.info(inside.buffer(1000).bounds().coordinates())[0]
    west, east = (pick(x for x, _ in ring) for pick in (min, max))
    assert Geod(ellps="WGS84").inv(west, 45.1, east, 45.1)[2] == pytest.approx(2000, rel=1e-4)
    assert bench.info(inside.buffer(1000).area()) == pytest.approx(math.pi * 1e6, rel=2e-3)
    unclosed = ee.Geometry.Polygon([[[0, 0], [2, 0], [2, 1]]])
    assert bench.info(unclosed)["coordinates"] == [[[0, 0], [2, 0], [2, 1], [0, 0]]]
    shared = bench.info(box.intersection(ee.Geometry.BBox(10.25, 44, 12, 46)).bounds().coordinates())[0]
    assert sorted({tuple(corner) for corner in shared}) == [
        (10.25, 45.0), (10.25, 45.25), (10.5, 45.0), (10.5, 45.25),
    ]  # fmt: skip


def test_a_geometry_in_metres(bench: Any) -> None:
    square = ee.Geometry.Rectangle([499_000, 5_000_000, 501_000, 5_001_000], "EPSG:32633", False)
    assert bench.info(square.area()) == pytest.approx(2_000_000 / 0.9996**2, rel=1e-4)
    degrees = bench.info(square.transform("EPSG:4326").bounds().coordinates())[0]
    assert min(x for x, _ in degrees) == pytest.approx(14.987, abs=1e-3)
    assert bench.info(square)["crs"]["properties"]["name"] == "EPSG:32633"


def test_features(bench: Any) -> None:
    feature = ee.Feature(ee.Geometry.Point([1, 2]), {"a": 1}).set("b", ee.Number(1).add(1))
    assert bench.info(feature) == {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "properties": {"a": 1, "b": 2},
    }
    many = ee.FeatureCollection([feature, ee.Feature(None, {"a": 5})])
    assert bench.info(many.aggregate_array("a")) == [1, 5]
    assert bench.info(many.filter(ee.Filter.gt("a", 2)).size()) == 1
    assert bench.info(many.geometry().type()) == "Point"


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: ee.Date("not a date"), "Cannot parse date"),
        (lambda: ee.Date("2020-01-01").advance(1, "fortnight"), "not a recognized time unit"),
        (lambda: ee.List([1]).get(3), "List index must be between 0 and 1"),
        (lambda: ee.Dictionary({"a": 1}).get("b"), "Dictionary does not contain key: 'b'"),
        (lambda: ee.Number("x"), None),
        (lambda: ee.Number(1.5).bitwiseAnd(1), "integer only"),
        (lambda: ee.List.sequence(1, 2, 0), "must not be zero"),
        (lambda: ee.List.repeat(1, 10**9), "List.repeat"),
        (lambda: ee.Filter.eq("a", 1), "does not support showing a Filter"),
        (lambda: ee.Image(1).reduceRegion(ee.Reducer.mean()), "Image.reduceRegion: the sandbox does not"),
    ],
)
def test_refusals(bench: Any, build: Any, text: str | None) -> None:
    if text is None:
        with pytest.raises((ee.EEException, Refusal)):
            bench.info(build())
        return
    with pytest.raises(Refusal, match=text):
        bench.info(build())

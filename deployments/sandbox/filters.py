"""Filters of listings: the query language of AIP-160 (https://google.aip.dev/160) over assets.

Comparisons of ``startTime``, ``endTime`` and ``properties.X``, ``intersects("GeoJSON or WKT")``, ``AND``, ``OR``,
``NOT`` (also ``-``) and parentheses. As AIP-160 has it, ``OR`` binds tighter than ``AND``, terms side by side are
joined by ``AND``, and a comparison of what an asset does not have is false, also with ``!=``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import shapely
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from deployments.sandbox.raster import Asset
from deployments.sandbox.refusal import Refusal

Predicate = Callable[[Asset], bool]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<sign><=|>=|!=|=|<|>|\(|\))
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w:.-]))
    | (?P<minus>-)
    | (?P<word>\w[\w.:*/-]*)
    )""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


def parse(text: str) -> Predicate:
    """Return a filter as a function of an asset. An empty filter lets everything pass.

    Raises:
        Refusal: 400, with the place that cannot be understood.
    """
    if not text.strip():
        return lambda _: True
    return _Parser(text).predicate()


def intersects(geometry: str) -> Predicate:
    """Return whether assets meet a region, given as GeoJSON (single quotes are fine) or WKT in longitude/latitude.

    Raises:
        Refusal: 400.
    """
    try:
        region: BaseGeometry = (
            shapely.from_geojson(geometry.replace("'", '"'))
            if geometry.lstrip().startswith("{")
            else shapely.from_wkt(geometry)
        )
    except ShapelyError as error:
        raise Refusal(f"Invalid filter: '{geometry}' is neither GeoJSON nor WKT.") from error
    return lambda asset: asset.geometry is None or bool(asset.geometry.intersects(region))


def moment(text: str) -> datetime:
    """Return an instant; without an offset it is in UTC.

    Raises:
        Refusal: 400.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal(f"Invalid filter: '{text}' is no date of RFC 3339.") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def begins(comparison: str, when: datetime) -> Predicate:
    """Return a comparison of an asset's start."""
    return lambda asset: asset.start_time is not None and _COMPARE[comparison](asset.start_time, when)


def ends(comparison: str, when: datetime) -> Predicate:
    """Return a comparison of an asset's end; what has no end ends when it starts."""

    def test(asset: Asset) -> bool:
        end = asset.end_time or asset.start_time
        return end is not None and _COMPARE[comparison](end, when)

    return test


class _Parser:
    """A recursive descent, one method a rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [*_tokens(text), _Token("end", "")]
        self._at = 0

    def predicate(self) -> Predicate:
        result = self._all()
        if self._tokens[self._at].kind != "end":
            self._fail()
        return result

    def _all(self) -> Predicate:
        terms = [self._any()]
        while not self._next_is(")") and self._tokens[self._at].kind != "end":
            self._take("AND")  # side by side means AND too
            terms.append(self._any())
        return terms[0] if len(terms) == 1 else lambda asset: all(term(asset) for term in terms)

    def _any(self) -> Predicate:
        terms = [self._term()]
        while self._take("OR"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else lambda asset: any(term(asset) for term in terms)

    def _term(self) -> Predicate:
        if self._take("NOT") or self._take("-"):
            inner = self._term()
            return lambda asset: not inner(asset)
        if self._take("("):
            inner = self._all()
            self._expect(")")
            return inner
        name = self._pop("word").text
        if name == "intersects":
            self._expect("(")
            geometry = _unquoted(self._pop("text").text)
            self._expect(")")
            return intersects(geometry)
        return self._comparison(name)

    def _comparison(self, name: str) -> Predicate:
        sign = self._pop("sign").text
        if sign not in _COMPARE:
            self._at -= 1
            self._fail()
        value = self._pop("text", "number", "word")
        if name in ("startTime", "endTime"):
            return (begins if name == "startTime" else ends)(sign, moment(_unquoted(value.text)))
        key = name.removeprefix("properties.")
        if key == name:
            raise Refusal(f"Invalid filter: unknown field '{name}'; there are startTime, endTime and properties.NAME.")
        return _property(key, sign, value)

    def _next_is(self, text: str) -> bool:
        token = self._tokens[self._at]
        return token.kind != "text" and token.text == text

    def _take(self, text: str) -> bool:
        found = self._next_is(text)
        self._at += found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            self._fail()

    def _pop(self, *kinds: str) -> _Token:
        token = self._tokens[self._at]
        if token.kind not in kinds or token.text in ("AND", "OR", "NOT"):
            self._fail()
        self._at += 1
        return token

    def _fail(self) -> NoReturn:
        token = self._tokens[self._at]
        found = f"'{token.text}'" if token.text else "the end"
        raise Refusal(f"Invalid filter: unexpected {found} in '{self._text}'.")


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise Refusal(f"Invalid filter: unexpected '{text[at:].strip()}' in '{text}'.")
        yield _Token(match.lastgroup, match[match.lastgroup])
        at = match.end()


def _unquoted(text: str) -> str:
    if text[:1] in ("'", '"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _property(key: str, sign: str, value: _Token) -> Predicate:
    """Compare a property with a number or a text; of two kinds that cannot be compared, nothing holds."""
    number = float(value.text) if value.kind == "number" else None
    text = _unquoted(value.text)

    def test(asset: Asset) -> bool:
        held = asset.properties.get(key)
        if isinstance(held, str) and number is None:
            return _COMPARE[sign](held, text)
        if isinstance(held, (int, float)) and number is not None:
            return _COMPARE[sign](held, number)
        return False

    return test

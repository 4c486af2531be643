"""Summaries of the valid pixels of bands, as receipts store them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from operator import attrgetter, itemgetter
from typing import Any, overload

TEXTS = ("inf", "-inf", "nan")
"""How infinities and NaN stand in a receipt: JSON has no numbers for them."""
_LARGE = 2.0**990


@dataclass(frozen=True, kw_only=True, slots=True)
class BandSummary:
    """Summary of the valid pixels of one band. `mean`, `min` and `max` are None if no pixel counts.

    Infinities are as NumPy has them: the mean of an infinity and numbers is infinite, and that of both infinities NaN.
    """

    valid: int | None
    """Number of valid pixels; None if the mask is unknown, and all pixels count."""
    counted: int
    """Number of pixels behind `mean`, `min` and `max`: those that are valid and not NaN."""
    mean: float | None
    min: float | None
    max: float | None
    rest: float = 0.0
    """What the rounding of `mean` loses: the sum of the pixels is `counted * mean + rest`, to about 106 bits. Sums that
    cancel further, as 1e30 and -1e30 in two tiles do, lose what is less than 1e-31 of them."""


def summarized(
    *, valid: int | None, counted: int, sums: Iterable[float], low: float | None, high: float | None
) -> BandSummary:
    """Return the summary of pixels whose sum is known.

    Args:
        valid: Number of valid pixels; None if the mask is unknown.
        counted: Number of pixels that are valid and not NaN.
        sums: Numbers whose exact sum is the sum of these pixels.
        low: Minimum; None if no pixel counts.
        high: Maximum; None if no pixel counts.
    """
    if not counted:
        return BandSummary(valid=valid, counted=0, mean=None, min=None, max=None)
    parts = list(sums)
    mean, rest = _sum(parts) / counted, 0.0
    if math.isfinite(mean):
        mean += _lost(parts, counted, mean) / counted  # a sum that was rounded before the division may be a digit off
        rest = _lost(parts, counted, mean)
    return BandSummary(valid=valid, counted=counted, mean=mean, min=low, max=high, rest=rest)


def _lost(parts: Sequence[float], counted: int, mean: float) -> float:
    lost = _sum([*parts, *(-part for part in _product(counted, mean))])
    return lost if math.isfinite(lost) else 0.0


def combined(summaries: Iterable[BandSummary]) -> BandSummary:
    """Return the summary of all pixels of many summaries: the same one however the pixels are cut into tiles.

    The number of valid pixels is None if it is None in one of them.
    """
    every = list(summaries)
    known = [one for one in every if one.mean is not None and one.min is not None and one.max is not None]
    lows, highs = [one.min for one in known if one.min is not None], [one.max for one in known if one.max is not None]
    valid = [one.valid for one in every if one.valid is not None]
    return summarized(
        valid=sum(valid) if len(valid) == len(every) else None,
        counted=sum(one.counted for one in known),
        sums=[part for one in known for part in (*_product(one.counted, one.mean or 0.0), one.rest)],
        low=_end(min, lows),
        high=_end(max, highs),
    )


def _end(choose: Any, values: Sequence[float]) -> float | None:
    if any(map(math.isnan, values)):  # of a receipt without the sign of an infinity
        return math.nan
    end: float | None = choose(values, default=None)
    return end


def _sum(parts: Sequence[float]) -> float:
    try:
        return math.fsum(parts)
    except (OverflowError, ValueError):  # the sum is beyond float64, or both infinities occur
        return sum(parts)


def _product(count: int, value: float) -> list[float]:
    """Return numbers whose exact sum is the product of a number of pixels and a float."""
    if not abs(value) < _LARGE:
        return [count * value]
    shifted = value * 134_217_729  # 2**27 + 1: the upper half of the digits (Veltkamp's splitting)
    upper = shifted - (shifted - value)
    lower_count = count % 2**26
    return [n * part for n in (lower_count, count - lower_count) if n for part in (upper, value - upper)]


_FIELDS = tuple(part.name for part in fields(BandSummary))
_packed, _in_order = attrgetter(*_FIELDS), itemgetter(*_FIELDS)


class Bands(Sequence[BandSummary]):
    """Packed summaries. As Python numbers they would take most of the memory of a run of 100,000 tiles."""

    __slots__ = ("_numbers",)

    def __init__(self, summaries: Iterable[BandSummary] = ()) -> None:
        numbers = (number for summary in summaries for number in _packed(summary))
        self._numbers = array("d", (math.nan if number is None else number for number in numbers))

    @classmethod
    def from_json(cls, summaries: Iterable[Mapping[str, Any]]) -> Bands:
        """Return the bands of JSON values, in the present form or in the first one.

        The values are packed directly: a `BandSummary` for each of them would take as long as everything else.

        Raises:
            KeyError: A field is missing.
            TypeError: A value is not a number.
            ValueError: There are more or fewer fields.
        """
        made, numbers = cls(), []
        for summary in summaries:
            given = summary if len(summary) == len(_FIELDS) else _in_present_form(summary)
            numbers += _in_order(given)
        counts, rest = numbers[1 :: len(_FIELDS)], numbers[len(_FIELDS) - 1 :: len(_FIELDS)]
        valid = [count for count in numbers[:: len(_FIELDS)] if count is not None]
        if not _are_counts(valid + counts) or not all(
            type(one) in {int, float} and abs(one) < math.inf for one in rest
        ):
            raise ValueError("band: a number of pixels is not one, or the rest is not finite")
        if any(type(number) is str for number in numbers):
            numbers = [float(number) if number in TEXTS else number for number in numbers]
        made._numbers = array("d", [math.nan if number is None else number for number in numbers])
        return made

    def json(self) -> list[dict[str, Any]]:
        """Return the bands as JSON values. :meth:`from_json` reads them."""
        return [
            {
                name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in one
            }
            for one in (asdict(summary).items() for summary in self)
        ]

    def __len__(self) -> int:
        return len(self._numbers) // len(_FIELDS)

    @overload
    def __getitem__(self, place: int) -> BandSummary: ...
    @overload
    def __getitem__(self, place: slice) -> list[BandSummary]: ...
    def __getitem__(self, place: int | slice) -> BandSummary | list[BandSummary]:
        if isinstance(place, slice):
            return [self[i] for i in range(len(self))[place]]
        first = len(_FIELDS) * range(len(self))[place]
        numbers = self._numbers[first : first + len(_FIELDS)]
        valid, counted, *ends, rest = numbers
        # NaN stands for None, but where pixels count: the mean of both infinities is NaN.
        mean, low, high = ends if counted else (None, None, None)
        count = None if math.isnan(valid) else int(valid)
        return BandSummary(valid=count, counted=int(counted), mean=mean, min=low, max=high, rest=rest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bands) and self._numbers.tobytes() == other._numbers.tobytes()

    def __hash__(self) -> int:
        return hash(self._numbers.tobytes())


def _are_counts(counts: Sequence[Any]) -> bool:
    return set(map(type, counts)) <= {int} and (not counts or (min(counts) >= 0 and max(counts) <= 2**53))


def _in_present_form(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a summary of the first form, which has no `rest`, and null for every infinity.

    An infinity whose sign follows from nothing becomes NaN.
    """
    if len(summary) != len(_FIELDS) - 1 or "rest" in summary:
        raise ValueError(f"band = {dict(summary)!r}: the fields must be {', '.join(_FIELDS)}")
    values = {**summary, "rest": 0.0}
    if values["counted"]:
        low, high = values["min"], values["max"]
        values["min"] = math.nan if low is None and high is None else -math.inf if low is None else low
        values["max"] = math.nan if low is None and high is None else math.inf if high is None else high
        if values["mean"] is None:
            values["mean"] = values["min"] + values["max"] if low is None or high is None else math.nan
    return values

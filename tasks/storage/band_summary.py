"""Summaries of the valid pixels of bands, as receipts store them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter, itemgetter
from typing import Any, overload


@dataclass(frozen=True, kw_only=True, slots=True)
class BandSummary:
    """Summary of the valid pixels of one band. `mean`, `min` and `max` are None if no pixel counts or if infinite."""

    valid: int | None
    """Number of valid pixels; None if the mask is unknown, and all pixels count."""
    counted: int
    """Number of pixels behind `mean`, `min` and `max`: those that are valid and not NaN."""
    mean: float | None
    min: float | None
    max: float | None


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
        """Return the bands of JSON values.

        The values are packed directly: a `BandSummary` for each of them would take as long as everything else.

        Raises:
            KeyError: A field is missing.
            TypeError: A value is not a number.
            ValueError: There are more or fewer fields.
        """
        made, numbers = cls(), []
        for summary in summaries:
            if len(summary) != len(_FIELDS):
                raise ValueError(f"band = {dict(summary)!r}: the fields must be {', '.join(_FIELDS)}")
            numbers += _in_order(summary)
        made._numbers = array("d", [math.nan if number is None else number for number in numbers])
        return made

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
        valid, counted, mean, low, high = (None if math.isnan(number) else number for number in numbers)
        count = None if valid is None else int(valid)
        return BandSummary(valid=count, counted=int(counted or 0), mean=mean, min=low, max=high)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bands) and self._numbers.tobytes() == other._numbers.tobytes()

    def __hash__(self) -> int:
        return hash(self._numbers.tobytes())

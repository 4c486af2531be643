"""What the valid pixels of a band hold, as receipts keep it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter, itemgetter
from typing import Any, overload


@dataclass(frozen=True, kw_only=True, slots=True)
class BandSummary:
    """What the valid pixels of one band hold; None where there are none."""

    valid: int | None
    """Number of valid pixels; None where the mask is not known, and all pixels count."""
    counted: int
    """Number of pixels that the numbers below are of: valid and not NaN."""
    mean: float | None
    min: float | None
    max: float | None


_FIELDS = tuple(part.name for part in fields(BandSummary))
_packed, _in_order = attrgetter(*_FIELDS), itemgetter(*_FIELDS)


class Bands(Sequence[BandSummary]):
    """Summaries, packed: as Python numbers they would be most of the memory of a run of 100,000 tiles."""

    __slots__ = ("_numbers",)

    def __init__(self, summaries: Iterable[BandSummary] = ()) -> None:
        numbers = (number for summary in summaries for number in _packed(summary))
        self._numbers = array("d", (math.nan if number is None else number for number in numbers))

    @classmethod
    def from_json(cls, summaries: Iterable[Mapping[str, Any]]) -> Bands:
        """Return the bands of these JSON values, as they are packed: a summary of each would take as long as all else.

        Raises:
            KeyError: a field is missing.
            TypeError: a value is no number.
            ValueError: there is another field.
        """
        made, numbers = cls(), []
        for summary in summaries:
            if len(summary) != len(_FIELDS):
                raise ValueError(f"band {dict(summary)!r}: its fields are {', '.join(_FIELDS)}")
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

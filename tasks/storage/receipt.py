"""Receipts: what became of every tile of a batch, as JSON beside the tiles."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import google_crc32c
import orjson

from tasks.storage.store import Store

Status = Literal["stored", "empty", "failed"]


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


class Bands(Sequence[BandSummary]):
    """Summaries, packed: as Python numbers they would be most of the memory of a run of 100,000 tiles."""

    __slots__ = ("_numbers",)

    def __init__(self, summaries: Iterable[BandSummary] = ()) -> None:
        numbers = (number for s in summaries for number in (s.valid, s.counted, s.mean, s.min, s.max))
        self._numbers = array("d", (math.nan if number is None else number for number in numbers))

    def __len__(self) -> int:
        return len(self._numbers) // 5

    @overload
    def __getitem__(self, place: int) -> BandSummary: ...
    @overload
    def __getitem__(self, place: slice) -> list[BandSummary]: ...
    def __getitem__(self, place: int | slice) -> BandSummary | list[BandSummary]:
        if isinstance(place, slice):
            return [self[i] for i in range(len(self))[place]]
        first = 5 * range(len(self))[place]
        valid, counted, mean, low, high = (None if math.isnan(n) else n for n in self._numbers[first : first + 5])
        count = None if valid is None else int(valid)
        return BandSummary(valid=count, counted=int(counted or 0), mean=mean, min=low, max=high)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bands) and self._numbers.tobytes() == other._numbers.tobytes()

    def __hash__(self) -> int:
        return hash(self._numbers.tobytes())


@dataclass(frozen=True, kw_only=True, slots=True)
class TileReceipt:
    """What became of one tile."""

    index: int
    """Its number in the plan."""
    fingerprint: str
    """Identity of the tile."""
    status: Status
    key: str | None = None
    """Where its bytes are, None for an empty or failed tile."""
    size: int = 0
    """Bytes."""
    crc32c: str | None = None
    """Base64 of the big-endian checksum, as Cloud Storage shows it."""
    pixels: int = 0
    """Number of pixels of a band that were asked for: those of the region, where it is clipped."""
    bands: Bands = field(default_factory=Bands)
    """In the order of the plan; none for PNG and JPEG."""
    attempts: int = 1
    seconds: float = 0.0
    """From the first request to the stored bytes."""
    reason: str | None = None
    """Why it failed."""

    @property
    def valid_share(self) -> float | None:
        """Share of valid band-pixels, 0 to 1; None where it is not known."""
        if self.status == "empty":
            return 0.0
        counts = [band.valid for band in self.bands if band.valid is not None]
        return sum(counts) / (self.pixels * len(counts)) if counts and self.pixels else None


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of the tiles [start, stop) of a plan; of some of them only, where the run was stopped."""

    plan: str
    """Fingerprint of the plan."""
    start: int
    stop: int
    tiles: tuple[TileReceipt, ...]

    def json(self) -> dict[str, Any]:
        """Return JSON values."""
        value: dict[str, Any] = orjson.loads(self.encode())
        return value

    def encode(self) -> bytes:
        """Return JSON."""
        return orjson.dumps(self, default=list)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Receipt:
        """Read a receipt back."""
        tiles = (
            TileReceipt(**tile | {"bands": Bands(BandSummary(**band) for band in tile["bands"])})
            for tile in value["tiles"]
        )
        return cls(plan=value["plan"], start=value["start"], stop=value["stop"], tiles=tuple(tiles))


def crc32c(data: bytes | memoryview) -> str:
    """Return the checksum in Cloud Storage's form: base64 of the big-endian CRC32C."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def write_receipt(store: Store, folder: str, receipt: Receipt) -> None:
    """Store a receipt; only after it is written do its tiles count."""
    store.put(f"{folder}/receipts/{receipt.start:09d}-{receipt.stop:09d}.json", receipt.encode())

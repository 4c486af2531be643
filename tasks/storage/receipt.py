"""Receipts: what became of every tile of a batch, as JSON beside the tiles."""

from __future__ import annotations

import base64
import contextlib
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, overload

import google_crc32c
import orjson

from tasks.storage.store import Store, check_key

Status = Literal["stored", "empty", "failed"]

RECEIPTS = "receipts"
# How the text of a receipt says that a tile has no valid pixel, and so no file.
EMPTY = b'"status":"empty"'
# Receipts that are read at once: each waits for a store that may be far away.
READERS = 16
# Bytes of a receipt at the most: it has 20,000 tiles at the most. More is none of ours, and would fill the memory.
LARGEST = 512 << 20
_NAME = re.compile(r"/\d{9,}-\d{9,}-[^/]+\.json$")


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
    version: str | None = None
    """What the store says of these very bytes: see :class:`tasks.storage.store.Stored`."""
    pixels: int = 0
    """Number of pixels of a band that were asked for: those of the region, where it is clipped."""
    bands: Bands = field(default_factory=Bands)
    """In the order of the plan; none for PNG and JPEG."""
    attempts: int = 1
    """Requests; 0 where the tile was found in the store, and only its receipt was lost."""
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

    @property
    def complete(self) -> bool:
        """Whether it speaks of every tile of its range, and none of them failed."""
        return len(self.tiles) == self.stop - self.start and all(tile.status != "failed" for tile in self.tiles)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Receipt:
        """Read a receipt back.

        Raises:
            ValueError: it is none, or names a file outside of the store.
        """
        start, stop = value["start"], value["stop"]
        if not (type(start) is int and type(stop) is int and 0 <= start < stop):
            raise ValueError(f"start = {start!r}, stop = {stop!r}: no range of tiles")
        for tile in value["tiles"]:
            numbers = tile["index"], tile["size"], tile["pixels"], tile["attempts"]
            if any(type(number) is not int for number in numbers) or tile["status"] not in get_args(Status):
                raise ValueError(f"tile {tile['index']!r}: no receipt of a tile")
            if tile["key"] is not None:
                check_key(tile["key"])
        tiles = (
            TileReceipt(**tile | {"bands": Bands(BandSummary(**band) for band in tile["bands"])})
            for tile in value["tiles"]
        )
        return cls(plan=value["plan"], start=start, stop=stop, tiles=tuple(tiles))


def counted(tiles: Iterable[TileReceipt]) -> dict[str, int]:
    """Return how many tiles there are of each status."""
    counts = Counter(tile.status for tile in tiles)
    return {status: counts[status] for status in get_args(Status)}


def crc32c(data: bytes | memoryview) -> str:
    """Return the checksum in Cloud Storage's form: base64 of the big-endian CRC32C."""
    # It takes no memoryview of Python's own, but GDAL's.
    data = bytes(data) if isinstance(data, memoryview) else data
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def receipt_key(folder: str, start: int, stop: int, run: str) -> str:
    """Return where the receipt of a batch is; each run writes its own, so that none takes another's from it."""
    return f"{folder}/{RECEIPTS}/{start:09d}-{stop:09d}-{run[:8]}.json"


def read_receipts(store: Store, folder: str, *, speaking_of: Sequence[bytes] = (b"",)) -> Iterator[tuple[str, Receipt]]:
    """Return all receipts of a plan, each with its key. One that can't be read is passed over: its tiles do not count.

    Args:
        store: Where.
        folder: Of the plan.
        speaking_of: What the text of a receipt must hold to be worth reading: any of these.
    """
    listed = store.list(f"{folder}/{RECEIPTS}/")
    keys = sorted(stored.key for stored in listed if _NAME.search(stored.key) and stored.size <= LARGEST)

    def read(key: str) -> bytes:
        try:
            return store.get(key)
        except KeyError:  # pruned since it was listed
            return b""

    with ThreadPoolExecutor(READERS) as pool:
        for key, data in zip(keys, pool.map(read, keys), strict=True):
            if any(word in data for word in speaking_of):
                with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                    yield key, Receipt.from_json(orjson.loads(data))

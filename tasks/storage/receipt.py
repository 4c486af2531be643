"""Receipts: what became of every tile of a batch, as JSON beside the tiles."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any, Literal

import google_crc32c
import orjson

from tasks.storage.store import Store

Status = Literal["stored", "empty", "failed"]


# Slots: a run of 100,000 tiles of four bands holds half a million of these.
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
    bands: tuple[BandSummary, ...] = ()
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
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Receipt:
        """Read a receipt back."""
        tiles = (
            TileReceipt(**tile | {"bands": tuple(BandSummary(**band) for band in tile["bands"])})
            for tile in value["tiles"]
        )
        return cls(plan=value["plan"], start=value["start"], stop=value["stop"], tiles=tuple(tiles))


def crc32c(data: bytes | memoryview) -> str:
    """Return the checksum in Cloud Storage's form: base64 of the big-endian CRC32C."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def write_receipt(store: Store, folder: str, receipt: Receipt) -> None:
    """Store a receipt; only after it is written do its tiles count."""
    data = orjson.dumps(receipt)
    store.put(f"{folder}/receipts/{receipt.start:09d}-{receipt.stop:09d}.json", data)

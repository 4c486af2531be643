"""Receipts: what became of every tile of a batch, as JSON beside the tiles."""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson

from tasks.storage.band_summary import Bands
from tasks.storage.store import Store, check_key

Status = Literal["stored", "empty", "failed"]
_STATUSES = frozenset(get_args(Status))

RECEIPTS = "receipts"
# How the text of a receipt says that a tile has no valid pixel, and so no file.
EMPTY = b'"status":"empty"'
# Receipts that are read at once: each waits for a store that may be far away.
READERS = 16
# Bytes of a receipt at the most: it has 20,000 tiles at the most. More is none of ours, and would fill the memory.
LARGEST = 512 << 20
_NAME = re.compile(r"/(\d{9,})-(\d{9,})-[^/]+\.json$")
_TEXT = (str, type(None))
# How the reason of a failed tile begins: the class of its error. Receipts of before `error_kind` have it nowhere else.
_KIND = re.compile(r"[^\W\d]\w*(?=: )")


@dataclass(frozen=True, kw_only=True, slots=True)
class TileObject:
    """One object of the store that holds pixels of a tile: its file, or a chunk of a cube."""

    key: str
    """Where its bytes are."""
    size: int
    """Bytes."""
    crc32c: str | None = None
    """Base64 of the big-endian checksum, as Cloud Storage shows it."""
    version: str | None = None
    """Of these very bytes: see :class:`tasks.storage.store.Stored`."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TileObject:
        """Return the object of these JSON values.

        Raises:
            ValueError: a value is of another type, or the key is outside of the store.
        """
        one = cls(**value)
        if type(one.size) is not int or not isinstance(one.crc32c, _TEXT) or not isinstance(one.version, _TEXT):
            raise ValueError(f"object {one.key!r}: its size, checksum or version is of another type")
        check_key(one.key)
        return one


@dataclass(frozen=True, kw_only=True, slots=True)
class TileReceipt:
    """What became of one tile."""

    index: int
    """Its number in the plan."""
    fingerprint: str
    """Identity of the tile."""
    status: Status
    objects: tuple[TileObject, ...] = ()
    """Where its bytes are: one file, or several objects; none for an empty or failed tile."""
    pixels: int = 0
    """Number of pixels of a band that were asked for: those of the region, where it is clipped."""
    bands: Bands = field(default_factory=Bands)
    """In the order of the plan; none for PNG and JPEG."""
    attempts: int = 1
    """Requests; 0 where the tile was found in the store, and only its receipt was lost."""
    seconds: float = 0.0
    """From the first request to the stored bytes."""
    error_kind: str | None = None
    """Class of the error for which it failed, such as ``Transient`` or ``ValueError``."""
    reason: str | None = None
    """Why it failed, in words."""

    @property
    def key(self) -> str | None:
        """Where its file is; None where it has none, or is more than one object."""
        return self.objects[0].key if len(self.objects) == 1 else None

    @property
    def crc32c(self) -> str | None:
        """Checksum of its file; None where it has none, or is more than one object."""
        return self.objects[0].crc32c if len(self.objects) == 1 else None

    @property
    def size(self) -> int:
        """Bytes of all its objects."""
        return sum(one.size for one in self.objects)

    @property
    def valid_share(self) -> float | None:
        """Share of valid band-pixels, 0 to 1; None where it is not known."""
        if self.status == "empty":
            return 0.0
        counts = [band.valid for band in self.bands if band.valid is not None]
        return sum(counts) / (self.pixels * len(counts)) if counts and self.pixels else None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TileReceipt:
        """Return the receipt of these JSON values, in the present form or in the first one.

        Raises:
            ValueError: a value is of another type, or a key is outside of the store.
        """
        values = dict(value) if "objects" in value else _in_present_form(value)
        numbers, kind = (values["index"], values["pixels"], values["attempts"]), values["error_kind"]
        if any(type(number) is not int for number in numbers) or values["status"] not in _STATUSES:
            raise ValueError(f"tile {values['index']!r}: no receipt of a tile")
        values["status"] = sys.intern(values["status"])  # one string for all receipts, as for the kinds of errors
        values["error_kind"] = None if kind is None else sys.intern(kind)
        values["objects"] = tuple(map(TileObject.from_json, values["objects"]))
        values["bands"] = Bands.from_json(values["bands"])
        return cls(**values)


def _in_present_form(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a tile's receipt of the first form: one file, and the kind of an error in its reason."""
    values = dict(value)
    file = {name: values.pop(name) for name in ("key", "size", "crc32c", "version")}
    if type(file["size"]) is not int:
        raise ValueError(f"size = {file['size']!r}: no number of bytes")
    values["objects"] = () if file["key"] is None else (file,)
    kind = _KIND.match(values["reason"] or "") if values["status"] == "failed" else None
    values["error_kind"] = None if kind is None else kind[0]
    return values


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of the tiles [start, stop) of a plan; of some of them only, where the run was stopped."""

    plan: str
    """Fingerprint of the plan."""
    start: int
    stop: int
    tiles: tuple[TileReceipt, ...]

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
        return cls(plan=value["plan"], start=start, stop=stop, tiles=tuple(map(TileReceipt.from_json, value["tiles"])))


def counted(tiles: Iterable[TileReceipt]) -> dict[str, int]:
    """Return how many tiles there are of each status."""
    counts = Counter(tile.status for tile in tiles)
    return {status: counts[status] for status in get_args(Status)}


def receipt_key(folder: str, start: int, stop: int, run: str, call: str = "") -> str:
    """Return where the receipt of a batch is.

    Each run writes its own, and each process that runs the batch, so that none takes another's from it.
    """
    name = re.sub(r"[^A-Za-z0-9_-]", "_", run)[:8]  # an id may be anything, and is part of a file's name
    writer = f"{name}-{call[:8]}" if call else name
    return f"{folder}/{RECEIPTS}/{start:09d}-{stop:09d}-{writer}.json"


def read_receipts(
    store: Store, folder: str, *, speaking_of: Sequence[bytes] = (b"",), tiles: range | None = None
) -> Iterator[tuple[str, Receipt]]:
    """Return the receipts of a plan, each with its key. One that can't be read is passed over: its tiles do not count.

    Args:
        store: Where.
        folder: Of the plan.
        speaking_of: What the text of a receipt must hold to be worth reading: any of these.
        tiles: Those receipts alone whose names say that they are of some of these tiles; None = all.
    """
    names = ((stored, _NAME.search(stored.key)) for stored in store.list(f"{folder}/{RECEIPTS}/"))
    keys = sorted(
        stored.key
        for stored, name in names
        if name and stored.size <= LARGEST and (tiles is None or _overlap(int(name[1]), int(name[2]), tiles))
    )

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


def _overlap(start: int, stop: int, tiles: range) -> bool:
    return start < tiles.stop and tiles.start < stop

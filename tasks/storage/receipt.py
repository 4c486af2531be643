"""Receipts: what became of each tile of a batch, as JSON beside the tiles."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson

from tasks.errors.input import brief
from tasks.storage.band_summary import Bands
from tasks.storage.json_parts import check_parts
from tasks.storage.store import Store, StoreEntry, check_key

Status = Literal["stored", "empty", "failed"]
_STATUSES = frozenset(get_args(Status))

RECEIPTS = "receipts"
# The text in a receipt for a tile without a valid pixel, which has no file.
EMPTY = b'"status":"empty"'
# Number of receipts that are read at the same time, since a store may be far away.
READERS = 16
# Largest size of a receipt in bytes, which has at most 20,000 tiles. A larger file is not a receipt, and would fill the
# memory.
LARGEST = 512 << 20
# Bytes of receipts that are in memory before they are parsed, if no receipt is larger.
READ_AHEAD = 64 << 20
# Largest number of bytes, pixels and tiles: whole numbers up to it are exact as float64.
MAX_COUNT = 2**53
# Arrays and objects in a receipt: the summary of a band takes 67 bytes of text and more, everything else takes longer.
FEWEST_PARTS, BYTES_PER_PART = 1000, 24
_NAME = re.compile(r"/(\d{9,})-(\d{9,})-[^/]+\.json$")
_TEXT = (str, type(None))
# The reason of a failed tile begins with the class of its error. Receipts without `error_kind` name it only there.
_KIND = re.compile(r"[^\W\d]\w*(?=: )")


@dataclass(frozen=True, kw_only=True, slots=True)
class TileObject:
    """One object in the store with pixels of a tile: its file, or a chunk of a cube."""

    key: str
    """Key of the object."""
    size: int
    """Size in bytes."""
    crc32c: str | None = None
    """Base64 of the big-endian CRC32C, as Cloud Storage shows it."""
    version: str | None = None
    """Version of exactly these bytes: see :class:`tasks.storage.store.StoreEntry`."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TileObject:
        """Return the object of JSON values.

        Raises:
            ValueError: A value has the wrong type, or the key is outside the store.
        """
        one = cls(**value)
        if not _is_count(one.size) or not isinstance(one.crc32c, _TEXT) or not isinstance(one.version, _TEXT):
            raise ValueError(f"object = {brief(one.key)}: its size, checksum or version has the wrong type")
        check_key(one.key)
        return one


@dataclass(frozen=True, kw_only=True, slots=True)
class TileReceipt:
    """What became of one tile."""

    index: int
    """Number of the tile in the plan."""
    fingerprint: str
    """Fingerprint of the tile."""
    status: Status
    objects: tuple[TileObject, ...] = ()
    """The objects with its bytes: one file, or several objects. Empty for an empty or failed tile."""
    pixels: int = 0
    """Number of requested pixels of one band. If the tile is clipped, only pixels inside the region count."""
    bands: Bands = field(default_factory=Bands)
    """Summaries of the bands, in the order of the plan. Empty for PNG and JPEG."""
    attempts: int = 1
    """Number of requests that were not throttled; 0 if the tile was found in the store without a receipt."""
    seconds: float = 0.0
    """Seconds from the first request to the stored bytes."""
    error_kind: str | None = None
    """Class of the error that made the tile fail, such as ``Transient`` or ``ValueError``."""
    reason: str | None = None
    """Class and message of the error that made the tile fail."""

    @property
    def key(self) -> str | None:
        """Key of its file; None if it has no file, or more than one object."""
        return self.objects[0].key if len(self.objects) == 1 else None

    @property
    def crc32c(self) -> str | None:
        """Checksum of its file; None if it has no file, or more than one object."""
        return self.objects[0].crc32c if len(self.objects) == 1 else None

    @property
    def size(self) -> int:
        """Size of all its objects in bytes."""
        return sum(one.size for one in self.objects)

    @property
    def valid_share(self) -> float | None:
        """Share of valid pixels in all bands, 0 to 1; None if it is not known."""
        if self.status == "empty":
            return 0.0
        counts = [band.valid for band in self.bands if band.valid is not None]
        return sum(counts) / (self.pixels * len(counts)) if counts and self.pixels else None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TileReceipt:
        """Return the receipt of JSON values, in the present form or in the first one.

        Raises:
            ValueError: A value has the wrong type, or a key is outside the store.
        """
        values = dict(value) if "objects" in value else _in_present_form(value)
        numbers, kind = (values["index"], values["pixels"], values["attempts"]), values["error_kind"]
        if not all(map(_is_count, numbers)) or values["status"] not in _STATUSES:
            raise ValueError(f"tile = {brief(values['index'])}: a number is wrong, or the status is unknown")
        texts = isinstance(values["reason"], _TEXT) and isinstance(kind, _TEXT) and type(values["fingerprint"]) is str
        if not texts or not _is_duration(values["seconds"]):
            raise ValueError(f"tile = {values['index']}: its fingerprint, reason or time has the wrong type")
        if type(values["bands"]) is not list or not isinstance(values["objects"], (list, tuple)):
            raise ValueError(f"tile = {values['index']}: its objects or bands are no list")
        values["status"] = sys.intern(values["status"])  # one string for all receipts, as for error_kind
        values["error_kind"] = None if kind is None else sys.intern(kind)
        values["objects"] = tuple(map(TileObject.from_json, values["objects"]))
        values["bands"] = Bands.from_json(values["bands"])
        return cls(**values)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _is_duration(value: object) -> bool:
    return type(value) in {int, float} and 0 <= value <= MAX_COUNT  # type: ignore[operator]  # it is a number


def _in_present_form(value: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the fields of a tile's receipt from the first form, which has one file and no `error_kind`."""
    values = dict(value)
    file = {name: values.pop(name) for name in ("key", "size", "crc32c", "version")}
    if type(file["size"]) is not int:
        raise ValueError(f"size = {file['size']!r}: must be a number of bytes")
    values["objects"] = () if file["key"] is None else (file,)
    kind = _KIND.match(values["reason"] or "") if values["status"] == "failed" else None
    values["error_kind"] = None if kind is None else kind[0]
    return values


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of the tiles [start, stop) of a plan. If the run was stopped, it lists only some of them."""

    plan: str
    """Fingerprint of the plan."""
    start: int
    stop: int
    tiles: tuple[TileReceipt, ...]

    def encode(self) -> bytes:
        """Return the receipt as JSON."""
        return orjson.dumps(self, default=Bands.json)

    @property
    def complete(self) -> bool:
        """Whether it lists every tile of its range, and none of them failed."""
        return len(self.tiles) == self.stop - self.start and all(tile.status != "failed" for tile in self.tiles)

    @classmethod
    def from_json(cls, value: Any) -> Receipt:
        """Return the receipt of JSON values. Each is checked, since others may have written it.

        Raises:
            ValueError: A value is wrong, or a key is outside the store.
        """
        try:
            start, stop, plan = value["start"], value["stop"], value["plan"]
            if not (_is_count(start) and _is_count(stop) and start < stop and type(plan) is str):
                raise ValueError(
                    f"start = {brief(start)}, stop = {brief(stop)}: must be integers with 0 <= start < stop"
                )
            tiles = tuple(map(TileReceipt.from_json, value["tiles"]))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(
                f"a field is missing or has the wrong type ({type(error).__name__}: {brief(str(error))})"
            ) from error
        for tile in tiles:
            if not start <= tile.index < stop:
                raise ValueError(f"tile = {tile.index}: it is not one of {start} to {stop - 1}")
        return cls(plan=plan, start=start, stop=stop, tiles=tiles)

    @classmethod
    def decode(cls, data: bytes) -> Receipt:
        """Return the receipt of its JSON.

        Raises:
            ValueError: It is not a receipt: see :meth:`from_json`.
        """
        check_parts(data, FEWEST_PARTS + len(data) // BYTES_PER_PART)
        return cls.from_json(orjson.loads(data))


def counted(tiles: Iterable[TileReceipt]) -> dict[str, int]:
    """Return the number of tiles of each status."""
    counts = Counter(tile.status for tile in tiles)
    return {status: counts[status] for status in get_args(Status)}


def receipt_key(folder: str, start: int, stop: int, run: str, call: str = "") -> str:
    """Return the key of the receipt of a batch.

    Each run, and each call that runs the batch, writes a receipt of its own, so that none overwrites another.

    Args:
        folder: Folder of the plan.
        start: Number of the first tile.
        stop: Number of the last tile + 1.
        run: Id of the run.
        call: Id of the call that runs the batch.
    """
    name = re.sub(r"[^A-Za-z0-9_-]", "_", run)[:8]  # an id may hold any character, and is part of a file name
    writer = f"{name}-{call[:8]}" if call else name
    return f"{folder}/{RECEIPTS}/{start:09d}-{stop:09d}-{writer}.json"


def read_receipts(
    store: Store,
    folder: str,
    *,
    containing: Sequence[bytes] = (b"",),
    tiles: range | None = None,
    refused: dict[str, str] | None = None,
) -> Iterator[tuple[str, Receipt]]:
    """Yield the receipts of a plan, each with its key. A file that is not a valid receipt is left out.

    Args:
        store: The output.
        folder: Folder of the plan.
        containing: A receipt is parsed only if its text contains one of these.
        tiles: Read only receipts whose names overlap these tile numbers; None = all receipts.
        refused: Gets the keys of the receipts that are left out, each with the reason.

    Raises:
        StorageError: The output cannot be read.
    """
    refused = {} if refused is None else refused
    found = []
    for stored in store.list(f"{folder}/{RECEIPTS}/"):
        name = _NAME.search(stored.key)
        if name and (tiles is None or _overlap(int(name[1]), int(name[2]), tiles)):
            if stored.size <= LARGEST:
                found.append(stored)
            else:
                refused[stored.key] = f"it has {stored.size:,} bytes, and a receipt has at most {LARGEST:,}"

    def read(key: str) -> bytes | None:
        try:
            return store.get(key)
        except KeyError:  # pruned after it was listed, or not a file
            return None

    with ThreadPoolExecutor(READERS) as pool:
        for keys in _groups(sorted(found, key=lambda stored: stored.key)):
            for key, data in zip(keys, pool.map(read, keys), strict=True):
                if data is not None and any(word in data for word in containing):
                    try:
                        receipt = Receipt.decode(data)
                    except ValueError as error:
                        refused[key] = f"it is not a receipt: {error}"
                    else:
                        yield key, receipt


def _groups(found: Iterable[StoreEntry]) -> Iterator[list[str]]:
    """Yield the keys of files in groups of at most `READ_AHEAD` bytes, or of one file."""
    keys: list[str] = []
    size = 0
    for stored in found:
        if keys and size + stored.size > READ_AHEAD:
            yield keys
            keys, size = [], 0
        keys.append(stored.key)
        size += stored.size
    if keys:
        yield keys


def _overlap(start: int, stop: int, tiles: range) -> bool:
    return start < tiles.stop and tiles.start < stop

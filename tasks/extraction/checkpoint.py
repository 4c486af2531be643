"""The checkpoint of a plan: which of its tiles are stored already, by their receipts and one listing of the store."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tasks.plan.choices import Verify
from tasks.plan.plan import Plan
from tasks.storage.checksum import crc32c
from tasks.storage.receipt import EMPTY, READERS, Receipt, TileObject, TileReceipt, read_receipts
from tasks.storage.store import Store, Stored

TILES = "tiles"


class Fault(StrEnum):
    """What can be wrong with a tile of a plan."""

    DAMAGED = "damaged"
    """Other bytes are in its place than its receipt has."""
    MISSING = "missing"
    """Nothing is in its place."""
    FAILED = "failed"
    """It was asked for, and could not be fetched."""
    UNRECEIPTED = "unreceipted"
    """Something is in its place, and no receipt is of it."""


@dataclass(frozen=True, slots=True)
class TileFault:
    """What is wrong with one tile."""

    kind: Fault
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


GONE = TileFault(Fault.MISSING, "its file is gone")


@dataclass(frozen=True, kw_only=True)
class Span:
    """Tiles [start, stop) of a plan that one receipt speaks of."""

    start: int
    stop: int
    key: str
    """Of the receipt."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What is stored of a plan."""

    tiles: Mapping[int, TileReceipt] = field(default_factory=dict)
    """Verified: their bytes are there as their receipts say, or they are known to be empty."""
    spans: tuple[Span, ...] = ()
    """Whole batches that are verified, in order, none over another."""
    receipts: tuple[Span, ...] = ()
    """All that were read, whole or not."""
    there: Mapping[int, Stored] = field(default_factory=dict)
    """What is at the place of tiles that are not verified."""
    faults: Mapping[int, TileFault] = field(default_factory=dict)
    """What is wrong with tiles that have a receipt: damaged, missing or failed."""

    def missing(self, start: int, stop: int) -> Iterator[int]:
        """The tiles of [start, stop) that are not verified."""
        return (index for index in range(start, stop) if index not in self.tiles)

    def span(self, start: int, stop: int) -> Span | None:
        """Return the whole batch of just these tiles, if there is one."""
        place = bisect_left(self.spans, start, key=lambda span: span.start)
        found = self.spans[place : place + 1]
        return found[0] if found and (found[0].start, found[0].stop) == (start, stop) else None

    def unreceipted(self, index: int) -> Stored | None:
        """Return what is at the place of a tile of which no receipt speaks: its process was killed before it wrote one.

        It was stored whole, so it is ours once its bytes are seen to be such a tile.
        """
        fault = self.faults.get(index)
        may_be_whole = fault is None or fault.kind is Fault.FAILED  # what failed once may have been stored later
        return self.there.get(index) if may_be_whole else None


def read_checkpoint(
    plan: Plan, store: Store, *, verify: Verify = "quick", start: int = 0, stop: int | None = None
) -> Checkpoint:
    """Read what is stored of a plan, or of the tiles [start, stop) of it.

    Receipts are held against one listing: size and version, or size and the store's own checksum. Where only the
    version differs (a copied folder), or with ``verify="full"``, the bytes are read and their checksum is worked out.
    Tiles that other plans fetched count as well: a tile is shared by all plans that hold it.

    Of a range, only those receipts of the plan are read whose names overlap it, and nothing of other tiles is kept.
    Its spans are the batches that lie within it.

    Args:
        plan: What is to be fetched.
        store: Where it is stored.
        verify: Whether the bytes of every tile are read (``full``), or only those in doubt.
        start: The first tile.
        stop: That after the last; None = the end of the plan.

    Raises:
        IndexError: the plan has no such tiles.
        StorageError: the store can't be read.
    """
    own = _range(plan, start, stop)
    if not own:
        return Checkpoint()
    part = len(own) < len(plan)
    candidates: dict[int, list[TileReceipt]] = defaultdict(list)
    receipts: list[tuple[str, int, int, bool]] = []
    before: list[Receipt] = []  # of a series that grows, as it was
    for key, receipt in read_receipts(store, plan.folder, tiles=own if part else None):
        if receipt.plan != plan.fingerprint:
            before.append(receipt)
        else:
            receipts.append((key, receipt.start, receipt.stop, receipt.complete))
            for tile in receipt.tiles:
                if tile.index in own and tile.fingerprint == plan.tile_fingerprint(tile.index):
                    candidates[tile.index].append(tile)
    listing = _listed(plan, store, own, candidates)
    tiles, faults = _verified(candidates, listing, store, verify)
    there: dict[int, Stored] = {}
    if len(tiles) < len(own):
        if part and plan.home is not None:  # tiles had other numbers before the series grew
            before = [receipt for _, receipt in read_receipts(store, plan.folder) if receipt.plan != plan.fingerprint]
        if listing or before or (part and next(store.list(_prefix(plan, range(len(plan)))), None)):
            identities = {plan.tile_fingerprint(index): index for index in own if index not in tiles}
            places = {index: plan.key(index, identity) for identity, index in identities.items()}
            there = {index: listing[key] for index, key in places.items() if key in listing}
            for others in (before, _elsewhere(plan, store, own)):  # the second only where the first lacks some
                found, damaged = _verified(_candidates_of(others, identities, places), listing, store, verify)
                tiles |= found
                faults = {index: fault for index, fault in (damaged | faults).items() if index not in tiles}
                there = {index: stored for index, stored in there.items() if index not in tiles}
                if len(tiles) == len(own):
                    break
    read = tuple(Span(start=start, stop=stop, key=key) for key, start, stop, _ in receipts)
    return Checkpoint(tiles=tiles, spans=tuple(_spans(receipts, tiles)), receipts=read, there=there, faults=faults)


def _range(plan: Plan, start: int, stop: int | None) -> range:
    end = len(plan) if stop is None else stop
    if not 0 <= start <= end <= len(plan):
        raise IndexError(f"tiles {start} to {end} of a plan of {len(plan)}")
    return range(start, end)


def _prefix(plan: Plan, tiles: range) -> str:
    """Return what the keys of some tiles begin with."""
    count = len(plan.tiles)
    sources = plan.sources[tiles.start // count : -(-tiles.stop // count)]
    names = [f"{TILES}/{source.name}/" for source in sources]
    if len(names) == 1 and len(tiles) < count:
        names = [names[0] + (plan.tiles.name(index % count) or "") for index in tiles]
    # Keys are listed by what they begin with, which need not be a folder.
    return os.path.commonprefix([min(names), max(names)])  # noqa: RUF071 - as said


def _listed(plan: Plan, store: Store, own: range, candidates: Mapping[int, Iterable[TileReceipt]]) -> dict[str, Stored]:
    """Return what is at the places of some tiles, by key; of a whole plan all that begins alike."""
    listed = store.list(_prefix(plan, own))
    if len(own) == len(plan):
        return {stored.key: stored for stored in listed}
    keys = {plan.key(index) for index in own}
    keys.update(one.key for tiles in candidates.values() for tile in tiles for one in tile.objects)
    return {stored.key: stored for stored in listed if stored.key in keys}


def _verified(
    candidates: Mapping[int, Iterable[TileReceipt]], listing: Mapping[str, Stored], store: Store, verify: Verify
) -> tuple[dict[int, TileReceipt], dict[int, TileFault]]:
    """Return the tiles whose bytes are there as one of their receipts says, and what is wrong with the others."""
    tiles: dict[int, TileReceipt] = {}
    faults: dict[int, TileFault] = {}
    doubtful: list[TileReceipt] = []
    for index, claims in candidates.items():
        found = [(tile, *_compared(tile, listing)) for tile in claims]
        good = [(tile, sure) for tile, fault, sure in found if fault is None]
        known = [tile for tile, sure in good if sure and (verify == "quick" or not tile.objects)]
        if known:
            tiles[index] = known[0]
            continue
        # Of several receipts with a checksum, any may be that of what is there: an image may change between them.
        doubtful += {tuple((one.key, one.crc32c) for one in tile.objects): tile for tile, _ in good}.values()
        if not good and (fault := found[-1][1]):
            faults[index] = fault
    with ThreadPoolExecutor(READERS) as pool:
        for tile, fault in zip(doubtful, pool.map(lambda tile: _reread(store, tile), doubtful), strict=True):
            if tile.index in tiles:
                continue
            if fault is None:
                objects = tuple(replace(one, version=listing[one.key].version) for one in tile.objects)
                tiles[tile.index] = replace(tile, objects=objects)
                faults.pop(tile.index, None)
            else:
                faults[tile.index] = fault
    return tiles, faults


def _compared(tile: TileReceipt, listing: Mapping[str, Stored]) -> tuple[TileFault | None, bool]:
    """Return what is wrong with a tile by the listing, None for nothing, and whether its bytes need not be read."""
    if tile.status != "stored":
        return (None if tile.status == "empty" else TileFault(Fault.FAILED, str(tile.reason))), True
    if not tile.objects or any(one.key not in listing for one in tile.objects):
        return GONE, True
    sure = True
    for one in tile.objects:
        stored = listing[one.key]
        if stored.size != one.size:
            return TileFault(Fault.DAMAGED, f"{stored.size:,} bytes instead of {one.size:,}"), True
        if stored.crc32c is None:
            sure = sure and stored.version == one.version
        elif stored.crc32c != one.crc32c:  # by the service itself, of the bytes that are there
            return _other_checksum(stored.crc32c, one), True
    return None, sure


def _reread(store: Store, tile: TileReceipt) -> TileFault | None:
    """Return what is wrong with a tile by its bytes, None for nothing."""
    for one in tile.objects:
        try:
            found = crc32c(store.get(one.key))
        except KeyError:  # removed since it was listed
            found = None
        if found is None or found != one.crc32c:
            return _other_checksum(found, one)
    return None


def _other_checksum(found: str | None, one: TileObject) -> TileFault:
    return TileFault(Fault.DAMAGED, f"checksum {found} instead of {one.crc32c}")


def _elsewhere(plan: Plan, store: Store, own: range) -> Iterator[Receipt]:
    """Read the receipts of other plans that may be of some tiles of this one."""
    marks = (_prefix(plan, own).encode(), EMPTY)
    for folder in store.folders():
        if folder not in {TILES, plan.folder}:
            for _, receipt in read_receipts(store, folder, speaking_of=marks):
                yield receipt


def _candidates_of(
    receipts: Iterable[Receipt], identities: Mapping[str, int], places: Mapping[int, str]
) -> dict[int, list[TileReceipt]]:
    """Return receipts of other plans for tiles that none of ours has: they are stored there, or empty."""
    candidates: dict[int, list[TileReceipt]] = defaultdict(list)
    for receipt in receipts:
        for tile in receipt.tiles:
            index = identities.get(tile.fingerprint)
            if index is not None and (tile.status == "empty" or tile.key == places[index]):
                candidates[index].append(replace(tile, index=index))
    return candidates


def _spans(receipts: Iterable[tuple[str, int, int, bool]], tiles: Mapping[int, TileReceipt]) -> Iterator[Span]:
    end = 0
    for key, start, stop, complete in sorted(receipts, key=lambda receipt: (receipt[1], -receipt[2])):
        if complete and start >= end and all(index in tiles for index in range(start, stop)):
            yield Span(start=start, stop=stop, key=key)
            end = stop


def gaps(spans: Iterable[Span], count: int) -> Iterator[tuple[int, int]]:
    """Return the stretches of ``range(count)`` that no span covers.

    >>> list(gaps([Span(start=2, stop=5, key="a"), Span(start=5, stop=6, key="b")], 8))
    [(0, 2), (6, 8)]
    """
    begin = 0
    for start, stop in [*((span.start, span.stop) for span in spans), (count, count)]:
        if begin < start:
            yield begin, start
        begin = stop

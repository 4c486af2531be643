"""The checkpoint of a plan: which of its tiles are already stored, by their receipts and one listing of the store."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from tasks.extraction.tile_fault import GONE, Fault, TileFault
from tasks.plan.choices import Verify
from tasks.plan.plan import Plan
from tasks.storage.checksum import crc32c
from tasks.storage.receipt import EMPTY, READERS, Receipt, TileObject, TileReceipt, read_receipts
from tasks.storage.store import Store, StoreEntry, TileLost

TILES = "tiles"


@dataclass(frozen=True, kw_only=True)
class Span:
    """Tiles [start, stop) of a plan: the range of one receipt."""

    start: int
    stop: int
    key: str
    """Key of the receipt."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What is stored of a plan."""

    tiles: Mapping[int, TileReceipt] = field(default_factory=dict)
    """Verified tiles, by number: their stored bytes match their receipts, or they have no valid pixel."""
    spans: tuple[Span, ...] = ()
    """Complete batches whose tiles are all verified, in order and without overlap."""
    receipts: tuple[Span, ...] = ()
    """The ranges of all receipts of this plan that were read, complete or not."""
    unverified: Mapping[int, StoreEntry] = field(default_factory=dict)
    """What is stored at the keys of tiles that are not verified, by number."""
    faults: Mapping[int, TileFault] = field(default_factory=dict)
    """What is wrong with tiles that have a receipt (damaged, missing or failed), by number."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Receipts of this plan that cannot be read, by key: why. Their tiles count as without a receipt."""

    def missing(self, start: int, stop: int) -> Iterator[int]:
        """Yield the numbers of the tiles in [start, stop) that are not verified."""
        return (index for index in range(start, stop) if index not in self.tiles)

    def span(self, start: int, stop: int) -> Span | None:
        """Return the complete batch of exactly these tiles; None if there is none."""
        place = bisect_left(self.spans, start, key=lambda span: span.start)
        found = self.spans[place : place + 1]
        return found[0] if found and (found[0].start, found[0].stop) == (start, stop) else None

    def unreceipted(self, index: int) -> StoreEntry | None:
        """Return what is stored at the key of a tile that no receipt lists as stored; None if nothing is.

        A process that was killed before it wrote its receipt leaves such a tile. The tile was stored completely, so it
        is used if its bytes prove to be this tile.
        """
        fault = self.faults.get(index)
        may_be_whole = fault is None or fault.kind is Fault.FAILED  # a tile that failed may have been stored later
        return self.unverified.get(index) if may_be_whole else None


def read_checkpoint(
    plan: Plan, store: Store, *, verify: Verify = "quick", start: int = 0, stop: int | None = None
) -> Checkpoint:
    """Read what is stored of a plan, or of its tiles [start, stop).

    Receipts are compared with one listing of the store: by size and version, or by size and the store's own checksum.
    If only the version differs (a copied folder), or with ``verify="full"``, the bytes are read and their checksum is
    computed. Tiles that other plans fetched count as well: all plans with the same tile share it.

    For a range, only receipts of the plan whose names overlap the range are read, and nothing about other tiles is
    kept. The spans of a range are the batches within it.

    Args:
        plan: The plan to look up.
        store: The output.
        verify: ``full`` reads the bytes of every tile, ``quick`` only those of tiles in doubt.
        start: Number of the first tile.
        stop: Number of the last tile + 1; None = the end of the plan.

    Raises:
        IndexError: The plan has no such tiles.
        StorageError: The store cannot be read.
    """
    own = _range(plan, start, stop)
    if not own:
        return Checkpoint()
    part = len(own) < len(plan)
    candidates: dict[int, list[TileReceipt]] = defaultdict(list)
    receipts: list[tuple[str, int, int, bool]] = []
    before: list[Receipt] = []  # the receipts of earlier states of a growing series
    refused: dict[str, str] = {}
    for key, receipt in read_receipts(store, plan.folder, tiles=own if part else None, refused=refused):
        if receipt.plan != plan.fingerprint:
            before.append(receipt)
        else:
            receipts.append((key, receipt.start, receipt.stop, receipt.complete))
            for tile in receipt.tiles:
                if tile.index in own and _is_of(plan, tile):
                    candidates[tile.index].append(tile)
    listing = _listed(plan, store, own, candidates)
    tiles, faults = _verified(candidates, listing, store, verify)
    unverified: dict[int, StoreEntry] = {}
    if len(tiles) < len(own):
        if part and plan.home is not None:  # tiles had other numbers before the series grew
            before = [receipt for _, receipt in read_receipts(store, plan.folder) if receipt.plan != plan.fingerprint]
        if listing or before or (part and next(store.list(_prefix(plan, range(len(plan)))), None)):
            identities = {plan.tile_fingerprint(index): index for index in own if index not in tiles}
            places = {index: plan.key(index, identity) for identity, index in identities.items()}
            unverified = {index: listing[key] for index, key in places.items() if key in listing}
            for others in (before, _elsewhere(plan, store, own)):  # other plans are read only if tiles are missing
                found, damaged = _verified(_candidates_of(others, identities, places), listing, store, verify)
                tiles |= found
                faults = {index: fault for index, fault in (damaged | faults).items() if index not in tiles}
                unverified = {index: stored for index, stored in unverified.items() if index not in tiles}
                if len(tiles) == len(own):
                    break
    read = tuple(Span(start=start, stop=stop, key=key) for key, start, stop, _ in receipts)
    spans = tuple(_spans(receipts, tiles))
    return Checkpoint(tiles=tiles, spans=spans, receipts=read, unverified=unverified, faults=faults, refused=refused)


def _is_of(plan: Plan, tile: TileReceipt) -> bool:
    """Return whether a receipt is of this tile: of its request, its bands, and of nothing but its own file."""
    fingerprint = plan.tile_fingerprint(tile.index)
    if len(tile.objects) == 1:
        its_own = tile.key == plan.key(tile.index, fingerprint)
    else:
        its_own = all(one.key.startswith(f"{TILES}/") for one in tile.objects)
    return fingerprint == tile.fingerprint and its_own and len(tile.bands) in {0, len(plan.bands)}


def _range(plan: Plan, start: int, stop: int | None) -> range:
    end = len(plan) if stop is None else stop
    if not 0 <= start <= end <= len(plan):
        raise IndexError(f"start = {start}, stop = {end}: the plan has {len(plan)} tiles")
    return range(start, end)


def _prefix(plan: Plan, tiles: range) -> str:
    """Return the common prefix of the keys of some tiles."""
    count = len(plan.tiles)
    sources = plan.sources[tiles.start // count : -(-tiles.stop // count)]
    names = [f"{TILES}/{source.name}/" for source in sources]
    if len(names) == 1 and len(tiles) < count:
        names = [names[0] + (plan.tiles.name(index % count) or "") for index in tiles]
    # Keys are listed by prefix, which need not be a folder.
    return os.path.commonprefix([min(names), max(names)])  # noqa: RUF071 - a prefix of the text is wanted


def _listed(
    plan: Plan, store: Store, own: range, candidates: Mapping[int, Iterable[TileReceipt]]
) -> dict[str, StoreEntry]:
    """Return what is stored at the keys of some tiles, by key. For all tiles of a plan, return all keys of a prefix."""
    listed = store.list(_prefix(plan, own))
    if len(own) == len(plan):
        return {stored.key: stored for stored in listed}
    keys = {plan.key(index) for index in own}
    keys.update(one.key for tiles in candidates.values() for tile in tiles for one in tile.objects)
    return {stored.key: stored for stored in listed if stored.key in keys}


def _verified(
    candidates: Mapping[int, Iterable[TileReceipt]], listing: Mapping[str, StoreEntry], store: Store, verify: Verify
) -> tuple[dict[int, TileReceipt], dict[int, TileFault]]:
    """Return the tiles whose stored bytes match one of their receipts, and the faults of the others, both by number."""
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
        # If a tile has several receipts, any may be that of the stored bytes: an image may change between them.
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


def _compared(tile: TileReceipt, listing: Mapping[str, StoreEntry]) -> tuple[TileFault | None, bool]:
    """Compare a tile with the listing. Return its fault or None, and whether that is sure without reading its bytes."""
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
        elif stored.crc32c != one.crc32c:  # the service computes it from the stored bytes
            return _other_checksum(stored.crc32c, one), True
    return None, sure


def _reread(store: Store, tile: TileReceipt) -> TileFault | None:
    """Read the bytes of a tile, and return what is wrong with them; None if nothing is."""
    for one in tile.objects:
        try:
            found = crc32c(store.get(one.key, most=one.size))
        except (KeyError, TileLost):  # deleted or replaced after it was listed
            found = None
        if found is None or found != one.crc32c:
            return _other_checksum(found, one)
    return None


def _other_checksum(found: str | None, one: TileObject) -> TileFault:
    return TileFault(Fault.DAMAGED, f"checksum {found} instead of {one.crc32c}")


def _elsewhere(plan: Plan, store: Store, own: range) -> Iterator[Receipt]:
    """Yield the receipts of other plans that may list some of these tiles."""
    marks = (_prefix(plan, own).encode(), EMPTY)
    for folder in store.folders():
        if folder not in {TILES, plan.folder}:
            for _, receipt in read_receipts(store, folder, containing=marks):
                yield receipt


def _candidates_of(
    receipts: Iterable[Receipt], identities: Mapping[str, int], places: Mapping[int, str]
) -> dict[int, list[TileReceipt]]:
    """Return the receipts of tiles that these other plans share with this one, by number in this plan.

    Args:
        receipts: Receipts of other plans, or of earlier states of this one.
        identities: Numbers of the tiles in question, by fingerprint.
        places: Keys of these tiles, by number. A tile that is not empty counts only if it is stored at this key.
    """
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
    """Yield the ranges within ``range(count)`` that no span covers.

    >>> list(gaps([Span(start=2, stop=5, key="a"), Span(start=5, stop=6, key="b")], 8))
    [(0, 2), (6, 8)]
    """
    begin = 0
    for start, stop in [*((span.start, span.stop) for span in spans), (count, count)]:
        if begin < start:
            yield begin, start
        begin = stop

"""The checkpoint of a plan: which of its tiles are stored already, by their receipts and one listing of the store."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

from tasks.earthengine.plan import Plan
from tasks.storage.receipt import EMPTY, READERS, Receipt, TileReceipt, crc32c, read_receipts
from tasks.storage.store import Store, Stored

Verify = Literal["quick", "full"]
TILES = "tiles"


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
    faults: Mapping[int, str] = field(default_factory=dict)
    """What is wrong with tiles that a receipt speaks of: damaged, missing or failed, with the reason."""

    def missing(self, start: int, stop: int) -> Iterator[int]:
        """The tiles of [start, stop) that are not verified."""
        return (index for index in range(start, stop) if index not in self.tiles)

    def span(self, start: int, stop: int) -> Span | None:
        """Return the whole batch of just these tiles, if there is one."""
        return next((span for span in self.spans if (span.start, span.stop) == (start, stop)), None)

    def untold(self, index: int) -> Stored | None:
        """Return what is at the place of a tile of which no receipt speaks: its process was killed before it wrote one.

        It was stored whole, so it is ours once its bytes are seen to be such a tile.
        """
        fault = self.faults.get(index, "failed:")  # what failed once may have been stored later
        return self.there.get(index) if fault.startswith("failed:") else None


def read_checkpoint(plan: Plan, store: Store, *, verify: Verify = "quick") -> Checkpoint:
    """Read what is stored of a plan.

    Receipts are held against one listing: size and version, or size and the store's own checksum. Where only the
    version differs (a copied folder), or with ``verify="full"``, the bytes are read and their checksum is worked out.
    Tiles that other plans fetched count as well: a tile is shared by all plans that hold it.

    Raises:
        StorageError: the store can't be read.
    """
    told: dict[int, list[TileReceipt]] = defaultdict(list)
    receipts: list[tuple[str, int, int, bool]] = []
    before: list[Receipt] = []  # of a series that grows, as it was
    for key, receipt in read_receipts(store, plan.folder):
        if receipt.plan != plan.fingerprint:
            before.append(receipt)
        else:
            receipts.append((key, receipt.start, receipt.stop, receipt.complete))
            for tile in receipt.tiles:
                if 0 <= tile.index < len(plan) and tile.fingerprint == plan.tile_fingerprint(tile.index):
                    told[tile.index].append(tile)
    listing = {stored.key: stored for stored in store.list(_prefix(plan))}
    tiles, faults = _verified(told, listing, store, verify)
    there: dict[int, Stored] = {}
    if (listing or before) and len(tiles) < len(plan):
        identities = {plan.tile_fingerprint(index): index for index in range(len(plan)) if index not in tiles}
        places = {index: plan.key(index, identity) for identity, index in identities.items()}
        there = {index: listing[key] for index, key in places.items() if key in listing}
        for others in (before, _elsewhere(plan, store)):  # the second is read only where the first does not say it all
            found, damaged = _verified(_told_by(others, identities, places), listing, store, verify)
            tiles |= found
            faults = {index: fault for index, fault in (damaged | faults).items() if index not in tiles}
            there = {index: stored for index, stored in there.items() if index not in tiles}
            if len(tiles) == len(plan):
                break
    read = tuple(Span(start=start, stop=stop, key=key) for key, start, stop, _ in receipts)
    return Checkpoint(tiles=tiles, spans=tuple(_spans(receipts, tiles)), receipts=read, there=there, faults=faults)


def _prefix(plan: Plan) -> str:
    """What the keys of all tiles of a plan begin with."""
    names = [f"{TILES}/{source.name}/" for source in plan.sources]
    return os.path.commonprefix([min(names), max(names)])  # noqa: RUF071 - keys are listed by what they begin with


def _verified(
    told: Mapping[int, Iterable[TileReceipt]], listing: Mapping[str, Stored], store: Store, verify: Verify
) -> tuple[dict[int, TileReceipt], dict[int, str]]:
    """Return the tiles whose bytes are there as one of their receipts says, and what is wrong with the others."""
    tiles: dict[int, TileReceipt] = {}
    faults: dict[int, str] = {}
    doubtful: list[TileReceipt] = []
    for index, candidates in told.items():
        found = [(tile, _fault(tile, listing.get(tile.key or ""))) for tile in candidates]
        sure = [tile for tile, fault in found if fault is None and (verify == "quick" or tile.key is None)]
        if sure:
            tiles[index] = sure[0]
            continue
        # Of several receipts with a checksum, any may be that of what is there: an image may change between them.
        unsure = {(tile.key, tile.crc32c): tile for tile, fault in found if not fault}
        doubtful += unsure.values()
        if not unsure:
            faults[index] = found[-1][1] or ""
    with ThreadPoolExecutor(READERS) as pool:
        for tile, data in zip(doubtful, pool.map(lambda tile: _crc32c(store, tile), doubtful), strict=True):
            if tile.index in tiles:
                continue
            if data == tile.crc32c and tile.key is not None:
                tiles[tile.index] = replace(tile, version=listing[tile.key].version)
                faults.pop(tile.index, None)
            else:
                faults[tile.index] = f"damaged: checksum {data} instead of {tile.crc32c}"
    return tiles, faults


def _fault(tile: TileReceipt, stored: Stored | None) -> str | None:
    """Return what is wrong with a tile, None for nothing, and "" where only its bytes can tell."""
    if tile.status == "empty":
        return None
    if tile.status == "failed":
        return f"failed: {tile.reason}"
    if stored is None:
        return "missing: its file is gone"
    if stored.size != tile.size:
        return f"damaged: {stored.size:,} bytes instead of {tile.size:,}"
    if stored.crc32c is not None:  # by the service itself, of the bytes that are there
        return None if stored.crc32c == tile.crc32c else f"damaged: checksum {stored.crc32c} instead of {tile.crc32c}"
    return None if stored.version == tile.version else ""


def _crc32c(store: Store, tile: TileReceipt) -> str | None:
    assert tile.key is not None
    try:
        return crc32c(store.get(tile.key))
    except KeyError:  # removed since it was listed
        return None


def _elsewhere(plan: Plan, store: Store) -> Iterator[Receipt]:
    """Read the receipts of other plans that may speak of tiles of this one."""
    for folder in store.folders():
        if folder not in {TILES, plan.folder}:
            for _, receipt in read_receipts(store, folder, speaking_of=(_prefix(plan).encode(), EMPTY)):
                yield receipt


def _told_by(
    receipts: Iterable[Receipt], identities: Mapping[str, int], places: Mapping[int, str]
) -> dict[int, list[TileReceipt]]:
    """Return what receipts of other plans say of tiles that are in none of ours: that they are stored, or empty."""
    told: dict[int, list[TileReceipt]] = defaultdict(list)
    for receipt in receipts:
        for tile in receipt.tiles:
            index = identities.get(tile.fingerprint)
            if index is not None and (tile.status == "empty" or tile.key == places[index]):
                told[index].append(replace(tile, index=index))
    return told


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

"""Zonal statistics: the summary of each area on each date, from the receipts and, at its edge, from stored tiles."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import orjson
from affine import Affine
from odc.geo import wh_
from odc.geo.geobox import GeoBox

from tasks.extraction.tile_file import decode, summaries
from tasks.plan.plan import Plan
from tasks.plan.tiles import RegionTiles
from tasks.products.mosaic import of_source
from tasks.products.product import made_of
from tasks.products.stored_tiles import read_bytes, unreadable_named
from tasks.raster.encode import read_geotiff
from tasks.raster.raster import Raster
from tasks.raster.zones import ZonePart, Zones
from tasks.storage.band_summary import Bands, BandSummary, combined
from tasks.storage.receipt import READERS, RECEIPTS, TileReceipt
from tasks.storage.store import Store

# Largest number of summaries that are held at once: about 200 MB. Dates beyond it are measured in the next round.
HELD = 500_000
THREADS = min(8, 2 * (os.cpu_count() or 1))
# Number of tiles that are submitted to the threads before the first of them is taken.
AHEAD = 8 * THREADS
NOTHING = BandSummary(valid=0, counted=0, mean=None, min=None, max=None)
"""The summary of pixels that are all invalid."""


@dataclass(frozen=True, kw_only=True)
class ZoneSummary:
    """The pixels of one zone on one date."""

    pixels: int
    """Number of its pixels, valid or not."""
    bands: Bands
    """Summaries of the bands, in the order of the plan; empty if no tile of the zone could be fetched."""


Zonal = tuple[ZoneSummary, ...]
"""The summaries of all zones on one date, in the order of the zones."""


def zonal(store: Store, plan: Plan, tiles: Sequence[TileReceipt], zones: Zones, identity: str) -> list[Zonal]:
    """Return the summaries of all zones for each source of the plan.

    A tile is read only if a zone holds some of its pixels and not all of them. The summaries of each source are stored
    beside its receipts and used again, as long as its tiles are the same.

    Args:
        store: The output.
        plan: The plan, of a time series.
        tiles: Receipts of all its tiles, in order.
        zones: The zones on the grid of the plan.
        identity: Identity of the zones.
    """
    assert isinstance(plan.tiles, RegionTiles)
    parts = [_Stored(store, plan, of_source(plan, tiles, n), n, identity) for n in range(len(plan.sources))]
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(_Stored.get, parts))
    missing = [part for part, zonal_ in zip(parts, found, strict=True) if zonal_ is None]
    at_once = max(1, HELD // (len(zones) * len(plan.bands)))
    for start in range(0, len(missing), at_once):
        measured = missing[start : start + at_once]
        for part, zonal_ in zip(measured, _measure(store, plan, zones, [part.tiles for part in measured]), strict=True):
            part.put(zonal_)
            found[part.number] = zonal_
    return [zonal_ for zonal_ in found if zonal_ is not None]


@dataclass(frozen=True)
class _Stored:
    """The stored summaries of one source."""

    store: Store
    plan: Plan
    tiles: Sequence[TileReceipt]
    number: int
    """Number of the source in the plan."""
    identity: str
    """Identity of the zones."""

    @property
    def key(self) -> str:
        return f"{self.plan.folder}/{RECEIPTS}/zones-{self.identity[:12]}-{self.plan.sources[self.number].label}.json"

    @property
    def made_of(self) -> str:
        placed = [replace(tile, index=tile.index % len(self.plan.tiles)) for tile in self.tiles]
        return made_of(placed, self.identity, self.plan.format_identity)

    def get(self) -> Zonal | None:
        try:
            value = orjson.loads(self.store.get(self.key))
            if value["made_of"] != self.made_of:
                return None
            return tuple(ZoneSummary(pixels=n, bands=Bands.from_json(bands)) for n, bands in value["zones"])
        except (KeyError, ValueError, TypeError):  # there is none, or it is in another format
            return None

    def put(self, zones: Zonal) -> None:
        rows = [[zone.pixels, zone.bands.json()] for zone in zones]
        self.store.put(self.key, orjson.dumps({"made_of": self.made_of, "zones": rows}))


def _measure(store: Store, plan: Plan, zones: Zones, sources: Sequence[Sequence[TileReceipt]]) -> list[Zonal]:
    """Measure the zones on some dates, tile by tile: the pixels of the zones in a tile are found once for all dates."""
    assert isinstance(plan.tiles, RegionTiles)
    pixels = [0] * len(zones)
    known: list[list[list[Bands]]] = [[[] for _ in range(len(zones))] for _ in sources]
    by_tile = [{receipt.index % len(plan.tiles): receipt for receipt in receipts} for receipts in sources]
    waiting: deque[tuple[int, Sequence[ZonePart], Future[list[Bands]]]] = deque()

    def take() -> None:
        number, parts, found = waiting.popleft()
        for part, bands in zip(parts, found.result(), strict=True):
            known[number][part.zone].append(bands)

    with ThreadPoolExecutor(THREADS) as pool:
        for tile in range(len(plan.tiles)):
            parts = zones.parts(plan.tiles.place(tile))
            for part in parts:
                pixels[part.zone] += part.pixels
            for number, receipts in enumerate(by_tile):
                if parts and tile in receipts:
                    while len(waiting) >= AHEAD:
                        take()
                    waiting.append((number, parts, pool.submit(_parts, store, plan, parts, receipts[tile])))
        while waiting:
            take()
    return [
        tuple(ZoneSummary(pixels=n, bands=combined_bands(bands)) for n, bands in zip(pixels, each, strict=True))
        for each in known
    ]


def combined_bands(tiles: Iterable[Bands]) -> Bands:
    """Return the summaries of all pixels of several tiles. A tile without summaries adds nothing."""
    every = [bands for bands in tiles if len(bands)]
    return every[0] if len(every) == 1 else Bands(combined(each) for each in zip(*every, strict=True))


def _parts(store: Store, plan: Plan, parts: Sequence[ZonePart], tile: TileReceipt) -> list[Bands]:
    """Return the summaries of the bands for each part of a tile; none for a failed tile."""
    if tile.status != "stored":
        return [Bands(NOTHING for _ in tile.bands) for _ in parts]
    grid = plan.grid(tile.index)
    # A clipped tile with one zone holds the pixels of this zone only.
    alone = len(parts) == 1 and plan.tile_format.clip is not None
    whole = {grid.width * grid.height, tile.pixels} if alone else {grid.width * grid.height}
    if all(part.pixels in whole for part in parts):
        return [tile.bands for _ in parts]
    raster = read_tile(store, plan, tile)
    return [tile.bands if part.pixels in whole else Bands(summaries(_flat(raster, part))) for part in parts]


def read_tile(store: Store, plan: Plan, tile: TileReceipt) -> Raster:
    """Return the pixels of a stored tile, from a GeoTIFF or an NPY file.

    Raises:
        TileLost: The tile was deleted or changed after it was stored.
    """
    assert tile.key is not None
    name, grid = f"tile {tile.index}", plan.grid(tile.index)
    data = read_bytes(store, tile.key, tile.crc32c, name=name, most=tile.size)
    with unreadable_named(store, tile.key, name):
        if plan.tile_format.file_format == "GEO_TIFF":
            return read_geotiff(data, shape=grid.shape)
        raster = decode(plan, tile.index, data).raster
    assert raster is not None
    return raster


def _flat(raster: Raster, part: ZonePart) -> Raster:
    """Return the pixels of a part in one row, shape (band, 1, pixel): the statistics need no other shape."""
    values = part.window.of_array(raster.values)[:, np.newaxis, part.mask]
    valid = raster.valid
    if valid is not None:
        valid = (
            np.broadcast_to(np.True_, values.shape)
            if raster.full
            else part.window.of_array(valid)[:, np.newaxis, part.mask]
        )
    row = GeoBox(wh_(part.pixels, 1), Affine.identity(), None)
    return Raster(values=values, valid=valid, bands=raster.bands, geobox=row)

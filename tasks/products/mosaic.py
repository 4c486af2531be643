"""Mosaics: the tiles of one image, written as one Cloud Optimized GeoTIFF."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from tasks.plan.plan import Plan
from tasks.plan.tiles import RegionTiles
from tasks.products.product import Product, made_of, remove_renamed
from tasks.products.stored_tiles import missing_named, names, read_file
from tasks.raster.cog import MosaicTile, write_mosaic
from tasks.raster.raster import common_dtype
from tasks.storage.receipt import READERS, TileReceipt
from tasks.storage.store import Store


def of_source(plan: Plan, tiles: Sequence[TileReceipt], source: int) -> Sequence[TileReceipt]:
    """Return the receipts of one source's tiles, found by bisection.

    Args:
        plan: The plan.
        tiles: Receipts of some or all of its tiles, in order.
        source: Number of the source in the plan.
    """
    ends = (source * len(plan.tiles), (source + 1) * len(plan.tiles))
    start, stop = (bisect_left(tiles, end, key=lambda tile: tile.index) for end in ends)
    return tiles[start:stop]


def make_mosaic(store: Store, plan: Plan, tiles: Sequence[TileReceipt], *, source: int, name: str) -> str:
    """Write the tiles of one source as one Cloud Optimized GeoTIFF, and return its key.

    If the stored mosaic was made from the same tiles, it is kept as it is.

    Args:
        store: The output.
        plan: The plan, of a region or a time series.
        tiles: Receipts of all its tiles, in order.
        source: Number of the source in the plan.
        name: Name of the file, without `.tif`.

    Raises:
        TileLost: A tile was deleted or changed after it was stored.
        StorageError: The mosaic cannot be written.
    """
    assert isinstance(plan.tiles, RegionTiles)
    tiling = plan.tiles.tiling
    offset = source * len(plan.tiles)
    own = of_source(plan, tiles, source)
    product = _mosaic(store, plan, own, name)
    if product.is_there:
        return product.key
    with store.workspace() as folder:
        most = max((tile.size for tile in own), default=0)
        with missing_named(store, names(own)):
            files = store.local_copies([tile.key for tile in own if tile.key is not None], folder, most=most)
        pieces = []
        for tile in own:
            if tile.key is not None:
                window = tiling.window(plan.tiles.place(tile.index - offset))
                pieces.append(
                    MosaicTile(window=window, source=partial(read_file, store, tile, files[tile.key], window.shape))
                )
        path = write_mosaic(
            pieces,
            tiling.geobox,
            folder / product.name,
            bands=[band.id for band in plan.bands],
            dtype=common_dtype(band.dtype for band in plan.bands),
            # A growing series gets another fingerprint with each new date, but its older files must not change.
            tags=plan.sources[source].tags(plan.sources[source].identity if plan.home else plan.fingerprint),
            codec=plan.tile_format.codec,
        )
        return product.put_file(path)


def find_mosaics(store: Store, plan: Plan, tiles: Sequence[TileReceipt]) -> dict[str, str]:
    """Return the keys of the mosaics of a series, by date, that are already stored and made from the same tiles."""
    products = [
        _mosaic(store, plan, of_source(plan, tiles, number), source.label) for number, source in enumerate(plan.sources)
    ]
    with ThreadPoolExecutor(READERS) as pool:
        there = pool.map(lambda product: product.is_there, products)
        return {
            source.label: product.key
            for source, product, is_there in zip(plan.sources, products, there, strict=True)
            if is_there
        }


def remove_renamed_mosaics(store: Store, plan: Plan, tiles: Sequence[TileReceipt]) -> list[str]:
    """Remove mosaics that are stored under another name than that of their image: see :func:`remove_renamed`."""

    def made() -> set[str]:
        own = [of_source(plan, tiles, number) for number in range(len(plan.sources))]
        return {_mosaic(store, plan, each, "").made_of for each in own if any(tile.key is not None for tile in each)}

    return remove_renamed(store, plan.folder, {f"{source.label}.tif" for source in plan.sources}, made)


def _mosaic(store: Store, plan: Plan, tiles: Sequence[TileReceipt], name: str) -> Product:
    # Tiles are numbered within their image, so that the same image in a longer series has the same mosaic.
    placed = [replace(tile, index=tile.index % len(plan.tiles)) for tile in tiles]
    return Product(store, plan.folder, f"{name}.tif", made_of(placed))

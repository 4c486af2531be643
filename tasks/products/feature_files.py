"""Files of features: one Cloud Optimized GeoTIFF for each feature of a time series on a date."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from affine import Affine
from odc.geo.geobox import GeoBox

from tasks.plan.plan import Plan
from tasks.plan.tiles import RegionTiles
from tasks.products.features import Features
from tasks.products.mosaic import of_source
from tasks.products.product import Product, made_of, remove_renamed
from tasks.products.zonal import read_tile
from tasks.raster.clip import clipped, inside_window
from tasks.raster.cog import MosaicTile, write_mosaic
from tasks.raster.raster import Raster, common_dtype
from tasks.raster.window import Window
from tasks.storage.receipt import READERS, TileReceipt
from tasks.storage.store import Store

# Number of decoded tiles that are kept, because neighbouring features lie in the same tiles.
KEPT = 4


def make_feature_files(
    store: Store, plan: Plan, tiles: Sequence[TileReceipt], features: Features, *, source: int
) -> dict[str, str]:
    """Cut a file for each feature out of the tiles of one date, and return their keys by the names of the features.

    Each file covers the pixels of its feature. The pixels outside the feature are masked, if the plan clips and the
    masks are known. A file that was made from the same tiles is kept. A feature without a pixel on the grid has none.

    Args:
        store: The output.
        plan: The plan, of a time series.
        tiles: Receipts of all its tiles, in order.
        features: Its features.
        source: Number of the source in the plan.
    """
    cutter = _cutter(store, plan, tiles, features, source)
    label = plan.sources[source].label
    wanted = [
        (name, zone, cutter.product(zone, _file(features, name, label)))
        for zone, name in enumerate(features.files)
        if features.zones.window(zone) is not None
    ]
    with ThreadPoolExecutor(READERS) as pool:
        there = list(pool.map(lambda each: each[2].is_there, wanted))
    for (_, zone, product), is_there in zip(wanted, there, strict=True):
        if not is_there:
            cutter.cut(zone, product, source)
    return {name: product.key for name, _, product in wanted}


def remove_renamed_feature_files(
    store: Store, plan: Plan, tiles: Sequence[TileReceipt], features: Features
) -> list[str]:
    """Remove files of features that are stored under another name than that of their image: see `remove_renamed`."""

    def made() -> set[str]:
        cutters = (_cutter(store, plan, tiles, features, source) for source in range(len(plan.sources)))
        zones = range(len(features.areas))
        return {cutter.product(zone, "").made_of for cutter in cutters for zone in zones if cutter.has_pixels(zone)}

    names = {_file(features, name, source.label) for name in features.files for source in plan.sources}
    return remove_renamed(store, plan.folder, names, made, under=_folder(features))


def _file(features: Features, name: str, label: str) -> str:
    return f"{_folder(features)}{name}/{label}.tif"


def _folder(features: Features) -> str:
    return f"features-{features.identity[:12]}/"


def _cutter(store: Store, plan: Plan, tiles: Sequence[TileReceipt], features: Features, source: int) -> _Cutter:
    receipts = {tile.index % len(plan.tiles): tile for tile in of_source(plan, tiles, source)}

    @functools.lru_cache(maxsize=KEPT)
    def read(tile: int) -> Raster:
        return read_tile(store, plan, receipts[tile])

    return _Cutter(store, plan, features, receipts, read)


@dataclass(frozen=True, eq=False)
class _Cutter:
    """Cuts features out of the tiles of one date."""

    store: Store
    plan: Plan
    features: Features
    tiles: Mapping[int, TileReceipt]
    """Receipts by the number of the tile in its image."""

    read: Callable[[int], Raster]
    """Reads the tile with this number."""

    def product(self, zone: int, name: str) -> Product:
        """Return the file of a feature as a product."""
        own = [replace(self.tiles[tile], index=tile) for tile in self._touched(zone) if tile in self.tiles]
        shape = self.features.zones.geometries[zone].wkb_hex
        clips = self.plan.tile_format.clip is not None
        return Product(self.store, self.plan.folder, name, made_of(own, "feature", shape, clips))

    def has_pixels(self, zone: int) -> bool:
        """Return whether a tile that the feature touches holds a pixel."""
        return any(tile in self.tiles and self.tiles[tile].key is not None for tile in self._touched(zone))

    def cut(self, zone: int, product: Product, source: int) -> None:
        """Write the file of a feature."""
        assert isinstance(self.plan.tiles, RegionTiles)
        whole = self.features.zones.window(zone)
        assert whole is not None
        grid, image = self.plan.tiles.tiling.geobox, self.plan.sources[source]
        affine = grid.affine @ Affine.translation(whole.columns.start, whole.rows.start)
        pieces = []
        for tile in self._touched(zone):
            if tile in self.tiles and self.tiles[tile].key is not None:
                window = _common(whole, self.plan.tiles.tiling.window(self.plan.tiles.place(tile)))
                piece = functools.partial(self._piece, zone, tile, window)
                pieces.append(MosaicTile(window=_within(window, whole), source=piece))
        with self.store.workspace() as folder:
            path = write_mosaic(
                pieces,
                GeoBox(whole.shape, affine, grid.crs),
                folder / "feature.tif",
                bands=[band.id for band in self.plan.bands],
                dtype=common_dtype(band.dtype for band in self.plan.bands),
                tags=image.tags(image.identity) | {"FEATURE": self.features.areas[zone].name},
                codec=self.plan.tile_format.codec,
            )
            product.put_file(path)

    def _touched(self, zone: int) -> list[int]:
        """Return the numbers of the tiles that the window of a feature touches, of those in the plan."""
        assert isinstance(self.plan.tiles, RegionTiles)
        whole, tiling = self.features.zones.window(zone), self.plan.tiles.tiling
        if whole is None:
            return []
        side = tiling.tile_size
        rows, columns = (range(each.start // side, -(-each.stop // side)) for each in (whole.rows, whole.columns))
        places = [row * int(tiling.shape.x) + column for row in rows for column in columns]
        numbers = self._numbers
        return places if numbers is None else [numbers[place] for place in places if place in numbers]

    @functools.cached_property
    def _numbers(self) -> Mapping[int, int] | None:
        """The number of each tile in the plan by its place in the whole tiling. None = they are the same."""
        assert isinstance(self.plan.tiles, RegionTiles)
        kept = self.plan.tiles.kept
        return None if kept is None else {place: number for number, place in enumerate(kept)}

    def _piece(self, zone: int, tile: int, window: Window) -> Raster:
        assert isinstance(self.plan.tiles, RegionTiles)
        tiling = self.plan.tiles.tiling
        place = _within(window, tiling.window(self.plan.tiles.place(tile)))
        whole = self.read(tile)
        grid = whole.geobox
        affine = grid.affine @ Affine.translation(place.columns.start, place.rows.start)
        raster = Raster(
            values=place.of_array(whole.values),
            valid=None if whole.valid is None else place.of_array(whole.valid),
            bands=whole.bands,
            geobox=GeoBox(place.shape, affine, grid.crs),
        )
        if raster.valid is None or self.plan.tile_format.clip is None:
            return raster
        return clipped(raster, inside_window(self.features.zones.geometries[zone], tiling.geobox, window))


def _common(one: Window, other: Window) -> Window:
    """Return the rows and columns that two windows have in common."""
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in ((one.rows, other.rows), (one.columns, other.columns))
    )
    return Window(rows=rows, columns=columns)


def _within(window: Window, whole: Window) -> Window:
    """Return a window counted from the first row and column of another one."""
    rows, columns = (
        slice(part.start - start, part.stop - start)
        for part, start in ((window.rows, whole.rows.start), (window.columns, whole.columns.start))
    )
    return Window(rows=rows, columns=columns)

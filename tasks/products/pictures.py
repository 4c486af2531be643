"""Pictures of stored tiles and mosaics: quicklooks and contact sheets."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from typing import IO, NamedTuple, TypeVar

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from PIL import Image

from tasks.plan.plan import Plan
from tasks.plan.tiles import RegionTiles
from tasks.products.headings import common_quantity, left_out, title, where
from tasks.products.stored_tiles import missing_named, read_bytes
from tasks.raster.colours import Key, colour_key
from tasks.raster.house_style import PAGE, TALL, Heading
from tasks.raster.map_sheet import Panel, map_sheet, side_of
from tasks.raster.thumbnail import Thumbnail, shown_bands, thumbnail
from tasks.storage.checksum import crc32c
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import StorageError, Store

T = TypeVar("T")

# Largest number of pictures on a contact sheet.
SHEET = 36
# Longer side of each of them, as it is read, in pixels.
CELL = 240
# Longest list of the names that a sheet does not show.
NAMED = 6


def evenly_spaced(items: Sequence[T]) -> list[T]:
    """Return at most 36 items for a contact sheet, evenly spaced from the first to the last.

    >>> len(evenly_spaced(range(1_000))), evenly_spaced(range(1_000))[:3], evenly_spaced("ab")
    (36, [0, 29, 57], ['a', 'b'])
    """
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, SHEET).round().astype(int))] if items else []


class Picture(NamedTuple):
    """A file on a contact sheet."""

    label: str
    """Text beside the picture."""
    key: str
    """Key of the file in the output."""
    crc32c: str | None = None
    """Checksum of its bytes; None = not known."""
    tile: int | None = None
    """Number of the tile that it shows; None = the whole region, or a part of it."""

    def opened(self, store: Store) -> IO[bytes]:
        """Open the file: a tile, whose checksum is known, or a mosaic, which may be large.

        Raises:
            TileLost: The file was deleted or changed after it was stored.
        """
        if self.crc32c is not None:
            return io.BytesIO(read_bytes(store, self.key, self.crc32c, name=f"tile {self.label}".rstrip()))
        with missing_named(store, {self.key: "a mosaic"}):
            return store.open(self.key)


class Thumbnails:
    """Thumbnails of GeoTIFF files for contact sheets, made while other tiles of the plan are still being fetched."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], Thumbnail] = {}
        """The thumbnails by key and checksum: a file may be replaced before the contact sheet is drawn."""

    def take(self, store: Store, plan: Plan, keys: Sequence[str]) -> None:
        """Make thumbnails of the GeoTIFF files with these keys. Files that are missing or unreadable are skipped."""
        if plan.tile_format.file_format != "GEO_TIFF":
            return
        for key in keys:
            with contextlib.suppress(KeyError, StorageError, rasterio.errors.RasterioError):
                data = store.get(key)
                self._taken[key, crc32c(data)] = _thumbnail(plan, io.BytesIO(data))

    def of(self, store: Store, plan: Plan, pictures: Sequence[Picture]) -> list[Thumbnail]:
        """Return the thumbnails of GeoTIFF files."""
        looks = []
        for picture in pictures:
            taken = self._taken.get((picture.key, picture.crc32c)) if picture.crc32c else None
            if taken is None:
                with picture.opened(store) as file:
                    taken = _thumbnail(plan, file)
            looks.append(taken)
        return looks


def _thumbnail(plan: Plan, file: IO[bytes]) -> Thumbnail:
    return thumbnail(file, bands=_shown(plan), max_size=CELL)


def make_quicklook(store: Store, plan: Plan, key: str, *, label: str = "", dates: str = "") -> tuple[str, bytes]:
    """Draw a mosaic and store the picture as `quicklook.png`.

    Args:
        store: The output.
        plan: The plan of the mosaic.
        key: Key of the mosaic.
        label: What the user calls the job; empty = nothing.
        dates: When the image is of, if the plan does not say so.

    Returns:
        The key of the picture and its PNG bytes.
    """
    box = _box(plan)
    rows, columns = box.shape
    most = round(max(rows, columns) * min(PAGE / columns, TALL / rows))  # not more than is drawn
    with Picture("", key).opened(store) as file:
        look = thumbnail(file, bands=_shown(plan), max_size=min(most, PAGE))
    colours = _colours(plan, [look])
    heading = Heading(title(plan, label=label, dates=dates), (where(plan), *_about(plan, colours)))
    panel = Panel("", colours.rgba(look), look.shape)
    png = map_sheet([panel], key=colours, heading=heading, box=box, longest=PAGE)
    return _write(store, plan, png), png


def make_contact_sheet(
    store: Store,
    plan: Plan,
    pictures: Sequence[Picture],
    thumbnails: Thumbnails | None = None,
    *,
    note: str = "",
    label: str = "",
    dates: str = "",
) -> tuple[str, bytes] | None:
    """Draw files side by side and store the picture as `quicklook.png`.

    Args:
        store: The output.
        plan: The plan of the files.
        pictures: GeoTIFF, PNG or JPEG files, few enough for one picture: see :func:`evenly_spaced`.
        thumbnails: Thumbnails of some of the files, made earlier.
        note: What is shown, and what is not: see :func:`shown_of`.
        label: What the user calls the job; empty = nothing.
        dates: When the image is of, if the plan does not say so.

    Returns:
        The key of the picture and its PNG bytes. None if there is no file, or if the format is NPY.
    """
    if not pictures or plan.tile_format.file_format == "NPY":
        return None
    labels = [picture.label for picture in pictures]
    if plan.tile_format.file_format == "GEO_TIFF":
        looks = (thumbnails or Thumbnails()).of(store, plan, pictures)
        colours = _colours(plan, looks)
        panels = [Panel(text, colours.rgba(look), look.shape) for text, look in zip(labels, looks, strict=True)]
    else:
        colours = _drawn_by_earth_engine(plan)
        panels = [_drawn(store, picture) for picture in pictures]
    heading = Heading(
        title(plan, label=label, dates=dates), (where(plan), *_about(plan, colours), note, left_out(plan))
    )
    longest = side_of(len(panels)) if len(panels) > 1 else PAGE
    png = map_sheet(panels, key=colours, heading=heading, box=_box(plan, pictures[0].tile), longest=longest)
    return _write(store, plan, png), png


def make_tile_sheet(
    store: Store, plan: Plan, tiles: Sequence[TileReceipt], *, label: str = "", dates: str = ""
) -> tuple[str, bytes] | None:
    """Draw the stored tiles, at most 36 of them, side by side: see :func:`make_contact_sheet`."""
    stored = [(plan.tiles.name(tile.index) or "", tile) for tile in tiles if tile.key is not None]
    shown = evenly_spaced(stored)
    pictures = [Picture(name, tile.key or "", tile.crc32c, tile.index) for name, tile in shown]
    note = shown_of([name for name, _ in stored], [name for name, _ in shown], "tiles with pixels")
    return make_contact_sheet(store, plan, pictures, note=note, label=label, dates=dates)


def shown_of(names: Sequence[str], shown: Sequence[str], what: str) -> str:
    """Return how many of some things are shown, and which are not.

    >>> shown_of(["a", "b", "c"], ["a", "c"], "dates"), shown_of(["a"], ["a"], "dates")
    ('2 of 3 dates are shown, evenly spaced; not b', '1 of 1 dates')
    """
    left = [name for name in names if name not in set(shown)]
    count = f"{len(shown):,} of {len(names):,} {what}"
    if len(shown) == len(names):
        return count
    few = ", ".join(left) if 0 < len(left) <= NAMED else f"{len(names) - len(shown):,} others"
    if len(left) > NAMED:
        few += f", such as {', '.join(left[:2])} and {left[-1]}"
    return f"{count} are shown, evenly spaced; not {few}"


def _shown(plan: Plan) -> list[str]:
    return shown_bands([band.id for band in plan.bands])


def _colours(plan: Plan, looks: Sequence[Thumbnail]) -> Key:
    bands = _shown(plan)
    return colour_key(looks, bands=bands, quantity=common_quantity(plan, bands))


def _drawn_by_earth_engine(plan: Plan) -> Key:
    """Return what the colours of PNG and JPEG tiles mean."""
    options = json.loads(plan.tile_format.visualization or "{}")
    limits = tuple((float(each["min"]), float(each["max"])) for each in options.get("ranges", ()))
    palette = tuple(options.get("paletteColors", ()))
    bands = tuple(band.id for band in plan.bands)
    if len(bands) == 3:
        return Key(bands=bands, limits=limits * 3 if len(limits) == 1 else limits if len(limits) == 3 else (None,) * 3)
    if len(bands) == 1 and len(limits) == 1:
        return Key(bands=bands, limits=limits, palette=palette or ("black", "white"))
    return Key(bands=())


def _drawn(store: Store, picture: Picture) -> Panel:
    """Return a tile that Earth Engine has drawn."""
    with picture.opened(store) as file, Image.open(file) as opened:
        image = opened.convert("RGBA")
        shape = (image.height, image.width)
        image.thumbnail((CELL, CELL))
        return Panel(picture.label, np.asarray(image), shape)


def _about(plan: Plan, key: Key) -> list[str]:
    """Return which bands a picture shows, and how they became colours."""
    more = f" (of {len(plan.bands)} bands)" if len(plan.bands) > len(key.bands) else ""
    if plan.tile_format.file_format != "GEO_TIFF":
        return [f"Colours by Earth Engine{': band ' + ', '.join(key.bands) if key.bands else ''}"]
    if len(key.bands) == 1:
        how = "" if key.classes else "; the colours end at the 2nd and 98th percentile of the pixels"
        return [f"Band {key.bands[0]}{more}{how}"]
    values = f"{key.quantity.name} = {key.quantity.formula}" if key.quantity.formula else key.quantity.text
    return [f"Bands {', '.join(key.bands)}{more}, each from its 2nd to its 98th percentile; {values}"]


def _box(plan: Plan, tile: int | None = None) -> GeoBox:
    """Return the grid of the region, or of a tile."""
    if tile is None and isinstance(plan.tiles, RegionTiles):
        return plan.tiles.tiling.geobox
    return plan.grid(tile or 0).geobox


def _write(store: Store, plan: Plan, png: bytes) -> str:
    key = f"{plan.folder}/quicklook.png"
    store.put(key, png)
    return key

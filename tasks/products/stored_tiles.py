"""Read stored tiles for products. A tile that was deleted or changed after it was stored is named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from odc.geo.types import Shape2d

from tasks.errors.input import brief
from tasks.raster.encode import read_geotiff
from tasks.raster.raster import Raster
from tasks.storage.checksum import crc32c
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store, TileLost

AGAIN = "Something else changes this output. To resume, run the same job again: only the missing tiles are fetched"


def read_bytes(store: Store, key: str, checksum: str | None, *, name: str = "a file", most: int | None = None) -> bytes:
    """Return the stored bytes of a tile.

    Args:
        store: The output.
        key: Key of the file.
        checksum: Its checksum in the receipt; None = not known.
        name: What the file is, for the message: `tile 12`.
        most: Its size in the receipt, bytes; None = not known. No more is read.

    Raises:
        TileLost: The file is missing, is larger, or has another checksum.
    """
    with missing_named(store, {key: name}):
        data = store.get(key, most=most)
    if checksum is not None and crc32c(data) != checksum:
        raise _lost(store, key, name, "was changed: it has another checksum", ", with verify = full")
    return data


def read_file(store: Store, tile: TileReceipt, path: Path, shape: Shape2d | None = None) -> Raster:
    """Return the pixels of a stored GeoTIFF tile from its local copy.

    Args:
        store: The output.
        tile: Receipt of the tile.
        path: The copy.
        shape: Height and width of the tile, pixels; None = not known. Nothing larger is read.

    Raises:
        TileLost: The file is missing, has another size, or is no GeoTIFF.
    """
    assert tile.key is not None
    name = f"tile {tile.index}"
    with missing_named(store, {tile.key: name}):
        try:
            if path.stat().st_size != tile.size:
                raise _lost(store, tile.key, name, "was changed: it has another size")
        except FileNotFoundError:
            raise KeyError(tile.key) from None
    with unreadable_named(store, tile.key, name):
        return read_geotiff(path, shape=shape)


def names(tiles: Sequence[TileReceipt]) -> dict[str, str]:
    """Return what the files of tiles are, by key, for :func:`missing_named`."""
    return {tile.key: f"tile {tile.index}" for tile in tiles if tile.key is not None}


@contextlib.contextmanager
def missing_named(store: Store, files: dict[str, str]) -> Iterator[None]:
    """Raise the error for a missing file in place of a `KeyError` of the store.

    Args:
        store: The output.
        files: What each file is, by its key.

    Raises:
        TileLost: One of the files is missing.
    """
    try:
        yield
    except KeyError as error:
        key = str(error.args[0]) if error.args else ""
        if key not in files:
            raise
        raise _lost(store, key, files[key], "vanished") from None


@contextlib.contextmanager
def unreadable_named(store: Store, key: str, name: str) -> Iterator[None]:
    """Raise the error for a changed file in place of the errors of the libraries that read it.

    Raises:
        TileLost: The file cannot be read.
    """
    try:
        yield
    except Exception as error:  # GDAL, PROJ and NumPy raise a dozen types for a damaged file
        raise _lost(
            store, key, name, f"was changed: it cannot be read ({brief(error)})", ", with verify = full"
        ) from error


def _lost(store: Store, key: str, name: str, what: str, how: str = "") -> TileLost:
    return TileLost(f"output = {store.uri!r}: {name} ({key}) {what} after it was stored. {AGAIN}{how}.")

"""A product: a file made from tiles. It is made once, and made again only if the tiles change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import orjson

from tasks.plan.plan import Plan
from tasks.storage.checksum import crc32c, crc32c_of_file
from tasks.storage.receipt import RECEIPTS, TileReceipt
from tasks.storage.store import Store, StoreEntry

# Part of the identity of every product. To be raised when the same tiles give another file.
VERSION = 1
# Rows of a table that are encoded at once. Parquet's writer needs 20 MB for so many, 36 MB for 4,096, and 1 GB for its
# default of a million.
ROW_GROUP = 1000


def made_of(tiles: Iterable[TileReceipt], *more: object) -> str:
    """Return a SHA-256 (hex) that identifies what a product is made of.

    Args:
        tiles: Receipts of the tiles. Their numbers, statuses, reasons, keys and checksums count.
        more: Other values on which the product depends, as JSON values.
    """
    digest = sha256(orjson.dumps([VERSION, *more]))
    for tile in tiles:
        bytes_of_it = " ".join(f"{one.key} {one.crc32c}" for one in tile.objects) or "None None"
        digest.update(f"\n{tile.index} {tile.status} {bytes_of_it} {tile.reason}".encode())
    return digest.hexdigest()


def remove_renamed(
    store: Store, folder: str, names: Collection[str], made: Callable[[], Collection[str]], *, under: str = ""
) -> list[str]:
    """Remove GeoTIFFs that are stored under another name than that of their image; return their keys.

    The name of an image may change: if another image of the same start came, or in a later version of this project. A
    file made of the same tiles is then stored under the new name.

    Args:
        store: The output.
        folder: Folder of the plan.
        names: Names of the current files.
        made: Returns what these are made of, without those that hold no pixel: they are all alike.
        under: Folder of the files in that of the plan, with `/` at its end.
    """
    notes, suffix = f"{folder}/{RECEIPTS}/product-", ".json"
    found = (stored.key.removeprefix(notes).removesuffix(suffix) for stored in store.list(notes + under))
    old = [each for each in found if each.endswith(".tif") and each not in names and (under or "/" not in each)]
    current = made() if old else ()
    removed = []
    for name in old:
        note = f"{notes}{name}{suffix}"
        with contextlib.suppress(KeyError, ValueError, TypeError):
            product = Product(store, folder, name, orjson.loads(store.get(note))["made_of"])
            if product.made_of in current and product.is_there:
                store.delete(product.key)
                store.delete(note)
                removed.append(product.key)
    return removed


def acquisitions(plan: Plan) -> list[object]:
    """Return what a table shows of the images of a series beside their pixels, for :func:`made_of`."""
    facts = [[one.label, one.time, one.end, one.images, one.superseded] for one in plan.sources if one.images]
    return [facts, dict(plan.left_out)] if facts else []


@dataclass(frozen=True)
class Product:
    """A file of a plan, with a stored note of what it was made of."""

    store: Store
    """The output."""
    folder: str
    """Folder of the plan in the output."""
    name: str
    """Name of the file."""
    made_of: str
    """Identity of what it is made of: see :func:`made_of`."""
    area: str = ""
    """Identity of the area that it shows, if the plan does not decide it."""

    @property
    def key(self) -> str:
        """The key of the file in the output."""
        return f"{self.folder}/{self.name}"

    @property
    def is_of_another_area(self) -> bool:
        """Whether a file of this name is stored that shows another area."""
        try:
            note = orjson.loads(self.store.get(self._note))
            return bool(note.get("area", self.area) != self.area and self.store.find(self.key) is not None)
        except (KeyError, ValueError, AttributeError):  # no note, or one in another format
            return False

    @property
    def is_there(self) -> bool:
        """Whether the file is stored unchanged, and was made of the same tiles.

        The file is compared by its checksum; in a folder, it is read for this. Old notes without a checksum are
        compared by the version of the file.
        """
        try:
            note = orjson.loads(self.store.get(self._note))
            stored = self.store.find(self.key)
            if stored is None or (note["made_of"], note["size"]) != (self.made_of, stored.size):
                return False
            if "crc32c" not in note:
                return bool(note["version"] == stored.version)
            return bool(note["crc32c"] == (stored.crc32c or self._crc32c()))
        except (KeyError, ValueError, TypeError):  # no note, a note in another format, or the file was deleted
            return False

    def put(self, data: bytes) -> str:
        """Store the bytes of the product, and return its key. If the same bytes are stored, they are not replaced."""
        checksum = crc32c(data)
        return self._noted(self._same(len(data), checksum) or self.store.put(self.key, data), checksum)

    def put_file(self, path: Path) -> str:
        """Store the product from a file of a workspace, and return its key: see :meth:`put`."""
        with path.open("rb") as file:
            checksum = crc32c_of_file(file)
        return self._noted(self._same(path.stat().st_size, checksum) or self.store.put_file(self.key, path), checksum)

    def _same(self, size: int, checksum: str) -> StoreEntry | None:
        """Return the stored file if it has the same bytes.

        It is not replaced then: another run may be reading it, and in a bucket its read would fail.
        """
        stored = self.store.find(self.key)
        return stored if stored is not None and (stored.size, stored.crc32c) == (size, checksum) else None

    def _noted(self, stored: StoreEntry, checksum: str) -> str:
        note = {"made_of": self.made_of, "size": stored.size, "version": stored.version, "crc32c": checksum}
        self.store.put(self._note, orjson.dumps(note | ({"area": self.area} if self.area else {})))
        return self.key

    def _crc32c(self) -> str:
        with self.store.open(self.key) as file:
            return crc32c_of_file(file)

    @property
    def _note(self) -> str:
        return f"{self.folder}/{RECEIPTS}/product-{self.name}.json"

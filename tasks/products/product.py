"""A product: a file that is made of tiles, once, and kept as long as they are the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import orjson

from tasks.storage.checksum import crc32c, crc32c_of_file
from tasks.storage.receipt import RECEIPTS, TileReceipt
from tasks.storage.store import Store, Stored

# Part of what every product is made of: raised when the same tiles give another file.
VERSION = 1
# Rows of a table that are encoded at once. Parquet's writer takes 20 MB for so many, 36 for 4,096, and a gigabyte for a
# million, as it would do by default.
ROW_GROUP = 1000


def made_of(tiles: Iterable[TileReceipt], *more: object) -> str:
    """Return the identity of what a product is made of: tiles, by the checksums of their bytes, and whatever else."""
    digest = sha256(orjson.dumps([VERSION, *more]))
    for tile in tiles:
        bytes_of_it = " ".join(f"{one.key} {one.crc32c}" for one in tile.objects) or "None None"
        digest.update(f"\n{tile.index} {tile.status} {bytes_of_it} {tile.reason}".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Product:
    """A file of a plan, with a note of what it was made of."""

    store: Store
    folder: str
    """Of the plan."""
    name: str
    made_of: str

    @property
    def key(self) -> str:
        """Where it is."""
        return f"{self.folder}/{self.name}"

    @property
    def is_there(self) -> bool:
        """Whether it is there as it was made, of the same: by its checksum, for which a folder's file is read.

        Notes of before they held a checksum go by the version of the file.
        """
        try:
            note = orjson.loads(self.store.get(self._note))
            stored = self.store.find(self.key)
            if stored is None or (note["made_of"], note["size"]) != (self.made_of, stored.size):
                return False
            if "crc32c" not in note:
                return bool(note["version"] == stored.version)
            return bool(note["crc32c"] == (stored.crc32c or self._crc32c()))
        except (KeyError, ValueError, TypeError):  # no note, or none of ours; or the file is gone since
            return False

    def put(self, data: bytes) -> str:
        """Store it, and return its key."""
        checksum = crc32c(data)
        return self._noted(self._same(len(data), checksum) or self.store.put(self.key, data), checksum)

    def put_file(self, path: Path) -> str:
        """Store a file of a workspace, and return its key."""
        with path.open("rb") as file:
            checksum = crc32c_of_file(file)
        return self._noted(self._same(path.stat().st_size, checksum) or self.store.put_file(self.key, path), checksum)

    def _same(self, size: int, checksum: str) -> Stored | None:
        """Return what is there, if it is the same: another run may read it, and in a bucket loses what is replaced."""
        stored = self.store.find(self.key)
        return stored if stored is not None and (stored.size, stored.crc32c) == (size, checksum) else None

    def _noted(self, stored: Stored, checksum: str) -> str:
        note = {"made_of": self.made_of, "size": stored.size, "version": stored.version, "crc32c": checksum}
        self.store.put(self._note, orjson.dumps(note))
        return self.key

    def _crc32c(self) -> str:
        with self.store.open(self.key) as file:
            return crc32c_of_file(file)

    @property
    def _note(self) -> str:
        return f"{self.folder}/{RECEIPTS}/product-{self.name}.json"

"""A product: a file that is made of tiles, once, and kept as long as they are the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import orjson

from tasks.storage.receipt import RECEIPTS, TileReceipt
from tasks.storage.store import Store, Stored

# Part of what every product is made of: raised when the same tiles give another file.
VERSION = 1


def made_of(tiles: Iterable[TileReceipt], *more: object) -> str:
    """Return the identity of what a product is made of: tiles, by the checksums of their bytes, and whatever else."""
    digest = sha256(orjson.dumps([VERSION, *more]))
    for tile in tiles:
        digest.update(f"\n{tile.index} {tile.status} {tile.key} {tile.crc32c} {tile.reason}".encode())
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
        """Whether it is there as it was made, of the same."""
        try:
            note = orjson.loads(self.store.get(self._note))
        except (KeyError, ValueError):
            return False
        stored = self.store.find(self.key)
        return stored is not None and note == self._said(stored)

    def put(self, data: bytes) -> str:
        """Store it, and return its key."""
        return self._noted(self.store.put(self.key, data))

    def put_file(self, path: Path) -> str:
        """Store a file of a workspace, and return its key."""
        return self._noted(self.store.put_file(self.key, path))

    def _noted(self, stored: Stored) -> str:
        self.store.put(self._note, orjson.dumps(self._said(stored)))
        return self.key

    def _said(self, stored: Stored) -> dict[str, object]:
        return {"made_of": self.made_of, "size": stored.size, "version": stored.version}

    @property
    def _note(self) -> str:
        return f"{self.folder}/{RECEIPTS}/product-{self.name}.json"

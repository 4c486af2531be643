"""A bucket: objects with generations, in memory."""

from __future__ import annotations

import base64
import bisect
import hashlib
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import google_crc32c

from tests.cloud.refusal import Refusal

OCTETS = "application/octet-stream"


class Content(NamedTuple):
    """Bytes with their checksums, which many seeded objects share."""

    data: bytes
    crc32c: str
    md5: str


def content(data: bytes) -> Content:
    """Take the checksums of bytes, as the service writes them: base64, CRC32C in big-endian order."""
    return Content(
        data,
        base64.b64encode(google_crc32c.Checksum(data).digest()).decode(),
        base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One generation of an object."""

    name: str
    content: Content
    content_type: str = OCTETS
    metadata: Mapping[str, str] = field(default_factory=dict)
    generation: int

    @property
    def data(self) -> bytes:
        """The bytes."""
        return self.content.data

    @property
    def crc32c(self) -> str:
        """Their checksum."""
        return self.content.crc32c

    @property
    def etag(self) -> str:
        """Another name of the generation."""
        return base64.b64encode(f"{self.generation}/1".encode()).decode()

    def resource(self, bucket: str, url: str) -> dict[str, Any]:
        """Return what a service at a URL tells of it."""
        # The service, too, takes the generation from the time of creation.
        created = datetime.fromtimestamp(self.generation / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        path = f"storage/v1/b/{bucket}/o/{quote(self.name, safe='')}"
        told = {
            "kind": "storage#object",
            "id": f"{bucket}/{self.name}/{self.generation}",
            "selfLink": f"{url}/{path}",
            "mediaLink": f"{url}/download/{path}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": bucket,
            "generation": str(self.generation),
            "metageneration": "1",
            "contentType": self.content_type,
            "storageClass": "STANDARD",
            "size": str(len(self.content.data)),
            "md5Hash": self.content.md5,
            "crc32c": self.content.crc32c,
            "etag": self.etag,
            "timeCreated": created,
            "updated": created,
        }
        return told | {"metadata": dict(self.metadata)} if self.metadata else told


class Page(NamedTuple):
    """A part of a listing."""

    objects: list[Stored]
    prefixes: list[str]
    next: str | None
    """The name that the next page begins with."""


class Bucket:
    """Objects by name. Both a server's thread and a test's may change it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._objects: dict[str, Stored] = {}
        self._names: list[str] = []  # in order: Python orders by code point, as the service does by UTF-8
        self._generation = 0
        self._lock = threading.Lock()

    def objects(self) -> dict[str, Stored]:
        """Return all objects as they are now."""
        with self._lock:
            return dict(self._objects)

    def get(self, name: str, *, generation: int | None = None, match: int | None = None) -> Stored:
        """Return an object.

        Args:
            name: Its name.
            generation: The one that is asked for; old ones are not kept.
            match: The one that it must be at.

        Raises:
            Refusal: 404, or 412 where it is at another generation.
        """
        stored = self._objects.get(name)
        if stored is None or generation not in {None, stored.generation}:
            raise Refusal(404, f"No such object: {self.name}/{name}")
        _hold(stored.generation, match)
        return stored

    def put(
        self, name: str, content: Content, *, content_type: str, metadata: Mapping[str, str], match: int | None = None
    ) -> Stored:
        """Create a generation of an object.

        Args:
            name: Its name.
            content: Its bytes.
            content_type: Their type.
            metadata: Whatever its writer wants to be kept with it.
            match: The generation that it replaces, 0 = none.

        Raises:
            Refusal: 412, where it is at another generation.
        """
        with self._lock:
            before = self._objects.get(name)
            _hold(before.generation if before else 0, match)
            self._generation = max(self._generation + 1, time.time_ns() // 1000)
            stored = Stored(
                name=name, content=content, content_type=content_type, metadata=metadata, generation=self._generation
            )
            self._objects[name] = stored
            if before is None:
                bisect.insort(self._names, name)
        return stored

    def delete(self, name: str, *, generation: int | None = None, match: int | None = None) -> None:
        """Remove an object.

        Raises:
            Refusal: As for :meth:`get`.
        """
        with self._lock:
            self.get(name, generation=generation, match=match)
            del self._objects[name]
            del self._names[bisect.bisect_left(self._names, name)]

    def seed(self, names: Iterable[str], content: Content, metadata: Mapping[str, str]) -> None:
        """Create many objects, which share their bytes and metadata."""
        with self._lock:
            first = max(self._generation + 1, time.time_ns() // 1000)
            for generation, name in enumerate(names, first):
                self._objects[name] = Stored(name=name, content=content, metadata=metadata, generation=generation)
                self._generation = generation
            self._names = sorted(self._objects)

    def page(self, *, prefix: str, delimiter: str, start: str, most: int) -> Page:
        """Return a part of a listing, in the order of names.

        Args:
            prefix: What all names begin with.
            delimiter: Names that have it after the prefix are told only up to it, and once.
            start: The first name.
            most: Objects and shortened names together.
        """
        objects: list[Stored] = []
        prefixes: list[str] = []
        with self._lock:
            at = bisect.bisect_left(self._names, max(prefix, start))
            while at < len(self._names) and (name := self._names[at]).startswith(prefix):
                if len(objects) + len(prefixes) == most:
                    return Page(objects, prefixes, name)
                end = name.find(delimiter, len(prefix)) if delimiter else -1
                if end < 0:
                    objects.append(self._objects[name])
                    at += 1
                else:
                    group = name[: end + len(delimiter)]
                    prefixes.append(group)
                    # On to the first name that does not begin with the group.
                    at = bisect.bisect_left(self._names, group[:-1] + chr(ord(group[-1]) + 1))
        return Page(objects, prefixes, None)

    def resource(self) -> dict[str, Any]:
        """Return what the service tells of the bucket."""
        return {
            "kind": "storage#bucket",
            "id": self.name,
            "name": self.name,
            "projectNumber": "1",
            "location": "US",
            "locationType": "multi-region",
            "storageClass": "STANDARD",
            "metageneration": "1",
            "etag": "CAE=",
        }


def _hold(generation: int, match: int | None) -> None:
    if match not in {None, generation}:
        raise Refusal(412)

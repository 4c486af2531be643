"""Uploads: an object's description and bytes, in one request or in chunks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from tests.cloud.bucket import Bucket, Content, Stored, content
from tests.cloud.refusal import Refusal

_BOUNDARY = re.compile(r'multipart/related; boundary="?([^"]+)"?')
_TYPE = re.compile(rb"content-type: *([^\r\n]+)", re.IGNORECASE)
_CHUNK = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_NO_CHUNK = re.compile(r"bytes \*/(\d+|\*)")
_STEP = 256 * 1024  # chunks are of so many bytes or multiples, except for the last
_LONGEST_NAME = 1024


class Description(NamedTuple):
    """What an upload says of its object."""

    name: str
    content_type: str
    metadata: dict[str, str]
    crc32c: str | None
    md5: str | None

    def check(self, content: Content) -> None:
        """Hold the checksums that were given against those of the bytes that came.

        Raises:
            Refusal: 400, they differ.
        """
        if self.crc32c not in {None, content.crc32c}:
            raise _mismatch("CRC32C", str(self.crc32c), content.crc32c)
        if self.md5 not in {None, content.md5}:
            raise _mismatch("MD5 hash", str(self.md5), content.md5)


def _mismatch(what: str, provided: str, calculated: str) -> Refusal:
    return Refusal(400, f'Provided {what} "{provided}" doesn\'t match calculated {what} "{calculated}".')


def describe(text: bytes, content_type: str) -> Description:
    """Read the JSON that describes an object.

    Args:
        text: The JSON.
        content_type: That of the bytes, which the JSON may repeat.

    Raises:
        Refusal: 400 for what the service would not take, 501 for a property that the fake has not.
    """
    try:
        given: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refusal(400, "Parse Error", "parseError") from None
    if not isinstance(given, dict):
        raise Refusal(400, "Parse Error", "parseError")
    unknown = sorted(set(given) - {"name", "contentType", "metadata", "crc32c", "md5Hash"})
    if unknown:
        raise Refusal(501, f"The fake has no property {unknown[0]!r} of an object.")
    name, metadata = given.get("name"), given.get("metadata") or {}
    if not isinstance(name, str) or not name:
        raise Refusal(400, "Required", "required", parameter="name")
    if len(name.encode()) > _LONGEST_NAME or name in {".", ".."} or {"\r", "\n"} & set(name):
        raise Refusal(400, f"Invalid object name: {name!r}.")
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Refusal(400, "Invalid value for metadata: not a text.")
    if given.get("contentType", content_type) != content_type:
        raise Refusal(
            400,
            f"Content-Type specified in the upload ({content_type}) does not match Content-Type specified in metadata "
            f"({given['contentType']}).",
        )
    return Description(name, content_type, metadata, given.get("crc32c"), given.get("md5Hash"))


def parts(content_type: str, body: bytes) -> tuple[Description, bytes]:
    """Read an upload in one request: a multipart body of a JSON and the bytes.

    Raises:
        Refusal: 400, it is no such body, or as for :func:`describe`.
    """
    found = _BOUNDARY.fullmatch(content_type)
    if found is None:
        raise _malformed()
    line = b"\r\n--" + found[1].encode()
    first, *rest = (b"\r\n" + body).split(line)
    if first or len(rest) != 3 or rest[2].strip() != b"--":
        raise _malformed()
    (json_type, text), (data_type, data) = map(_part, rest[:2])
    if json_type.partition(";")[0] != "application/json":
        raise _malformed()
    return describe(text, data_type), data


def _part(part: bytes) -> tuple[str, bytes]:
    head, blank, body = part.partition(b"\r\n\r\n")
    found = _TYPE.search(head)
    if not blank or found is None:
        raise _malformed()
    return found[1].decode(), body


def _malformed() -> Refusal:
    return Refusal(400, "Malformed multipart body.", "badRequest")


@dataclass(kw_only=True)
class Session:
    """An upload in chunks. What it must replace is looked at only when all are there, as by the service."""

    bucket: Bucket
    description: Description
    match: int | None
    stored: Stored | None = None
    unchecked: bool = False
    """Some chunk was corrupted on purpose: no checksum may find that."""

    _data: bytearray = field(default_factory=bytearray)

    @property
    def range(self) -> dict[str, str]:
        """The header that tells how many bytes have come, none if none have."""
        return {"range": f"bytes=0-{len(self._data) - 1}"} if self._data else {}

    def take(self, content_range: str, chunk: bytes, hashes: str) -> Stored | None:
        """Take a chunk.

        Args:
            content_range: Where it belongs, ``bytes */*`` = nowhere: it asks how many bytes have come.
            chunk: Its bytes.
            hashes: The checksums of all bytes, which come with the last of them.

        Returns:
            The object once it is whole.

        Raises:
            Refusal: 400 for a chunk that does not fit, or for another checksum; 412.
        """
        if self.stored is None and self._append(content_range, chunk):
            whole = content(bytes(self._data))
            if not self.unchecked:
                self.description.check(whole)
                self._given(hashes).check(whole)
            self.stored = self.bucket.put(
                self.description.name,
                whole,
                content_type=self.description.content_type,
                metadata=self.description.metadata,
                match=self.match,
            )
            self._data.clear()
        return self.stored

    def _append(self, content_range: str, chunk: bytes) -> bool:
        """Append a chunk, and tell whether it was the last. Of one that was sent again, the rest is taken."""
        if asked := _NO_CHUNK.fullmatch(content_range):
            return asked[1] == str(len(self._data))
        found = _CHUNK.fullmatch(content_range)
        if found is None:
            raise Refusal(400, "Failed to parse Content-Range header.", "badRequest")
        first, end = int(found[1]), int(found[2]) + 1
        if end - first != len(chunk):
            raise Refusal(
                400,
                f"Invalid request.  There were {len(chunk)} byte(s) in the request body.  There should have been "
                f"{end - first} byte(s) (starting at offset {first} and ending at offset {end - 1}) according to the "
                "Content-Range header.",
                "badRequest",
            )
        if first > len(self._data):
            raise Refusal(
                400,
                f"Invalid request.  According to the Content-Range header, the upload offset is {first} byte(s), "
                f"which exceeds already uploaded size of {len(self._data)} byte(s).",
                "badRequest",
            )
        is_last = found[3] == str(end)
        if not is_last and len(chunk) % _STEP:
            raise Refusal(
                400,
                f"Invalid request.  The number of bytes uploaded is required to be equal or greater than {_STEP}, "
                f"except for the final request (it's recommended to be the exact multiple of {_STEP}).  The received "
                f"request contained {len(chunk)} bytes, which does not meet this requirement.",
                "badRequest",
            )
        self._data += chunk[len(self._data) - first :]
        return is_last

    def _given(self, hashes: str) -> Description:
        given = dict(each.strip().split("=", 1) for each in hashes.split(",") if each)
        return self.description._replace(crc32c=given.get("crc32c"), md5=given.get("md5"))

"""A strict fake of Cloud Storage: just the calls that its client makes for us, and of each just what it sends."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.cloud import fields
from tests.cloud.bucket import OCTETS, Bucket, Stored, content
from tests.cloud.fault import Fault
from tests.cloud.refusal import JSON, Refusal
from tests.cloud.tokens import Tokens, Ungranted
from tests.cloud.upload import Session, describe, parts

_PAGE = 1000  # the most that one answer to a listing holds: https://cloud.google.com/storage/docs/paginate-results
_BUCKET = r"/storage/v1/b/([^/]+)"
_UPLOAD = f"/upload{_BUCKET}/o"
_OBJECT = _BUCKET + "/o/([^/]+)"  # the slashes of an object's name are sent escaped
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
# Parameters that select how an answer looks, and the values of them that the fake can do.
_FIXED = {"alt": {"json"}, "prettyPrint": {"true", "false"}, "projection": {"noAcl"}}


@dataclass(kw_only=True)
class _Call:
    """A request, read."""

    route: _Route
    bucket: str
    name: str
    query: dict[str, str]
    headers: Headers
    body: bytes
    fault: str | None = None

    def number(self, parameter: str, least: int = 0) -> int | None:
        """Return the value of a parameter that is a number."""
        text = self.query.get(parameter)
        if text is not None and not (text.isascii() and text.isdigit() and int(text) >= least):
            raise Refusal(400, f"Invalid long value: '{text}'.", "invalidParameter", parameter=parameter)
        return None if text is None else int(text)


class _Route(NamedTuple):
    """A kind of call."""

    kind: str
    call: re.Pattern[str]
    """Its method and path."""

    answer: Callable[[_Call], Response]
    permission: str
    """What an account needs for it; empty = none."""

    fixed: Mapping[str, str]
    """The parameters that tell it from another kind at the same path."""

    parameters: Collection[str]
    """The others that it may have."""


class Fake:
    """The service, and its knobs, which may be turned at any time. An ASGI application.

    Args:
        requires_token: Refuse calls without one. Those with a bad one are refused anyway.
        refuse_tokens: Give none.
        faults: Rules, of which the first that is due is done to a call.
        latency: Seconds before each answer.
    """

    def __init__(
        self,
        *,
        requires_token: bool = False,
        refuse_tokens: bool = False,
        faults: Iterable[Fault] = (),
        latency: float = 0.0,
    ) -> None:
        self.url = ""
        """Where it is served."""
        self.requires_token = requires_token
        self.refuse_tokens = refuse_tokens
        self.faults = list(faults)
        self.latency = latency
        self.calls: Counter[str] = Counter()
        """How many calls there were: bucket, list, get, download, insert, delete, token, those that upload in chunks
        (start and chunk), and unknown ones."""
        self.most_at_once = 0
        """The highest number of calls at once."""
        self._at_once = 0
        self._buckets: dict[str, Bucket] = {}
        self._sessions: dict[str, Session] = {}
        self._tokens = Tokens()
        self._routes = self._table()
        self._controls: dict[str, Callable[[Request, bytes], Any]] = {
            "GET /fake/calls": self._tell_calls,
            "GET /fake/objects": self._tell_objects,
            "POST /fake/seed": self._seed,
            "PATCH /fake/faults": self._turn_faults,
        }

    # Controls --------------------------------------------------------------------------------------------------------

    def create_bucket(self, name: str) -> None:
        """Create an empty bucket."""
        self._buckets[name] = Bucket(name)

    def objects(self, bucket: str) -> dict[str, Stored]:
        """Return the objects of a bucket as they are now, by name."""
        return self._buckets[bucket].objects()

    def seed(
        self, bucket: str, names: Iterable[str], data: bytes = b"", metadata: Mapping[str, str] | None = None
    ) -> None:
        """Create objects cheaply: they share their bytes and metadata."""
        self._buckets[bucket].seed(names, content(data), metadata or {})

    def expire_tokens(self) -> None:
        """Make all tokens invalid that were given so far."""
        self._tokens.expire()

    def _tell_calls(self, asked: Request, body: bytes) -> dict[str, Any]:
        return {"calls": self.calls, "most_at_once": self.most_at_once}

    def _tell_objects(self, asked: Request, body: bytes) -> list[dict[str, Any]]:
        return [
            {
                "name": stored.name,
                "size": len(stored.data),
                "crc32c": stored.crc32c,
                "generation": stored.generation,
                "metadata": stored.metadata,
            }
            for stored in self._bucket(asked.query_params["bucket"]).objects().values()
        ]

    def _seed(self, asked: Request, body: bytes) -> None:
        """Seed ``names``, or ``count`` names below a ``prefix``, with ``size`` bytes of zero and some ``metadata``."""
        given = orjson.loads(body)
        bucket, names = self._bucket(given.pop("bucket")), given.pop("names", None)
        if names is None:
            prefix = given.pop("prefix")
            names = [f"{prefix}{number:06d}" for number in range(given.pop("count"))]
        size, metadata = given.pop("size", 0), given.pop("metadata", {})
        if given:
            raise Refusal(400, f"A seed has no {', '.join(given)}.")
        bucket.seed(names, content(bytes(size)), metadata)

    def _turn_faults(self, asked: Request, body: bytes) -> None:
        self.faults = [Fault(**rule) for rule in orjson.loads(body)]

    def _control(self, asked: Request, body: bytes) -> Response:
        line = f"{asked.method} {asked.scope['path']}"
        try:
            answer = self._controls[line](asked, body)
        except (KeyError, TypeError, ValueError) as error:
            raise Refusal(400, f"{line}: {type(error).__name__}: {error}") from error
        return _json(answer)

    # Any call --------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        asked = Request(scope, receive)
        is_control = scope["path"].startswith("/fake/")
        self._at_once += not is_control
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            # Whole before any answer: a client that still sends would see no answer but a broken connection.
            body = await asked.body()
            if is_control:
                answer = self._refusing(self._control, asked, body)
            else:
                answer = self._refusing(self._answer, asked, body)
                await asyncio.sleep(self.latency)
            await answer(scope, receive, send)
        except ClientDisconnect:
            pass  # there is nobody to be answered
        finally:
            self._at_once -= not is_control

    def _refusing(self, answer: Callable[[Request, bytes], Response], asked: Request, body: bytes) -> Response:
        try:
            return answer(asked, body)
        except Refusal as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 - the client would repeat a 500 for two minutes, and tell nothing
            refusal = Refusal(501, f"The fake failed: {type(error).__name__}: {error}")
        return refusal.answer(media=asked.query_params.get("alt") == "media")

    def _answer(self, asked: Request, body: bytes) -> Response:
        call, line = self._read(asked, body), f"{asked.method} {asked.scope['path']}"
        self.calls[call.route.kind if call else "unknown"] += 1
        fault = next((each for each in self.faults if each.is_due(line)), None)
        if fault is not None and fault.status is not None:
            raise fault.refusal()
        if call is None:
            raise Refusal(501, f"The fake has no {line}?{asked.scope['query_string'].decode()}")
        call.fault = None if fault is None else fault.kind
        self._admit(call)
        answer = call.route.answer(call)
        if fault is not None and fault.kind == "drop_after_store":
            raise fault.refusal()
        return answer

    def _read(self, asked: Request, body: bytes) -> _Call | None:
        """Return a call of the kind that fits, if any does."""
        query = dict(parse_qsl(asked.scope["query_string"].decode(), keep_blank_values=True))
        line = f"{asked.method} {asked.scope['raw_path'].decode()}"
        for route in self._routes:
            found = route.call.fullmatch(line)
            if found and query.items() >= route.fixed.items():
                bucket, name = (*map(unquote, found.groups()), "", "")[:2]
                return _Call(route=route, bucket=bucket, name=name, query=query, headers=asked.headers, body=body)
        return None

    def _admit(self, call: _Call) -> None:
        """See that a call is allowed, and has no parameter that would do nothing here."""
        token = call.headers.get("authorization")
        if call.route.permission and token is not None:
            self._tokens.check(token)
        elif call.route.permission and self.requires_token:
            raise Refusal(
                401,
                f"Anonymous caller does not have {call.route.permission} access to the Google Cloud Storage object. "
                f"Permission '{call.route.permission}' denied on resource (or it may not exist).",
                "required",
            )
        for parameter, value in call.query.items():
            if parameter in call.route.fixed:
                continue
            if parameter not in call.route.parameters:
                raise Refusal(501, f"The fake has no parameter {parameter!r} of {call.route.kind}.")
            if value not in _FIXED.get(parameter, {value}):
                raise Refusal(501, f"The fake has no value {value!r} of {parameter!r}.")

    def _bucket(self, name: str) -> Bucket:
        if name not in self._buckets:
            raise Refusal(404, "The specified bucket does not exist.")
        return self._buckets[name]

    # Each kind of call -----------------------------------------------------------------------------------------------

    def _table(self) -> tuple[_Route, ...]:
        told = ("alt", "prettyPrint", "projection", "fields")
        which = ("generation", "ifGenerationMatch")
        create = {"permission": "storage.objects.create", "parameters": ("ifGenerationMatch",)}
        in_chunks = {"uploadType": "resumable"}
        return (
            _route("bucket", f"GET {_BUCKET}", self._get_bucket, permission="storage.buckets.get", parameters=told),
            _route(
                "list",
                f"GET {_BUCKET}/o",
                self._list,
                permission="storage.objects.list",
                parameters=(*told, "prefix", "delimiter", "pageToken", "maxResults"),
            ),
            _route(
                "download",
                f"GET (?:/download)?{_OBJECT}",
                self._download,
                permission="storage.objects.get",
                fixed={"alt": "media"},
                parameters=which,
            ),
            _route("get", f"GET {_OBJECT}", self._get, permission="storage.objects.get", parameters=(*told, *which)),
            _route(
                "delete",
                f"DELETE {_OBJECT}",
                self._delete,
                permission="storage.objects.delete",
                parameters=("prettyPrint", *which),
            ),
            _route("insert", f"POST {_UPLOAD}", self._insert, fixed={"uploadType": "multipart"}, **create),
            _route("start", f"POST {_UPLOAD}", self._start, fixed=in_chunks, **create),
            _route(
                "chunk",
                f"PUT {_UPLOAD}",
                self._chunk,
                permission="storage.objects.create",
                fixed=in_chunks,
                parameters=("ifGenerationMatch", "upload_id"),
            ),
            _route("token", "POST /token", self._token),
        )

    def _get_bucket(self, call: _Call) -> Response:
        bucket = self._bucket(call.bucket)
        return _json(fields.select(call.query.get("fields"), fields.BUCKET, bucket.resource()))

    def _list(self, call: _Call) -> Response:
        bucket = self._bucket(call.bucket)
        page = bucket.page(
            prefix=call.query.get("prefix", ""),
            delimiter=call.query.get("delimiter", ""),
            start=_decoded(call.query.get("pageToken", "")),
            most=min(call.number("maxResults", least=1) or _PAGE, _PAGE),
        )
        listing: dict[str, Any] = {"kind": "storage#objects"}
        if page.objects:
            listing["items"] = [stored.resource(bucket.name, self.url) for stored in page.objects]
        if page.prefixes:
            listing["prefixes"] = page.prefixes
        if page.next is not None:
            listing["nextPageToken"] = page.next.encode().hex()
        return _json(fields.select(call.query.get("fields"), fields.LISTING, listing))

    def _get(self, call: _Call) -> Response:
        bucket, stored = self._stored(call)
        return _json(fields.select(call.query.get("fields"), fields.OBJECT, stored.resource(bucket.name, self.url)))

    def _download(self, call: _Call) -> Response:
        _, stored = self._stored(call)
        size = len(stored.data)
        headers = {
            "etag": stored.etag,
            "x-goog-generation": str(stored.generation),
            "x-goog-metageneration": "1",
            "x-goog-hash": f"crc32c={stored.content.crc32c},md5={stored.content.md5}",
            "x-goog-storage-class": "STANDARD",
            "x-goog-stored-content-encoding": "identity",
            "x-goog-stored-content-length": str(size),
        }
        data, status, asked = stored.data, 200, _RANGE.fullmatch(call.headers.get("range", ""))
        if asked and any(asked.groups()):
            first, end = _span(asked[1], asked[2], size)
            if first >= end:
                raise Refusal(416)
            data, status, headers["content-range"] = data[first:end], 206, f"bytes {first}-{end - 1}/{size}"
        if call.fault == "corrupt_download":
            data = _flipped(data)
        if call.fault == "cut_download":
            data = data[: len(data) // 2]
        return Response(data, status, headers, stored.content_type)

    def _stored(self, call: _Call) -> tuple[Bucket, Stored]:
        bucket = self._bucket(call.bucket)
        generation, match = call.number("generation"), call.number("ifGenerationMatch")
        return bucket, bucket.get(call.name, generation=generation, match=match)

    def _delete(self, call: _Call) -> Response:
        bucket = self._bucket(call.bucket)
        generation, match = call.number("generation"), call.number("ifGenerationMatch")
        bucket.delete(call.name, generation=generation, match=match)
        return Response(status_code=204)

    def _insert(self, call: _Call) -> Response:
        bucket = self._bucket(call.bucket)
        description, data = parts(call.headers.get("content-type", ""), call.body)
        if call.fault == "corrupt":
            whole = content(_flipped(data))
        else:
            whole = content(data)
            description.check(whole)
        stored = bucket.put(
            description.name,
            whole,
            content_type=description.content_type,
            metadata=description.metadata,
            match=call.number("ifGenerationMatch"),
        )
        return _json(stored.resource(bucket.name, self.url))

    def _start(self, call: _Call) -> Response:
        bucket = self._bucket(call.bucket)
        description = describe(call.body, call.headers.get("x-upload-content-type", OCTETS))
        upload = secrets.token_urlsafe(48)
        match = call.number("ifGenerationMatch")
        self._sessions[upload] = Session(bucket=bucket, description=description, match=match)
        query = urlencode(call.query | {"upload_id": upload})
        return Response(headers={"location": f"{self.url}/upload/storage/v1/b/{bucket.name}/o?{query}"})

    def _chunk(self, call: _Call) -> Response:
        session = self._sessions.get(call.query.get("upload_id", ""))
        if session is None:
            raise Refusal(404)
        chunk = call.body
        if call.fault == "corrupt":
            chunk, session.unchecked = _flipped(chunk), True
        stored = session.take(call.headers.get("content-range", ""), chunk, call.headers.get("x-goog-hash", ""))
        if stored is None:
            return Response(status_code=308, headers=session.range)
        return _json(stored.resource(session.bucket.name, self.url))

    def _token(self, call: _Call) -> Response:
        try:
            return _json(self._tokens.grant(call.body, refuse=self.refuse_tokens))
        except Ungranted as error:
            return _json({"error": error.name, "error_description": str(error)}, 400)


def _route(
    kind: str,
    call: str,
    answer: Callable[[_Call], Response],
    *,
    permission: str = "",
    fixed: Mapping[str, str] | None = None,
    parameters: Collection[str] = (),
) -> _Route:
    return _Route(kind, re.compile(call), answer, permission, fixed or {}, parameters)


def _json(answer: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(answer), status, media_type=JSON)


def _decoded(token: str) -> str:
    try:
        return bytes.fromhex(token).decode()
    except ValueError:
        raise Refusal(400, "Invalid Value", "invalid", parameter="pageToken") from None


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """Return the bytes that a range means: from, to, or if it has no beginning, so many at the end."""
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1 if last else size, size)


def _flipped(data: bytes) -> bytes:
    """Return some bytes with a bit of the middle one flipped."""
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 1 for byte in data[middle : middle + 1]) + data[middle + 1 :]

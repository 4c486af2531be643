"""The HTTP application: Earth Engine REST v1 over starlette."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import json
import logging
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.sandbox import listing, request
from deployments.sandbox.catalogue import Catalogue
from deployments.sandbox.discovery import algorithms, discovery, method_at
from deployments.sandbox.edition import Edition
from deployments.sandbox.engine import Engine
from deployments.sandbox.faulty_http import Broken, gone
from deployments.sandbox.formats import Picture
from deployments.sandbox.gallery import Gallery
from deployments.sandbox.knobs import Knobs
from deployments.sandbox.payload import LARGEST
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.traffic import FAILURES, Fate, Traffic, fingerprint

QUOTA_STATUS = {"x-earth-engine-quota-status": "parallelism_restricted=true"}
_JSON = "application/json; charset=UTF-8"
_SMALL = 1024  # bytes that are not worth compressing
_LONGEST_HANG = 600.0  # seconds; no client should wait for so long

_LOG = logging.getLogger("deployments.sandbox")

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]


class Sandbox:
    """What the endpoints share."""

    def __init__(self, catalogue: Catalogue, knobs: Knobs | None = None, workers: int | None = None) -> None:
        self.traffic = Traffic(knobs or Knobs())
        self._catalogue = catalogue
        self.engine = Engine(Edition(catalogue, self.traffic.knobs))
        self._pool = ThreadPoolExecutor(workers or os.cpu_count(), thread_name_prefix="pixels")
        self.gallery = Gallery(self.engine, self._run)
        self._algorithms: tuple[bytes, bytes] | None = None

    # Documents -------------------------------------------------------------------------------------------------

    async def discovery(self, asked: Request) -> Response:
        """``GET /$discovery/rest``."""
        if asked.query_params.get("version", "v1") != "v1":
            raise Refusal(f"Discovery document not found for version '{asked.query_params['version']}'.", 404)
        return _json(_discovery(str(asked.base_url)))

    async def algorithms(self, asked: Request) -> Response:
        """``GET /v1/projects/{project}/algorithms``; 700 KB, compressed once."""
        if self._algorithms is None:
            plain = algorithms()
            self._algorithms = plain, gzip.compress(plain, 6)
        plain, packed = self._algorithms
        if "gzip" in asked.headers.get("accept-encoding", "") and self.traffic.knobs.gzip:
            return Response(packed, media_type=_JSON, headers={"content-encoding": "gzip"})
        return Response(plain, media_type=_JSON)

    async def config(self, asked: Request) -> Response:
        """``GET /v1/projects/{project}/config``."""
        return _json({"name": f"projects/{asked.path_params['project']}/config"})

    async def operations(self, asked: Request) -> Response:
        """``GET /v1/projects/{project}/operations``: no export ever runs here."""
        return _json({})

    async def operation(self, asked: Request) -> Response:
        """``GET /v1/projects/{project}/operations/{id}``."""
        raise Refusal(f"Operation '{asked.url.path.removeprefix('/v1/')}' not found.", 404)

    # Assets ----------------------------------------------------------------------------------------------------

    async def asset(self, asked: Request) -> Response:
        """``GET /v1/{name=projects/*/assets/**}``."""
        asset = await self._run(self.engine.catalogue.get, _name(asked))
        return _json(listing.asset_json(asset))

    async def list_assets(self, asked: Request) -> Response:
        """``GET /v1/{parent}:listAssets``."""
        return await self._list(asked, "assets")

    async def list_images(self, asked: Request) -> Response:
        """``GET /v1/{parent}:listImages``."""
        return await self._list(asked, "images")

    async def _list(self, asked: Request, key: Any) -> Response:
        query = listing.query(asked.query_params)
        name = _name(asked)

        def work() -> dict[str, Any]:
            return listing.page(self.engine.catalogue.children(name), query, key)

        return _json(await self._run(work))

    # Pixels and values -----------------------------------------------------------------------------------------

    async def get_pixels(self, asked: Request) -> Response:
        """``POST /v1/{name}:getPixels``."""
        name = _name(asked)

        def work(body: bytes) -> Picture:
            wanted = request.get_pixels(body)
            return self.engine.asset_pixels(name, wanted, self.traffic.knobs.max_pixels)

        return await self._metered(asked, work, pixels=True)

    async def compute_pixels(self, asked: Request) -> Response:
        """``POST /v1/{project}/image:computePixels``."""

        def work(body: bytes) -> Picture:
            return self.engine.computed_pixels(request.compute_pixels(body), self.traffic.knobs.max_pixels)

        return await self._metered(asked, work, pixels=True)

    async def compute_value(self, asked: Request) -> Response:
        """``POST /v1/{project}/value:compute``."""

        def work(body: bytes) -> Picture:
            value = self.engine.value(request.compute_value(body))
            return Picture(json.dumps({"result": value}).encode(), _JSON)

        return await self._metered(asked, work, pixels=False)

    async def _metered(self, asked: Request, work: Callable[[bytes], Picture], *, pixels: bool) -> Response:
        """Answer a request that counts against the quota, with the latency and the fault that the dice give it.

        It is in flight until it is worked off, also when its client has gone before.
        """
        statistics = self.traffic.statistics
        statistics.pixel_requests += pixels
        body = await _body(asked)
        mark = fingerprint(asked.url.path, body)
        self.traffic.admit(asyncio.get_running_loop().time())
        try:
            fate = self.traffic.draw(mark)
            # Worked on while the latency passes, which is the whole time that Earth Engine takes.
            answer, _ = await asyncio.gather(
                self._fated(asked, fate, functools.partial(work, body)),
                asyncio.sleep(fate.latency),
                return_exceptions=True,
            )
            if isinstance(answer, BaseException):
                raise answer
        finally:
            statistics.leave()
        if pixels and not isinstance(answer, Broken):
            statistics.succeed(mark)
        return answer

    async def _fated(self, asked: Request, fate: Fate, work: Callable[[], Picture]) -> Response:
        if fate.fault in FAILURES:
            raise FAILURES[fate.fault]
        if fate.fault == "dropped":
            return Broken("dropped")
        if fate.fault == "hanging":
            with contextlib.suppress(TimeoutError):  # nobody closed the connection: then the sandbox does
                await asyncio.wait_for(gone(asked.receive), _LONGEST_HANG)
            return Broken("hanging")
        packs = self.traffic.knobs.gzip and "gzip" in asked.headers.get("accept-encoding", "")

        def work_and_pack() -> Response:
            picture = work()
            if packs and len(picture.body) > _SMALL:
                headers = {"content-encoding": "gzip", "vary": "accept-encoding"}
                packed = gzip.compress(picture.body, 1, mtime=0)
                return Response(packed, media_type=picture.media_type, headers=headers)
            return Response(picture.body, media_type=picture.media_type)

        answer = await self._run(work_and_pack)
        return Broken("truncated", answer) if fate.fault == "truncated" else answer

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    # The sandbox itself ----------------------------------------------------------------------------------------

    async def knobs(self, asked: Request) -> Response:
        """``GET`` and ``PATCH /sandbox/knobs``."""
        if asked.method == "PATCH":
            try:
                changes = json.loads(await _body(asked))
            except ValueError as error:
                raise Refusal(f"Invalid JSON payload received. {error}") from error
            if not isinstance(changes, dict):
                raise Refusal("Knobs are a JSON object of names and values.")
            knobs = self.traffic.knobs.turned(changes)
            # Here and not in a worker, though it may look assets up: all knobs turn at once, or none does.
            self.engine.catalogue = Edition(self._catalogue, knobs)
            self.traffic.turn(knobs)
        return _json(asdict(self.traffic.knobs))

    async def statistics(self, asked: Request) -> Response:
        """``GET`` and ``DELETE /sandbox/statistics``."""
        if asked.method == "DELETE":
            self.traffic.statistics.reset()
        return _json(self.traffic.statistics.json())

    async def other(self, asked: Request) -> Response:
        """Whatever has no route: named, if Earth Engine has such a method."""
        method = method_at(asked.method, asked.url.path)
        if method:
            raise Refusal(f"Method {method} is not supported by the sandbox.")
        raise Refusal(f"Method not found: {asked.method} {asked.url.path}.", 404)

    def application(self) -> Starlette:
        """Return the ASGI application."""
        project, asset = "/v1/projects/{project}", "/v1/projects/{project}/assets/{asset:path}"
        table: tuple[tuple[str, str, str, Endpoint], ...] = (
            ("POST", project + "/image:computePixels", "image.computePixels", self.compute_pixels),
            ("POST", asset + ":getPixels", "assets.getPixels", self.get_pixels),
            ("POST", project + "/value:compute", "value.compute", self.compute_value),
            ("GET", asset + ":listAssets", "assets.listAssets", self.list_assets),
            ("GET", asset + ":listImages", "assets.listImages", self.list_images),
            ("GET", asset, "assets.get", self.asset),
            ("GET", project + ":listAssets", "listAssets", self.list_assets),
            ("GET", project + "/assets:listAssets", "assets.listAssets", self.list_assets),
            ("GET", project + "/assets:listImages", "assets.listImages", self.list_images),
            ("GET", project + "/assets", "assets.get", self.asset),
            ("GET", project + "/algorithms", "algorithms.list", self.algorithms),
            ("GET", project + "/config", "getConfig", self.config),
            ("GET", project + "/operations", "operations.list", self.operations),
            ("GET", project + "/operations/{operation}", "operations.get", self.operation),
            ("GET", "/$discovery/rest", "discovery", self.discovery),
            ("GET", "/", "", self.gallery.page),
            ("GET", "/sandbox/offers", "", self.gallery.listing),
            ("GET", "/sandbox/pictures/{id:path}", "", self.gallery.picture),
            ("PUT", "/sandbox/recipes", "", self.gallery.recipes),
            ("GET PATCH", "/sandbox/knobs", "", self.knobs),
            ("GET DELETE", "/sandbox/statistics", "", self.statistics),
            ("GET POST PUT PATCH DELETE", "/{path:path}", "other", self.other),
        )
        routes = [
            Route(path, self._answering(name, endpoint), methods=verbs.split()) for verbs, path, name, endpoint in table
        ]
        return Starlette(routes=routes)

    def _answering(self, name: str, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint whose refusals are answers, and which is counted under a name (if it has one)."""

        async def answer(asked: Request) -> Response:
            try:
                response = await endpoint(asked)
            except Refusal as refusal:
                response = _json(refusal.body(), refusal.status)
            except ClientDisconnect:  # gone before its request was read
                response = Broken("dropped")
            except Exception:  # noqa: BLE001 - a server answers, whatever happened, and logs it
                _LOG.exception("%s %s", asked.method, asked.url.path)
                failure = Refusal("Internal error encountered. The reason is in the sandbox's log.", 500)
                response = _json(failure.body(), failure.status)
            if self.traffic.knobs.restricted:
                response.headers.update(QUOTA_STATUS)
            if name:
                broken = isinstance(response, Broken)
                status = response.fault if isinstance(response, Broken) else str(response.status_code)
                self.traffic.statistics.requests[name, status] += 1
                self.traffic.statistics.bytes += 0 if broken else len(response.body)
            return response

        return answer


def _name(asked: Request) -> str:
    name = asked.path_params.get("asset", "")
    if ":" in name:  # a verb that has no route of its own
        method = method_at(asked.method, asked.url.path)
        raise Refusal(f"Method {method or name} is not supported by the sandbox.")
    return f"projects/{asked.path_params['project']}/assets/{name}".rstrip("/")


async def _body(asked: Request) -> bytes:
    """Return the whole body. What is over the limit is read and forgotten, or its sender would see no answer."""
    parts: list[bytes] = []
    size = 0
    async for part in asked.stream():
        size += len(part)
        if size <= LARGEST:
            parts.append(part)
    if size > LARGEST:
        raise Refusal(f"Request payload size exceeds the limit: {LARGEST} bytes.")
    return b"".join(parts)


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content), status, media_type=_JSON)


@functools.lru_cache(maxsize=4)
def _discovery(root: str) -> dict[str, Any]:
    return discovery(root)

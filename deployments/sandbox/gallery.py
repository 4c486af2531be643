"""The page at the address of the sandbox: what it offers, with a picture of each."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from deployments.sandbox.engine import Engine
from deployments.sandbox.interpreter import evaluate
from deployments.sandbox.interpreter.pixels import guarded
from deployments.sandbox.offer import Offer, RecipeNote, offers, picture_of
from deployments.sandbox.raster import Image
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.thumbnail import Thumbnail, thumbnail

Run = Callable[..., Awaitable[Any]]
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


class Gallery:
    """Offers of an engine's catalogue, and of the recipes that a client has announced."""

    def __init__(self, engine: Engine, run: Run) -> None:
        self._engine = engine
        self._run = run
        self._recipes: dict[str, dict[str, Any]] = {}

    async def page(self, asked: Request) -> Response:
        """``GET /``: the offers as a page."""
        template = _TEMPLATES.get_template("gallery.html")
        return HTMLResponse(template.render(offers=await self._run(self._offers), root=str(asked.base_url)))

    async def listing(self, asked: Request) -> Response:
        """``GET /sandbox/offers``: the offers as JSON."""
        return JSONResponse(await self._run(self._offers))

    async def picture(self, asked: Request) -> Response:
        """``GET /sandbox/pictures/{id}``: the picture of an offer, a PNG."""

        def work() -> bytes:
            return _picture(picture_of(self._engine.catalogue, self._notes(), asked.path_params["id"])).png

        return Response(await self._run(work), media_type="image/png")

    async def recipes(self, asked: Request) -> Response:
        """``PUT /sandbox/recipes``: names of recipes, each with summary, parameters and the expression of its image."""
        try:
            given = json.loads(await asked.body())
            self._recipes = {
                str(name): {key: value[key] for key in ("summary", "parameters", "dates", "expression")}
                for name, value in given.items()
            }
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refusal(f"Invalid JSON payload received. {error}") from error
        return JSONResponse(sorted(self._recipes))

    def _offers(self) -> list[dict[str, Any]]:
        return [_json(offer) for offer in offers(self._engine.catalogue, self._notes())]

    def _notes(self) -> list[RecipeNote]:
        notes = []
        for name, given in self._recipes.items():
            image = evaluate(given["expression"], self._engine.catalogue)
            if isinstance(image, Image):
                words = {key: given[key] for key in ("summary", "parameters", "dates")}
                notes.append(RecipeNote(name=name, **words, image=image))
        return notes


def _json(offer: Offer) -> dict[str, Any]:
    keys = ("id", "kind", "summary", "bands", "pixel", "dates", "box", "shown", "example")
    picture = {"picture": f"sandbox/pictures/{quote(offer.id)}", "caption": _picture(offer).caption}
    return {key: getattr(offer, key) for key in keys} | picture


def _picture(offer: Offer) -> Thumbnail:
    return thumbnail(guarded(offer.image), offer.box)

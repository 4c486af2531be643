"""The engine: from a request that was understood to bytes. It blocks, and is called in worker threads."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployments.sandbox import frame
from deployments.sandbox.catalogue import Catalogue
from deployments.sandbox.formats import Picture, encode
from deployments.sandbox.interpreter import evaluate, to_json
from deployments.sandbox.interpreter.pixels import guarded
from deployments.sandbox.raster import Asset, Band, Image
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.request import PixelRequest

_REMEMBERED = 64


class Witness:
    """A catalogue that remembers what was looked up in it, to tell later whether that has changed."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._seen: dict[tuple[str, str], tuple[Any, ...]] = {}

    def get(self, name: str) -> Asset:
        """Return an asset (see Catalogue)."""
        asset = self._catalogue.get(name)
        self._seen["get", name] = _mark((asset,))
        return asset

    def children(self, name: str) -> tuple[Asset, ...]:
        """Return the children of an asset (see Catalogue)."""
        assets = self._catalogue.children(name)
        self._seen["children", name] = _mark(assets)
        return assets

    def unchanged(self, catalogue: Catalogue) -> bool:
        """Return whether every look-up would find the same versions in a catalogue of now."""
        try:
            for (call, name), seen in list(self._seen.items()):
                found = catalogue.children(name) if call == "children" else (catalogue.get(name),)
                if _mark(found) != seen:
                    return False
        except Refusal:
            return False
        return True


def _mark(assets: Sequence[Asset]) -> tuple[Any, ...]:
    return tuple((asset.name, asset.update_time) for asset in assets)


@dataclass(frozen=True)
class _Memory:
    image: Image
    witness: Witness


class Engine:
    """Evaluates and encodes. The lazy images of the last expressions are kept: tiles of a run share one."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        """May be replaced at any time: a request looks at it once, and keeps what it saw."""
        self._memories: OrderedDict[str, _Memory] = OrderedDict()
        self._lock = threading.Lock()

    def asset_pixels(self, name: str, request: PixelRequest, max_pixels: int | None = None) -> Picture:
        """Return the pixels of an asset.

        Raises:
            Refusal: 400 or 404.
        """
        asset = self.catalogue.get(name)
        if asset.image is None:
            raise Refusal(f"Asset '{asset.name}' is not an image: it is of type {asset.type}.")
        return render(guarded(asset.image), request, max_pixels)

    def computed_pixels(self, request: PixelRequest, max_pixels: int | None = None) -> Picture:
        """Return the pixels of an expression.

        Raises:
            Refusal: 400 or 404.
        """
        return render(self._image(request.expression or {}), request, max_pixels)

    def value(self, expression: dict[str, Any]) -> Any:
        """Return what an expression evaluates to, as JSON.

        Raises:
            Refusal: 400 or 404.
        """
        return to_json(evaluate(expression, self.catalogue))

    def _image(self, expression: dict[str, Any]) -> Image:
        key = json.dumps(expression)
        catalogue = self.catalogue
        with self._lock:
            memory = self._memories.get(key)
        if memory is None or not memory.witness.unchanged(catalogue):
            witness = Witness(catalogue)
            image = evaluate(expression, witness)
            if not isinstance(image, Image):
                raise Refusal(f"Expected the expression to be an Image, found {type(image).__name__}.")
            memory = _Memory(image, witness)
        with self._lock:
            self._memories[key] = memory
            self._memories.move_to_end(key)
            while len(self._memories) > _REMEMBERED:
                self._memories.popitem(last=False)
        return memory.image


def render(image: Image, request: PixelRequest, max_pixels: int | None = None) -> Picture:
    """Return the pixels that a request asks of an image.

    Args:
        image: The lazy image.
        request: Grid, bands and format.
        max_pixels: Width x height above which memory is said to be exceeded.

    Raises:
        Refusal: 400.
    """
    bands = _chosen(image, request.bands)
    grid = frame.resolve(request.frame, bands, image.footprint, request.region)
    frame.check(grid, bands)
    if max_pixels is not None and grid.width * grid.height > max_pixels:
        raise Refusal("User memory limit exceeded.")
    pixels = [band.read(grid) for band in bands]
    return encode(pixels, bands, grid, request.format, request.visualization)


def _chosen(image: Image, ids: tuple[str, ...]) -> tuple[Band, ...]:
    if not image.bands:
        raise Refusal("Image has no bands.")
    bands = {band.id: band for band in image.bands}
    for name in ids:
        if name not in bands:
            raise Refusal(
                f"Image.select: Band pattern '{name}' did not match any bands. Available bands: [{', '.join(bands)}]"
            )
    return tuple(bands[name] for name in ids) if ids else image.bands

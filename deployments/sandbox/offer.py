"""What the sandbox offers: an entry for each asset, made from the catalogue itself, and for each recipe."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from deployments.sandbox.catalogue import Catalogue
from deployments.sandbox.derived import COLLECTIONS
from deployments.sandbox.raster import Asset, Image, crs_of
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.scenes import ROOT
from deployments.sandbox.thumbnail import Box, shown_bands

_GLOBAL = 10.0  # degrees; a wider image is shown at the place of the others
_SIDE = 0.04  # degrees, of the region of an example


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One asset or recipe, as a person needs it to use it.

    Attributes:
        id: Asset id, or name of the recipe.
        kind: Image, image collection or recipe.
        summary: What it is. Empty if that is not known.
        bands: Name and type of each band.
        pixel: Size of a pixel, with its unit and CRS.
        dates: First and last date, and the number of images. Empty if it has no date.
        box: Where it has pixels: `(west, south, east, north)`, degrees.
        image: The image of its picture.
        shown: Id of that image.
        example: Parameters of a flow, as JSON that can be copied.
    """

    id: str
    kind: str
    summary: str
    bands: tuple[tuple[str, str], ...]
    pixel: str
    dates: str
    box: Box
    image: Image
    shown: str
    example: str


@dataclass(frozen=True, kw_only=True)
class RecipeNote:
    """What a client has said of a recipe: the sandbox knows expressions, not recipes."""

    name: str
    summary: str
    parameters: Mapping[str, Any]
    dates: Mapping[str, str]
    """`start` and `end` of a job, for a recipe that makes a collection; empty for others."""
    image: Image


def offers(catalogue: Catalogue, recipes: Sequence[RecipeNote] = ()) -> tuple[Offer, ...]:
    """Return the offers of a catalogue: its own scenes, the simulated datasets, and recipes.

    Args:
        catalogue: The catalogue.
        recipes: Recipes, each with the image that it makes here.
    """
    found = [(top, _images(catalogue, top)) for top in _tops(catalogue)]
    home = _home([images for _, images in found])
    assets = [_of_asset(top, images, home) for top, images in found if images]
    return (*assets, *(_of_recipe(note, home) for note in recipes))


def _tops(catalogue: Catalogue) -> Iterator[Asset]:
    with contextlib.suppress(Refusal):  # a catalogue may be without one of them
        yield from catalogue.children(ROOT)
    for name in COLLECTIONS:
        with contextlib.suppress(Refusal):
            yield catalogue.get(name)


def _images(catalogue: Catalogue, top: Asset) -> tuple[Asset, ...]:
    return tuple(it for it in ((top,) if top.image else catalogue.children(top.name)) if it.image)


def _home(groups: Sequence[Sequence[Asset]]) -> Box:
    """Return the place of the simulated datasets: the last bounded footprint."""
    boxes = [box for images in groups for asset in images[:1] if (box := _bounded(asset.image))]
    return boxes[-1] if boxes else (-54.66, -25.42, -54.53, -25.10)


def _bounded(image: Image | None) -> Box | None:
    if image is None or image.footprint is None:
        return None
    west, south, east, north = image.footprint.bounds
    return (west, south, east, north) if max(east - west, north - south) < _GLOBAL else None


def _of_asset(top: Asset, images: Sequence[Asset], home: Box) -> Offer:
    clearest = min(images, key=_cloud)
    image = clearest.image
    assert image is not None
    box = _bounded(image) or home
    start, end = _span(images)
    series = top.type == "IMAGE_COLLECTION"
    example: dict[str, Any] = {
        "image": top.id,
        "bands": shown_bands(image),
        "region": _place(box),
        "crs": "native",
    }
    if series and start and end:
        example |= {"start": start.date().isoformat(), "end": _day_after(end)}
    dates = (
        f"{start:%Y-%m-%d} to {end:%Y-%m-%d}"
        if start and end and start != end
        else f"{start:%Y-%m-%d}"
        if start
        else ""
    )
    return Offer(
        id=top.id,
        kind="image collection" if series else "image",
        summary="Simulated from the Landsat samples." if top.id in COLLECTIONS else "",
        bands=_bands(image),
        pixel=_pixel(image),
        dates=f"{dates}, {len(images)} images" if series else dates,
        box=box,
        image=image,
        shown=clearest.id,
        example=json.dumps(example, ensure_ascii=False),
    )


def _of_recipe(note: RecipeNote, home: Box) -> Offer:
    box = _bounded(note.image) or home
    given = {"recipe_parameters": dict(note.parameters)} if note.parameters else {}
    example = {"image": note.name, **given, "bands": shown_bands(note.image), "region": _place(box), "scale": 30}
    example |= note.dates
    return Offer(
        id=note.name,
        kind="recipe",
        summary=note.summary,
        bands=_bands(note.image),
        pixel="",
        dates="",
        box=box,
        image=note.image,
        shown=note.name,
        example=json.dumps(example, ensure_ascii=False),
    )


def _cloud(asset: Asset) -> float:
    shares = [value for key, value in asset.properties.items() if key.startswith("CLOUD") and _number(value)]
    return float(min(shares, default=0.0))


def _number(value: object) -> bool:
    return isinstance(value, int | float)


def _span(images: Sequence[Asset]) -> tuple[datetime | None, datetime | None]:
    starts = [it.start_time for it in images if it.start_time]
    return min(starts, default=None), max(starts, default=None)


def _day_after(when: datetime) -> str:
    return (when.date() + timedelta(days=1)).isoformat()


def _bands(image: Image) -> tuple[tuple[str, str], ...]:
    return tuple((band.id, band.type.numpy.name) for band in image.bands)


def _pixel(image: Image) -> str:
    projection = image.bands[0].projection
    try:
        crs = crs_of(projection.crs)
    except ValueError:  # pyproj's errors are of this type
        return ""
    unit = "degrees" if crs.is_geographic else "m"
    operation = (crs.source_crs or crs).coordinate_operation
    own = crs.name if crs.name != "unnamed" or operation is None else operation.method_name
    name = projection.crs if len(projection.crs) < 20 else own
    return f"{abs(projection.transform.a):.6g} {unit}, {name}"


def _place(box: Box) -> list[float]:
    """Return a region of some hundred pixels in the middle of a box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = _SIDE / 2
    return [round(side, 2) for side in (x - half, y - half, x + half, y + half)]


def picture_of(catalogue: Catalogue, recipes: Sequence[RecipeNote], name: str) -> Offer:
    """Return the offer of an id.

    Raises:
        Refusal: 404, there is none.
    """
    for offer in offers(catalogue, recipes):
        if offer.id == name:
            return offer
    raise Refusal(f"The sandbox offers no {name}.", 404)

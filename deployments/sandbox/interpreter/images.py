"""Images: loading, making and choosing bands."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from deployments.sandbox.catalogue import Catalogue, not_found
from deployments.sandbox.interpreter import promotion
from deployments.sandbox.interpreter.arithmetic import cast_band
from deployments.sandbox.interpreter.coercion import coerce, constant_image
from deployments.sandbox.interpreter.masks import chosen_band, masked_band
from deployments.sandbox.interpreter.metadata import INDEX, START, kept, property_of
from deployments.sandbox.interpreter.patterns import pattern
from deployments.sandbox.interpreter.pixels import constant_band, pixelwise, remembered
from deployments.sandbox.interpreter.pixeltypes import pixel_type
from deployments.sandbox.interpreter.registry import function
from deployments.sandbox.raster import DOUBLE, Asset, Band, Image
from deployments.sandbox.refusal import Refusal


def asset_image(asset: Asset) -> Image:
    """Return an asset's image with the id, the times and the footprint that Earth Engine gives it."""
    assert asset.image is not None
    image = asset.image
    found: dict[str, Any] = {INDEX: asset.id.rsplit("/", 1)[-1]}
    if asset.start_time is not None:
        found[START] = round(asset.start_time.timestamp() * 1000)
    if asset.end_time is not None:
        found["system:time_end"] = round(asset.end_time.timestamp() * 1000)
    if asset.size_bytes:
        found["system:asset_size"] = asset.size_bytes
    footprint = image.footprint if image.footprint is not None else asset.geometry
    version = image.version if image.version is not None else round(asset.update_time.timestamp() * 1_000_000)
    properties = {**found, **asset.properties, **image.properties}
    described = replace(image, id=asset.id, version=version, properties=properties, footprint=footprint)
    loaded: Image = remembered(described)
    return loaded


@function("Image.load")
def load(asset_id: str, *, catalogue: Catalogue) -> Image:
    """Load an image by its id."""
    try:
        asset = catalogue.get(asset_id)
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        raise not_found(refusal, "Image.load", "Image", asset_id) from None
    if asset.image is None:
        raise Refusal(f"Image.load: Asset '{asset_id}' is not an Image.")
    return asset_image(asset)


@function("Image.constant")
def constant(value: Any) -> Image:
    """Make an image of a constant, or a band for each constant of a list."""
    if isinstance(value, Mapping):
        return dictionary_image(dict(value), None)
    return value if isinstance(value, Image) else constant_image(value)


@function("Dictionary.toImage")
def dictionary_image(dictionary: dict[str, Any], names: list[str] | None) -> Image:
    """Make an image with a constant band for each entry."""
    keys = sorted(dictionary) if names is None else names
    missing = [key for key in keys if key not in dictionary]
    if missing:
        raise Refusal(f"Dictionary.toImage: Dictionary does not contain key: '{missing[0]}'.")
    made = constant_image([dictionary[key] for key in keys])
    return replace(made, bands=tuple(replace(b, id=k) for b, k in zip(made.bands, keys, strict=True)))


@function("Image.metadata")
def metadata_image(image: Image, name: str, band: str | None) -> Image:
    """Make a constant image of a property."""
    value = property_of(image, name)
    if not isinstance(value, int | float):
        raise Refusal(f"Image.metadata: Property '{name}' is not a number.")
    return kept(image, None, (constant_band(value, DOUBLE, band or name),))


def select_bands(image: Image, selectors: Iterable[Any], where: str = "Image.select") -> tuple[Band, ...]:
    """Return the bands that names, regular expressions or indices choose, in their order.

    Raises:
        Refusal: 400, a selector chooses nothing.
    """
    bands = image.bands
    available = ", ".join(band.id for band in bands)
    chosen: list[Band] = []
    for selector in selectors:
        if isinstance(selector, int | float) and not isinstance(selector, bool):
            index = int(selector) if math.isfinite(selector) else len(bands)
            if not -len(bands) <= index < len(bands):
                raise Refusal(f"{where}: Band index {index} is out of range [0, {len(bands)}).")
            chosen.append(bands[index])
            continue
        if not isinstance(selector, str):
            raise Refusal(f"{where}: A band selector must be a name or an index, got {selector}.")
        found = [band for band in bands if band.id == selector]
        if not found:
            regex = pattern(selector)
            found = [band for band in bands if regex.on(band.id).fullmatch(band.id)]
        if not found:
            raise Refusal(f"{where}: Band pattern '{selector}' did not match any bands. Available bands: [{available}]")
        chosen += found
    return tuple(chosen)


def unique(bands: Iterable[Band]) -> tuple[Band, ...]:
    """Return bands with a numerical suffix on names that are there already: ``B4``, ``B4_1``."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    result = []
    for band in bands:
        name, count = band.id, counts.get(band.id, 0)
        while name in taken:
            count += 1
            name = f"{band.id}_{count}"
        counts[band.id] = count
        taken.add(name)
        result.append(band if name == band.id else replace(band, id=name))
    return tuple(result)


@function("Image.select")
def select(image: Image, selectors: list[Any], names: list[str] | None) -> Image:
    """Choose bands by name, regular expression or index, and perhaps rename them."""
    bands = select_bands(image, selectors)
    if names is None:
        return replace(image, bands=unique(bands))
    return replace(image, bands=_named(bands, names, "Image.select"))


def _named(bands: tuple[Band, ...], names: list[str], where: str) -> tuple[Band, ...]:
    if len(names) != len(bands):
        raise Refusal(f"{where}: Number of new names ({len(names)}) must match the number of bands ({len(bands)}).")
    for position, name in enumerate(names):
        if name in names[:position]:
            listed = ", ".join(names[:position])
            raise Refusal(
                f"{where}: Can't add a band named '{name}' to image because a band with this name already "
                f"exists. Existing bands: [{listed}]."
            )
    return tuple(replace(band, id=name) for band, name in zip(bands, names, strict=True))


@function("Image.rename")
def rename(image: Image, names: list[str]) -> Image:
    """Rename all bands."""
    return replace(image, bands=_named(image.bands, names, "Image.rename"))


@function("Image.slice")
def slice_bands(image: Image, start: int, end: int | None) -> Image:
    """Choose bands by a range of indices."""
    return replace(image, bands=image.bands[start:end])


@function("Image.addBands")
def add_bands(image: Image, other: Image, names: list[str] | None, overwrite: bool) -> Image:
    """Add bands of another image, beside or in place of those with the same names."""
    added = other.bands if names is None else select_bands(other, names, "Image.addBands")
    if not overwrite:
        return replace(image, bands=unique((*image.bands, *added)))
    by_name = {band.id: band for band in added}
    old = tuple(by_name.get(band.id, band) for band in image.bands)
    there = {band.id for band in image.bands}
    return replace(image, bands=old + tuple(band for band in added if band.id not in there))


@function("Image.cat")
def concatenate(images: list[Any]) -> Image:
    """Put the bands of several images together."""
    parts = [part if isinstance(part, Image) else constant_image(part) for part in images]
    if not parts:
        return Image(bands=())
    return replace(parts[0], bands=unique(band for part in parts for band in part.bands))


@function("Image.bandNames")
def band_names(image: Image) -> list[str]:
    """List the names of bands."""
    return [band.id for band in image.bands]


@function("Image.bandTypes")
def band_types(image: Image) -> dict[str, Any]:
    """Return the types of bands by name."""
    return {band.id: band.type for band in image.bands}


@function("Image.cast")
def cast(image: Image, types: dict[str, Any], order: list[str] | None) -> Image:
    """Cast some bands by name."""
    unknown = [name for name in types if name not in band_names(image)]
    if unknown:
        raise Refusal(f"Image.cast: Image has no band named '{unknown[0]}'.")
    bands = {b.id: cast_band(b, pixel_type(types[b.id])) if b.id in types else b for b in image.bands}
    names = order if order is not None else list(bands)
    missing = [name for name in names if name not in bands]
    if missing:
        raise Refusal(f"Image.cast: Image has no band named '{missing[0]}'.")
    return replace(image, bands=tuple(bands[name] for name in names))


@function("Image.clamp")
def clamp(image: Image, low: float, high: float) -> Image:
    """Hold values between two limits."""
    if low > high:
        raise Refusal(f"Image.clamp: 'low' ({low}) must not be above 'high' ({high}).")
    bands = tuple(
        pixelwise(lambda v: np.clip(v, low, high), (b,), promotion.bounded(b.type, low, high), b.id)
        for b in image.bands
    )
    return kept(image, None, bands, properties=True)


@function("Image.unitScale")
def unit_scale(image: Image, low: float, high: float) -> Image:
    """Scale values so that the range [low, high] becomes [0, 1]."""
    if low == high:
        raise Refusal("Image.unitScale: 'low' and 'high' must differ.")
    bands = tuple(
        pixelwise(lambda v: (v - low) / (high - low), (b,), promotion.floating(b.type), b.id) for b in image.bands
    )
    return kept(image, None, bands, properties=True)


@function("Image.remap")
def remap(image: Image, old: list[Any], new: list[Any], default: Any, band_name: str | None) -> Image:
    """Replace the listed values of one band, named ``remapped``; others get the default or are masked."""
    if len(old) != len(new):
        raise Refusal(f"Image.remap: Lists 'from' ({len(old)}) and 'to' ({len(new)}) must have the same size.")
    if not old:
        raise Refusal("Image.remap: Lists 'from' and 'to' must not be empty.")
    band = select_bands(image, [band_name if band_name is not None else 0], "Image.remap")[0]
    old, new = (coerce(values, "List<Number>", "Image.remap") for values in (old, new))
    order = np.argsort(old, kind="stable")
    sources, targets = np.asarray(old)[order], np.asarray(new)[order]
    targets_type = promotion.union(*(promotion.constant_type(v) for v in new))

    def find(values: Any) -> tuple[Any, Any]:
        place = np.clip(np.searchsorted(sources, values), 0, len(old) - 1)
        return targets[place], sources[place] == values

    found = pixelwise(lambda v: find(v)[1], (band,), promotion.BOOLEAN, "remapped")
    mapped = pixelwise(lambda v: find(v)[0], (band,), targets_type, "remapped")
    if default is None:
        return kept(image, None, (masked_band(mapped, found),), properties=True)
    rest = constant_image(default).bands[0]
    return kept(image, None, (chosen_band(found, mapped, rest, band, "remapped"),), properties=True)


@function("Image.normalizedDifference")
def normalized_difference(image: Image, names: list[str] | None) -> Image:
    """Compute (a - b) / (a + b) of two bands as ``nd``; negative inputs are masked, properties dropped.

    Source: the description of Image.normalizedDifference in Earth Engine's list of algorithms.
    """
    if names is not None and len(names) != 2:
        raise Refusal(f"Image.normalizedDifference: Must specify exactly 2 bands, got {len(names)}.")
    if names is None and len(image.bands) < 2:
        raise Refusal("Image.normalizedDifference: The image must have at least 2 bands.")
    inputs = select_bands(image, names if names is not None else [0, 1], "Image.normalizedDifference")[:2]

    def compute(a: Any, b: Any) -> Any:
        total = a + b
        ratio = np.divide(a - b, total, out=np.zeros(total.shape), where=total != 0)
        return np.where((a < 0) | (b < 0), np.nan, ratio)

    result = replace(promotion.floating(*(band.type for band in inputs)), min=-1, max=1)
    band = pixelwise(compute, inputs, result, "nd", nan_masks=True)
    return Image(bands=(band,), footprint=image.footprint)


@function("Image.interpolate")
def interpolate(image: Image, xs: list[float], ys: list[float], behavior: str) -> Image:
    """Map values of the first band through a line of points."""
    xs, ys = (coerce(values, "List<Number>", "Image.interpolate") for values in (xs, ys))
    if len(xs) != len(ys) or len(xs) < 2 or any(a >= b for a, b in itertools.pairwise(xs)):
        raise Refusal("Image.interpolate: 'x' must be strictly increasing, and as long as 'y'.")
    if behavior not in {"extrapolate", "clamp", "input", "mask"}:
        raise Refusal(f"Image.interpolate: Unknown behavior '{behavior}'.")
    band = select_bands(image, [0], "Image.interpolate")[0]

    def compute(values: Any) -> Any:
        inside = np.interp(values, xs, ys)
        if behavior == "clamp":
            return inside
        low, high = values < xs[0], values > xs[-1]
        if behavior != "extrapolate":
            return np.where(low | high, values if behavior == "input" else np.nan, inside)
        first, last = (ys[1] - ys[0]) / (xs[1] - xs[0]), (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
        inside = np.where(low, ys[0] + (values - xs[0]) * first, inside)
        return np.where(high, ys[-1] + (values - xs[-1]) * last, inside)

    return kept(image, None, (pixelwise(compute, (band,), DOUBLE, band.id, nan_masks=True),))

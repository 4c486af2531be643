"""Collections of images that become one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import shapely

from deployments.sandbox.interpreter import promotion
from deployments.sandbox.interpreter.images import select_bands, unique
from deployments.sandbox.interpreter.metadata import INDEX
from deployments.sandbox.interpreter.pixels import DEGREE, Remembered
from deployments.sandbox.interpreter.promotion import stored
from deployments.sandbox.interpreter.reducers import ROWS
from deployments.sandbox.interpreter.registry import add, function
from deployments.sandbox.interpreter.values import (
    Collection,
    Output,
    Reducer,
)
from deployments.sandbox.raster import Band, Grid, Image, Pixels
from deployments.sandbox.refusal import Refusal


def _matching(collection: Collection) -> dict[str, list[Band]]:
    """Return the bands of all images by name, in the order of their first appearance."""
    found: dict[str, list[Band]] = {}
    for image in collection.elements:
        if not isinstance(image, Image):
            raise Refusal("ImageCollection.reduce: The collection holds elements that are no images.")
        for band in image.bands:
            found.setdefault(band.id, []).append(band)
    return found


def _homogeneous(collection: Collection, where: str) -> dict[str, list[Band]]:
    images = collection.elements
    for image in images:
        names, expected = ([b.id for b in i.bands] for i in (image, images[0]))
        if names != expected:
            raise Refusal(
                f"{where}: Expected a homogeneous image collection, but an image with incompatible bands was "
                f"encountered:\nFirst image type: {len(expected)} bands ([{', '.join(expected)}]).\n"
                f"Current image type: {len(names)} bands ([{', '.join(names)}]).\n"
                "Some bands might require explicit casts."
            )
    return _matching(collection)


def _stack(bands: Sequence[Band], grid: Grid) -> tuple[Any, Any]:
    """Return values and masks of bands, each (layer, height, width), values in their common type."""
    layers = [band.read(grid) for band in bands]
    return np.stack([layer.values for layer in layers]), np.stack([layer.mask for layer in layers])


def reduced_band(bands: Sequence[Band], output: Output, name: str) -> Band:
    """Return the band that a reducer makes of several."""
    result = output.type(promotion.union(*(band.type for band in bands)), len(bands))

    def read(grid: Grid) -> Pixels:
        pixels = output.reduce(*_stack(bands, grid))
        with np.errstate(invalid="ignore"):  # what is masked may be no number
            # Sentinels of what is masked must not reach an interpolation later.
            values = np.where(pixels.mask > 0, pixels.values, 0)
            return Pixels(stored(values, result), pixels.mask)

    return Band(id=name, type=result, projection=DEGREE, read=read)


def _footprint(collection: Collection) -> Any:
    shapes = [image.footprint for image in collection.elements]
    if not shapes or any(shape is None for shape in shapes):
        return None
    return shapely.union_all(shapes)


def reduce_collection(collection: Collection, reducer: Reducer, name: Callable[[str, Output], str]) -> Image:
    """Return the composite of a reducer, with bands named by ``name(band, output)``."""
    bands = [
        reduced_band(same, output, name(band, output))
        for band, same in _matching(collection).items()
        for output in reducer.outputs
    ]
    return Image(bands=tuple(bands), footprint=_footprint(collection))


@function("ImageCollection.reduce")
def reduce(collection: Collection, reducer: Reducer) -> Image:
    """Reduce each band over all images; results are named ``B4_median``."""
    return reduce_collection(collection, reducer, lambda band, output: f"{band}_{output.name}")


def _shorthand(output: Output) -> Callable[[Any], Image]:
    return lambda collection: reduce_collection(collection, Reducer((output,)), lambda band, _output: band)


for _name in ("min", "max", "count", "sum", "product", "mean", "and", "or", "median", "mode"):
    add(f"reduce.{_name}", _shorthand(ROWS[_name]))


@function("Image.reduce")
def reduce_bands(image: Image, reducer: Reducer) -> Image:
    """Reduce the bands of an image to one for each output of a reducer."""
    if not image.bands:
        raise Refusal("Image.reduce: The image has no bands.")
    first_band = image.bands[0]
    bands = (
        replace(
            reduced_band(image.bands, output, output.name),
            projection=first_band.projection,
            dimensions=first_band.dimensions,
            origin=first_band.origin,
        )
        for output in reducer.outputs
    )
    return replace(image, bands=tuple(bands), id=None, version=None)


@function("ImageCollection.mosaic")
def mosaic(collection: Collection) -> Image:
    """Lay images over each other, the last on top."""
    found = _homogeneous(collection, "ImageCollection.mosaic")
    bands = (reduced_band(same, ROWS["last"], name) for name, same in found.items())
    return Image(bands=tuple(bands), footprint=_footprint(collection))


@function("ImageCollection.qualityMosaic")
def quality_mosaic(collection: Collection, quality: str) -> Image:
    """Take all bands of the image whose quality band is highest, pixel by pixel."""
    found = _homogeneous(collection, "ImageCollection.qualityMosaic")
    judges = [
        replace(judge, read=Remembered(judge.read))
        for image in collection.elements
        for judge in select_bands(image, [quality], "ImageCollection.qualityMosaic")
    ]

    def band_of(name: str, same: list[Band]) -> Band:
        result = promotion.union(*(band.type for band in same))

        def read(grid: Grid) -> Pixels:
            quality_values, quality_masks = _stack(judges, grid)
            values, masks = _stack(same, grid)
            ranked = np.where(quality_masks > 0, quality_values.astype(np.float64), -np.inf)
            best = ranked.argmax(axis=0)[None]
            valid = np.take_along_axis(quality_masks, best, axis=0)[0] > 0
            mask = np.take_along_axis(masks, best, axis=0)[0] * valid
            return Pixels(stored(np.take_along_axis(values, best, axis=0)[0], result), mask)

        return Band(id=name, type=result, projection=DEGREE, read=read)

    bands = (band_of(name, same) for name, same in found.items())
    return Image(bands=tuple(bands), footprint=_footprint(collection))


@function("ImageCollection.toBands")
def to_bands(collection: Collection) -> Image:
    """Put the bands of all images into one, named ``<index>_<band>``."""
    bands = [
        replace(band, id=f"{image.properties.get(INDEX, place)}_{band.id}")
        for place, image in enumerate(collection.elements)
        for band in image.bands
    ]
    return Image(bands=unique(bands), footprint=_footprint(collection))

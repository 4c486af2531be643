"""Collections: loading, choosing, mapping, compositing."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import shapely

from deployments.sandbox.catalogue import Catalogue, not_found
from deployments.sandbox.interpreter.coercion import coerce, type_name
from deployments.sandbox.interpreter.edges import lonlat_shape, made_of, meant
from deployments.sandbox.interpreter.filters import element_geometry, field
from deployments.sandbox.interpreter.images import add_bands, asset_image
from deployments.sandbox.interpreter.metadata import INDEX, property_of
from deployments.sandbox.interpreter.registry import function
from deployments.sandbox.interpreter.values import (
    Algorithm,
    Collection,
    Date,
    Feature,
    Filter,
    Geometry,
    ring_box,
    with_properties,
)
from deployments.sandbox.raster import Image
from deployments.sandbox.refusal import Refusal


@function("ImageCollection.load")
def load(collection_id: str, *, catalogue: Catalogue) -> Collection:
    """Load a collection by its id."""
    try:
        asset = catalogue.get(collection_id)
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        raise not_found(refusal, "ImageCollection.load", "ImageCollection", collection_id) from None
    if asset.type != "IMAGE_COLLECTION":
        raise Refusal(f"ImageCollection.load: Asset '{collection_id}' is not an ImageCollection.")
    children = tuple(asset_image(child) for child in catalogue.children(asset.name) if child.image is not None)
    return Collection(
        elements=children,
        id=asset.id,
        version=round(asset.update_time.timestamp() * 1_000_000),
        properties=asset.properties,
    )


def _indexed(elements: Sequence[Any]) -> tuple[Any, ...]:
    """Return elements that all have an index: their own, or their place."""
    return tuple(
        e if e.properties.get(INDEX) is not None else with_properties(e, {**e.properties, INDEX: str(i)})
        for i, e in enumerate(elements)
    )


@function("ImageCollection.fromImages")
def from_images(images: list[Any]) -> Collection:
    """Make a collection of images, indexed by their place."""
    found: list[Image] = [coerce(image, "Image", "ImageCollection.fromImages") for image in images]
    placed = (with_properties(im, {**im.properties, INDEX: str(i)}) for i, im in enumerate(found))
    return Collection(elements=tuple(placed))


@function("Collection")
def from_features(features: list[Any]) -> Collection:
    """Make a collection of features, or geometries."""
    made = [Feature(geometry=f) if isinstance(f, Geometry) else f for f in features]
    bad = [f for f in made if not isinstance(f, Feature | Image | Collection)]
    if bad:
        raise Refusal(f"Collection: All elements must be features, got {type_name(bad[0])}.")
    images = bool(made) and all(isinstance(f, Image) for f in made)
    return Collection(elements=_indexed(made), kind="ImageCollection" if images else "FeatureCollection")


@function("Collection.filter")
def keep(collection: Collection, chosen: Any) -> Collection:
    """Keep the elements that a filter keeps."""
    if isinstance(chosen, str):
        raise Refusal("Collection.filter: the sandbox does not support filters that are written as text.")
    if not isinstance(chosen, Filter):
        raise Refusal(
            "Collection.filter, argument 'filter': Invalid type.\nExpected type: Filter.\n"
            f"Actual type: {type_name(chosen)}."
        )
    return replace(collection, elements=tuple(e for e in collection.elements if chosen.test(e)))


@function("Collection.map")
def map_elements(collection: Collection, body: Algorithm, drop_nulls: bool) -> Collection:
    """Apply a function to each element; results keep the index of what they were made of."""
    results = []
    for element in collection.elements:
        result = body(element)
        if result is None and drop_nulls:
            continue
        if isinstance(result, Geometry):
            result = Feature(geometry=result)
        if not isinstance(result, Image | Feature | Collection):
            raise Refusal(
                f"Collection.map: A mapped algorithm must return a Feature or Image, got {type_name(result)}."
            )
        index = element.properties.get(INDEX)
        if index is not None and result.properties.get(INDEX) != index:
            result = with_properties(result, {**result.properties, INDEX: index})
        results.append(result)
    images = all(isinstance(result, Image) for result in results) if results else None
    kind = collection.kind if images is None else "ImageCollection" if images else "FeatureCollection"
    return replace(collection, elements=tuple(results), kind=kind)


@function("Collection.iterate")
def iterate(collection: Collection, body: Algorithm, first: Any) -> Any:
    """Apply a function to each element and the result before."""
    return functools.reduce(lambda result, element: body(element, result), collection.elements, first)


def sort_key(value: Any) -> tuple[int, Any]:
    """Return a key that orders numbers before texts, and what is missing last."""
    plain = value.millis if isinstance(value, Date) else value
    if isinstance(plain, int | float):
        return (0, plain)
    return (1, str(plain)) if plain is not None else (2, 0)


@function("Collection.limit")
def limit(collection: Collection, count: int | None, key: str | None, ascending: bool | None) -> Collection:
    """Order a collection by a property and keep the first ones."""
    elements = collection.elements
    if key is not None:
        elements = tuple(sorted(elements, key=lambda e: sort_key(property_of(e, key)), reverse=ascending is False))
    if count is not None and count < 0:
        raise Refusal(f"Collection.limit: 'limit' must not be negative, got {count}.")
    return replace(collection, elements=elements if count is None else elements[:count])


@function("Collection.size")
def size(collection: Collection) -> int:
    """Count the elements."""
    return len(collection.elements)


@function("Collection.first")
def first(collection: Collection) -> Any:
    """Return the first element, null if there is none."""
    return collection.elements[0] if collection.elements else None


@function("Collection.toList")
def to_list(collection: Collection, count: int, offset: int | None) -> list[Any]:
    """Return some elements as a list."""
    start = offset or 0
    return list(collection.elements[start : start + count])


@function("Collection.merge", "ImageCollection.merge")
def merge(one: Collection, two: Collection) -> Collection:
    """Put two collections together; indices get the prefixes ``1_`` and ``2_``."""
    elements = tuple(
        with_properties(e, {**e.properties, INDEX: f"{prefix}_{e.properties.get(INDEX)}"})
        for prefix, collection in (("1", one), ("2", two))
        for e in _indexed(collection.elements)
    )
    return Collection(elements=elements, kind=one.kind)


def identity(value: Any) -> Any:
    """Return what is the same for equal values only: the text of a geometry is cut where it is long."""
    return (value.crs, value.shape.wkb_hex) if isinstance(value, Geometry) else value


@function("Collection.distinct")
def distinct(collection: Collection, names: Any) -> Collection:
    """Keep the first element of each combination of properties."""
    fields = coerce([names] if isinstance(names, str) else names, "List<String>", "Collection.distinct")
    seen: set[str] = set()
    kept = []
    for element in collection.elements:
        key = repr([identity(field(element, name)) for name in fields])
        if key not in seen:
            seen.add(key)
            kept.append(element)
    return replace(collection, elements=tuple(kept))


@function("Collection.flatten")
def flatten(collection: Collection) -> Collection:
    """Put the elements of collections in a collection into one, indexed ``<outer index>_<inner index>``."""
    found: list[Any] = []
    for inner in _indexed(collection.elements):
        if isinstance(inner, Collection):
            outer = inner.properties[INDEX]
            found += (
                with_properties(e, {**e.properties, INDEX: f"{outer}_{e.properties[INDEX]}"})
                for e in _indexed(inner.elements)
            )
        else:
            found.append(inner)
    images = bool(found) and all(isinstance(element, Image) for element in found)
    return replace(collection, elements=tuple(found), kind="ImageCollection" if images else "FeatureCollection")


@function("Collection.geometry")
def geometry(collection: Collection) -> Geometry:
    """Unite the geometries of all elements."""
    found = [g for e in collection.elements if (g := element_geometry(e)) is not None]
    shapes = [lonlat_shape(g) for g in found]
    return made_of(shapely.union_all(shapes) if shapes else shapely.GeometryCollection(), *found)


@function("Collection.bounds")
def bounds(collection: Collection) -> Geometry:
    """Return the box around all elements."""
    shape = meant(geometry(collection))
    return Geometry(ring_box(*shape.bounds) if not shape.is_empty else shape, geodesic=False)


@function("ImageCollection.combine")
def combine(primary: Collection, secondary: Collection, overwrite: bool | None) -> Collection:
    """Add the bands of images of the same index."""
    others = {image.properties.get(INDEX): image for image in secondary.elements}
    joined = tuple(
        add_bands(image, others[index], None, bool(overwrite))
        for image in primary.elements
        if (index := image.properties.get(INDEX)) in others
    )
    return replace(primary, elements=joined)

"""Expressions: from an `ee` object to JSON, once, and the bands that carry the mask."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ee

# A pixel counts as valid where Earth Engine's fractional mask is above this: the rule by which Earth Engine itself
# leaves pixels out of a computation (only a mask of 0 is masked).
MASK_THRESHOLD = 0
BITS_A_BAND = 8


def encode(value: Any) -> dict[str, Any]:
    """Return the expression JSON of an `ee.Image`, or of any object of the client.

    A plain function to be called before a flow begins: given the object itself, Prefect would store the client's
    internal dump of it.
    """
    import ee

    expression: dict[str, Any] = ee.serializer.encode(value)
    return expression


def as_expression(value: Any) -> Any:
    """Return an `ee` object as its expression JSON, and anything else as it is."""
    return encode(value) if is_computed(value) else value


def is_computed(value: Any) -> bool:
    """Return whether a value is an object of the `ee` client: without the client there is none."""
    client = sys.modules.get("ee")
    return client is not None and isinstance(value, client.ComputedObject)


def decode(expression: Mapping[str, Any]) -> Any:
    """Return the `ee` object of expression JSON.

    Raises:
        ee.EEException, KeyError, TypeError: it is no expression.
    """
    import ee

    return ee.deserializer.decodeCloudApi(dict(expression))


def canonical(value: Any) -> str:
    """Return JSON in one form: equal values give equal text, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint(value: Any) -> str:
    """Return sha256 over canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def mask_bands(count: int) -> tuple[str, ...]:
    """Names of the bands that carry the masks of `count` bands, eight to a band.

    >>> mask_bands(9)
    ('valid_0', 'valid_1')
    """
    return tuple(f"valid_{group}" for group in range(-(-count // BITS_A_BAND)))


def with_mask(image: ee.Image, bands: Sequence[str]) -> ee.Image:
    """Select bands and add uint8 bands in which bit k says that band k (of each eight) is valid.

    NPY carries no mask (masked pixels come as zeroes), so the mask travels as bands of its own: one byte a pixel for
    eight bands, valid everywhere itself.
    """
    import ee

    selected = image.select(list(bands))
    packed = selected
    for group, name in enumerate(mask_bands(len(bands))):
        names = list(bands[group * BITS_A_BAND : (group + 1) * BITS_A_BAND])
        weights = ee.Image.constant([1 << bit for bit in range(len(names))])
        bits = selected.select(names).mask().gt(MASK_THRESHOLD).multiply(weights).reduce(ee.Reducer.sum())
        packed = packed.addBands(bits.unmask(0, False).toUint8().rename([name]))
    return packed

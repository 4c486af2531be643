"""Expressions: an `ee` object as JSON, and the bands that carry the mask."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ee

# A pixel is valid where Earth Engine's fractional mask is above this value. Earth Engine uses the same rule when it
# leaves pixels out of a computation: only a mask of 0 is masked.
MASK_THRESHOLD = 0
BITS_A_BAND = 8


def encode(value: Any) -> dict[str, Any]:
    """Return the expression JSON of an `ee.Image`, or of any other object of the `ee` client.

    Call this before a flow begins: if a flow is given the object itself, Prefect stores the client's internal dump
    of it.
    """
    import ee

    expression: dict[str, Any] = ee.serializer.encode(value)
    return expression


def as_expression(value: Any) -> Any:
    """Return the expression JSON of an `ee` object, and any other value unchanged."""
    return encode(value) if is_computed(value) else value


def is_computed(value: Any) -> bool:
    """Return whether a value is an object of the `ee` client. The client is not imported for this check."""
    client = sys.modules.get("ee")
    return client is not None and isinstance(value, client.ComputedObject)


def decode(expression: Mapping[str, Any]) -> Any:
    """Return the `ee` object of expression JSON.

    Raises:
        ee.EEException, KeyError, TypeError, ValueError, AttributeError: The value is not an expression.
        RecursionError: The expression refers to itself, or is nested too deeply.
    """
    import ee

    return ee.deserializer.decodeCloudApi(dict(expression))


def canonical(value: Any) -> str:
    """Return a value as JSON in one canonical form: equal values give equal text, whatever the order of their keys.

    Raises:
        ValueError: The value holds NaN or infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def mask_bands(count: int) -> tuple[str, ...]:
    """Return the names of the bands that carry the masks of `count` bands, eight masks in each.

    >>> mask_bands(9)
    ('valid_0', 'valid_1')
    """
    return tuple(f"valid_{group}" for group in range(-(-count // BITS_A_BAND)))


def with_mask(image: ee.Image, bands: Sequence[str]) -> ee.Image:
    """Select bands, and append uint8 bands with one bit for the mask of each: 1 = valid, 0 = masked.

    Bit k of mask band g belongs to band 8 g + k. NPY has no mask (masked pixels arrive as zeroes), so the mask is sent
    in bands of its own. They take one byte a pixel for eight bands, and are valid everywhere.
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

"""Projections: a CRS and a transform from pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError

from deployments.sandbox.interpreter.values import WGS84
from deployments.sandbox.raster import Projection, crs_of
from deployments.sandbox.refusal import Refusal

METRES_A_DEGREE = math.pi * 6378137 / 180
"""Of longitude on the equator: 111319.49..., what nominalScale() gives for a degree of EPSG:4326."""


def affine_of(transform: Sequence[Any]) -> Affine:
    """Return the affine of ``[xScale, xShear, xTranslation, yShear, yScale, yTranslation]``.

    Source: developers.google.com/earth-engine/guides/exporting_images.

    Raises:
        Refusal: 400, not six finite numbers that can be inverted.
    """
    numbers = [float(part) for part in transform if isinstance(part, int | float)]
    if len(transform) != 6 or len(numbers) != 6 or not all(map(math.isfinite, numbers)):
        raise Refusal(f"Projection: The CRS transform must be a list of 6 numbers, got {list(transform)}.")
    affine = Affine(*numbers)
    if affine.determinant == 0:
        raise Refusal(f"Projection: The transform {numbers} is not invertible.")
    return affine


def projection_of(value: Any, transform: Sequence[Any] | None = None) -> Projection:
    """Return a projection of a code, WKT, a projection's JSON or a projection, and perhaps a transform.

    Raises:
        Refusal: 400, no CRS or no transform.
    """
    if isinstance(value, Mapping):
        transform = transform if transform is not None else value.get("transform")
        value = value.get("crs") or value.get("wkt")
    if isinstance(value, Projection):
        return value if transform is None else Projection(crs=value.crs, transform=affine_of(transform))
    if not isinstance(value, str):
        raise Refusal("Projection: The CRS must be a string.")
    try:
        crs_of(value)
    except CRSError:
        raise Refusal(f"Projection: The CRS of a map projection could not be parsed: '{value}'.") from None
    affine = Affine.identity() if transform is None else affine_of(transform)
    return Projection(crs=value, transform=affine)


def metres_a_unit(crs: str) -> float:
    """Return the length of a unit of a CRS in metres, of a degree on the equator if it is geographic."""
    found: CRS = crs_of(crs)
    axis = found.axis_info[0]
    factor = float(axis.unit_conversion_factor)
    return factor * 180 / math.pi * METRES_A_DEGREE if found.is_geographic else factor


def nominal_scale(projection: Projection) -> float:
    """Return the size of a pixel in metres: the root of its area, at the CRS's own measure."""
    return math.sqrt(abs(projection.transform.determinant)) * metres_a_unit(projection.crs)


def at_scale(projection: Projection, metres: float) -> Projection:
    """Return a projection with pixels of another size, north up.

    Raises:
        Refusal: 400, the scale is not above zero.
    """
    if not (metres > 0 and math.isfinite(metres)):
        raise Refusal(f"Projection.atScale: The scale must be positive, got {metres}.")
    size = metres / metres_a_unit(projection.crs)
    old = projection.transform
    return Projection(crs=projection.crs, transform=Affine(size, 0, old.c, 0, -size, old.f))


def target_projection(projection: Projection, transform: Sequence[Any] | None, scale: float | None) -> Projection:
    """Return what the arguments ``crs``, ``crsTransform`` and ``scale`` mean together.

    Raises:
        Refusal: 400, both a transform and a scale, or a bad one.
    """
    if transform is not None and scale is not None:
        raise Refusal("Cannot specify both 'crsTransform' and 'scale'.")
    if transform is not None:
        return projection_of(projection, transform)
    if scale is None:
        return projection
    # A scale alone puts the origin of the pixels at the origin of the CRS.
    moved = Projection(crs=projection.crs, transform=Affine.identity())
    return at_scale(moved, scale)


def projection_json(projection: Projection) -> dict[str, Any]:
    """Return a Projection as ``getInfo`` shows it."""
    key = "crs" if ":" in projection.crs.split("[", maxsplit=1)[0] else "wkt"
    return {"type": "Projection", key: projection.crs, "transform": list(projection.transform)[:6]}


LONLAT = Projection(crs=WGS84, transform=Affine.identity())

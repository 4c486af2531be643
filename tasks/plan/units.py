"""Units: refuse a pixel size in the units of another CRS, such as metres for degrees."""

from __future__ import annotations

import math
from collections.abc import Iterable

from odc.geo.types import XY

from tasks.errors.input import BadInputError
from tasks.raster.crs import WGS84, crs_of

DEGREE = 111_320.0
"""Length of a degree on the ground, metres."""
FACTOR = 30_000
"""How many times larger or smaller than the image's own pixel a pixel may be. A wrong unit gives 111,320, while people
do sample an image of 1 degree every 10 m (11,132), and one of 30 m every 5 degrees (18,553)."""
COARSE = 10 * DEGREE
"""A region must be ten pixels wide if their side is this or more, metres. One pixel of an image may be as large."""
FINE, FINE_UNKNOWN = 0.001, 0.005
"""Side of the smallest pixel in metres, and where the image's own pixel is not known."""
ROUND_THE_WORLD = 40_100_000.0
"""Longest side of a patch, metres: a little more than 360 degrees."""
FAR = 100_000_000.0
"""Largest coordinate of an anchor, metres: more than any CRS has, with the number of its zone before the easting."""


def metres_per_unit(crs: str) -> float:
    """Return the length of the unit of a CRS on the ground, metres. A degree has 111,320 m."""
    proj = crs_of(crs).proj
    factor = float(proj.axis_info[0].unit_conversion_factor)
    return math.degrees(factor) * DEGREE if proj.is_geographic else factor


def check_units(
    crs: str,
    scale: float,
    *,
    anchor: XY[float] | None = None,
    own: Iterable[float] = (),
    area: tuple[float, float] = (0.0, 0.0),
    patch: int | None = None,
    whole: bool = False,
) -> None:
    """Check that a pixel size and an anchor can be in the units of a CRS.

    Args:
        crs: Canonical name of the CRS.
        scale: Side of a pixel, CRS units.
        anchor: A pixel corner, CRS units.
        own: Sides of the image's own pixels, metres. Empty = not known.
        area: Width and height of the region, CRS units. (0, 0) = points.
        patch: Pixels per side of a patch. None = a region is extracted.
        whole: Whether the region is the whole image, so that a larger pixel has no meaning.

    Raises:
        BadInputError: It cannot. The message names the unit of the CRS, the size that the pixels would have, and a
            likely value.
    """
    metres, known = metres_per_unit(crs), list(own)
    side = scale * metres
    if not (math.isfinite(side) and side > 0):
        return  # refused as no pixel size
    why = None
    if patch is not None and side * patch > ROUND_THE_WORLD:
        why = "wider than the world"
    elif known and side > FACTOR * max(known):
        why = f"{side / max(known):,.0f} times the image's own pixel"
    elif side >= COARSE and scale > max(area) / 10 and not (known and side <= 100 * max(known)):
        why = "10 degrees or more" if patch is not None else "more than a tenth of the region"
    elif whole and scale > max(area):
        why = "larger than the whole image"
    elif known and side < min(known) / FACTOR:
        why = f"1/{min(known) / side:,.0f} of the image's own pixel"
    elif side < (FINE if known else FINE_UNKNOWN):
        why = "smaller than any image has"
    if why is not None:
        raise BadInputError("scale", scale, _would_be(crs, scale, area, patch, why), _likely(crs, scale, known))
    if anchor is not None and max(abs(anchor.x), abs(anchor.y)) * metres > FAR:
        raise BadInputError(
            "anchor",
            [anchor.x, anchor.y],
            f"outside the world: the unit of {short(crs)} is the {unit(crs)}",
            f"Give a pixel corner in {plural(unit(crs))}, or leave anchor empty",
        )


def unit(crs: str) -> str:
    """Return the name of the unit of a CRS, such as `metre`."""
    return str(crs_of(crs).proj.axis_info[0].unit_name)


def plural(name: str) -> str:
    """Return the plural of the name of a unit."""
    return name.replace("foot", "feet") if "foot" in name else f"{name}s"


def short(crs: str) -> str:
    """Return a short name of a CRS, for messages."""
    return crs if len(crs) < 40 else str(crs_of(crs).proj.name)


def _would_be(crs: str, scale: float, area: tuple[float, float], patch: int | None, why: str) -> str:
    units, metres = plural(unit(crs)), scale * metres_per_unit(crs)
    ground = f" ({_length(metres)})" if units != "metres" else ""
    if patch is not None:
        grid = f", a patch of {patch} pixels {patch * scale:,.6g} {units}"
    else:
        grid = f", the region {area[0] / scale:,.2g} x {area[1] / scale:,.2g} pixels" if max(area) else ""
    return f"the unit of {short(crs)} is the {unit(crs)}: a pixel would be {scale:g} {units} wide{ground}{grid}, {why}"


def _likely(crs: str, scale: float, own: list[float]) -> str:
    if crs_of(crs).proj.is_geographic:
        degrees = scale / metres_per_unit(crs)
        return f"For {scale:g} metres give scale={degrees:.2g}, or a CRS in metres such as utm"
    if scale * metres_per_unit(crs) < 1:
        there = scale * DEGREE / metres_per_unit(crs)
        return f"For {scale:g} degrees give scale={there:.2g}, or a CRS in degrees such as {WGS84}"
    known = f", such as {min(own) / metres_per_unit(crs):.3g}, the image's own" if own else ""
    return f"Give the pixel size in {plural(unit(crs))}{known}"


def _length(metres: float) -> str:
    return f"{metres / 1000:,.0f} km" if metres >= 10_000 else f"{metres:.3g} m"

"""Check a plan by Earth Engine's limits on one request, before the first request is sent."""

from __future__ import annotations

import json
import math

import numpy as np
import shapely

from tasks.errors.input import BadInputError
from tasks.plan.answer_size import MAX_REQUEST_BYTES
from tasks.plan.choices import MAX_BANDS, MAX_PAYLOAD_BYTES, MAX_SIDE, MAX_TILES
from tasks.plan.estimate import pixel_bytes
from tasks.plan.plan import Plan
from tasks.plan.plan_fields import LARGEST
from tasks.plan.specs import PixelSpec
from tasks.plan.tiles import RegionTiles
from tasks.raster.world_map import map_edge


def check_limits(plan: Plan, pixels: PixelSpec, field: str, side: int) -> Plan:
    """Return a plan if its requests keep to the limits.

    Args:
        plan: The plan. The size of its first request stands for all.
        pixels: Its `max_requests` is checked, too.
        field: Parameter that sets the size of a tile: ``tile_size`` or ``size``.
        side: Value of this parameter, pixels.

    Raises:
        BadInputError: The plan is empty, has too many requests, or Earth Engine would refuse them.
    """
    if len(plan) == 0:
        raise BadInputError("region", None, "there is nothing to fetch", "Give a larger region, or more points")
    if len(plan) > pixels.max_requests:
        raise BadInputError(
            "max_requests",
            pixels.max_requests,
            f"the plan has {len(plan):,} requests ({len(plan.sources):,} images x {len(plan.tiles):,} tiles)",
            "Raise it if this is on purpose, or give a smaller region, a coarser scale or larger tiles",
        )
    if len(plan) > MAX_TILES:
        raise BadInputError(
            "max_requests",
            pixels.max_requests,
            f"the plan has {len(plan):,} requests, and one plan has at most {MAX_TILES:,}",
            "Give parts of the region or of the points, a coarser scale or larger tiles",
        )
    return _check_requests(plan, field, side)


def check_stored(plan: Plan) -> Plan:
    """Return a plan that was read from an output, if its requests keep to the limits: see :func:`check_limits`.

    Raises:
        ValueError: Earth Engine would refuse the requests, or the plan cannot be computed with.
    """
    tiles = plan.tiles
    side = tiles.tiling.tile_size if isinstance(tiles, RegionTiles) else plan.grid(0).width
    if isinstance(tiles, RegionTiles) and tiles.map_edge is not None:
        edge = map_edge(tiles.crs)
        if edge is None or min(side, tiles.tiling.geobox.shape.x) * abs(tiles.tiling.geobox.affine.a) > 2 * edge[1]:
            raise ValueError("map_edge: the map does not repeat itself, or a tile is wider than two of it")
    if plan.tile_format.clip is not None:
        try:
            with np.errstate(all="ignore"):  # a number beyond float64
                area = shapely.from_wkt(plan.tile_format.clip)
        except shapely.errors.ShapelyError as error:
            raise ValueError(f"clip: it is not WKT ({error})") from None
        if not (np.abs(area.bounds) <= LARGEST).all():  # NaN if it is empty
            raise ValueError(f"clip: it is empty, or a coordinate is not finite or beyond {LARGEST:g}")
    return _check_requests(plan, "tile_size", side)


def _check_requests(plan: Plan, field: str, side: int) -> Plan:
    # Of the pixels, Earth Engine also counts one byte of mask for each pixel of each band (google/Xee#50).
    widest = max(plan.sources, key=lambda source: pixel_bytes(source.wire_dtypes))
    bands, per_pixel = len(widest.wire_bands), pixel_bytes(widest.wire_dtypes)
    if bands > MAX_BANDS:
        raise BadInputError(
            "bands", bands, f"more than {MAX_BANDS} in one request, mask bands counted", "Name fewer bands"
        )
    if plan.tile_format.file_format in {"PNG", "JPEG"} and bands not in {1, 3}:
        raise BadInputError(
            "bands",
            list(widest.wire_bands),
            f"a {plan.tile_format.file_format} picture shows 1 band or 3, not {bands}",
            "Name one band, or red, green and blue",
        )
    if plan.tile_format.file_format in {"PNG", "JPEG"}:
        _check_colours(plan)
    largest = plan.grid(plan.tiles.largest)
    size = largest.width * largest.height * per_pixel
    if size > MAX_REQUEST_BYTES:
        fits = min(MAX_SIDE, math.isqrt(MAX_REQUEST_BYTES // per_pixel))
        raise BadInputError(
            field,
            side,
            f"one request would ask for {size} bytes, the limit is {MAX_REQUEST_BYTES} "
            f"({largest.width} x {largest.height} px x {per_pixel} bytes in {bands} bands, masks counted)",
            f"Give at most {fits}, or fewer bands",
        )
    payload = len(plan.request(0).body)
    if payload > MAX_PAYLOAD_BYTES:
        raise BadInputError(
            "image", f"{payload} bytes", f"longer than {MAX_PAYLOAD_BYTES} bytes", "Simplify the expression"
        )
    return plan


def _check_colours(plan: Plan) -> None:
    options = json.loads(plan.tile_format.visualization or "{}")
    if not options and {band.dtype for band in plan.bands} != {"uint8"}:
        raise BadInputError(
            "visualization",
            None,
            f"bands of type {', '.join(sorted({band.dtype for band in plan.bands}))} need a range of values that is "
            "shown in 8 bits",
            "Give the values that are shown darkest and brightest, such as {'min': 0, 'max': 3000}",
        )
    if "paletteColors" in options and len(plan.bands) != 1:
        raise BadInputError(
            "visualization.palette",
            options["paletteColors"],
            f"a palette colours one band, not {len(plan.bands)}",
            "Name one band",
        )

"""A pixel request: what a body of getPixels or computePixels asks for."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal, cast

from affine import Affine
from pyproj.exceptions import CRSError
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from deployments.sandbox.payload import COMPUTE_PIXELS, COMPUTE_VALUE, GET_PIXELS, parse
from deployments.sandbox.raster import crs_of
from deployments.sandbox.refusal import Refusal

FileFormat = Literal["NPY", "GEO_TIFF", "PNG", "JPEG", "AUTO_JPEG_PNG"]

_ELSEWHERE = {
    "TF_RECORD_IMAGE": "only image exports write it",
    "ZIPPED_GEO_TIFF": "only thumbnails write it",
    "ZIPPED_GEO_TIFF_PER_BAND": "only thumbnails write it",
}
# The client checks its own tags with the same expression (ee/_state.py).
_WORKLOAD_TAG = re.compile(r"([a-z0-9]|[a-z0-9][-_a-z0-9]{0,61}[a-z0-9])")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A pixel grid of which any part may be left out, as requests do."""

    width: int | None = None
    """Pixels."""
    height: int | None = None
    """Pixels."""
    transform: Affine | None = None
    """From (column, row) to CRS units."""
    crs: str | None = None
    """Authority code or WKT."""


@dataclass(frozen=True, kw_only=True)
class Visualization:
    """How data become 8-bit colours (Google's doc page VisualizationOptions)."""

    ranges: tuple[tuple[float, float], ...] = ()
    """(min, max) for each band, or one for all; mapped to 0 to 255."""
    palette: tuple[str, ...] = ()
    """CSS colours, for a single band."""
    gamma: float = 1.0
    opacity: float = 1.0
    """0 to 1."""


@dataclass(frozen=True, kw_only=True)
class PixelRequest:
    """What a body of getPixels or computePixels asks for."""

    format: FileFormat
    frame: Frame
    bands: tuple[str, ...]
    """Band ids in order; empty = all."""
    region: BaseGeometry | None
    """Longitude/latitude; only getPixels has one."""
    visualization: Visualization | None
    expression: dict[str, Any] | None
    """``{"result": ..., "values": ...}``; only computePixels has one."""


def get_pixels(body: bytes) -> PixelRequest:
    """Return what the JSON body of an assets.getPixels call asks for.

    Raises:
        Refusal: 400.
    """
    return _request(parse(body, GET_PIXELS))


def compute_pixels(body: bytes) -> PixelRequest:
    """Return what the JSON body of an image.computePixels call asks for.

    Raises:
        Refusal: 400.
    """
    fields = parse(body, COMPUTE_PIXELS)
    _expression(fields)
    return _request(fields)


def compute_value(body: bytes) -> dict[str, Any]:
    """Return the expression in the JSON body of a value.compute call.

    Raises:
        Refusal: 400.
    """
    fields = parse(body, COMPUTE_VALUE)
    _tag(fields)
    return _expression(fields)


def _expression(fields: dict[str, Any]) -> dict[str, Any]:
    expression = cast("dict[str, Any]", fields.get("expression", {}))
    if not {"result", "values"} <= set(expression):
        raise Refusal("Expression must be set: 'expression' needs 'result' and 'values'.")
    return expression


def _tag(fields: dict[str, Any]) -> None:
    tag = fields.get("workloadTag", "")
    if tag and not _WORKLOAD_TAG.fullmatch(tag):
        raise Refusal(f"Invalid workload tag '{tag}'.")


def _request(fields: dict[str, Any]) -> PixelRequest:
    _tag(fields)
    bands = tuple(fields.get("bandIds", ()))
    if len(set(bands)) < len(bands):
        raise Refusal(f"Duplicate band IDs: {list(bands)}.")
    return PixelRequest(
        format=_format(fields.get("fileFormat")),
        frame=_frame(fields.get("grid", {})),
        bands=bands,
        region=_region(fields.get("region")),
        visualization=_visualization(fields.get("visualizationOptions")),
        expression=fields.get("expression"),
    )


def _format(name: str | None) -> FileFormat:
    if name is None or name == "IMAGE_FILE_FORMAT_UNSPECIFIED":
        return "AUTO_JPEG_PNG"
    if name in _ELSEWHERE:
        raise Refusal(f"Image file format {name} is not supported by this method: {_ELSEWHERE[name]}.")
    return cast("FileFormat", name)


def _frame(grid: dict[str, Any]) -> Frame:
    width = height = transform = None
    if "dimensions" in grid:
        width, height = (grid["dimensions"].get(side, 0) for side in ("width", "height"))
        if width <= 0 or height <= 0:
            raise Refusal(f"Pixel grid dimensions ({width}x{height}) must be positive.")
    if "affineTransform" in grid:
        names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
        transform = Affine(*(grid["affineTransform"].get(name, 0.0) for name in names))
        if transform.determinant == 0 or not math.isfinite(transform.determinant):
            raise Refusal(
                f"Invalid affine transform [{', '.join(f'{x:g}' for x in transform[:6])}]: "
                "pixels would have no area (scaleX * scaleY - shearX * shearY must not be 0)."
            )
    if grid.get("crsCode") and grid.get("crsWkt"):
        raise Refusal("Only one of crsCode and crsWkt may be set.")
    return Frame(width=width, height=height, transform=transform, crs=_crs(grid))


def _crs(grid: dict[str, Any]) -> str | None:
    code, wkt = grid.get("crsCode", ""), grid.get("crsWkt", "")
    text: str = code or wkt
    if not text:
        return None
    # PROJ would understand more: names, PROJ strings and bare numbers, which Earth Engine does not.
    understood = re.fullmatch(r"[A-Za-z][\w-]*:\w+", code) if code else "[" in wkt
    refusal = Refusal(f"The CRS of a map projection could not be parsed: '{text}'.")
    if not understood:
        raise refusal
    try:
        crs_of(text)
    except CRSError as error:
        raise refusal from error
    return text


def _region(geometry: dict[str, Any] | None) -> BaseGeometry | None:
    if geometry is None:
        return None
    try:
        region = shape(geometry)
        box = region.bounds
    except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise Refusal(f"Invalid GeoJSON geometry in 'region': {error}.") from error
    if not box or not all(math.isfinite(x) for x in box):
        raise Refusal("Invalid GeoJSON geometry in 'region': it is empty or has coordinates without an end.")
    return region


def _visualization(options: dict[str, Any] | None) -> Visualization | None:
    if options is None:
        return None
    ranges = tuple((r.get("min", 0.0), r.get("max", 0.0)) for r in options.get("ranges", ()))
    for low, high in ranges:
        if low == high:
            raise Refusal(f"Invalid visualization range: min and max are both {low:g}.")
    gamma, opacity = options.get("gamma", 1.0), options.get("opacity", 1.0)
    if gamma <= 0:
        raise Refusal(f"Invalid visualization gamma {gamma:g}: it must be positive.")
    if not 0 <= opacity <= 1:
        raise Refusal(f"Invalid visualization opacity {opacity:g}: it must be between 0 and 1.")
    return Visualization(ranges=ranges, palette=tuple(options.get("paletteColors", ())), gamma=gamma, opacity=opacity)

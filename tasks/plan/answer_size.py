"""How large an answer with pixels may be: what its request allows, and nothing beyond."""

from __future__ import annotations

from odc.geo.types import Shape2d

from tasks.plan.choices import FileFormat

MAX_REQUEST_BYTES = 50_331_648
"""Largest number of bytes of uncompressed pixels in one request:
https://developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels."""
WIDEST = 8
"""Bytes of the widest number that Earth Engine sends. A computed band may be sent in a wider type than its metadata
have."""
HEADER = 64 << 10
"""Bytes of a file beside its pixels: header, georeferencing, metadata."""
BAND_HEADER = 1 << 10
"""Bytes of a header for one band: its name of any length, its type, its places in the file."""
PADDING = 1_024
"""Pixels by which the blocks of a GeoTIFF may reach beyond its edges on each axis."""
COMPRESSION = 2
"""Factor by which a bad compression of noise makes it larger. LZW of 12 bits makes 1.5 bytes of one."""


def largest_answer(wire: FileFormat, shape: Shape2d, bands: int) -> int:
    """Return the largest number of bytes that the file in an answer may have.

    Args:
        wire: File format that is requested.
        shape: Height and width of the requested grid, pixels.
        bands: Number of requested bands, those of the mask included.
    """
    height, width = shape
    header = HEADER + bands * BAND_HEADER
    if wire == "NPY":  # never compressed
        return header + min(width * height * bands * WIDEST, MAX_REQUEST_BYTES)
    padded = (width + PADDING) * (height + PADDING) * bands * WIDEST
    return header + COMPRESSION * min(padded, MAX_REQUEST_BYTES)

"""What a user chooses from, and the limits of it: a form, a command line and `--help` need no more of Earth Engine.

It imports nothing that takes time: the client, GDAL and NumPy wait for what plans and fetches.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

FileFormat = Literal["GEO_TIFF", "NPY", "PNG", "JPEG"]
Codec = Literal["zstd", "deflate", "none"]
Masks = Literal["exact", "nodata", "unknown"]
Verify = Literal["quick", "full"]

# Limits of one request: https://developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels.
MAX_SIDE = 32_768
MAX_BANDS = 1_024

RECIPES = ("sentinel2_median", "landsat_median", "modis_ndvi", "ndvi", "elevation")
"""Names of those that are built in, see :mod:`tasks.earthengine.recipes`."""
ALLOWED = "PIXEL_QUARRY_RECIPES"
"""Environment variable of an operator: `module:function`, separated by commas, that runs of deployments may name."""


def allowed() -> set[str]:
    """Return the `module:function` that runs of a deployment may name: those that its operator lists."""
    return {name.strip() for name in os.environ.get(ALLOWED, "").split(",") if name.strip()}


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """How long one request may take."""

    connect_s: float = 10.0
    """Seconds until a connection stands, TLS included: 3 retransmissions of a lost packet (RFC 6298: 1 + 2 + 4 s)."""
    read_s: float = 330.0
    """Seconds from sending to the last byte of the answer: what Earth Engine may compute, and 30 to transfer 48 MiB."""
    computing_s: float = 300.0
    """Seconds that Earth Engine computes at the longest ("5 min", guides/processing_environments)."""

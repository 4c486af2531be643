"""Options that a user chooses from, and Earth Engine's limits on them.

This module imports nothing that takes time: forms, the command line and `--help` need no `ee` client, GDAL or NumPy.
"""

from __future__ import annotations

from typing import Literal

FileFormat = Literal["GEO_TIFF", "NPY", "PNG", "JPEG"]
Codec = Literal["zstd", "deflate", "none"]
Masks = Literal["exact", "nodata", "unknown"]
Verify = Literal["quick", "full"]
GroupBy = Literal["auto", "image", "overpass", "day", "solar_day"]
MissingBands = Literal["fail", "skip", "mask"]

# Limits of one request: https://developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels.
MAX_SIDE = 32_768
MAX_BANDS = 1_024
MAX_PAYLOAD_BYTES = 10_485_760
MAX_TILES = 10_000_000
"""Tiles of a plan. At Earth Engine's default rate of 100 requests a second they take more than a day, and the receipts
of so many take about 6 GB of memory."""
PerFeature = Literal["tables", "files", "none"]

"""Choose how the pixels of an image are requested, so that its mask is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import ee

from tasks.earthengine.connection import Connection, start_client
from tasks.earthengine.expression import canonical, decode, encode, mask_bands, with_mask
from tasks.earthengine.image_info import BandInfo
from tasks.errors.input import BadInputError
from tasks.plan.images import ImageRecord
from tasks.plan.plan import Source, TileFormat

_PLAIN = re.compile(r"[ !#-&(-\[\]-~]+")
"""Band names that are the same in every header of a file: ASCII without quotes, backslashes and control characters."""


def source(connection: Connection, image: ImageRecord, bands: Sequence[BandInfo], tile_format: TileFormat) -> Source:
    """Return how the pixels of an image are requested, so that its mask is kept as the tile format demands.

    - PNG and JPEG are requested as such. Earth Engine draws them.
    - ``exact``: NPY, with the mask in bands of its own. A stored image is loaded in an expression for this, because
      getPixels sends zeroes for masked pixels.
    - ``nodata``: GeoTIFF. In signed and floating-point bands, its nodata value marks masked pixels (geedim's test
      against the live service: -128, -32768, -2**31, -inf by type).
    - ``unknown``: NPY without a mask.

    It is not known how Earth Engine writes names beyond ASCII, quotes and backslashes into the header of an NPY file.
    If a band has such a name, all bands are requested under plain names, in an expression. Files have the real names.

    Args:
        connection: Connection to Earth Engine.
        image: The image.
        bands: Its bands that are requested.
        tile_format: How the tiles are stored.

    Raises:
        BadInputError: The mask cannot be kept as the tile format demands.
    """
    ids = tuple(band.id for band in bands)
    dtypes = tuple(band.dtype for band in bands)
    time = image.time or image.info.time
    common: dict[str, Any] = {
        "name": image.name,
        "origin": image.origin,
        "version": image.version,
        "time": time.isoformat() if time else None,
        "end": image.end.isoformat() if image.end else None,
        "title": image.label,
        "images": image.images,
        "superseded": image.superseded,
    }
    plain: dict[str, Any] = {
        "asset": image.asset,
        "expression": canonical(image.expression) if image.expression else None,
    }
    if tile_format.file_format in {"PNG", "JPEG"}:
        return Source(**common, **plain, wire=tile_format.file_format, wire_bands=ids, wire_dtypes=dtypes)
    masks = mask_bands(len(ids)) if tile_format.masks == "exact" else ()
    wire = ids
    if tile_format.file_format == "NPY" and set(ids) & set(masks):
        reason = "an NPY file keeps its masks in bands named " + ", ".join(masks)
        raise BadInputError("bands", list(ids), reason, "Rename the band, or choose GEO_TIFF")
    if not all(_PLAIN.fullmatch(name) and name not in masks for name in ids):
        start_client(connection)
        prefix = "band_"
        while any(name.startswith(prefix) for name in ids):  # a file that has the real names has none of these
            prefix += "_"
        wire = tuple(f"{prefix}{number}" for number in range(len(ids)))
        value = image.asset if image.asset is not None else decode(image.expression or {})
        renamed = encode(ee.Image(value).select(list(ids), list(wire)))
        plain = {"asset": None, "expression": canonical(renamed)}
    if tile_format.masks == "unknown":
        return Source(**common, **plain, wire="NPY", wire_bands=wire, wire_dtypes=dtypes)
    if tile_format.masks == "nodata":
        _check_nodata(bands, tile_format)
        return Source(**common, **plain, wire="GEO_TIFF", wire_bands=wire, wire_dtypes=dtypes)
    start_client(connection)
    value = decode(renamed) if wire != ids else image.asset or decode(image.expression or {})
    return Source(
        **common,
        expression=canonical(encode(with_mask(ee.Image(value), wire))),
        wire="NPY",
        wire_bands=(*wire, *masks),
        wire_dtypes=(*dtypes, *["uint8"] * len(masks)),
    )


def _check_nodata(bands: Sequence[BandInfo], tile_format: TileFormat) -> None:
    """Check that the nodata value of Earth Engine's GeoTIFF marks the masked pixels of these bands.

    Raises:
        BadInputError: It does not.
    """
    types = {("int64" if band.integer and band.dtype == "float64" else band.dtype) for band in bands}
    if tile_format.file_format != "GEO_TIFF" or len(types) > 1 or next(iter(types)) == "int64" or "uint" in str(types):
        raise BadInputError(
            "masks",
            tile_format.masks,
            f"only a GEO_TIFF with signed or floating-point bands of one type marks masked pixels, not "
            f"{tile_format.file_format} with {', '.join(sorted(types))}",
            "Use masks=exact",
        )

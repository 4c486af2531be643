"""What tests ask of rasters."""

import numpy as np

from tasks.raster.encode import encoded_geotiff


def encode_geotiff(raster, **given):
    """The bytes of a raster as a GeoTIFF."""
    with encoded_geotiff(raster, **given) as data:
        return bytes(data)


def equal(one, other):
    """Whether both have the same dtype, pixels (NaN equals NaN), mask, names and grid."""
    return (
        one.bands == other.bands
        and one.geobox == other.geobox
        and one.values.dtype == other.values.dtype
        and np.array_equal(one.values, other.values, equal_nan=one.values.dtype.kind == "f")
        and (one.valid is None) == (other.valid is None)
        and (one.valid is None or np.array_equal(one.valid, other.valid))
    )


def valid_share(raster):
    """Share of valid pixels over all bands, 0 to 1; None where the mask is not known."""
    return None if raster.valid is None else float(raster.valid.mean())

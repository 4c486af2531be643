"""Quantities: what the numbers of public collections and of recipes stand for, as Earth Engine's catalogue has it.

Only pictures use them: files and tables keep the numbers as they are.
"""

from __future__ import annotations

import re

from tasks.earthengine.radiometry import REFLECTANCE
from tasks.raster.colours import AS_STORED, Quantity

_INDEX = Quantity("vegetation index", "", 1e-4)
_NDVI = Quantity("vegetation index")
_KELVIN = Quantity("surface temperature", "K", 0.02)

# Collection and band, both as patterns, and the quantity. Source: gee:scale, gee:offset and gee:units of Earth Engine's
# catalogue (github.com/google/earthengine-catalog). Reflectances are in `tasks.earthengine.radiometry`.
OTHERS: tuple[tuple[str, str, Quantity], ...] = (
    (r"MODIS/\d{3}/M[OY]D13\w+", r"NDVI|EVI", _INDEX),
    (r"(NOAA|NASA)/VIIRS/\d{3}/VNP13\w+", r"NDVI|EVI2?", _INDEX),
    (r"MODIS/\d{3}/M[OY]D11A[12]", r"LST_(Day|Night)_1km", _KELVIN),
    (r"MODIS/\d{3}/M[OY]D15A2H|MODIS/\d{3}/MCD15A[23]H", r"Lai(_500m)?", Quantity("leaf area index", "", 0.1)),
    (r"MODIS/\d{3}/M[OY]D10A1", r"NDSI_Snow_Cover", Quantity("snow cover", "%")),
    (r"LANDSAT/L(T04|T05|E07)/C02/T[12]_L2", r"ST_B6", Quantity("surface temperature", "K", 0.00341802, 149.0)),
    (r"LANDSAT/LC0[89]/C02/T[12]_L2", r"ST_B10", Quantity("surface temperature", "K", 0.00341802, 149.0)),
    (r"COPERNICUS/S1_GRD", r"VV|VH|HH|HV", Quantity("backscatter", "dB")),
    (r"USGS/SRTMGL1_003|NASA/NASADEM_HGT/001|CGIAR/SRTM90_V4", r"elevation", Quantity("elevation", "m")),
    (r"COPERNICUS/DEM/GLO30", r"DEM", Quantity("elevation", "m")),
    (r"UCSB-CHG/CHIRPS/DAILY", r"precipitation", Quantity("precipitation", "mm/day")),
    (r"landsat_median", r"SR_B[2-7]", Quantity("reflectance")),
    (r"(sentinel2_)?ndvi", r"NDVI", _NDVI),
    (r"elevation", r"elevation", Quantity("elevation", "m")),
    (r"ECMWF/ERA5_LAND/\w+", r"(skin_|dewpoint_)?temperature_\w+", Quantity("temperature", "K")),
)
# Recipes that keep the numbers of a collection, see `tasks.earthengine.recipes`.
KEPT = {"sentinel2_median": "COPERNICUS/S2_SR_HARMONIZED", "modis_ndvi": "MODIS/061/MOD13Q1"}
_PUBLIC = "projects/earthengine-public/assets/"


def quantity(origin: str, band: str) -> Quantity:
    """Return what the numbers of a band stand for; `AS_STORED` if it is not known.

    Args:
        origin: Id of an image or a collection, or name of a recipe.
        band: Id of the band.
    """
    name = KEPT.get(origin, origin).removeprefix(_PUBLIC)
    for pattern, bands, scaling in REFLECTANCE:
        if _is_of(pattern, name) and re.fullmatch(bands, band):
            return Quantity("reflectance", "", scaling.scale, scaling.offset)
    for pattern, bands, known in OTHERS:
        if _is_of(pattern, name) and re.fullmatch(bands, band):
            return known
    return AS_STORED


def _is_of(collection: str, name: str) -> bool:
    """Return whether an image or a collection is of a collection, given as a pattern."""
    return re.fullmatch(rf"({collection})(/[^/]+)?", name) is not None

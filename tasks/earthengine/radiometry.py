"""Radiometry: how the numbers of the public collections become reflectance, as Earth Engine's catalogue has it."""

from __future__ import annotations

import re
from typing import NamedTuple

import ee

from tasks.errors.input import BadInputError


class Scaling(NamedTuple):
    """How numbers become a physical value: number * scale + offset."""

    scale: float
    offset: float


SURFACE = Scaling(2.75e-05, -0.2)
"""Surface reflectance of Landsat Collection 2, Level 2."""
TEN_THOUSANDTHS = Scaling(1e-4, 0.0)
AS_IT_IS = Scaling(1.0, 0.0)

# Collection and reflectance bands, both as patterns. Source: gee:scale and gee:offset of Earth Engine's catalogue
# (github.com/google/earthengine-catalog).
REFLECTANCE: tuple[tuple[str, str, Scaling], ...] = (
    (r"LANDSAT/L(T04|T05|E07|C08|C09)/C02/T[12]_L2", r"SR_B[1-7]", SURFACE),
    (r"LANDSAT/L[A-Z]\d\d/C0[12]/T[12](_RT)?_TOA", r"B\d+", AS_IT_IS),
    (r"COPERNICUS/S2(_SR)?_HARMONIZED", r"B\d+A?", TEN_THOUSANDTHS),
    (r"MODIS/\d{3}/M[OYC]D(09|13)\w+", r"sur_refl_b\d\d(_\d)?", TEN_THOUSANDTHS),
    (r"MODIS/\d{3}/MCD43A4", r"Nadir_Reflectance_Band\d", TEN_THOUSANDTHS),
    (r"(NOAA|NASA)/VIIRS/\d{3}/VNP09\w+", r"[IM]\d+", TEN_THOUSANDTHS),
    (r"(NOAA|NASA)/VIIRS/\d{3}/VNP13\w+", r"\w*_reflectance\w*", TEN_THOUSANDTHS),
    (r"NOAA/CDR/AVHRR/SR/V\d+", r"SREFL_CH[123]", TEN_THOUSANDTHS),
    (r"NASA/HLS/HLS[LS]30/v\d+", r"B\d+A?", AS_IT_IS),
    (r"USDA/NAIP/DOQQ", r"[RGBN]", AS_IT_IS),
)
# Values of these are neither reflectance, nor made reflectance by one scale and offset for all images.
INSTEAD = (
    (
        r"COPERNICUS/S2(_SR)?",
        "its images of processing baseline 04.00 and later are shifted by 1000, the older ones are not",
        r"{id}_HARMONIZED",
    ),
    (r"LANDSAT/L[A-Z]\d\d/C02/(T[12])(_RT)?", "its values are counts of the sensor, not reflectance", r"{id}_TOA"),
)
_PUBLIC = "projects/earthengine-public/assets/"


def reflectance(asset: str, **bands: str) -> ee.Image:
    """Return bands of a stored image as they are compared in an index: without the collection's offset.

    A scale that all bands share changes no index. So only a collection with an offset is converted, to reflectance;
    the bands of other collections are returned as they are stored. The values of an asset that is not public are
    taken for what they are.

    Args:
        asset: Id of the image.
        bands: Parameters of the recipe, with the names of the bands.

    Raises:
        BadInputError: It is not known how to convert the bands of this public collection.
    """
    image = ee.Image(asset)
    public = asset.removeprefix(_PUBLIC)
    if public.startswith(("projects/", "users/")):
        return image
    collection, _, name = public.rpartition("/")
    for pattern, reason, remedy in INSTEAD:
        if re.fullmatch(pattern, collection):
            raise BadInputError(
                "recipe_parameters.asset", asset, reason, f"Use {remedy.format(id=collection)}/{name}, if it exists"
            )
    for pattern, reflecting, scaling in REFLECTANCE:
        if re.fullmatch(pattern, collection):
            for parameter, band in bands.items():
                if not re.fullmatch(reflecting, band):
                    raise BadInputError(
                        f"recipe_parameters.{parameter}",
                        band,
                        f"not a reflectance band of {collection}",
                        f"Give a band whose name has the form {reflecting}",
                    )
            if scaling.offset:
                return image.select(list(bands.values())).multiply(scaling.scale).add(scaling.offset)
            return image
    raise BadInputError(
        "recipe_parameters.asset",
        asset,
        "the scale and offset of this public collection are not known to the recipe",
        "Write an expression or a recipe of your own that applies what the catalogue page of the collection lists",
    )

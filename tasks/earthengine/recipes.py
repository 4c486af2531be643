"""Recipes: named functions from typed parameters to an `ee.Image` or an `ee.ImageCollection`.

A recipe lets a computed image be asked for from a form, a schedule or a command line. A user's own recipe is any
importable function, named `module:function`, whose parameters are annotated; it builds an expression and asks the
server nothing. Two parameters are filled in by the plan where a recipe declares them: `region`, the bounding box of
the job `[west, south, east, north]` rounded outwards to whole degrees (so that neighbouring jobs give the same
expression), and `as_of`, the day up to which a growing collection is read.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, get_type_hints

import ee
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model

from tasks.earthengine.recipe_names import RECIPES
from tasks.errors.input import BadInputError

Box = list[float]
FILLED_IN = ("region", "as_of")

Start = Annotated[date, Field(description="First day (UTC), such as 2020-05-01.")]
End = Annotated[date, Field(description="Day after the last (UTC).")]


def sentinel2_median(
    *,
    start: Start,
    end: End,
    max_cloud: Annotated[
        float, Field(ge=0, le=100, description="Images cloudier than this (percent) are left out.")
    ] = 60,
    region: Box | None = None,
    as_of: date | None = None,
) -> ee.Image:
    """Cloud-free Sentinel-2 surface reflectance: the median of all clear observations.

    Cloud shadow, clouds and cirrus of the scene classification (SCL 3, 8, 9, 10) are masked. uint16, reflectance
    times 10,000. Bands B2, B3, B4, B8, B11, B12.
    """

    def clear(image: ee.Image) -> ee.Image:
        scl = image.select("SCL")
        return image.updateMask(scl.neq(3).And(scl.neq(8)).And(scl.neq(9)).And(scl.neq(10)))

    collection = _between("COPERNICUS/S2_SR_HARMONIZED", start, end, region, as_of)
    collection = collection.filter(ee.Filter.lt("CLOUDY_PIXEL_PERCENTAGE", max_cloud))
    return collection.map(clear).select(["B2", "B3", "B4", "B8", "B11", "B12"]).median().toUint16()


def landsat_median(
    *,
    start: Start,
    end: End,
    missions: Annotated[
        tuple[Literal[8, 9], ...], Field(min_length=1, description="Landsat 8, Landsat 9, or both.")
    ] = (8, 9),
    region: Box | None = None,
    as_of: date | None = None,
) -> ee.Image:
    """Cloud-free Landsat 8/9 surface reflectance: the median of all clear observations.

    Dilated cloud, cirrus, cloud and cloud shadow of QA_PIXEL (bits 1 to 4) are masked, the collection's scale and
    offset applied. float32 reflectance. Bands SR_B2 to SR_B7.
    """

    def clear(image: ee.Image) -> ee.Image:
        cloud_bits = 0b11110
        return image.updateMask(image.select("QA_PIXEL").bitwiseAnd(cloud_bits).eq(0))

    collections = [_between(f"LANDSAT/LC0{m}/C02/T1_L2", start, end, region, as_of) for m in sorted(set(missions))]
    merged = collections[0] if len(collections) == 1 else collections[0].merge(collections[1])
    bands = [f"SR_B{n}" for n in range(2, 8)]
    return merged.map(clear).select(bands).median().multiply(2.75e-05).add(-0.2).toFloat()


def modis_ndvi(
    *,
    as_of: date | None = None,
    worst_quality: Annotated[
        int,
        Field(ge=0, le=3, description="SummaryQA up to which pixels are kept: 0 good, 1 marginal, 2 snow, 3 cloud."),
    ] = 1,
) -> ee.ImageCollection:
    """MODIS vegetation index every 16 days (MOD13Q1), masked by its quality band.

    An image collection for a time series. int16, NDVI times 10,000. Bands NDVI, EVI.
    """
    collection = ee.ImageCollection("MODIS/061/MOD13Q1")
    if as_of is not None:
        collection = collection.filterDate("1970-01-01", as_of.isoformat())
    return collection.map(
        lambda image: (
            image.select(["NDVI", "EVI"])
            .updateMask(image.select("SummaryQA").lte(worst_quality))
            .copyProperties(image, ["system:time_start", "system:index"])
        )
    )


def ndvi(
    *,
    asset: Annotated[str, Field(min_length=1, description="An image asset with a red and a near-infrared band.")],
    red: Annotated[str, Field(min_length=1, description="Name of the red band.")],
    nir: Annotated[str, Field(min_length=1, description="Name of the near-infrared band.")],
) -> ee.Image:
    """Normalised difference vegetation index of any two bands: (nir - red) / (nir + red). float32, band NDVI."""
    return ee.Image(asset).normalizedDifference([nir, red]).rename(["NDVI"]).toFloat()


def elevation() -> ee.Image:
    """Elevation above sea level in metres (SRTM, one arc-second). int16, band elevation."""
    return ee.Image("USGS/SRTMGL1_003").select(["elevation"])


def _between(asset: str, start: date, end: date, region: Box | None, as_of: date | None) -> ee.ImageCollection:
    last = end if as_of is None else min(end, as_of)
    if last <= start:
        raise BadInputError(
            "image.as_of", str(as_of), f"not after start = {start}", "Give a later day, or leave it empty"
        )
    collection = ee.ImageCollection(asset).filterDate(start.isoformat(), last.isoformat())
    if region is None:
        return collection
    west, south, east, north = region
    ring = [[west, north], [west, south], [east, south], [east, north], [west, north]]
    return collection.filterBounds(ee.Geometry.Polygon([ring], None, False))


BUILT_IN: Mapping[str, Callable[..., Any]] = {name: globals()[name] for name in RECIPES}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A function with its parameters as a pydantic model."""

    name: str
    function: Callable[..., Any]
    parameters: type[BaseModel]

    def build(self, given: Mapping[str, Any], *, region: Box | None = None, as_of: date | None = None) -> Any:
        """Return the `ee` object for parameters as they come from JSON.

        Raises:
            BadInputError: a parameter is missing, unknown or out of its bounds.
        """
        try:
            checked = self.parameters.model_validate(dict(given))
        except ValidationError as error:
            # A misspelt parameter explains the one that is missing: it is told first.
            first = min(error.errors(), key=lambda details: details["type"] != "extra_forbidden")
            where = ".".join(map(str, ("image.parameters", *first["loc"])))
            value = None if first["type"] == "missing" else first["input"]
            told = {"missing": "missing", "extra_forbidden": "no such parameter"}
            reason = told.get(first["type"], first["msg"].removeprefix("Input "))
            raise BadInputError(where, value, reason, f"Recipe {self.name} takes {self.signature()}") from None
        declared = inspect.signature(self.function).parameters
        extra = {"region": region, "as_of": as_of}
        values = {name: getattr(checked, name) for name in self.parameters.model_fields}
        start, end = values.get("start"), values.get("end")
        if isinstance(start, date) and isinstance(end, date) and end <= start:
            raise BadInputError(
                "image.parameters.end", end.isoformat(), f"not after start = {start}", "Give a later day, or swap them"
            )
        if as_of is not None and "as_of" not in declared:
            reason = f"recipe {self.name} reads no growing collection, or does not declare as_of"
            raise BadInputError("image.as_of", as_of.isoformat(), reason, "Leave it empty")
        filled_in = {name: extra[name] for name in FILLED_IN if name in declared}
        try:
            built = self.function(**values, **filled_in)
        except BadInputError:
            raise
        except Exception as error:  # a recipe is the user's code: whatever it raises is told as his
            reason = f"raised {type(error).__name__}: {error}"
            raise BadInputError("image.recipe", self.name, reason, "Correct the recipe or its parameters") from error
        if not isinstance(built, ee.ComputedObject):
            reason = f"gives {type(built).__name__}"
            raise BadInputError("image.recipe", self.name, reason, "Return an ee.Image or an ee.ImageCollection")
        return built

    def signature(self) -> str:
        """The parameters in one line, as a message shows them."""
        fields = self.parameters.model_fields.items()
        shown = (
            name + ("" if field.is_required() else f" (default {field.get_default(call_default_factory=False)})")
            for name, field in fields
        )
        return ", ".join(shown) or "no parameters"


def find(name: str) -> Recipe:
    """Return a recipe by its name, or a user's by `module:function`.

    Raises:
        BadInputError: there is no such recipe.
    """
    function = BUILT_IN.get(name) or _import(name)
    try:
        return _recipe(name, function)
    except (NameError, TypeError, ValueError, PydanticUserError) as error:
        remedy = "Annotate its parameters with types of Python or pydantic, and take them by keyword"
        raise BadInputError("image.recipe", name, f"its parameters can't be read ({error})", remedy) from error


def _recipe(name: str, function: Callable[..., Any]) -> Recipe:
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in FILLED_IN:
            continue
        if parameter.kind not in {parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            raise TypeError(f"{parameter} can't be given by name")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    model = create_model(name.replace(":", "."), __config__=ConfigDict(extra="forbid"), **fields)
    return Recipe(name=name, function=function, parameters=model)


def _import(name: str) -> Callable[..., Any]:
    remedy = f"Give one of {', '.join(sorted(BUILT_IN))}, or your own as 'module:function'"
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise BadInputError("image.recipe", name, "no such recipe", remedy)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # a user's module can raise anything while it is imported
        raise BadInputError("image.recipe", name, f"can't be imported ({error})", remedy) from error
    if not callable(function):
        raise BadInputError("image.recipe", name, "is no function", remedy)
    return function  # type: ignore[no-any-return]  # a user's function is typed by its annotations at run time

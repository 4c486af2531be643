"""Recipes: named functions that make an `ee.Image` or an `ee.ImageCollection` from typed parameters.

With a recipe, a form, a schedule or a command line can ask for a computed image. Your own recipe is any importable
function, named `module:function`, whose parameters are annotated. It builds an expression and sends nothing to the
server.

If a recipe declares one of these two parameters, the plan fills it in:

- `region`: bounding box of the job, `[west, south, east, north]`, rounded outwards to whole degrees, so that
  neighbouring jobs give the same expression. If the job crosses 180 degrees, west is greater than east (RFC 7946). For
  patches it is the whole world, so that another point changes no image
- `as_of`: day up to which a growing collection is read. Images of that day or later are left out. None = no limit
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

from tasks.earthengine.radiometry import SURFACE, reflectance
from tasks.earthengine.recipe_names import RECIPES
from tasks.errors.input import BadInputError

Box = list[float]
WORLD: Box = [-180.0, -90.0, 180.0, 90.0]
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
    """Return cloud-free Sentinel-2 surface reflectance: the median of all clear observations.

    Collection COPERNICUS/S2_SR_HARMONIZED. Cloud shadow, clouds and cirrus of the scene classification (SCL 3, 8, 9,
    10) are masked. Bands B2, B3, B4, B8, B11, B12. uint16, reflectance times 10,000: the collection has no offset, in
    images of any processing baseline. The mean of two middle observations is cut to an integer.
    """
    collection = _between("COPERNICUS/S2_SR_HARMONIZED", start, end, region, as_of)
    collection = collection.filter(ee.Filter.lt("CLOUDY_PIXEL_PERCENTAGE", max_cloud))
    return collection.map(_clear).select(["B2", "B3", "B4", "B8", "B11", "B12"]).median().toUint16()


def sentinel2_ndvi(*, as_of: date | None = None) -> ee.ImageCollection:
    """Return the vegetation index of every Sentinel-2 image, without its clouds: (B8 - B4) / (B8 + B4).

    The result is an image collection (COPERNICUS/S2_SR_HARMONIZED), for time series. Clouds are masked as in
    :func:`sentinel2_median`. Band NDVI. float32. A pixel with a negative reflectance is masked.
    """

    def index(image: ee.Image) -> ee.Image:
        found = _clear(image).normalizedDifference(["B8", "B4"]).rename(["NDVI"]).toFloat()
        return image.addBands(found).select(["NDVI"])  # with the properties that name the acquisition

    return _until("COPERNICUS/S2_SR_HARMONIZED", as_of).map(index)


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
    """Return cloud-free Landsat 8/9 surface reflectance: the median of all clear observations.

    Collections LANDSAT/LC08/C02/T1_L2 and LANDSAT/LC09/C02/T1_L2. Dilated cloud, cirrus, cloud and cloud shadow of
    QA_PIXEL (bits 1 to 4) are masked. The collection's scale and offset are applied. Bands SR_B2 to SR_B7. float32
    reflectance.
    """

    def clear(image: ee.Image) -> ee.Image:
        cloud_bits = 0b11110
        return image.updateMask(image.select("QA_PIXEL").bitwiseAnd(cloud_bits).eq(0))

    collections = [_between(f"LANDSAT/LC0{m}/C02/T1_L2", start, end, region, as_of) for m in sorted(set(missions))]
    merged = collections[0] if len(collections) == 1 else collections[0].merge(collections[1])
    bands = [f"SR_B{n}" for n in range(2, 8)]
    return merged.map(clear).select(bands).median().multiply(SURFACE.scale).add(SURFACE.offset).toFloat()


def modis_ndvi(
    *,
    as_of: date | None = None,
    worst_quality: Annotated[
        int,
        Field(ge=0, le=3, description="SummaryQA up to which pixels are kept: 0 good, 1 marginal, 2 snow, 3 cloud."),
    ] = 1,
) -> ee.ImageCollection:
    """Return the MODIS vegetation indices of every 16 days, masked by their quality band SummaryQA.

    The result is an image collection (MODIS/061/MOD13Q1), for time series. Bands NDVI, EVI. int16, index times 10,000.
    """
    return _until("MODIS/061/MOD13Q1", as_of).map(
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
    """Return the normalised difference vegetation index of two bands: (nir - red) / (nir + red). Band NDVI. float32.

    It is that of reflectance: the scale and offset of a public collection are applied, such as Landsat Collection 2. A
    public collection whose scale and offset are not known here is refused. The values of other assets are taken for
    reflectance as they are, on any scale. A pixel with a negative reflectance is masked, as Earth Engine's
    normalizedDifference does: there is no such index of it.
    """
    return reflectance(asset, red=red, nir=nir).normalizedDifference([nir, red]).rename(["NDVI"]).toFloat()


def elevation() -> ee.Image:
    """Return the elevation above sea level in metres (SRTM, one arc-second). Band elevation. int16."""
    return ee.Image("USGS/SRTMGL1_003").select(["elevation"])


def _clear(image: ee.Image) -> ee.Image:
    """Return a Sentinel-2 image without cloud shadow, clouds and cirrus."""
    scl = image.select("SCL")
    return image.updateMask(scl.neq(3).And(scl.neq(8)).And(scl.neq(9)).And(scl.neq(10)))


def _until(asset: str, as_of: date | None) -> ee.ImageCollection:
    collection = ee.ImageCollection(asset)
    return collection if as_of is None else collection.filterDate("1970-01-01", as_of.isoformat())


def _between(asset: str, start: date, end: date, region: Box | None, as_of: date | None) -> ee.ImageCollection:
    last = end if as_of is None else min(end, as_of)
    if last <= start:
        raise BadInputError("as_of", str(as_of), f"not after start = {start}", "Give a later day, or leave it empty")
    collection = ee.ImageCollection(asset).filterDate(start.isoformat(), last.isoformat())
    if region is None or region == WORLD:
        return collection
    west, south, east, north = region
    sides = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    rings = [[[w, north], [w, south], [e, south], [e, north], [w, north]] for w, e in sides]
    if len(rings) == 1:
        return collection.filterBounds(ee.Geometry.Polygon(rings, None, False))
    return collection.filterBounds(ee.Geometry.MultiPolygon([[ring] for ring in rings], None, False))


BUILT_IN: Mapping[str, Callable[..., Any]] = {name: globals()[name] for name in RECIPES}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe: its function, and its parameters as a pydantic model."""

    name: str
    function: Callable[..., Any]
    parameters: type[BaseModel]

    def build(self, given: Mapping[str, Any], *, region: Box | None = None, as_of: date | None = None) -> Any:
        """Call the recipe, and return its `ee` object.

        Args:
            given: Parameters as they come from JSON.
            region: Bounding box of the job, for recipes that declare it.
            as_of: Day up to which a growing collection is read, for recipes that declare it.

        Raises:
            BadInputError: A parameter is missing, unknown or out of its bounds, or the recipe fails.
        """
        try:
            checked = self.parameters.model_validate(dict(given))
        except ValidationError as error:
            # A misspelt parameter comes before a missing one, because it explains why the other is missing.
            first = min(error.errors(), key=lambda details: details["type"] != "extra_forbidden")
            where = ".".join(map(str, ("recipe_parameters", *first["loc"])))
            value = None if first["type"] == "missing" else first["input"]
            reasons = {"missing": "missing", "extra_forbidden": "no such parameter"}
            reason = reasons.get(first["type"], first["msg"].removeprefix("Input "))
            raise BadInputError(where, value, reason, f"Recipe {self.name} takes {self.signature()}") from None
        declared = inspect.signature(self.function).parameters
        extra = {"region": region, "as_of": as_of}
        values = {name: getattr(checked, name) for name in self.parameters.model_fields}
        start, end = values.get("start"), values.get("end")
        if isinstance(start, date) and isinstance(end, date) and end <= start:
            raise BadInputError(
                "recipe_parameters.end", end.isoformat(), f"not after start = {start}", "Give a later day, or swap them"
            )
        if as_of is not None and "as_of" not in declared:
            reason = f"recipe {self.name} has no parameter as_of"
            raise BadInputError("as_of", as_of.isoformat(), reason, "Leave it empty, or declare as_of in your recipe")
        filled_in = {name: extra[name] for name in FILLED_IN if name in declared}
        try:
            built = self.function(**values, **filled_in)
        except BadInputError:
            raise
        except Exception as error:  # a recipe is the user's code, which may raise anything
            reason = f"raised {type(error).__name__}: {error}"
            raise BadInputError("image", self.name, reason, "Fix the recipe or its parameters") from error
        if not isinstance(built, ee.ComputedObject):
            reason = f"returns {type(built).__name__}, not an Earth Engine object"
            raise BadInputError("image", self.name, reason, "Return an ee.Image or an ee.ImageCollection")
        return built

    def signature(self) -> str:
        """Return the parameters and their defaults in one line, for messages."""
        fields = self.parameters.model_fields.items()
        shown = (
            name + ("" if field.is_required() else f" (default {field.get_default(call_default_factory=False)})")
            for name, field in fields
        )
        return ", ".join(shown) or "no parameters"


def find(name: str) -> Recipe:
    """Return a built-in recipe by its name, or a user's recipe by `module:function`.

    Raises:
        BadInputError: There is no such recipe, or its parameters cannot be read.
    """
    function = BUILT_IN.get(name) or _import(name)
    try:
        return _recipe(name, function)
    except (NameError, TypeError, ValueError, PydanticUserError) as error:
        remedy = "Annotate its parameters with types of Python or pydantic, and accept them by keyword"
        raise BadInputError("image", name, f"its parameters cannot be read ({error})", remedy) from error


def _recipe(name: str, function: Callable[..., Any]) -> Recipe:
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in FILLED_IN:
            continue
        if parameter.kind not in {parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            raise TypeError(f"{parameter} cannot be given by name")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    model = create_model(name.replace(":", "."), __config__=ConfigDict(extra="forbid"), **fields)
    return Recipe(name=name, function=function, parameters=model)


def _import(name: str) -> Callable[..., Any]:
    remedy = f"Give one of {', '.join(sorted(BUILT_IN))}, or your own as 'module:function'"
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise BadInputError("image", name, "no such recipe", remedy)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # a user's module can raise anything while it is imported
        raise BadInputError("image", name, f"cannot be imported ({error})", remedy) from error
    if not callable(function):
        raise BadInputError("image", name, "is not a function", remedy)
    return function  # type: ignore[no-any-return]  # a user's function is typed by its annotations at run time

"""Parameters of the image to read: an asset, a recipe or an expression, and how its bands become colours."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from flows.form_schema import AsTabs, Recipes
from flows.validation import Parameters, csv, form_error
from tasks.earthengine.expression import as_expression
from tasks.errors.redaction import HIDDEN, holds_credential

LARGEST = 1e18
"""Largest magnitude of a pixel value that a picture may show. It is exact enough for every type of pixels."""
_NOT_IN_IDS = re.compile(r"[^\w./:-]|(?<![^/])\.{1,2}(?![^/])")


def _plain_id(asset: str) -> str:
    """Check the characters of an asset id. What follows a wrong one may be a secret, and so is not shown."""
    wrong = _NOT_IN_IDS.search(asset)
    if wrong is None:
        return asset
    shown = HIDDEN if "@" in asset else asset[: wrong.start()]  # before it, there may be a password
    reason = f"{wrong[0]!r} is in no asset id, and what follows it is not shown"
    remedy = "Give the id alone, such as MODIS/061/MOD13Q1. To sign in, see credentials_file and connection"
    raise form_error("image.asset", shown, reason, remedy)


def _without_credential(value: dict[str, Any]) -> dict[str, Any]:
    """Check that no text in JSON is a token or a key."""
    try:
        text = json.dumps(value, default=str)
    except (ValueError, RecursionError):  # no JSON: it is refused later, or not stored
        return value
    if holds_credential(text):
        raise PydanticCustomError("secret", "holds what looks like a token or a key: it would be shown")
    return value


Colour = Annotated[str, Field(pattern=r"^(#?[0-9A-Fa-f]{6}|[A-Za-z]*[G-Zg-z][A-Za-z]*)$")]


class StoredImage(Parameters, title="Asset"):
    """An asset of Earth Engine, read with getPixels."""

    asset: Annotated[str, AfterValidator(_plain_id), Field(min_length=1, title="Asset id")]
    """Id of an image, or for a time series of an image collection, such as `MODIS/061/MOD13Q1`."""


class RecipeImage(Parameters, title="Recipe"):
    """A named function that builds an image from parameters, read with computePixels."""

    recipe: Annotated[str, Field(min_length=1, title="Recipe"), Recipes()]
    """`sentinel2_median`, `landsat_median`, `modis_ndvi`, `ndvi`, `elevation`, or your own as `module:function`; in a
    deployment only those of your own that its operator lists in PIXEL_QUARRY_RECIPES."""
    parameters: Annotated[
        dict[str, Any],
        AfterValidator(_without_credential),
        Field(title="Parameters of the recipe", default_factory=dict),
    ]
    """What the recipe takes, such as `{"start": "2020-05-01", "end": "2020-08-01"}`."""
    as_of: Annotated[date | None, Field(title="As of")] = None
    """Day up to which a growing collection is read; part of the image's identity. Without it: unpinned."""


class ExpressionImage(Parameters, title="Expression"):
    """An expression of your own: an `ee.Image` from Python, or its JSON."""

    expression: Annotated[
        dict[str, Any],
        BeforeValidator(as_expression),
        AfterValidator(_without_credential),
        Field(title="Expression"),
    ]
    """Expression JSON as `ee.serializer.encode` gives it (`result` and `values`); from Python also an `ee.Image`."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", title="Name")] = "expression"
    """Folder of its tiles: letters, digits, `_`, `.`, `-`."""
    as_of: Annotated[date | None, Field(title="As of")] = None
    """Day up to which a growing collection was read; part of the image's identity. Without it: unpinned."""


def _kind_of_image(value: Any) -> str | None:
    given = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    # A tag is the name of its class, so that `flows.validation` can remove it from the location of an error.
    kinds = {"asset": "StoredImage", "recipe": "RecipeImage", "expression": "ExpressionImage"}
    found = [tag for field, tag in kinds.items() if given.get(field) is not None]
    return found[0] if len(found) == 1 else None


def _as_image(value: Any) -> Any:
    """Return an `ee.Image` from Python as a dictionary with its expression, and any other value unchanged."""
    expression = as_expression(value)
    return value if expression is value else {"expression": expression}


ImageChoice = Annotated[
    Annotated[StoredImage, Tag("StoredImage")]
    | Annotated[RecipeImage, Tag("RecipeImage")]
    | Annotated[ExpressionImage, Tag("ExpressionImage")],
    Discriminator(
        _kind_of_image,
        custom_error_type="image_choice",
        custom_error_message="give exactly one of asset, recipe, expression",
    ),
    BeforeValidator(_as_image),
    Field(title="Image"),
    AsTabs(),
]


class Visualization(Parameters):
    """How bands become 8-bit colours, for PNG and JPEG."""

    # Hexadecimal colours are checked here. Earth Engine checks names of colours (CSS).

    min: Annotated[float, Field(ge=-LARGEST, le=LARGEST, title="Minimum")] = 0.0
    """Value shown darkest."""
    max: Annotated[float, Field(ge=-LARGEST, le=LARGEST, title="Maximum")] = 255.0
    """Value shown brightest."""
    palette: Annotated[list[Colour], BeforeValidator(csv), Field(title="Palette", default_factory=list)]
    """Colours for a single band: hexadecimal such as `["000000", "00ff00"]`, or CSS names."""
    gamma: Annotated[float | None, Field(gt=0, le=10, title="Gamma")] = None
    """Gamma correction."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max <= self.min:
            raise form_error("visualization.max", self.max, f"not above min = {self.min}", "Give a larger maximum")
        return self

    def options(self) -> dict[str, Any]:
        """Return the `VisualizationOptions` of the REST API."""
        options: dict[str, Any] = {"ranges": [{"min": self.min, "max": self.max}]}
        if self.palette:
            options["paletteColors"] = self.palette
        if self.gamma is not None:
            options["gamma"] = {"value": self.gamma}
        return options

"""Parameters of the image to read: an asset, a recipe or an expression, and how its bands become colours."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from flows.form_schema import TextOr
from flows.validation import Parameters, form_error
from flows.written_value import pairs
from tasks.earthengine.expression import as_expression
from tasks.earthengine.recipe_names import RECIPES, is_function
from tasks.errors.redaction import HIDDEN, holds_credential

_NOT_IN_IDS = re.compile(r"[^\w./:-]|(?<![^/])\.{1,2}(?![^/])")


def _plain_id(asset: str) -> str:
    """Check the characters of an asset id. What follows a wrong one may be a secret, and so is not shown."""
    wrong = _NOT_IN_IDS.search(asset)
    if wrong is None:
        return asset
    shown = HIDDEN if "@" in asset else asset[: wrong.start()]  # before it, there may be a password
    reason = f"{wrong[0]!r} is in no asset id, and what follows it is not shown"
    remedy = "Give the id alone, such as MODIS/061/MOD13Q1. To sign in, see credentials_file and connection"
    raise form_error("image", shown, reason, remedy)


def without_credential(value: dict[str, Any]) -> dict[str, Any]:
    """Check that no text in JSON is a token or a key."""
    try:
        text = json.dumps(value, default=str)
    except (ValueError, RecursionError):  # no JSON: it is refused later, or not stored
        return value
    if holds_credential(text):
        raise PydanticCustomError("secret", "holds what looks like a token or a key: it would be shown")
    return value


class StoredImage(Parameters, title="Asset"):
    """An asset of Earth Engine, read with getPixels."""

    asset: Annotated[str, AfterValidator(_plain_id), Field(min_length=1, title="Asset id")]
    """Id of an image, or for a time series of an image collection, such as `MODIS/061/MOD13Q1`."""


class RecipeImage(Parameters, title="Recipe"):
    """A named function that builds an image from parameters, read with computePixels."""

    recipe: Annotated[str, Field(min_length=1, title="Recipe")]
    """Name of a built-in recipe, or your own as `module:function`."""
    parameters: Annotated[
        dict[str, Any],
        BeforeValidator(pairs),
        AfterValidator(without_credential),
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
        AfterValidator(without_credential),
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
    """Return the dictionary that text or an `ee.Image` stands for, and any other value unchanged."""
    if isinstance(value, str):
        value = _of_text(value.strip())
    if isinstance(value, dict) and {"result", "values"} <= value.keys():
        return {"expression": value}
    expression = as_expression(value)
    return value if expression is value else {"expression": expression}


def _of_text(text: str) -> Any:
    """Return the image that text names: JSON, a recipe, or else an asset."""
    if not text:
        raise form_error("image", text, "it is empty", "Give an asset id such as MODIS/061/MOD13Q1, or a recipe")
    if text.startswith("{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise form_error(
                "image", text, "it is no JSON", "Give an asset id, a recipe or the JSON of an image"
            ) from None
    if text in RECIPES or is_function(text):
        return {"recipe": text}
    if text and "/" not in text and not _NOT_IN_IDS.search(text):
        known = ", ".join(RECIPES)
        reason = "neither the id of an asset, which has a /, nor a recipe"
        raise form_error("image", text, reason, f"Give an id such as MODIS/061/MOD13Q1, or one of {known}")
    return {"asset": text}


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
    TextOr("object"),
]

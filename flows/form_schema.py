"""How the form in the Prefect UI offers choices: saved blocks, recipes, kinds of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, create_model
from pydantic_core import CoreSchema

from tasks.earthengine.recipe_names import RECIPES, allowed

# The form begins with the fields that differ from job to job.
FIRST = (
    *(
        "plan_only",
        "image",
        "region",
        "points",
        "layer",
        "per_feature",
        "start",
        "end",
        "group_by",
        "missing_bands",
        "bands",
        "crs",
        "scale",
        "size",
        "tile_size",
    ),
    *("output", "plan", "repair", "prune", "connection"),
)
BOUNDS = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"), ("exclusiveMaximum", "below"))
# Titles of fields that offer blocks.
PICKED = ("Output", "Earth Engine connection")


def block(title: str, slug: str) -> type[BaseModel]:
    """Return a model that stands for a block type in a union. The class of the block takes a second to import.

    The UI shows a picker for a definition with a `block_type_slug`. Pydantic puts models into the definitions of a
    schema.
    """
    config = ConfigDict(title=title, json_schema_extra={"block_type_slug": slug})
    return create_model(title.replace(" ", ""), __config__=config)


@dataclass(frozen=True)
class Recipes:
    """Offers the recipes that a deployment may run. The Prefect server refuses runs with any other recipe."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"enum": [*RECIPES, *sorted(allowed())]}


def as_form(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a model, changed so that the UI makes a good form of it.

    The fields that differ from job to job come first. Each field has a `position`, because a server on PostgreSQL does
    not keep their order. Descriptions end with the bounds. A field that offers blocks has no default, because the UI
    would show the default, which is text, under each tab.
    """
    given = schema.get("properties", {})
    names = [name for name in FIRST if name in given] + [name for name in given if name not in FIRST]
    fields = {name: given[name] | {"position": number} for number, name in enumerate(names)}
    for field in fields.values():
        limits = [
            f"{word} {kind[key]:g}" for kind in field.get("anyOf", [field]) for key, word in BOUNDS if key in kind
        ]
        if limits and "description" in field:  # the UI does not show the bounds
            field["description"] += f" [{', '.join(limits)}]"
        if field.get("title") in PICKED:
            field.pop("default", None)
    return schema | {"properties": fields}


@dataclass(frozen=True)
class AsTabs:
    """Offers the members of a union as tabs, by `anyOf`. The UI shows `oneOf` as a field for JSON."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        given = handler(schema)
        return {"anyOf" if key == "oneOf" else key: value for key, value in given.items()}

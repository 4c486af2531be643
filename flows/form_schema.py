"""How the form in the Prefect UI offers what can be chosen: saved blocks, recipes, kinds of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, create_model
from pydantic_core import CoreSchema

from tasks.earthengine.recipe_names import RECIPES, allowed

# The form begins with what differs from job to job.
FIRST = (
    *("plan_only", "image", "region", "points", "start", "end", "bands", "crs", "scale", "size", "tile_size"),
    *("output", "plan", "repair", "prune", "connection"),
)
BOUNDS = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"), ("exclusiveMaximum", "below"))
# Titles of fields that offer blocks.
PICKED = ("Output", "Earth Engine connection")


def block(title: str, slug: str) -> type[BaseModel]:
    """Return what stands for a block type in a union: its class takes a second to import, and nothing of it is read.

    The UI knows a picker by its slug, and only among the definitions of a schema, where pydantic puts models.
    """
    config = ConfigDict(title=title, json_schema_extra={"block_type_slug": slug})
    return create_model(title.replace(" ", ""), __config__=config)


@dataclass(frozen=True)
class Recipes:
    """Offers the recipes that a deployment may run, which the server then holds its runs to."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"enum": [*RECIPES, *sorted(allowed())]}


def as_form(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a model as the UI makes a good form of it.

    Some of its fields come first, as somebody asks for them who fills it in, and all say what place they have: a
    server on PostgreSQL keeps no order. Where blocks are offered there is no default: the UI would put it, which is no
    block, under each tab.
    """
    given = schema.get("properties", {})
    names = [name for name in FIRST if name in given] + [name for name in given if name not in FIRST]
    fields = {name: given[name] | {"position": number} for number, name in enumerate(names)}
    for field in fields.values():
        limits = [
            f"{word} {kind[key]:g}" for kind in field.get("anyOf", [field]) for key, word in BOUNDS if key in kind
        ]
        if limits and "description" in field:  # the UI shows no bounds by itself
            field["description"] += f" [{', '.join(limits)}]"
        if field.get("title") in PICKED:
            field.pop("default", None)
    return schema | {"properties": fields}


@dataclass(frozen=True)
class AsTabs:
    """Offers the members of a union as tabs: the UI shows `oneOf` as a field for JSON."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        given = handler(schema)
        return {"anyOf" if key == "oneOf" else key: value for key, value in given.items()}

"""How the form in the Prefect UI offers what can be chosen: saved blocks, recipes, kinds of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from tasks.earthengine.recipes import BUILT_IN, allowed


@dataclass(frozen=True)
class Blocks:
    """Lets the form offer saved blocks beside a line of text, without a second's import of their classes."""

    text: str
    """Title of the line of text."""
    blocks: tuple[tuple[str, str], ...]
    """Title and slug of each block type."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        given = handler(schema)
        kinds = [kind for kind in given.get("anyOf", [given]) if kind.get("type") != "null"]
        blocks = [{"title": title, "type": "object", "block_type_slug": slug} for title, slug in self.blocks]
        return {"anyOf": [*(kind | {"title": self.text} for kind in kinds), *blocks]}


@dataclass(frozen=True)
class Recipes:
    """Offers the recipes that a deployment may run, which the server then holds its runs to."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"enum": [*BUILT_IN, *sorted(allowed())]}


def as_form(schema: dict[str, Any], first: Sequence[str]) -> dict[str, Any]:
    """Return the schema of a model as the UI makes a good form of it.

    Some of its fields come first, as somebody asks for them who fills it in. Where blocks are offered there is no
    default: the UI would put it, which is no block, under each tab.
    """
    given = schema.get("properties", {})
    names = [name for name in first if name in given] + [name for name in given if name not in first]
    fields = {name: given[name] | {"position": number} for number, name in enumerate(names)}
    for field in fields.values():
        if any("block_type_slug" in kind for kind in field.get("anyOf", [])):
            field.pop("default", None)
    return schema | {"properties": fields}


@dataclass(frozen=True)
class AsTabs:
    """Offers the members of a union as tabs: the UI shows `oneOf` as a field for JSON."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        given = handler(schema)
        return {"anyOf" if key == "oneOf" else key: value for key, value in given.items()}

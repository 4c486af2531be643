"""The form in the Prefect UI: how its fields are ordered, offered and explained, from the JSON schema of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, create_model
from pydantic_core import CoreSchema

from flows.stored_value import LEAST, MOST

if TYPE_CHECKING:
    from prefect.utilities.callables import ParameterSchema

# The form begins with what differs from job to job: what, where, when, how, then the output.
FIRST = (
    *("image", "recipe_parameters", "bands", "region", "points", "size", "start", "end", "crs", "scale"),
    *("file_format", "masks", "output", "label", "plan", "repair", "prune", "verify", "plan_only", "connection"),
)
LAST = "advanced"
BOUNDS = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"), ("exclusiveMaximum", "below"))
# Titles of fields that offer blocks.
PICKED = ("Output", "Earth Engine connection")
REFERENCE = "#/definitions/{model}"


def block(title: str, slug: str) -> type[BaseModel]:
    """Return a model that stands for a block type in a union. The class of the block takes a second to import.

    The UI shows a picker for a definition with a `block_type_slug`. Pydantic puts models into the definitions of a
    schema.
    """
    config = ConfigDict(title=title, json_schema_extra={"block_type_slug": slug})
    return create_model(title.replace(" ", ""), __config__=config)


@dataclass(frozen=True, init=False)
class TextOr:
    """Describes a field that is text in a form, and that takes other types of JSON from elsewhere."""

    types: tuple[str, ...]

    def __init__(self, *types: str) -> None:
        object.__setattr__(self, "types", types)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of the field without its parts: the run checks them, with messages of its own."""
        handler(schema)
        return {"type": ["string", *self.types]}


def in_order(names: list[str]) -> list[str]:
    """Return the names of fields as a form shows them."""
    return sorted(names, key=lambda name: (name == LAST, FIRST.index(name) if name in FIRST else len(FIRST)))


def as_form(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a model, changed so that the UI makes a good form of it.

    Each field has a `position`, because a server on PostgreSQL does not keep their order. Descriptions end with the
    bounds. What is optional may be left out: nothing offers null, which the UI shows as a field that cannot be changed.
    A field that offers blocks has no default, because the UI would show the default, which is text, under each tab.
    """
    given = schema.get("properties", {})
    fields = {name: _offered(given[name]) | {"position": place} for place, name in enumerate(in_order(list(given)))}
    for field in fields.values():
        limits = [
            f"{word} {kind[key]:g}" for kind in field.get("anyOf", [field]) for key, word in BOUNDS if key in kind
        ]
        if limits and "description" in field:  # the UI does not show the bounds
            field["description"] += f" [{', '.join(limits)}]"
        if field.get("title") in PICKED:
            field.pop("default", None)
    return schema | {"properties": fields}


def _offered(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field without null, and without an empty default."""
    kinds = [kind for kind in field.get("anyOf", []) if kind.get("type") != "null"]
    rest = {key: value for key, value in field.items() if key != "anyOf"}
    if rest.get("default", "") in (None, "", [], {}) or "$ref" in field:  # a nested form has the defaults of its fields
        rest.pop("default", None)
    return rest | kinds[0] | rest if len(kinds) == 1 else rest | ({"anyOf": kinds} if kinds else {})


def form(model: type[BaseModel]) -> ParameterSchema:
    """Return the form of a flow, as a deployment stores it.

    A field is a reference for which the UI and the server find two definitions: the UI looks it up by its text, and the
    server reads it as a JSON pointer, in which `~1` is a slash (RFC 6901). So the UI knows what to show, and the server
    takes any value that it can keep. What is wrong is refused by the run, in the words that Python and the command line
    have. The UI shows its own words beside the field, which is out of sight where a long form is submitted.
    """
    from prefect.utilities.callables import ParameterSchema  # the import takes a second, and commands have no forms

    class Form(ParameterSchema):
        """A form without other fields: Prefect would end a run with one that the flow does not know."""

        additionalProperties: bool = False  # noqa: N815 - a name of JSON schema

    schema = model.model_json_schema(ref_template=REFERENCE)
    definitions: dict[str, Any] = schema.get("$defs", {})
    models = {title: each for title, each in definitions.items() if each.get("additionalProperties") is False}
    shown: dict[str, Any] = {}
    for title, each in {model.__name__: schema, **models}.items():
        each.pop("additionalProperties", None)
        for name, field in each["properties"].items():
            shown |= _shown(f"{title}.{name}", field, models)
    return Form(properties=schema["properties"], required=schema.get("required", []), definitions=definitions | shown)


def _shown(name: str, field: dict[str, Any], models: dict[str, Any]) -> dict[str, Any]:
    """Turn a field into a reference. Return the two definitions: for the UI, and for the server."""
    if "anyOf" in field:  # a choice of blocks
        return {}
    kind = {key: field.pop(key) for key in list(field) if key not in {"title", "description", "default", "position"}}
    field["$ref"] = REFERENCE.format(model=f"{name}~1form")
    if "$ref" in kind:  # a form within the form: the server looks into it, if it is an object
        inner = models[kind["$ref"].rpartition("/")[2]]
        return {f"{name}~1form": inner, f"{name}/form": {"properties": inner["properties"]}}
    kind["type"] = "string" if isinstance(kind["type"], list) else kind["type"]
    kind = {key: value for key, value in kind.items() if key in {"type", "format", "enum"}}
    return {f"{name}~1form": kind, f"{name}/form": {"minimum": LEAST, "maximum": MOST}}

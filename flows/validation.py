"""Error messages for parameters, all in one form: field, value, reason, what to do.

The form, a schedule, the command line and Python show the same messages.
"""

from __future__ import annotations

import json
import re
from typing import Any, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError

from flows.form_schema import as_form
from flows.stored_value import check_storable, texts
from tasks.errors.input import BadInputError
from tasks.errors.redaction import HIDDEN, is_token, redacted


class Parameters(BaseModel):
    """Base of all parameters. The docstring below a field describes it.

    Refuses unknown fields, infinite numbers, and text that may be a secret: Prefect stores and shows parameters.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    @field_validator("*")
    @classmethod
    def _public(cls, value: Any) -> Any:
        if redacted(value) != value if isinstance(value, str) else any(map(is_token, texts(value))):
            raise PydanticCustomError("secret", "holds what looks like a password, a token or a key: it would be shown")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return as_form(handler.resolve_ref_schema(handler(schema)))


def csv(value: Any) -> Any:
    """Return the parts of a text such as `a,b,c` from a command line, and any other value unchanged."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class FlowParameters(Parameters):
    """Base of the parameters of a flow. One error reports all that is wrong, one line for each."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, data: Any, handler: Any) -> Self:
        try:
            given: Self = handler(data)
            check_storable(given)
        except BadInputError as error:
            raise refusal(error) from None
        except ValidationError as error:
            lines = "\n".join(dict.fromkeys(_sentence(cls, details) for details in error.errors()))
            raise refusal(lines) from None
        return given


def _box(value: Any) -> Any:
    """Return the numbers of `west,south,east,north`, the value of JSON text, or any other value unchanged."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\s*-?[\d.eE+-]+(\s*,\s*-?[\d.eE+-]+){3}\s*", value):
        return [float(part) for part in value.split(",")]
    return json.loads(value) if value.lstrip().startswith(("{", "[")) else value


def one_of(what: str) -> WrapValidator:
    """Return a validator that reports one error for a union. Pydantic would list one error for each member.

    Args:
        what: What the union accepts. It ends the message: "should be ...".
    """

    def check(value: Any, handler: Any) -> Any:
        try:
            return handler(_box(value))
        except (ValueError, RecursionError) as error:
            deep = ", and is nested too deeply" if isinstance(error, RecursionError) else ""
            raise PydanticCustomError("union", "{message}", {"message": f"should be {what}{deep}"}) from error

    return WrapValidator(check)


def form_error(field: str, value: object, reason: str, remedy: str) -> PydanticCustomError:
    """Return the error that a validator raises for a refused value: ``field = value: reason. remedy.``."""
    return refusal(BadInputError(field, value, reason, remedy))


def refusal(error: BadInputError | str) -> PydanticCustomError:
    """Return an error as a validator raises it, with its message."""
    # Pydantic cannot show half of a surrogate pair, which may be in a name that the user gave.
    message = str(error).encode(errors="backslashreplace").decode()
    return PydanticCustomError("bad_input", "{message}", {"message": message})


# Messages of the form in the Prefect UI, which checks values with the JSON schema. A run gives the same messages.
_AS_THE_FORM = {
    "greater_than_equal": "{value} is less than the minimum of {ge:g}",
    "greater_than": "{value} is less than or equal to the minimum of {gt:g}",
    "less_than_equal": "{value} is greater than the maximum of {le:g}",
    "less_than": "{value} is greater than or equal to the maximum of {lt:g}",
    "literal_error": "{value!r} is not one of [{expected}]",
}


def _sentence(model: type[BaseModel], details: ErrorDetails) -> str:
    """Return the message for one error of pydantic: field, value, reason, what to do."""
    if details["type"] == "bad_input":
        return details["msg"]
    field: Any = None
    names: list[str] = []
    models: list[type[BaseModel]] = [model]
    for part in map(str, details["loc"]):  # besides names, there are tags of unions and positions in lists
        if chosen := [m for m in models if m.__name__ == part]:  # the tag of a union's member
            models = chosen
            continue
        found = [m.model_fields[part] for m in models if part in m.model_fields]
        if found:
            field = found[0]
            models = _models_in(field.annotation)
        elif details["type"] != "extra_forbidden" or part != str(details["loc"][-1]):
            continue
        names.append(part)
    if details["type"] == "extra_forbidden":
        known = ", ".join(sorted({name for m in models for name in m.model_fields}))
        # The value may be a secret that was meant for another field.
        return str(BadInputError(".".join(names), HIDDEN, "no such parameter", f"Known parameters: {known}"))
    value = None if details["type"] == "missing" else details["input"]
    if details["type"] in {"block", "secret"} or (names == ["output"] and isinstance(value, dict)):
        value = HIDDEN  # a block holds secrets
    template = _AS_THE_FORM.get(details["type"])
    if details["type"] == "missing":
        reason = "missing"
    elif template is not None and value is not HIDDEN:
        context = details.get("ctx", {})
        if "expected" in context:
            context = context | {"expected": context["expected"].replace(" or ", ", ")}
        try:
            reason = template.format(value=value, **context)
        except (ValueError, RecursionError):  # Python does not write the value: too many digits or levels
            reason = details["msg"].removeprefix("Input ")
    else:
        reason = details["msg"].removeprefix("Input ")
    remedy = " ".join((field.description or "").split()) if field is not None else "See the list of parameters"
    return str(BadInputError(".".join(names) or "parameters", value, reason, remedy))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return all models that an annotation contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]

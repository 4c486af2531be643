"""Error messages for parameters, all in one form: field, value, reason, what to do.

The form, a schedule, the command line and Python show the same messages.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError

from flows.form_schema import as_form
from flows.stored_value import check_storable, texts
from flows.written_value import pairs
from tasks.errors.input import BadInputError, InputError
from tasks.errors.redaction import HIDDEN, is_token, redacted

OLD = "parameters"
"""Name of the one parameter that flows had in earlier versions. A run that still has it is told what to write."""
BY_NAME = "Give its fields as parameters of the flow: image=..., region=..., scale=... (see CHANGELOG.md)"


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

    @field_validator("*", mode="before")
    @classmethod
    def _as_json(cls, value: Any, info: ValidationInfo) -> Any:
        """Take null as what is not given, and empty text, which a form sends, where nothing is the default.

        Paths, and numbers and arrays of numpy, are what they are in JSON. A form within the form may be JSON in text.
        """
        field = cls.model_fields[str(info.field_name)]
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        nested = isinstance(default, BaseModel)
        if value is None or (isinstance(value, str) and not value and (nested or default in ("", None, [], {}))):
            return value if field.is_required() else default
        if callable(array := getattr(value, "tolist", None)):
            return array()
        if isinstance(value, PurePath):  # with a ./ it is no box and no JSON, whatever its name is
            return str(value) if value.is_absolute() else f"./{value}"
        return pairs(value) if nested else value

    @field_validator("*")
    @classmethod
    def _public(cls, value: Any) -> Any:
        if redacted(value) != value if isinstance(value, str) else any(map(is_token, texts(value))):
            raise PydanticCustomError("secret", "holds what looks like a password, a token or a key: it would be shown")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return as_form(handler.resolve_ref_schema(handler(schema)))


def matching(pattern: str, what: str) -> AfterValidator:
    """Return a validator for text of a pattern, whose message has words in place of the pattern.

    Args:
        pattern: Regular expression of the whole text.
        what: Ends the message: "should be ...".
    """

    def check(text: str | None) -> str | None:
        if text is not None and not re.fullmatch(pattern, text):
            raise PydanticCustomError("pattern", "should be {what}", {"what": what})
        return text

    return AfterValidator(check)


class FlowParameters(Parameters):
    """Base of the parameters of a flow. One error reports all that is wrong, one line for each."""

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Return the parameters from plain values. Null is what was not given, as in the stored parameters of a run.

        Raises:
            InputError: Values are refused. The message has one line for each.
        """
        try:
            return cls.model_validate(
                {name: each for name, each in given.items() if each is not None or name not in cls.model_fields}
            )
        except ValidationError as error:
            raise InputError("\n".join(details["msg"] for details in error.errors())) from None

    def given(self) -> dict[str, Any]:
        """Return the values that were given, by their names."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}

    @classmethod
    def nested(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return values with those of `advanced` in their place: the command line and `adhoc` take them beside others.

        Raises:
            BadInputError: A value is given twice.
        """
        inner = set(_models_in(cls.model_fields["advanced"].annotation)[0].model_fields)
        own = {name: value for name, value in given.items() if name not in inner or name in cls.model_fields}
        moved = {name: value for name, value in given.items() if name not in own}
        if not moved:
            return own
        advanced = own.get("advanced") or {}
        if isinstance(advanced, str):
            with contextlib.suppress(PydanticCustomError):
                advanced = pairs(advanced)
        if isinstance(advanced, BaseModel):
            advanced = {name: getattr(advanced, name) for name in advanced.model_fields_set}
        if not isinstance(advanced, Mapping):
            return own  # it is refused later
        if twice := sorted(moved.keys() & advanced.keys()):
            raise BadInputError(twice[0], moved[twice[0]], "given twice, once within advanced", "Give it once")
        return own | {"advanced": {**advanced, **moved}}

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, data: Any, handler: Any) -> Self:
        try:
            given: Self = handler(data)
            check_storable(given)
        except BadInputError as error:
            raise refusal(error) from None
        except ValidationError as error:
            errors = error.errors()
            # Beside the parameter of earlier versions, all others are missing.
            errors = [each for each in errors if each["loc"] == (OLD,)] or errors
            lines = "\n".join(dict.fromkeys(_sentence(cls, details) for details in errors))
            raise refusal(lines) from None
        return given


def _box(value: Any) -> Any:
    """Return the numbers of `west,south,east,north`, the value of JSON text, or any other value unchanged."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\s*-?[\d.eE+-]+(\s*,\s*-?[\d.eE+-]+)+\s*", value):
        return [float(part) for part in value.split(",")]
    if value.strip() == "all":
        return None
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


# The words of JSON schema, as Prefect shows them elsewhere.
_AS_THE_FORM = {
    "greater_than_equal": "{value} is less than the minimum of {ge:g}",
    "greater_than": "{value} is less than or equal to the minimum of {gt:g}",
    "less_than_equal": "{value} is greater than the maximum of {le:g}",
    "less_than": "{value} is greater than or equal to the maximum of {lt:g}",
    "literal_error": "{value!r} is not one of [{expected}]",
}


# Parts of an image that are parameters of their own, or are written as the image itself.
_FLAT = dict.fromkeys(("image.asset", "image.recipe", "image.expression"), "image")
_FLAT |= {"image.parameters": "recipe_parameters", "image.as_of": "as_of"}


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
    if len(names) > 1 and names[0] == "advanced":  # the names of its fields are those of options
        del names[0]
    if details["type"] == "extra_forbidden":
        if remedy := _moved(model, names):
            return str(BadInputError(".".join(names), HIDDEN, "no parameter of the flow", remedy))
        known = ", ".join(sorted({name for m in models for name in m.model_fields}))
        # The value may be a secret that was meant for another field.
        return str(BadInputError(".".join(names), HIDDEN, "no such parameter", f"Known parameters: {known}"))
    value = None if details["type"] == "missing" else details["input"]
    if details["type"] in {"block", "secret"} or (names == ["output"] and isinstance(value, dict)):
        value = HIDDEN  # a block holds secrets
    remedy = " ".join((field.description or "").split()) if field is not None else "See the list of parameters"
    name = ".".join(names) or "parameters"
    return str(BadInputError(_FLAT.get(name, name), value, _reason(details, value), remedy))


def _reason(details: ErrorDetails, value: object) -> str:
    """Return what is wrong with a value."""
    if details["type"] == "missing":
        return "missing"
    template = _AS_THE_FORM.get(details["type"])
    if template is not None and value is not HIDDEN:
        context = details.get("ctx", {})
        if "expected" in context:
            context = context | {"expected": context["expected"].replace(" or ", ", ")}
        with contextlib.suppress(
            ValueError, RecursionError
        ):  # Python writes not every value: too many digits or levels
            return template.format(value=value, **context)
    return details["msg"].removeprefix("Input ").removeprefix("String ").partition(" or instance of ")[0]


def _moved(model: type[BaseModel], names: list[str]) -> str | None:
    """Return where a name is to be given instead; None if it is nowhere."""
    if names == [OLD]:
        return BY_NAME
    inner = _models_in(model.model_fields["advanced"].annotation) if "advanced" in model.model_fields else []
    if len(names) == 1 and any(names[0] in each.model_fields for each in inner):
        return f'It is a field of advanced: give advanced={{"{names[0]}": ...}}'
    return None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return all models that an annotation contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]

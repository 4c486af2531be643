"""Base job templates from short files: Prefect's own template for the pool type, with most variables fixed."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Self

from prefect.utilities.schema_tools.validation import ValidationError, validate
from prefect.utilities.templating import apply_values
from pydantic import BaseModel, ConfigDict, model_validator

JSON = dict[str, Any]


def standard(kind: str) -> JSON:
    """Return the base job template for a type of work pool that comes with Prefect.

    Raises:
        ValueError: There is no such type.
    """
    views = files("prefect") / "server" / "api" / "collections_data" / "views"
    collections = json.loads((views / "aggregate-worker-metadata.json").read_text(encoding="utf-8"))
    types: dict[str, JSON] = {name: worker for workers in collections.values() for name, worker in workers.items()}
    if kind not in types:
        raise ValueError(f"type = {kind!r}: not a type of work pool. Use one of: {', '.join(sorted(types))}.")
    template: JSON = types[kind]["default_base_job_configuration"]
    return template


class Pool(BaseModel):
    """A work pool, as a file in this folder declares it.

    Attributes:
        type: Type of the pool and its workers, such as `docker`.
        fixed: Values of job variables that no deployment and no run can change.
        defaults: Values of job variables that a deployment or a run can change.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    fixed: JSON
    defaults: JSON

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if twice := self.fixed.keys() & self.defaults.keys():
            raise ValueError(f"{', '.join(sorted(twice))}: both in fixed and in defaults. Remove it from one of them.")
        schema = standard(self.type)["variables"] | {"additionalProperties": False}
        try:
            validate(self.fixed | self.defaults, schema, raise_on_error=True, preprocess=False, ignore_required=True)
        except ValidationError as error:
            raise ValueError(f"{error}. Job variables of {self.type}: {', '.join(schema['properties'])}.") from None
        return self

    def template(self) -> JSON:
        """Return the base job template. Variables that are not in `fixed` or `defaults` keep Prefect's default."""
        template = standard(self.type)
        variables = template["variables"]["properties"]
        values = {name: it["default"] for name, it in variables.items() if "default" in it} | self.fixed
        values |= {name: f"{{{{ {name} }}}}" for name in self.defaults}
        return {
            "job_configuration": apply_values(template["job_configuration"], values),
            "variables": {
                "type": "object",
                "properties": {name: variables[name] | {"default": value} for name, value in self.defaults.items()},
                # Otherwise a worker would add a run's `env` to the fixed environment, although `env` is not a variable.
                "additionalProperties": False,
            },
        }

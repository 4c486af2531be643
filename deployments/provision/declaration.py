"""The declaration of deployments: `prefect.yaml`, in the part of the format of `prefect deploy` that we use."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.errors.input import BadInputError

DECLARATION = Path(__file__).parents[1] / "prefect.yaml"
_VARIABLE = re.compile(r"{{\s*\$(\w+)\s*}}")
_ENTRYPOINT = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"


class _Declared(BaseModel):
    # Unknown fields are errors. Prefect would ignore a misspelt field.
    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(_Declared):
    """A schedule of a deployment."""

    slug: str
    """Name of the schedule, unique within the deployment."""
    cron: str | None = None
    interval: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    """Seconds between two runs."""
    anchor_date: AwareDatetime | None = None
    """Start of one of the runs at an interval. Without it, each provisioning would shift them."""
    timezone: str
    active: bool = True

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.cron is None) == (self.interval is None) or (self.interval is None) != (self.anchor_date is None):
            raise ValueError("must have either cron, or interval (seconds) with anchor_date")
        self.create()  # Prefect checks the cron expression and the time zone
        return self

    def create(self) -> DeploymentScheduleCreate:
        """Return the schedule as an object of Prefect's client."""
        when: Any
        if self.cron is not None:
            when = CronSchedule(cron=self.cron, timezone=self.timezone)
        else:
            when = IntervalSchedule.model_validate(
                {"interval": self.interval, "anchor_date": self.anchor_date, "timezone": self.timezone}
            )
        return DeploymentScheduleCreate(schedule=when, active=self.active, slug=self.slug)


class _WorkPool(_Declared):
    name: str


class _Limit(ConcurrencyLimitConfig):
    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=0, le=1_000_000)]


class Entry(_Declared):
    """One deployment."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    entrypoint: Annotated[str, Field(pattern=_ENTRYPOINT)]
    """Module and flow with dots. With a path, Prefect would import the module a second time under another name."""
    description: Annotated[str, Field(min_length=1)]
    tags: tuple[str, ...]
    parameters: dict[str, Any]
    enforce_parameter_schema: Literal[True]
    work_pool: _WorkPool
    concurrency_limit: _Limit | None = None
    """Runs of this deployment at the same time."""
    schedules: tuple[Schedule, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> Self:
        if len({schedule.slug for schedule in self.schedules}) < len(self.schedules):
            raise ValueError("two schedules have the same slug")
        return self


class _File(_Declared):
    pull: Annotated[list[Any], Field(max_length=0)]
    """Empty: the package is installed where the worker runs. Without this field, Prefect would store a folder."""
    deployments: Annotated[tuple[Entry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        if len({entry.name for entry in self.deployments}) < len(self.deployments):
            raise ValueError("two deployments have the same name")
        return self


def read(path: Path, variables: Mapping[str, str]) -> tuple[Entry, ...]:
    """Return the deployments that a file declares.

    Args:
        path: The file.
        variables: Values of the placeholders `{{ $NAME }}`.

    Raises:
        BadInputError: The file cannot be read, or its content is not valid.
    """
    try:
        text = json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise BadInputError("file", str(path), f"it cannot be read: {error}", "Fix the file") from None
    except TypeError as error:  # a date without quotes, which Prefect cannot use either
        raise BadInputError("file", str(path), str(error), "Put dates between quotes") from None
    if missing := sorted(set(_VARIABLE.findall(text)) - set(variables)):
        reason = f"it uses variables that are not set in the environment: {', '.join(missing)}"
        raise BadInputError("file", str(path), reason, "Set them") from None
    text = _VARIABLE.sub(lambda found: json.dumps(variables[found[1]])[1:-1], text)
    if "{{" in text:
        reason = "it holds a placeholder that is not an environment variable, `{{ $NAME }}`"
        raise BadInputError("file", str(path), reason, "Write the value in its place")
    try:
        return _File.model_validate_json(text).deployments
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise BadInputError("file", str(path), wrong, "Fix these fields") from None

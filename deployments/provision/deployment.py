"""Deployments with their schedules, and the work pool whose workers run them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, ParameterTypeError
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.provision.automation import TAG
from deployments.provision.declaration import Entry
from deployments.provision.difference import Thing, Values
from tasks.errors.input import BadInputError

# Where Prefect keeps the results of tasks: https://docs.prefect.io/v3/advanced/results
RESULTS_STORAGE = "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK"
TEMPLATE = Path(__file__).parents[1] / "pools" / "process.json"


@dataclass(frozen=True)
class WorkPool(Thing):
    """A pool of processes."""

    pool: str
    results: str | None = None
    """Saved block of Prefect's results; None = each worker keeps its own."""

    @property
    def name(self) -> str:
        """Its name."""
        return f"work pool {self.pool}"

    @property
    def declared(self) -> Values:
        """What a run may set of its process: next to nothing."""
        return {
            "type": "process",
            "description": f"Flows of Pixel Quarry, as processes: `prefect worker start --pool {self.pool}`.",
            "is_paused": False,
            "base_job_template": self._template(),
        }

    def _template(self) -> dict[str, Any]:
        template: dict[str, Any] = json.loads(TEMPLATE.read_text(encoding="utf-8"))
        if self.results is not None:
            environment = template["variables"]["properties"]["environment"]
            environment["properties"][RESULTS_STORAGE] = {"type": "string", "enum": [self.results]}
            environment["default"][RESULTS_STORAGE] = self.results
        return template

    def read(self, client: SyncPrefectClient) -> Values | None:
        """Read what is declared of it; one of another type, which somebody has made by hand, is as it should be."""
        try:
            found = client.read_work_pool(self.pool)
        except ObjectNotFound:
            return None
        return found.model_dump(include=set(self.declared)) if found.type == "process" else self.declared

    def write(self, client: SyncPrefectClient) -> None:
        """Create or update it."""
        try:
            client.read_work_pool(self.pool)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=self.pool, **self.declared))
        else:
            update = {field: value for field, value in self.declared.items() if field != "type"}
            client.update_work_pool(self.pool, WorkPoolUpdate(**update))


@dataclass(frozen=True)
class Deployment(Thing):
    """A deployment."""

    entry: Entry
    flow: Flow[Any, Any]

    @classmethod
    def load(cls, entry: Entry) -> Deployment:
        """Import its flow, and hold its parameters against it.

        Raises:
            BadInputError: it can't be imported, or would refuse them.
        """
        field = f"deployment {entry.name}"
        try:
            flow: Flow[Any, Any] = load_flow_from_entrypoint(entry.entrypoint, use_placeholder_flow=False)
        except Exception as error:  # whatever a module raises as it is imported
            reason = f"the entrypoint can't be imported ({type(error).__name__}: {error})"
            raise BadInputError(f"{field}: entrypoint", entry.entrypoint, reason, "Mend it") from error
        try:
            flow.validate_parameters(entry.parameters)
        except (ParameterTypeError, TypeError) as error:
            remedy = "Mend the declaration"
            raise BadInputError(f"{field}: parameters", "as declared", str(error), remedy) from error
        return cls(entry, flow)

    @property
    def path(self) -> str:
        """Flow and deployment."""
        return f"{self.flow.name}/{self.entry.name}"

    @property
    def name(self) -> str:
        """Its path."""
        return f"deployment {self.path}"

    @property
    def declared(self) -> Values:
        """What the declaration says, and what it leaves no doubt of."""
        entry = self.entry
        limit = entry.concurrency_limit
        return {
            "description": entry.description,
            "tags": sorted(entry.tags),
            "entrypoint": entry.entrypoint,
            "path": None,
            "pull_steps": [],
            "parameters": entry.parameters,
            "enforce_parameter_schema": entry.enforce_parameter_schema,
            "paused": False,
            "work_pool": entry.work_pool.name,
            "work_queue": "default",
            "job_variables": {},
            "concurrency_limit": limit and limit.limit,
            "concurrency_options": limit and {"collision_strategy": limit.collision_strategy.value},
            "schedules": {schedule.slug: _schedule(schedule.create()) for schedule in entry.schedules},
            "form": self._form(),
        }

    def _form(self) -> dict[str, Any]:
        return parameter_schema(self.flow).model_dump(mode="json", exclude_unset=True)

    def read(self, client: SyncPrefectClient) -> Values | None:
        """Read what is declared of it."""
        try:
            found = client.read_deployment_by_name(self.path)
        except ObjectNotFound:
            return None
        limit, options = found.global_concurrency_limit, found.concurrency_options
        return {
            "description": found.description,
            "tags": sorted(found.tags),
            "entrypoint": found.entrypoint,
            "path": found.path,
            "pull_steps": found.pull_steps or [],
            "parameters": found.parameters,
            "enforce_parameter_schema": found.enforce_parameter_schema,
            "paused": found.paused,
            "work_pool": found.work_pool_name,
            "work_queue": found.work_queue_name,
            "job_variables": found.job_variables,
            "concurrency_limit": limit and limit.limit,
            "concurrency_options": options and options.model_dump(mode="json", exclude_none=True),
            "schedules": _schedules(found),
            "form": found.parameter_openapi_schema,
        }

    def write(self, client: SyncPrefectClient) -> None:
        """Create it, or replace it whole: runs that are scheduled already are scheduled anew."""
        declared, limit, options = self.declared, self.entry.concurrency_limit, None
        if limit is not None:
            options = ConcurrencyOptions(collision_strategy=limit.collision_strategy)
        client.create_deployment(
            client.create_flow_from_name(self.flow.name),
            self.entry.name,
            description=declared["description"],
            tags=declared["tags"],
            entrypoint=declared["entrypoint"],
            pull_steps=[],
            parameters=declared["parameters"],
            parameter_openapi_schema=declared["form"],
            enforce_parameter_schema=True,
            paused=False,
            work_pool_name=declared["work_pool"],
            work_queue_name=declared["work_queue"],
            job_variables={},
            schedules=[schedule.create() for schedule in self.entry.schedules],
            concurrency_limit=declared["concurrency_limit"],
            concurrency_options=options,
        )


def undeclared(client: SyncPrefectClient, declared: Iterable[Deployment]) -> list[str]:
    """Return the paths of deployments of ours that nobody declares any more: they go on running by their schedules."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found = client.read_deployments(deployment_filter=ours, limit=200)
    paths = {f"{client.read_flow(each.flow_id).name}/{each.name}" for each in found}
    return sorted(paths - {deployment.path for deployment in declared})


def _schedules(found: DeploymentResponse) -> dict[str, Any]:
    """Return schedules by their slug; one that was made by hand may have none."""
    return {each.slug or f"of {each.created}": _schedule(each) for each in found.schedules}


def _schedule(schedule: Any) -> dict[str, Any]:
    return {
        **schedule.schedule.model_dump(mode="json"),
        "active": schedule.active,
        "parameters": schedule.parameters,
        "max_scheduled_runs": schedule.max_scheduled_runs,
    }

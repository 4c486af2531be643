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
from prefect.exceptions import ObjectNotFound
from prefect.flows import load_flow_from_entrypoint

from deployments.provision.automation import TAG
from deployments.provision.declaration import Entry
from deployments.provision.difference import Thing, Values
from flows.job import Job
from tasks.errors.input import BadInputError, InputError

# Setting for the block where Prefect stores results of tasks: https://docs.prefect.io/v3/advanced/results
RESULTS_STORAGE = "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK"
TEMPLATE = Path(__file__).parents[1] / "pools" / "process.json"


@dataclass(frozen=True)
class WorkPool(Thing):
    """A work pool whose workers run flows as processes."""

    pool: str
    """Name of the pool."""
    results: str | None = None
    """Slug of the block for Prefect's results; None = each worker stores its own results."""

    @property
    def name(self) -> str:
        """``work pool`` and its name."""
        return f"work pool {self.pool}"

    @property
    def declared(self) -> Values:
        """Its settings. The job template lets a run change almost nothing of its process."""
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
        """Return its settings on the server.

        A pool of another type was created by hand. It is not changed: the declared settings are returned for it.
        """
        try:
            found = client.read_work_pool(self.pool)
        except ObjectNotFound:
            return None
        return found.model_dump(include=set(self.declared)) if found.type == "process" else self.declared

    def write(self, client: SyncPrefectClient) -> None:
        """Create or update the pool."""
        try:
            client.read_work_pool(self.pool)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=self.pool, **self.declared))
        else:
            update = {field: value for field, value in self.declared.items() if field != "type"}
            client.update_work_pool(self.pool, WorkPoolUpdate(**update))


@dataclass(frozen=True)
class Deployment(Thing):
    """A deployment of a flow, with its schedules."""

    entry: Entry
    flow: Job[..., Any]

    @classmethod
    def load(cls, entry: Entry) -> Deployment:
        """Import the flow of a deployment, and check that it accepts the declared parameters.

        Raises:
            BadInputError: The flow cannot be imported, or refuses the parameters.
        """
        field = f"deployment {entry.name}"
        try:
            flow: Any = load_flow_from_entrypoint(entry.entrypoint, use_placeholder_flow=False)
        except Exception as error:  # an import may raise anything
            reason = f"the entrypoint cannot be imported ({type(error).__name__}: {error})"
            raise BadInputError(f"{field}: entrypoint", entry.entrypoint, reason, "Fix the entrypoint") from error
        if not isinstance(flow, Job):
            raise BadInputError(
                f"{field}: entrypoint", entry.entrypoint, "no flow of Pixel Quarry", "Fix the entrypoint"
            )
        try:
            flow.model.read(entry.parameters, ())
            flow.serialize_parameters(entry.parameters)  # the server could not send each run of the deployment again
        except InputError as error:
            remedy = "Fix the declaration"
            raise BadInputError(f"{field}: parameters", "as declared", str(error), remedy) from error
        return cls(entry, flow)

    @property
    def path(self) -> str:
        """The names of flow and deployment, ``flow/deployment``."""
        return f"{self.flow.name}/{self.entry.name}"

    @property
    def name(self) -> str:
        """``deployment`` and its path."""
        return f"deployment {self.path}"

    @property
    def declared(self) -> Values:
        """The values from the declaration, and the fixed values of all deployments."""
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
        return self.flow.parameters.model_dump(mode="json")

    def read(self, client: SyncPrefectClient) -> Values | None:
        """Return the same values of the deployment on the server."""
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
        """Create the deployment or replace all of it. Prefect schedules its future runs again."""
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
    """Return the paths of deployments on the server with our tag that are not declared: their schedules still run."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found = client.read_deployments(deployment_filter=ours, limit=200)
    paths = {f"{client.read_flow(each.flow_id).name}/{each.name}" for each in found}
    return sorted(paths - {deployment.path for deployment in declared})


def _schedules(found: DeploymentResponse) -> dict[str, Any]:
    """Return schedules by slug. A schedule that was made by hand may have none; its time of creation stands for it."""
    return {each.slug or f"of {each.created}": _schedule(each) for each in found.schedules}


def _schedule(schedule: Any) -> dict[str, Any]:
    return {
        **schedule.schedule.model_dump(mode="json"),
        "active": schedule.active,
        "parameters": schedule.parameters,
        "max_scheduled_runs": schedule.max_scheduled_runs,
    }

"""Audit an output: what is stored, empty, missing, damaged or foreign; repair fetches just what is not whole."""

# Annotations are evaluated here, and not kept as text: the decorators below look at them from other modules.
from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict

from flows.batches import fetch_plan, one_at_a_time
from flows.failures import clear_failures
from flows.parameters import AuditParameters
from tasks.errors.input import BadInputError
from tasks.extraction.audit import PLAN, Audit, audit, check_unchanged, check_whole
from tasks.extraction.pruning import prune
from tasks.manifest import manifest
from tasks.prefect_io.artifacts import show_audit
from tasks.prefect_io.flow_session import fetch_session
from tasks.prefect_io.opener import open_output, opened
from tasks.prefect_io.task import unvisited


class AuditResult(BaseModel):
    """What an audit found, after repair and pruning."""

    model_config = ConfigDict(frozen=True)

    output: str
    """Root of the output."""
    plans: dict[str, dict[str, int]]
    """For each plan's folder the number of tiles that are stored, empty, failed, missing, damaged, unreceipted."""
    superseded: list[str]
    """Folders of plans whose image was changed since, and fetched anew."""
    foreign: list[str]
    """Files among the tiles that are none of ours."""
    pruned: int
    """Files that were removed."""


def audit_name() -> str:
    """Say what a run is about: `audit gcs-bucket/pixels`."""
    given = flow_run.parameters.get("parameters", {})
    read = given if isinstance(given, dict) else given.model_dump()
    return f"audit {read.get('output', 'output')} {read.get('plan') or ''}".strip()


@flow(name="audit-output", flow_run_name=audit_name, task_runner=one_at_a_time())
@clear_failures
def audit_output(parameters: AuditParameters) -> AuditResult:
    """Audit an output: say what is stored, empty, missing, damaged or foreign. Fails unless everything is whole."""
    changes = not parameters.plan_only
    output = opened(parameters.output, write=changes and (parameters.repair or parameters.prune))
    store = open_output(output)

    def look() -> Audit:
        try:
            found = audit(store, folder=parameters.plan, verify=parameters.verify)
        except KeyError:
            there = ", ".join(name for name in store.folders() if store.find(f"{name}/{PLAN}")) or "none"
            raise BadInputError("plan", parameters.plan, f"not in {store.uri}", f"There are: {there}") from None
        show_audit(found, store)
        return found

    found = look()
    if changes and parameters.repair and found.faults:
        repair(parameters, found, output)
        found = look()
    pruned = prune(found, store) if changes and parameters.prune else 0
    check_whole(found)
    return AuditResult(
        output=store.uri,
        plans={plan.plan.folder: plan.counts() for plan in found.plans},
        superseded=list(found.superseded),
        foreign=list(found.foreign),
        pruned=pruned,
    )


def repair(parameters: AuditParameters, found: Audit, output: str) -> None:
    """Fetch what is not whole of the plans that are not superseded."""
    account = parameters.connect()
    for plan in found.plans:
        if plan.faults and plan.plan.folder not in found.superseded:
            with fetch_session(account, parameters.deadlines()) as session:
                check_unchanged(account.connection, plan)
                tiles = fetch_plan(
                    plan.plan,
                    plan.checkpoint,
                    output=output,
                    plan_key=f"{plan.plan.folder}/{PLAN}",
                    connection=account.connection,
                    session=session,
                    workload_tag=account.workload_tag,
                )
                manifest(unvisited(plan.plan), unvisited(tiles), output=output)

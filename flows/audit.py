"""Audit an output: what is stored, empty, missing, damaged or foreign. Repair fetches only what is missing."""

# Annotations are evaluated here, and not kept as text: the decorators below look at them from other modules.
from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict

from flows.batches import fetch_plan, one_at_a_time
from flows.failures import clear_failures
from flows.parameters import AuditParameters
from tasks.audit import audit, prune
from tasks.extraction.audit import Audit, check_unchanged, check_whole
from tasks.extraction.stored_plan import PLAN
from tasks.manifest import manifest
from tasks.prefect_io.artifacts import show_audit
from tasks.prefect_io.flow_session import fetch_session
from tasks.prefect_io.opener import Output, open_output


class AuditResult(BaseModel):
    """What an audit found, after repair and pruning."""

    model_config = ConfigDict(frozen=True)

    output: str
    """Root of the output."""
    plans: dict[str, dict[str, int]]
    """For each plan's folder the number of tiles that are stored, empty, failed, missing, damaged, unreceipted."""
    superseded: list[str]
    """Folders of plans whose image has changed since, and was fetched again."""
    foreign: list[str]
    """Files among the tiles that this project did not write."""
    pruned: int
    """Number of files that were removed."""


def audit_name() -> str:
    """Return the name of the flow run: `audit gcs-bucket/pixels`."""
    given = flow_run.parameters.get("parameters", {})
    fields = given if isinstance(given, dict) else given.model_dump()
    return f"audit {fields.get('output', 'output')} {fields.get('plan') or ''}".strip()


@flow(name="audit-output", flow_run_name=audit_name, task_runner=one_at_a_time())
@clear_failures
def audit_output(parameters: AuditParameters) -> AuditResult:
    """Audit an output: say what is stored, empty, missing, damaged or foreign. Fails unless everything is whole."""
    repairs, prunes = (wish and not parameters.plan_only for wish in (parameters.repair, parameters.prune))
    output = open_output(parameters.output, write=repairs or prunes)
    found = look(parameters, output)
    if repairs and found.faults:
        repair(parameters, found, output)
        found = look(parameters, output)
    pruned = prune(output.store, found) if prunes else 0
    check_whole(found)
    return AuditResult(
        output=output.store.uri,
        plans={plan.plan.folder: plan.counts() for plan in found.plans},
        superseded=list(found.superseded),
        foreign=list(found.foreign),
        pruned=pruned,
    )


def look(parameters: AuditParameters, output: Output) -> Audit:
    """Audit the output as it is now, and show what was found."""
    found = audit(output.store, plan=parameters.plan, verify=parameters.verify)
    show_audit(found, output.store)
    return found


def repair(parameters: AuditParameters, found: Audit, output: Output) -> None:
    """Fetch the missing, damaged and failed tiles of all plans that are not superseded."""
    account = parameters.connect()
    for plan in found.plans:
        if plan.faults and plan.plan.folder not in found.superseded:
            with fetch_session(account, parameters.deadlines()) as session:
                check_unchanged(account.connection, plan)
                key = f"{plan.plan.folder}/{PLAN}"
                tiles = fetch_plan(
                    plan.plan, plan.checkpoint, output=output, plan_key=key, account=account, session=session
                )
                manifest(output.store, plan.plan, tiles)

"""Audit an output: which tiles are stored, empty, failed, missing or damaged, and which files are foreign.

Repair fetches only the tiles that are missing, damaged or failed.
"""

# Without `from __future__ import annotations`: decorators of other modules read the annotations below, and could not
# resolve them if they were text.
from pydantic import BaseModel, ConfigDict

from flows.batches import fetch_plan
from flows.job import job
from flows.parameters import AuditParameters
from tasks.audit import audit, prune
from tasks.earthengine.errors import Denied, Rejected
from tasks.errors import QuarryError
from tasks.errors.input import InputError
from tasks.extraction.account import Account
from tasks.extraction.audit import Audit, PlanAudit, check_unchanged, check_whole
from tasks.extraction.stored_plan import PLAN
from tasks.manifest import manifest
from tasks.prefect_io.artifacts import show_audit
from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.flow_session import fetch_session
from tasks.prefect_io.opener import Output, open_output
from tasks.storage.store import OutputConflict

REFUSED = (InputError, Rejected, Denied, OutputConflict)
"""Errors of one plan that do not keep the others from their repair."""


class AuditResult(BaseModel):
    """What an audit found, after repair and pruning."""

    model_config = ConfigDict(frozen=True)

    output: str
    """Root of the output."""
    plans: dict[str, dict[str, int]]
    """Numbers of stored, empty, failed, missing, damaged and unreceipted tiles, by the folder of the plan."""
    superseded: list[str]
    """Folders of plans whose image changed after they were made, and was fetched again under another plan."""
    foreign: list[str]
    """Files among the tiles that this project did not write."""
    pruned: int
    """Number of files that pruning removed."""


def audit_name(parameters: AuditParameters) -> str:
    """Return the first name of a run, such as `audit gcs-bucket/pixels`."""
    return f"audit {parameters.output} {parameters.plan or ''}".strip()


@job("audit-output", AuditParameters, audit_name)
def audit_output(parameters: AuditParameters) -> AuditResult:
    """Audit an output: list stored, empty, failed, missing and damaged tiles, and foreign files.

    The run fails if there is no plan, or if a plan cannot be read or is not complete. Superseded plans may be
    incomplete.
    """
    repairs, prunes = (wish and not parameters.plan_only for wish in (parameters.repair, parameters.prune))
    output = open_output(parameters.output, write=repairs or prunes)
    found = look(parameters, output)
    if repairs and found.fault_count:
        found = repaired(parameters, found, output)
    pruned = prune(output.store, found) if prunes else 0
    check_whole(found)
    return AuditResult(
        output=output.store.uri,
        plans={plan.plan.folder: plan.counts() for plan in found.plans},
        superseded=list(found.superseded),
        foreign=list(found.foreign),
        pruned=pruned,
    )


def look(parameters: AuditParameters, output: Output, before: Audit | None = None) -> Audit:
    """Audit the output in its present state, and show the findings in the Prefect UI.

    Args:
        parameters: The parameters of the flow.
        output: The output.
        before: What was found before a repair: the tiles that are whole now are shown as repaired.
    """
    found = audit(output.store, plan=parameters.plan, verify=parameters.verify)
    show_audit(found, output.store, before=before)
    return found


def repaired(parameters: AuditParameters, found: Audit, output: Output) -> Audit:
    """Repair what was found, and audit the output again, also if a plan could not be repaired.

    Raises:
        QuarryError: See :func:`repair`.
    """
    try:
        repair(parameters, found, output)
    except REFUSED:
        look(parameters, output, found)
        raise
    return look(parameters, output, found)


def repair(parameters: AuditParameters, found: Audit, output: Output) -> None:
    """Fetch the missing, damaged and failed tiles of all plans that are not superseded, and renew their manifests.

    A plan that cannot be repaired does not keep the others from it.

    Raises:
        BadInputError: An asset was updated after its plan was made, so its tiles cannot be fetched any more.
        EarthEngineError: Earth Engine refuses an asset of a plan.
    """
    account = parameters.connect()
    refused: list[QuarryError] = []
    for plan in found.plans:
        if plan.faults and plan.plan.folder not in found.superseded:
            try:
                repair_plan(plan, parameters, account, output)
            except REFUSED as error:
                run_logger().warning("%s cannot be repaired: %s", plan.plan.folder, error)
                refused.append(error)
    if refused:
        first, *others = refused
        for other in others:
            first.add_note(f"{type(other).__name__}: {other}")
        raise first


def repair_plan(plan: PlanAudit, parameters: AuditParameters, account: Account, output: Output) -> None:
    """Fetch the missing, damaged and failed tiles of a plan, and renew its manifest."""
    with fetch_session(account, parameters.deadlines(), parameters.hedge()) as session:
        check_unchanged(account.connection, plan)
        key = f"{plan.plan.folder}/{PLAN}"
        tiles = fetch_plan(plan.plan, plan.checkpoint, output=output, plan_key=key, account=account, session=session)
        manifest(output.store, plan.plan, tiles)

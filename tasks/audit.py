"""The audit as Prefect shows it, and what follows from it: repair and pruning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from humanize import naturalsize
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.earthengine.audit import KINDS, Audit, PlanAudit, changed, claimed_by, plans_of
from tasks.earthengine.connection import Connection
from tasks.earthengine.errors import BadInputError
from tasks.report import ExtractionFailedError
from tasks.storage.receipt import READERS
from tasks.storage.store import Store

FAULTS_SHOWN = 1000


class AuditError(ExtractionFailedError):
    """An output is not whole: the message says what is missing or damaged."""


def show_audit(audit: Audit, store: Store) -> None:
    """Show what is stored of each plan, and each fault with its file."""
    log = get_run_logger()
    rows = []
    for plan in audit.plans:
        counts, folder = plan.counts(), plan.plan.folder
        state = "superseded" if folder in audit.superseded else "complete" if plan.complete else "incomplete"
        rows.append(
            f"| {folder} | {state} | {len(plan.plan):,} | " + " | ".join(f"{counts[k]:,}" for k in KINDS) + " |"
        )
        words = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
        log.info("%s is %s: %s", folder, state, words)
    notes = [f"- {folder}: {reason}" for folder, reason in audit.unreadable.items()]
    if audit.unclaimed:
        size = naturalsize(sum(stored.size for stored in audit.unclaimed))
        notes.append(
            f"- {len(audit.unclaimed):,} tiles ({size}) that no plan, or only a superseded one, holds: `prune` them"
        )
    if audit.foreign:
        notes.append(
            f"- {len(audit.foreign):,} foreign files among the tiles, such as `{audit.foreign[0]}`: left alone"
        )
    for note in notes:
        log.warning("%s", note.removeprefix("- "))
    head = f"| plan | state | tiles | {' | '.join(KINDS)} |\n|{'---|' * (len(KINDS) + 3)}"
    text = "\n".join([f"# Audit\n\nOutput: `{store.uri}`\n\n{head}", *rows, "", *notes])
    create_markdown_artifact(f"{text}\n", key="audit", description="What is stored")
    faults = [
        {"plan": tile.plan, "tile": tile.tile, "file": tile.key, "fault": str(tile.fault)}
        for tile in audit.faults[:FAULTS_SHOWN]
    ]
    if faults:
        create_table_artifact(faults, key="faults", description=f"{len(audit.faults)} tiles are not as they should be")


def check_whole(audit: Audit) -> None:
    """Fail unless all plans are whole, superseded ones apart.

    Raises:
        AuditError: something is missing, damaged, failed or can't be read.
    """
    if not audit.plans and not audit.unreadable:
        raise AuditError("There is no plan in this output: is it the right one?")
    faults = [fault for fault in audit.faults if fault.plan not in audit.superseded]
    if not faults and not audit.unreadable:
        return
    kinds = Counter(tile.fault.kind for tile in faults)
    words = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    lines = [f"  {fault.plan} tile {fault.tile}: {fault.fault} ({fault.key})" for fault in faults[:10]]
    lines += [f"  {folder}: {reason}" for folder, reason in audit.unreadable.items()]
    more = [f"  and {len(faults) - 10:,} more"] if len(faults) > 10 else []
    raise AuditError(
        "\n".join([f"The output is not whole: {words or 'plans that can not be read'}.", *lines, *more])
        + "\nRun the flow that made it again, or this audit with repair: only those are fetched."
    )


def check_unchanged(connection: Connection, plan: PlanAudit) -> None:
    """See that what is missing can still be fetched as it was planned.

    Raises:
        BadInputError: an asset was updated since.
    """
    for number in sorted({fault.tile // len(plan.plan.tiles) for fault in plan.faults}):
        source = plan.plan.sources[number]
        if asset := changed(connection, source):
            raise BadInputError(
                "repair",
                plan.plan.folder,
                f"{asset} was updated since, so its missing tiles can't be fetched any more",
                "Run the flow that made it again: it fetches the new image, and leaves the old output as it is",
            )


def prune(audit: Audit, store: Store) -> int:
    """Remove superseded plans, tiles of no plan that counts, and what killed processes left; say how many files."""
    plans, unreadable = plans_of(store)  # anew: a run may have begun since
    claimed = claimed_by(plan for name, (plan, _) in plans.items() if name not in audit.superseded)
    keys = [] if unreadable else [stored.key for stored in audit.unclaimed if stored.key not in claimed]
    keys += [stored.key for folder in audit.superseded for stored in store.list(f"{folder}/")]
    _delete(store, keys)
    return len(keys) + store.sweep()


def _delete(store: Store, keys: Iterable[str]) -> None:
    with ThreadPoolExecutor(READERS) as pool:
        for _ in pool.map(store.delete, keys):
            pass

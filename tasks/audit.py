"""The audit tasks: compare an output with its receipts, and remove the files that no plan needs."""

from __future__ import annotations

from tasks.extraction.audit import Audit, read_audit
from tasks.extraction.pruning import prune_output
from tasks.plan.choices import Verify
from tasks.prefect_io.task import core_task
from tasks.storage.store import Store


@core_task("audit")
def audit(store: Store, *, plan: str | None, verify: Verify) -> Audit:
    """Compare an output, or one plan of it, with its receipts: see :func:`tasks.extraction.audit.read_audit`."""
    return read_audit(store, folder=plan, verify=verify)


@core_task("prune")
def prune(store: Store, audit: Audit) -> int:
    """Remove the files that no plan needs and return their number: see :mod:`tasks.extraction.pruning`."""
    return prune_output(store, audit)

"""The audit of an output: plans, receipts and listing compared with one another."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.earthengine.connection import Connection
from tasks.errors.input import BadInputError
from tasks.errors.run import AuditError
from tasks.extraction.checkpoint import TILES, Checkpoint, Fault, TileFault, read_checkpoint
from tasks.extraction.versions import changed_asset, find_superseded
from tasks.plan.choices import Verify
from tasks.plan.plan import Plan
from tasks.storage.receipt import RECEIPTS
from tasks.storage.store import Store, Stored


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
        if asset := changed_asset(connection, source):
            raise BadInputError(
                "repair",
                plan.plan.folder,
                f"{asset} was updated since, so its missing tiles can't be fetched any more",
                "Run the flow that made it again: it fetches the new image, and leaves the old output as it is",
            )


PLAN = "plan.json"
# What a tile can be, in the order in which an audit counts them.
KINDS = ("stored", "empty", Fault.FAILED, Fault.MISSING, Fault.DAMAGED, Fault.UNRECEIPTED)
UNRECEIPTED = TileFault(Fault.UNRECEIPTED, "stored, but no receipt says what")
NEVER_STORED = TileFault(Fault.MISSING, "never stored")
# What the names of our tiles end with; anything else below `tiles` is somebody else's.
_OURS = re.compile(rf"^{TILES}/.+(-[0-9a-f]{{12}}|/[0-9a-f]{{2}}/[0-9a-f]{{24}})\.(tif|npy|png|jpg)$")


@dataclass(frozen=True, kw_only=True)
class FaultyTile:
    """A tile that is not as it should be."""

    plan: str
    """Folder of its plan."""
    tile: int
    key: str
    """Where it is, or should be."""
    fault: TileFault


@dataclass(frozen=True, kw_only=True)
class PlanAudit:
    """What is stored of a plan."""

    plan: Plan
    checkpoint: Checkpoint
    stored: Stored
    """Of plan.json."""
    faults: tuple[FaultyTile, ...]

    @property
    def complete(self) -> bool:
        """Whether every tile is stored, or known to be empty."""
        return not self.faults

    def counts(self) -> dict[str, int]:
        """Number of tiles by what has become of them."""
        found = Counter[str](tile.fault.kind for tile in self.faults)
        found.update(tile.status for tile in self.checkpoint.tiles.values())
        return {kind: found[kind] for kind in KINDS}


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What is stored of an output."""

    plans: tuple[PlanAudit, ...]
    unreadable: Mapping[str, str]
    """Folders whose plan can't be read, with the reason."""
    superseded: tuple[str, ...]
    """Folders of plans that a newer one, which is complete, has taken the place of: the same request of an image that
    was changed since."""
    unclaimed: tuple[Stored, ...]
    """Tiles of ours that no plan holds any more, but for those that are superseded."""
    foreign: tuple[str, ...]
    """What lies among the tiles and is none of ours."""

    @property
    def faults(self) -> tuple[FaultyTile, ...]:
        """Of all plans."""
        return tuple(fault for plan in self.plans for fault in plan.faults)


def read_audit(store: Store, *, folder: str | None = None, verify: Verify = "quick") -> Audit:
    """Hold an output, or one plan of it, against its receipts and its listing.

    Args:
        store: The output.
        folder: Of the plan; None = all.
        verify: As :func:`tasks.extraction.checkpoint.read_checkpoint` has it.

    Raises:
        BadInputError: The output has no such plan.
        StorageError: the output can't be read.
    """
    listed = list(store.list(f"{TILES}/"))  # before the plans: a run stores its plan before its tiles
    plans, unreadable = plans_of(store)
    if folder is not None and folder not in {*plans, *unreadable}:
        there = ", ".join(sorted(plans)) or "none"
        raise BadInputError("plan", folder, f"not in {store.uri}", f"There are: {there}")
    audits = [
        _audited(plan, stored, read_checkpoint(plan, store, verify=verify))
        for name, (plan, stored) in plans.items()
        if folder in {None, name}
    ]
    superseded = tuple(find_superseded((each.plan, each.complete) for each in audits))
    claimed = claimed_by(plan for name, (plan, _) in plans.items() if name not in superseded)
    ours = [stored for stored in listed if _OURS.match(stored.key)]
    return Audit(
        plans=tuple(audits),
        unreadable=unreadable,
        superseded=superseded,
        # Without a plan that can't be read nobody knows which are its own.
        unclaimed=() if unreadable else tuple(stored for stored in ours if stored.key not in claimed),
        foreign=tuple(sorted({stored.key for stored in listed} - {stored.key for stored in ours})),
    )


def plans_of(store: Store) -> tuple[dict[str, tuple[Plan, Stored]], dict[str, str]]:
    """Return the plans of an output by their folders, and why those that can't be read can't be."""
    plans: dict[str, tuple[Plan, Stored]] = {}
    unreadable: dict[str, str] = {}
    for name in store.folders():
        stored = None if name == TILES else store.find(f"{name}/{PLAN}")
        if stored is None and name != TILES and next(store.list(f"{name}/{RECEIPTS}/"), None):
            unreadable[name] = f"{PLAN} is gone: run the flow that made it again, and it is written anew"
        if stored is not None:
            try:
                plan = Plan.from_json(json.loads(store.get(stored.key)))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                unreadable[name] = f"{PLAN} can't be read: {error}"
            else:
                if plan.folder == name:  # a copy of a folder is no plan of its own
                    plans[name] = plan, stored
    return plans, unreadable


def claimed_by(plans: Iterable[Plan]) -> set[str]:
    """Return where the tiles of plans are."""
    return {plan.key(index) for plan in plans for index in range(len(plan))}


def _audited(plan: Plan, stored: Stored, checkpoint: Checkpoint) -> PlanAudit:
    faults = []
    for index in checkpoint.missing(0, len(plan)):
        fault = checkpoint.faults.get(index)
        if fault is None:
            fault = UNRECEIPTED if index in checkpoint.there else NEVER_STORED
        faults.append(FaultyTile(plan=plan.folder, tile=index, key=plan.key(index), fault=fault))
    return PlanAudit(plan=plan, checkpoint=checkpoint, stored=stored, faults=tuple(faults))

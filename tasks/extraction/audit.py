"""The audit of an output: a comparison of its plans, its receipts and its listing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice

from tasks.earthengine.connection import Connection
from tasks.errors.input import BadInputError
from tasks.errors.run import AuditError
from tasks.extraction.checkpoint import TILES, Checkpoint, read_checkpoint
from tasks.extraction.faulty_tiles import FaultyTile, FaultyTiles
from tasks.extraction.stored_plan import PLAN, read_plan
from tasks.extraction.tile_fault import Fault
from tasks.extraction.versions import changed_asset, find_superseded
from tasks.plan.choices import Verify
from tasks.plan.plan import Plan
from tasks.storage.receipt import RECEIPTS
from tasks.storage.store import StorageError, Store, StoreEntry, is_key


def check_whole(audit: Audit) -> None:
    """Raise an error unless all plans are complete. Superseded plans do not count.

    Raises:
        AuditError: The output has no plan, a plan cannot be read, or a tile is missing, damaged, failed or without a
            receipt.
    """
    if not audit.plans and not audit.unreadable:
        raise AuditError("There is no plan in this output. Check the address of the output.")
    faulty = [plan.faults for plan in audit.plans if plan.plan.folder not in audit.superseded]
    kinds = sum((faults.kinds() for faults in faulty), Counter[Fault]())
    unchecked = [f"{key}: {reason}" for key, reason in (*audit.unreadable.items(), *audit.refused.items())]
    if not kinds and not unchecked:
        return
    words = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    named = (f"{tile.plan} tile {tile.tile}: {tile.fault} ({tile.key})" for tile in chain.from_iterable(faulty))
    lines = [f"The output is incomplete: {words} tiles." if words else "Some of the output was not checked."]
    for each, count in ((named, kinds.total()), (unchecked, len(unchecked))):
        lines += [f"  {line}" for line in islice(each, SHOWN)]
        lines += [f"  and {count - SHOWN:,} more"] if count > SHOWN else []
    if kinds:
        lines.append(
            "Run the flow that made the output again, or run this audit with repair. Only these tiles are fetched."
        )
    if audit.unreadable:
        lines.append("Run the flow that made an unreadable plan again, or remove its folder.")
    if audit.refused:
        lines.append("Remove the receipts that are none, and run this audit with repair.")
    raise AuditError("\n".join(lines))


def check_unchanged(connection: Connection, plan: PlanAudit) -> None:
    """Check that the images of all faulty tiles are still in the planned versions.

    Raises:
        BadInputError: An asset was updated after it was planned.
    """
    for number in plan.faults.sources():
        source = plan.plan.sources[number]
        if asset := changed_asset(connection, source):
            raise BadInputError(
                "repair",
                plan.plan.folder,
                f"{asset} was updated since it was planned, so its missing tiles can no longer be fetched",
                "Run the flow that made the output again. It fetches the new image and keeps the old tiles",
            )


# Faults, and things that were not checked, in a message.
SHOWN = 10
# The possible states of a tile, in the order in which an audit lists them.
KINDS = ("stored", "empty", Fault.FAILED, Fault.MISSING, Fault.DAMAGED, Fault.UNRECEIPTED)
# The keys of the tiles that this project writes. Any other file below `tiles` is foreign.
_OURS = re.compile(rf"^{TILES}/.+(-[0-9a-f]{{12}}|/[0-9a-f]{{2}}/[0-9a-f]{{24}})\.(tif|npy|png|jpg)$")


@dataclass(frozen=True, kw_only=True)
class PlanAudit:
    """The state of one plan in an output."""

    plan: Plan
    checkpoint: Checkpoint
    stored: StoreEntry
    """The stored ``plan.json``."""
    faults: FaultyTiles

    @property
    def complete(self) -> bool:
        """Whether every tile is stored, or has no valid pixel."""
        return not self.faults

    def counts(self) -> dict[str, int]:
        """Return the number of tiles in each state, in the order of `KINDS`."""
        found = Counter[str](self.faults.kinds())
        found.update(tile.status for tile in self.checkpoint.tiles.values())
        return {kind: found[kind] for kind in KINDS}


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The state of an output."""

    plans: tuple[PlanAudit, ...]
    unreadable: Mapping[str, str]
    """Folders whose plan cannot be read or looked up, each with the reason. ``tiles`` if they cannot be listed."""
    refused: Mapping[str, str]
    """Receipts that cannot be read, by key, each with the reason. Their tiles count as without a receipt."""
    superseded: tuple[str, ...]
    """Folders of superseded plans. A newer, complete plan makes the same request of an image that has changed since."""
    unclaimed: tuple[StoreEntry, ...]
    """Tiles of this project that belong to no plan, or only to superseded plans. Empty if a plan cannot be read."""
    foreign: tuple[str, ...]
    """Keys of files below `tiles` that this project did not write."""

    @property
    def faults(self) -> Iterator[FaultyTile]:
        """The faulty tiles of all plans."""
        return chain.from_iterable(plan.faults for plan in self.plans)

    @property
    def fault_count(self) -> int:
        """Number of faulty tiles of all plans."""
        return sum(len(plan.faults) for plan in self.plans)

    def repaired_since(self, before: Audit) -> list[FaultyTiles]:
        """Return the tiles that had a fault in an earlier audit and have none now, by plan."""
        now = {plan.plan.folder: plan.faults for plan in self.plans}
        return [plan.faults.without(now[plan.plan.folder]) for plan in before.plans if plan.plan.folder in now]


def read_audit(store: Store, *, folder: str | None = None, verify: Verify = "quick") -> Audit:
    """Compare the plans of an output, or one of them, with the receipts and the listing of the output.

    Args:
        store: The output.
        folder: Folder of the only plan to compare; None = all plans.
        verify: See :func:`tasks.extraction.checkpoint.read_checkpoint`.

    Raises:
        BadInputError: The output has no such plan.
        StorageError: The output cannot be read.
    """
    # Tiles are listed before the plans are read: a run stores its plan first, so the plan of each listed tile is found.
    listed, unreadable = _listed(store)
    plans, unread = plans_of(store)
    unreadable |= unread
    if folder is not None and folder not in {*plans, *unreadable}:
        there = ", ".join(sorted({*plans, *unreadable})) or "none"
        raise BadInputError("plan", folder, f"{store.uri} has no such plan", f"Plans in this output: {there}")
    audits = []
    for name, (plan, stored) in plans.items():
        if folder in {None, name}:
            try:
                audits.append(_audited(plan, stored, read_checkpoint(plan, store, verify=verify)))
            except StorageError as error:
                if error.passing:
                    raise
                unreadable[name] = str(error)
    superseded = tuple(find_superseded((each.plan, each.complete) for each in audits))
    ours = [stored for stored in listed if _is_ours(stored.key)]
    return Audit(
        plans=tuple(audits),
        unreadable=unreadable,
        refused={key: why for each in audits for key, why in each.checkpoint.refused.items()},
        superseded=superseded,
        # The tiles of a plan that cannot be read are not known: any tile may be one of them.
        unclaimed=() if unreadable else unclaimed(ours, (plans[name][0] for name in plans.keys() - set(superseded))),
        foreign=tuple(sorted(_shown(stored.key) for stored in listed if not _is_ours(stored.key))),
    )


def plans_of(store: Store) -> tuple[dict[str, tuple[Plan, StoreEntry]], dict[str, str]]:
    """Return the plans of an output by folder, and the reasons why others cannot be read, also by folder.

    Raises:
        StorageError: The output cannot be listed, or does not answer.
    """
    plans: dict[str, tuple[Plan, StoreEntry]] = {}
    unreadable: dict[str, str] = {}
    for name in store.folders():
        if name == TILES or not is_key(name):  # no plan has such a folder
            continue
        key = f"{name}/{PLAN}"
        try:
            stored = store.find(key)
            if stored is not None:
                plan = read_plan(store, key)
                if plan.folder == name:
                    plans[name] = plan, stored
                elif store.find(f"{plan.folder}/{PLAN}") is None:  # else it is a copy, which does not count
                    unreadable[name] = f"it was renamed from {plan.folder}. Run the flow that made it again"
            elif next(store.list(f"{name}/{RECEIPTS}/"), None):
                unreadable[name] = f"{PLAN} is missing. Run the flow that made it again to restore it"
        except (ValueError, KeyError) as error:  # the latter if it was deleted just now
            unreadable[name] = f"{PLAN} cannot be read: {error}"
        except StorageError as error:
            if error.passing:
                raise
            unreadable[name] = str(error)
    return plans, unreadable


def _listed(store: Store) -> tuple[list[StoreEntry], dict[str, str]]:
    """Return the listing of the tiles, or why they cannot be listed."""
    try:
        return list(store.list(f"{TILES}/")), {}
    except StorageError as error:
        if error.passing:
            raise
        return [], {TILES: str(error)}


def _shown(key: str) -> str:
    """Return a name as text: a file system allows bytes that are none."""
    return key.encode("utf-8", "backslashreplace").decode()


def _is_ours(key: str) -> bool:
    return _OURS.match(key) is not None and is_key(key)


def unclaimed(tiles: Iterable[StoreEntry], plans: Iterable[Plan]) -> tuple[StoreEntry, ...]:
    """Return those of some stored tiles that none of these plans has, in their order."""
    left = {stored.key: stored for stored in tiles}
    for plan in plans:
        for index in range(len(plan)):
            if not left:
                return ()
            left.pop(plan.key(index), None)
    return tuple(left.values())


def _audited(plan: Plan, stored: StoreEntry, checkpoint: Checkpoint) -> PlanAudit:
    return PlanAudit(plan=plan, checkpoint=checkpoint, stored=stored, faults=FaultyTiles(plan, checkpoint))

"""Pruning: remove the files that no plan needs any more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tasks.extraction.audit import Audit, plans_of, unclaimed
from tasks.extraction.stored_plan import PLAN
from tasks.storage.receipt import READERS
from tasks.storage.store import Store, is_key


def prune_output(store: Store, audit: Audit) -> int:
    """Remove superseded plans, tiles that no other plan needs, and unfinished files of killed processes.

    Returns:
        Number of removed files.

    Raises:
        StorageError: The output cannot be read or written.
    """
    plans, unreadable = plans_of(store)  # read again, since a run may have started after the audit
    needed = [plan for name, (plan, _) in plans.items() if name not in audit.superseded]
    # Without any plan the address is wrong, or its plans were moved: that is no reason to remove all tiles.
    is_known = bool(plans) and not unreadable
    keys = [stored.key for stored in unclaimed(audit.unclaimed, needed)] if is_known else []
    keys += [stored.key for folder in audit.superseded for stored in store.list(f"{folder}/") if is_key(stored.key)]
    # A plan goes last: if the process is killed before, the next run still knows that the folder is superseded.
    last = {f"{folder}/{PLAN}" for folder in audit.superseded}
    with ThreadPoolExecutor(READERS) as pool:
        for part in (set(keys) - last, last & set(keys)):
            for _ in pool.map(store.delete, part):
                pass
    return len(keys) + store.sweep()

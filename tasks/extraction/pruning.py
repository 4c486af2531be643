"""Pruning: remove what no plan needs any more."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tasks.extraction.audit import Audit, claimed_by, plans_of
from tasks.storage.receipt import READERS
from tasks.storage.store import Store


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
